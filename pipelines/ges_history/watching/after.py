"""What a load does around itself: pings, and when it has loaded, all that follows in one opening.

The load is done by then: whatever fails here is told and does not undo it.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from ges_history.errors import HistoryError
from ges_history.warehouses.seam import Read, Say, quiet
from ges_history.watching.findings import Check, check
from ges_history.watching.gauges import LastLoad, as_text, write_text
from ges_history.watching.notify import Ping, notify
from ges_history.watching.policy import find_policy
from ges_history.watching.tell import STATES, as_lines


class Readable(Protocol):
    """All that is asked of a warehouse here."""

    def reading(self, wait: float = 0.0, say: Say = quiet) -> AbstractContextManager[Read]:
        """Several reads of one state."""


@dataclass(frozen=True)
class Wishes:
    """What is wanted around a load.

    Attributes:
        check: Whether to hold the policy against the history and tell what is violated.
        metrics: File for the metrics.
        page: Writes the page.
        policy: File of the policy; default: `ges_policy.toml` in the folder `beside`, if any.
        ping: URL of a dead man's switch.
        partial_fails: Whether a partial load is told to it as a failure.
        notify: Webhook for the outcome and the violations.
    """

    check: bool = False
    metrics: Path | None = None
    page: Callable[[], None] | None = None
    policy: Path | None = None
    beside: Path | None = None
    ping: str | None = None
    partial_fails: bool = True
    notify: str | None = None

    @property
    def judges(self) -> bool:
        """Whether anything is wanted that needs the policy held against the history."""
        return bool(self.check or self.metrics or self.notify)


@dataclass(frozen=True)
class Followed:
    """What came of the wishes.

    Attributes:
        lines: What is violated, for people, where a check was wanted.
        check: The policy held against the history, where that was needed and possible.
        failed: What was wanted and could not be done.
    """

    lines: tuple[str, ...] = ()
    check: Check | None = None
    failed: tuple[str, ...] = ()


class Watched:
    """A load that is watched: its start and its end are told, also where it ends with an error.

    >>> with Watched(wishes, say) as watched:
    ...     outcome = load(...)
    ...     followed = watched.loaded(warehouse, outcome.to_json(), outcome.exit_code, "summary")
    """

    def __init__(self, wishes: Wishes, say: Say = quiet) -> None:
        self._wishes = wishes
        self._say = say
        self._ping = Ping(wishes.ping, partial_fails=wishes.partial_fails, say=say)

    def __enter__(self) -> "Watched":
        self._ping.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ping.__exit__(kind, error, trace)
        if isinstance(error, Exception) and self._wishes.notify:
            words = str(error) or type(error).__name__
            notify(
                self._wishes.notify, _content({"outcome": "failed"}, 1, None, [words]), self._say
            )

    def loaded(
        self,
        warehouse: Readable,
        outcome: dict[str, Any],
        exit_code: int,
        summary: str = "",
        loads: Mapping[str, LastLoad] | None = None,
        wait: float = 60.0,
    ) -> Followed:
        """Do what is wanted after a load.

        Args:
            warehouse: Where the history is.
            outcome: Of the load, as JSON.
            exit_code: Of the load.
            summary: Of the load, for people.
            loads: {project_id: what the load knows of itself}.
            wait: Seconds to wait for another load that holds the warehouse.
        """
        self._ping.code, self._ping.body = exit_code, summary
        found, failed = None, list[str]()
        try:
            found = self._follow(warehouse, loads or {}, wait)
        except HistoryError as error:
            failed.append(str(error))
            self._say(f"The history is loaded; what should follow is not done: {error}")
        if self._wishes.notify:
            notify(self._wishes.notify, _content(outcome, exit_code, found, failed), self._say)
        lines = as_lines(found) if found and self._wishes.check else []
        return Followed(tuple(lines), found, tuple(failed))

    def _follow(
        self, warehouse: Readable, loads: Mapping[str, LastLoad], wait: float
    ) -> Check | None:
        found = None
        if self._wishes.judges:
            policy = find_policy(self._wishes.policy, self._wishes.beside)
            with warehouse.reading(wait, self._say) as read:
                found = check(read, policy)
        if found and self._wishes.metrics:
            write_text(self._wishes.metrics, as_text(found, loads))
        if self._wishes.page:
            self._wishes.page()
        return found


def _content(
    outcome: dict[str, Any], exit_code: int, found: Check | None, failed: list[str]
) -> dict[str, Any]:
    """What a webhook gets; `text` is what chats show."""
    text = f"Load of GES backups: {outcome['outcome']}, exit code {exit_code}."
    if found is not None:
        text += f" Policy {STATES[found.exit_code]}: " + "\n".join(as_lines(found)[-1:])
    return {
        "text": "\n".join([text, *failed]),
        "exit_code": exit_code,
        "outcome": outcome,
        "violations": [asdict(finding) for finding in found.violations] if found else [],
        "problems": failed,
    }
