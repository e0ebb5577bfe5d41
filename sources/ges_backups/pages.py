"""From the bytes of one answer to a page: exact numbers, strict shape, and what is no answer at all."""

from typing import Any

import msgspec

from .errors import TransientError
from .keys import row_keys
from .listing import ListMoved, Page
from .records import Backup, Rows, checked_rows, fast_rows, load_exact

#: More than any list holds: such a number is no count, and no warehouse could keep it.
MAX_COUNT = 10**12


class _Backups(msgspec.Struct, gc=False):
    backup_count: int
    backup_list: list[Backup]


_BACKUPS = msgspec.json.Decoder(_Backups)


def parse_backups(
    body: bytes, path: str, offset: int, graph_id: str | None, *, keep: bool = False
) -> Page[Rows]:
    """A page of ListGraphBackups2, or of ListBackups2 for a whole project::

        {"backup_count": 2, "backup_list": [{"id": "ada3...", "status": "success", ...}, ...]}

    Args:
        body: The answer.
        path: Request path, for the error's words.
        offset: Position of the first row.
        graph_id: The graph that was asked for; None for a project.
        keep: Whether the page shall keep the answer, so that it can be named.

    Raises:
        TransientError: The body is cut, no JSON, without list or count, or contradicts itself.
        ListMoved: It holds rows though the list ends before them.
    """
    answer = body if keep else None
    if page := _parse_fast(body, offset, graph_id, answer):
        return page
    count, rows = _parse_exact(body, path, offset, "backup_count", "backup_list")
    return Page(offset, count, row_keys(rows), checked_rows(rows, graph_id), answer)


def _parse_fast(
    body: bytes, offset: int, graph_id: str | None, kept: bytes | None
) -> Page[Rows] | None:
    """The page of an answer that is regular throughout; None where it needs a closer look."""
    if b"\\" in body and b"\\u0000" in body:  # looking for one byte is 10 times faster
        return None
    try:
        answer = _BACKUPS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    count, backups = answer.backup_count, answer.backup_list
    if _contradiction(count, len(backups), offset, "backup_count"):
        return None
    rows = fast_rows(backups, graph_id)
    if rows is None:
        return None
    return Page(offset, count, [backup.id for backup in backups], rows, kept)


def parse_graphs(body: bytes, path: str, offset: int) -> Page[list[Any]]:
    """A page of ListGraphs2: ``{"graph_count": 1, "graphs": [{"id": "4c5f...", "name": ...}]}``."""
    count, rows = _parse_exact(body, path, offset, "graph_count", "graphs")
    return Page(offset, count, row_keys(rows), rows)


def _parse_exact(
    body: bytes, path: str, offset: int, count_key: str, list_key: str
) -> tuple[int, list[Any]]:
    """Count and rows, by the slower reading; an answer without them is never an empty account."""
    try:
        answer = _load_exact(body, path)
    except RecursionError:
        raise TransientError("the answer is nested too deeply", path=path, status=200) from None
    if not isinstance(answer, dict):
        raise TransientError("the answer is no JSON object", path=path, status=200)
    rows, count = answer.get(list_key), answer.get(count_key)
    if not isinstance(rows, list):
        raise TransientError(f"the answer has no list {list_key}", path=path, status=200)
    if isinstance(count, bool) or not isinstance(count, int):
        raise TransientError(f"the answer has no number {count_key}", path=path, status=200)
    if contradiction := _contradiction(count, len(rows), offset, count_key):
        if rows and offset >= count > 0:  # an offset behind the end is answered by the last page
            raise ListMoved(contradiction)
        raise TransientError(contradiction, path=path, status=200)
    return count, rows


def _load_exact(body: bytes, path: str) -> Any:
    """The slower reading that keeps every digit and admits lone surrogates, to be judged by record."""
    try:
        return load_exact(body.decode())
    except ValueError:
        raise TransientError("the answer is cut or no JSON", path=path, status=200) from None


def _contradiction(count: int, rows: int, offset: int, count_key: str) -> str | None:
    """What in an answer of so many rows contradicts its count; None where nothing does."""
    if not 0 <= count <= MAX_COUNT:
        return f"the answer has no number {count_key}"
    if rows and offset + rows > count:
        return f"the answer holds rows up to {offset + rows}, but {count_key} is {count}"
    if not rows and offset < count:
        return f"the answer is empty at {offset}, but {count_key} is {count}"
    return None
