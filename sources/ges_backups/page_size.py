"""How many rows to ask for in one page: as many as the server gives, learned from its answers.

No maximum is documented. A server may answer fewer rows than asked for, which costs nothing, or
refuse the limit with 400: then it is asked for fewer, and what it took is kept for all its graphs.
What one endpoint has taken says nothing of what another will take.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import RequestRefused

T = TypeVar("T")

SIZES = (1000, 500, 200, 100, 10)


class PageSize:
    """The rows to ask one server for; one object for all graphs and threads of a run.

    Args:
        rows: A size that is asked for whatever the server says; None finds the largest.
        learned: What `to_state` gave after an earlier run.
        now: Epoch seconds.
        retry_seconds: Age from which what was learned is no longer believed: the largest size is
            tried again.
    """

    def __init__(
        self,
        rows: int | None = None,
        *,
        learned: dict[str, Any] | None = None,
        now: float = 0.0,
        retry_seconds: float = 0.0,
    ) -> None:
        self._is_fixed = rows is not None
        self._rows = rows or SIZES[0]
        self._most: int | None = None
        self._taken: dict[str, int] = {}
        self._learned_at = now
        self._lock = threading.Lock()
        if learned and not self._is_fixed and 0 <= now - learned["learned_at"] < retry_seconds:
            self._rows, self._learned_at = int(learned["rows"]), float(learned["learned_at"])
            self._most = learned.get("most")

    @classmethod
    def of(cls, size: "int | PageSize") -> "PageSize":
        """The object itself, or one for a fixed number of rows."""
        return size if isinstance(size, PageSize) else cls(size)

    @property
    def rows(self) -> int:
        """Rows to ask for now."""
        return self._rows

    @property
    def width(self) -> int:
        """Rows that a full page is seen to have; of a fixed size those that are asked for.

        A load that begins with another width than the one before reads other rows first, and cannot
        tell that they are as they were: of a fixed size nothing is known when the next one begins.
        """
        return min(self._rows, self._most or self._rows)

    def answered(self, asked: int, rows: int) -> None:
        """A page that is not the last of its list held so many rows."""
        if not self._is_fixed and rows < min(asked, self._rows):
            self._most = rows

    def ask(self, endpoint: str, limit: int, fetch: Callable[[int], T]) -> T:
        """What `fetch` brings for so many rows, or for the most below that the endpoint takes.

        Raises:
            RequestRefused: As the server answered to `limit`, where it takes no smaller one either.
        """
        asked, taken = min(limit, self._rows), self._taken.get(endpoint, SIZES[-1])
        try:
            answer = fetch(asked)
        except RequestRefused as refused:
            if self._is_fixed or refused.status != 400 or asked <= taken:
                raise
            asked, answer = self._ask_for_fewer(asked, fetch, refused)
            with self._lock:
                self._rows = min(self._rows, asked)
        with self._lock:
            self._taken[endpoint] = max(self._taken.get(endpoint, SIZES[-1]), asked)
        return answer

    @staticmethod
    def _ask_for_fewer(
        asked: int, fetch: Callable[[int], T], refused: RequestRefused
    ) -> tuple[int, T]:
        """So many rows were taken at last, and the answer."""
        for rows in (size for size in SIZES if size < asked):
            try:
                return rows, fetch(rows)
            except RequestRefused as error:
                if error.status != 400:
                    raise
        raise refused

    def to_state(self) -> dict[str, Any] | None:
        """What a later run may begin with, as plain JSON; None where there is nothing to remember."""
        if self._is_fixed or self.width == SIZES[0]:
            return None
        return {"rows": self._rows, "most": self._most, "learned_at": self._learned_at}
