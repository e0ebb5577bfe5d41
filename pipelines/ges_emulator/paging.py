"""Rows of a listing in their natural order, and the pages of it in any order."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar


class Listed(Protocol):
    """What can be in a listing: it has a place in the order called ``shuffled``."""

    shuffle_key: int


Row = TypeVar("Row", bound=Listed)


class Rows(Generic[Row]):
    """Rows in their natural order, from old to new, and the pages of it in any order."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.natural: list[Row] = list(rows)
        self._shuffled: list[Row] | None = None

    def insert(self, index: int, row: Row) -> None:
        """Put ``row`` at ``index`` of the natural order."""
        self.natural.insert(index, row)
        self._shuffled = None

    def remove(self, row: Row) -> None:
        """Take ``row`` out."""
        self.natural.remove(row)
        self._shuffled = None

    def page(self, order: str, offset: int, limit: int) -> list[Row]:
        """The rows at ``offset`` in ``old_to_new``, ``new_to_old`` or ``shuffled`` order."""
        if order == "old_to_new":
            return self.natural[offset : offset + limit]
        if order == "new_to_old":
            end = max(len(self.natural) - offset, 0)
            return self.natural[max(end - limit, 0) : end][::-1]
        if order == "shuffled":
            if self._shuffled is None:
                self._shuffled = sorted(self.natural, key=lambda row: row.shuffle_key)
            return self._shuffled[offset : offset + limit]
        raise ValueError(f"unknown order {order!r}: old_to_new, new_to_old or shuffled")
