"""What one backup and one graph are: columns, types, units, checks; accepted, or rejected whole.

The columns are the API's (page, table 5, and `encrypted` of the vendor's SDK) under the API's
names and units. A record that does not fit is kept whole, with a reason. Fields that are not
known here travel as JSON text in one working column, from which `rows.spread` makes columns.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import simplejson
from simplejson.raw_json import RawJSON

TEXT_FIELDS = {
    "id": "Backup ID.",
    "name": "Backup name.",
    "backup_method": "auto, manual or import, as answered.",
    "graph_id": "ID of the graph that the backup belongs to.",
    "graph_name": "Name of that graph when the backup was last read.",
    "graph_status": "Status code of that graph when the backup was last read (200 running, 400 deleted).",
    "graph_size_type_index": "Size class of that graph, a code (1 a million edges, 4 a billion).",
    "data_store_version": "Version of that graph.",
    "arch": "CPU architecture of that graph: x86_64 or aarch64.",
    "status": "backing_up, success or failed, as answered.",
    "start_time": "Start of the backup job, UTC, as text without a zone.",
    "end_time": "End of the backup job, UTC, as text without a zone.",
    "product_type": "InMemory (memory edition) or Persistence (database edition).",
}
NUMBER_FIELDS = {
    "start_timestamp": "Start of the backup job, milliseconds since 1970-01-01 UTC.",
    "end_timestamp": "End of the backup job, milliseconds since 1970-01-01 UTC.",
    "size": "Size of the backup file, in MB.",
    "duration": "Duration of the backup job as the API reports it, in seconds.",
}
BOOLEAN_FIELDS = {"encrypted": "Whether the backup is encrypted."}
KNOWN_FIELDS = frozenset((*TEXT_FIELDS, *NUMBER_FIELDS, *BOOLEAN_FIELDS))
EXTRA = "_extra"

#: 9999-12-31T23:59:59.999Z: the last instant that dates in Python and in every warehouse can hold.
MAX_STAMP_MS = 253_402_300_799_999
MAX_BIGINT = 2**63 - 1
#: PostgreSQL has an index over ids, and an entry of it holds no more than 2,700 bytes.
MAX_KEY_BYTES = 1000
#: A character has 4 bytes at most.
SHORT_KEY = MAX_KEY_BYTES // 4
ENDED = ("success", "failed")
#: Of an unknown field: what is nested deeper is no one's data, and breaks JSON libraries.
MAX_LEVELS = 100
#: Python reads no whole number of more than 4,300 digits.
MAX_DIGITS = 4000

BATCH_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=name != "id") for name in TEXT_FIELDS]
    + [pa.field(name, pa.int64(), nullable=name != "start_timestamp") for name in NUMBER_FIELDS]
    + [pa.field(name, pa.bool_()) for name in BOOLEAN_FIELDS]
    + [pa.field(EXTRA, pa.string())]
)
_ARROW_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
_PYTHON_TYPES: dict[str, type] = {
    **dict.fromkeys(TEXT_FIELDS, str),
    **dict.fromkeys(NUMBER_FIELDS, int),
    **dict.fromkeys(BOOLEAN_FIELDS, bool),
}
Backup: Any = msgspec.defstruct(
    "Backup",
    [(name, kind | None, None) for name, kind in _PYTHON_TYPES.items()],
    forbid_unknown_fields=True,
    gc=False,
)
"""A record of known fields in their types, null where it lacks them; decoding refuses any other."""

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that does not fit, whole, with the reason.

    Attributes:
        graph_id: The graph that was asked for, or that the record names where a project was asked
            for; None for a record of the list of graphs, or one that names none.
        backup_id: The record's id where it has one that is text.
        reason: What does not fit, for a person.
        record: The record as JSON text, in ASCII.
        is_unfinished: Whether it says of a backup with an id that it has not ended; it may fit then.
    """

    graph_id: str | None
    backup_id: str | None
    reason: str
    record: str
    is_unfinished: bool = False

    @property
    def record_hash(self) -> str:
        """Names this version of the record."""
        text = f"{self.graph_id}\0{self.reason}\0{self.record}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one page: accepted ones in `batch`, and where each of the page's rows went.

    Attributes:
        batch: Accepted rows, `BATCH_SCHEMA`, in the order of the page.
        index: For each row of the page its row in `batch`, or None where it was rejected.
        rejected: Rejected rows by their place in the page.
    """

    batch: pa.RecordBatch
    index: Sequence[int | None]
    rejected: dict[int, Rejected] = field(default_factory=dict)


def load_exact(text: str) -> Any:
    """JSON with every digit kept: fractions, and numbers too long for Python, as `RawJSON`.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    return simplejson.loads(
        text, parse_float=RawJSON, parse_int=_exact_int, parse_constant=_no_number
    )


def _exact_int(digits: str) -> Any:
    return int(digits) if len(digits) <= MAX_DIGITS else RawJSON(digits)


def _no_number(name: str) -> Any:
    raise ValueError(name)


def fast_rows(backups: Sequence[Any], graph_id: str | None) -> Rows | None:
    """Rows out of `Backup`s that are regular throughout, or None where any needs a closer look.

    Args:
        backups: The records of a page.
        graph_id: The graph that was asked for; None for a project, where each names its own.
    """
    arrays: list[pa.Array] = []
    try:
        for (name, kind), values in zip(_PYTHON_TYPES.items(), _columns(backups), strict=True):
            is_one = _is_one_value(values)
            if not _is_regular(name, values[:1] if is_one and name != "id" else values, graph_id):
                return None
            arrays.append(_array(values, _ARROW_TYPES[kind], is_one=is_one))
    except (TypeError, OverflowError, UnicodeEncodeError, pa.ArrowException):
        return None
    arrays.append(pa.nulls(len(backups), pa.string()))
    return Rows(pa.RecordBatch.from_arrays(arrays, schema=BATCH_SCHEMA), range(len(backups)))


def _columns(backups: Sequence[Any]) -> Iterator[list[Any]]:
    """The fields of `Backup`s in their order; written out, since that takes half the time."""
    yield [one.id for one in backups]
    yield [one.name for one in backups]
    yield [one.backup_method for one in backups]
    yield [one.graph_id for one in backups]
    yield [one.graph_name for one in backups]
    yield [one.graph_status for one in backups]
    yield [one.graph_size_type_index for one in backups]
    yield [one.data_store_version for one in backups]
    yield [one.arch for one in backups]
    yield [one.status for one in backups]
    yield [one.start_time for one in backups]
    yield [one.end_time for one in backups]
    yield [one.product_type for one in backups]
    yield [one.start_timestamp for one in backups]
    yield [one.end_timestamp for one in backups]
    yield [one.size for one in backups]
    yield [one.duration for one in backups]
    yield [one.encrypted for one in backups]


def _is_one_value(values: list[Any]) -> bool:
    """Whether all of them are the same, as what a page tells of its graph mostly is."""
    return len(values) > 1 and values[0] == values[-1] and values.count(values[0]) == len(values)


def _array(values: list[Any], arrow_type: pa.DataType, *, is_one: bool) -> pa.Array:
    if is_one:
        return pa.repeat(pa.scalar(values[0], arrow_type), len(values))
    return pa.array(values, type=arrow_type)


def _is_regular(name: str, values: Sequence[Any], graph_id: str | None) -> bool:
    if not values:
        return True
    match name:
        case "id":
            return _are_short(values) and len(set(values)) == len(values)
        case "graph_id":
            return _are_short(values) and (graph_id is None or set(values) == {graph_id})
        case "start_timestamp":
            return None not in values and min(values) >= 0 and max(values) <= MAX_STAMP_MS
        case "end_timestamp":
            return all(value is None or 0 <= value <= MAX_STAMP_MS for value in values)
        case "size" | "duration":
            return all(value is None or value >= 0 for value in values)
    return True


def _are_short(keys: Sequence[str]) -> bool:
    """Whether all of them are there, and none may be too long."""
    return all(keys) and max(map(len, keys), default=0) <= SHORT_KEY


def checked_rows(rows: list[Any], graph_id: str | None) -> Rows:
    """Rows looked at one by one: each is accepted exactly, or rejected whole.

    Args:
        rows: The records of a page.
        graph_id: The graph that was asked for; None for a project, where each names its own.
    """
    accepted: list[dict[str, Any]] = []
    index: list[int | None] = []
    rejected: dict[int, Rejected] = {}
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        reason = find_fault(row, graph_id)
        if reason is None and row["id"] in places and not _same(row, rows[places[row["id"]]]):
            reason = (
                f"the id {_shown(row['id'])} stands in the page a second time, with other values"
            )
        if reason is not None:
            rejected[place] = reject(row, graph_id or named_graph(row), reason)
            index.append(None)
            continue
        places[row["id"]] = place
        index.append(len(accepted))
        accepted.append(_accepted(row, graph_id))
    arrays = [pa.array([row.get(f.name) for row in accepted], type=f.type) for f in BATCH_SCHEMA]
    return Rows(pa.RecordBatch.from_arrays(arrays, schema=BATCH_SCHEMA), index, rejected)


def _same(row: Any, other: Any) -> bool:
    return bool(simplejson.dumps(row, sort_keys=True) == simplejson.dumps(other, sort_keys=True))


def _extra(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in KNOWN_FIELDS}


def named_graph(row: Any) -> str | None:
    """The graph that a record names, where that is text that can be kept."""
    name = row.get("graph_id") if isinstance(row, dict) else None
    return name if isinstance(name, str) and name and not _text_fault(name) else None


def _accepted(row: dict[str, Any], graph_id: str | None) -> dict[str, Any]:
    extra = _extra(row)
    return {
        **row,
        "graph_id": graph_id or row["graph_id"],
        EXTRA: simplejson.dumps(extra) if extra else None,
    }


def reject(row: Any, graph_id: str | None, reason: str) -> Rejected:
    """The record whole, with a reason."""
    backup_id = row.get("id") if isinstance(row, dict) else None
    if not isinstance(backup_id, str) or _text_fault(backup_id):
        backup_id = None
    status = row.get("status") if backup_id else None
    unfinished = isinstance(status, str) and is_unfinished(status, row.get("end_timestamp"))
    return Rejected(graph_id, backup_id, reason, simplejson.dumps(row), unfinished)


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """The record that an accepted row stands for, unknown fields included."""
    names = (*TEXT_FIELDS, *NUMBER_FIELDS, *BOOLEAN_FIELDS)
    known = {name: row[name] for name in names if row[name] is not None}
    return known | (load_exact(row[EXTRA]) if row[EXTRA] else {})


def find_fault(row: Any, graph_id: str | None) -> str | None:
    """What does not fit in a record, in words, or None where it is accepted as it is."""
    if not isinstance(row, dict):
        return f"a {_kind(row)} stands where a backup was expected"
    if not row.get("id"):
        return "it has no id"
    if graph_id is None:
        if not row.get("graph_id"):
            return "it has no graph_id, so nobody knows whose backup it is"
    elif row.get("graph_id") not in (None, graph_id):
        return f"its graph_id is {_shown(row['graph_id'])}, but it was listed for {graph_id}"
    return _known_fault(row) or _key_fault(row) or _unknown_fault(row)


def _known_fault(row: dict[str, Any]) -> str | None:
    for name in TEXT_FIELDS:
        if fault := _text_fault(row.get(name)):
            return f"{name} {fault}"
    for name in NUMBER_FIELDS:
        if fault := _number_fault(name, row.get(name)):
            return f"{name} {fault}"
    if not isinstance(row.get("encrypted"), bool | None):
        return f"encrypted is {_shown(row['encrypted'])}, where true or false was expected"
    return None


def _key_fault(row: dict[str, Any]) -> str | None:
    for name in ("id", "graph_id"):
        if len((row.get(name) or "").encode()) > MAX_KEY_BYTES:
            return f"{name} has more than {MAX_KEY_BYTES:,} bytes, too many for a key"
    return None


def _unknown_fault(row: dict[str, Any]) -> str | None:
    for name, value in _extra(row).items():
        if _is_deeper(value, MAX_LEVELS):
            return f"the field {_shown(name)} is nested more than {MAX_LEVELS} levels deep"
        text = simplejson.dumps({name: value}, ensure_ascii=False)
        if fault := _text_fault(_ESCAPED_NUL.sub("\0", text)):
            return f"the field {_shown(name)} {fault}"
    return None


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _text_fault(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return f"is {_shown(value)}, a {_kind(value)} where text was expected"
    if "\0" in value:
        return "holds a NUL character, which no warehouse can keep"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds a broken character (a lone surrogate)"
    return None


def _number_fault(name: str, value: Any) -> str | None:
    stamp = name.endswith("_timestamp")
    if value is None:
        return (
            "is missing: without it the backup has no time" if name == "start_timestamp" else None
        )
    if isinstance(value, bool) or not isinstance(value, int):
        return f"is {_shown(value)}, a {_kind(value)} where a whole number was expected"
    if value < 0:
        return f"is {value}, less than zero"
    if stamp and value > MAX_STAMP_MS:
        return f"is {_shown(value)}, later than the year 9999 in milliseconds since 1970"
    if value > MAX_BIGINT:
        return f"is {_shown(value)}, more than 64 bits can hold"
    return None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case list():
            return "list"
        case dict():
            return "object"
    return "number"


def _shown(value: Any) -> str:
    text = simplejson.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_unfinished(status: str | None, end_timestamp: int | None) -> bool:
    """Whether a backup has not ended: still running, or of an unknown status and without an end."""
    if status in ENDED:
        return False
    return status == "backing_up" or not end_timestamp
