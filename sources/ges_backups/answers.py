"""From the bytes of one answer to a page: exact numbers, strict shape, and what is no answer at all."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from ges_backups.errors import TransientError
from ges_backups.listing import Page
from ges_backups.records import Rows, checked_rows, fast_rows, load_exact, row_keys

R = TypeVar("R")


def parse_backups(body: bytes, path: str, offset: int, graph_id: str) -> Page[Rows]:
    """A page of ListGraphBackups2::

        {"backup_count": 2, "backup_list": [{"id": "ada3...", "status": "success", ...}, ...]}

    Raises:
        TransientError: The body is cut, no JSON, without list or count, or contradicts itself.
    """

    def convert(rows: list[Any]) -> tuple[list[str], Rows] | None:
        has_nul = b"\\" in body and b"\\u0000" in body  # looking for one byte is 10 times faster
        fast = None if has_nul else fast_rows(rows, graph_id)
        if fast is None:
            return None
        return fast.batch.column(0).to_pylist(), fast

    def convert_exact(rows: list[Any]) -> tuple[list[str], Rows]:
        return row_keys(rows), checked_rows(rows, graph_id)

    return _parse(body, path, offset, "backup_count", "backup_list", convert, convert_exact)


def parse_graphs(body: bytes, path: str, offset: int) -> Page[list[Any]]:
    """A page of ListGraphs2: ``{"graph_count": 1, "graphs": [{"id": "4c5f...", "name": ...}]}``."""

    def convert(rows: list[Any]) -> tuple[list[str], list[Any]]:
        return row_keys(rows), rows

    return _parse(body, path, offset, "graph_count", "graphs", lambda _: None, convert)


def _parse(
    body: bytes,
    path: str,
    offset: int,
    count_key: str,
    list_key: str,
    convert: Callable[[list[Any]], tuple[list[str], R] | None],
    convert_exact: Callable[[list[Any]], tuple[list[str], R]],
) -> Page[R]:
    try:
        answer = orjson.loads(body)
        count, rows = _shape(answer, path, offset, count_key, list_key)
        converted = convert(rows)
    except orjson.JSONDecodeError:
        converted = None
    if converted is None:
        try:
            count, rows = _shape(_load_exact(body, path), path, offset, count_key, list_key)
            converted = convert_exact(rows)
        except RecursionError:
            raise TransientError("the answer is nested too deeply", path=path, status=200) from None
    keys, payload = converted
    digest = hashlib.blake2b(body, digest_size=12, salt=str(offset).encode()[-16:]).hexdigest()
    return Page(offset, count, keys, payload, digest)


def _load_exact(body: bytes, path: str) -> Any:
    """The slower reading that keeps every digit and admits lone surrogates, to be judged by record."""
    try:
        return load_exact(body.decode())
    except ValueError:
        raise TransientError("the answer is cut or no JSON", path=path, status=200) from None


def _shape(
    answer: Any, path: str, offset: int, count_key: str, list_key: str
) -> tuple[int, list[Any]]:
    """Count and rows; an answer without them is an error of that answer, never an empty account."""
    if not isinstance(answer, dict):
        raise _malformed("the answer is no JSON object", path, answer)
    rows, count = answer.get(list_key), answer.get(count_key)
    if not isinstance(rows, list):
        raise _malformed(f"the answer has no list {list_key}", path, answer)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise _malformed(f"the answer has no number {count_key}", path, answer)
    if rows and offset + len(rows) > count:
        raise _malformed(
            f"the answer holds rows up to {offset + len(rows)}, but {count_key} is {count}",
            path,
            answer,
        )
    if not rows and offset < count:
        raise _malformed(
            f"the answer is empty at {offset}, but {count_key} is {count}", path, answer
        )
    return count, rows


def _malformed(problem: str, path: str, answer: Any) -> TransientError:
    code = answer.get("error_code") if isinstance(answer, dict) else None
    message = answer.get("error_msg") if isinstance(answer, dict) else None
    return TransientError(
        problem,
        path=path,
        status=200,
        error_code=code if isinstance(code, str) else None,
        error_msg=message[:300] if isinstance(message, str) else None,
    )
