"""Records that a server should never send, and how each of them is found again."""

import json
from typing import Any

import orjson
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import strategies as st

from ges_backups.records import BOOLEAN_FIELDS, NUMBER_FIELDS, TEXT_FIELDS
from harness import FIELDS, FIRST_MS, Row

GRAPH = "g1"
naming = NamingConvention()

HOSTILE_TEXTS = (
    "",
    " ",
    "'",
    '"; DROP TABLE ges.backups; --',
    "a\0b",
    "\0",
    "\\u0000",
    "line\nend\r\x1b[31m",
    "\u202eright to left",
    "\ud800",
    "\U0001f600",
    "%s %(x)s {0}",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "null",
    "NaN",
    "12abc",
    "x" * 5000,
)
HOSTILE_NAMES = (
    "",
    " ",
    "Size",
    "SIZE",
    "size ",
    "_dlt_id",
    "_dlt_load_id",
    "deleted_at",
    "started_at",
    "project_id",
    "other_fields",
    "_extra",
    "select",
    "a b",
    "a_b",
    "a__b",
    "a__v_text",
    "a.b",
    'a"b',
    "a'b",
    "\u00e9t\u00e9",
    "\u65e5\u672c",
    "1st",
    "n" * 300,
    "rowid",
    "a\nb",
)

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        [0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 253_402_300_800_000]
    ),
    # The emulator writes some pages with orjson and some with json: only what both write the same.
    st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda value: orjson.dumps(value).decode() == json.dumps(value)
    ),
)
texts = st.text(max_size=20) | st.sampled_from(HOSTILE_TEXTS)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(HOSTILE_NAMES) | st.text(min_size=1, max_size=12) | st.sampled_from("abc")
unknown_fields = st.dictionaries(names.filter(lambda name: name not in FIELDS), values, max_size=4)
spoiled_fields = st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)


def good_record(number: int) -> Row:
    """A record as the API's page has it."""
    start = FIRST_MS + number * 1000
    return {
        **dict.fromkeys(TEXT_FIELDS, "text"),
        **dict.fromkeys(NUMBER_FIELDS, number),
        **dict.fromkeys(BOOLEAN_FIELDS, True),
        "id": f"dirty{number}",
        "graph_id": GRAPH,
        "status": "success",
        "start_timestamp": start,
        "end_timestamp": start + 54_000,
    }


@st.composite
def records(draw: st.DrawFn, number: int) -> Any:
    """A record that is good, spoiled, lacks fields, has unknown ones, or is no record at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    record = {**good_record(number), **draw(spoiled_fields), **draw(unknown_fields)}
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        record.pop(name, None)
    return record


@st.composite
def pages(draw: st.DrawFn, most: int = 8) -> list[Any]:
    """The rows of an answer."""
    return [draw(records(number)) for number in range(draw(st.integers(0, most)))]


def is_accepted(row: Row, record: Any) -> bool:
    """Whether a row of `ges.backups` holds everything that a record says."""
    if not isinstance(record, dict):
        return False
    graph_id = record.get("graph_id") or GRAPH
    known = {**{name: record.get(name) for name in FIELDS}, "graph_id": graph_id}
    if any(repr(row.get(name)) != repr(value) for name, value in known.items()):
        return False
    return all(
        is_kept(row, name, value)
        for name, value in record.items()
        if name not in FIELDS and value is not None
    )


def is_kept(row: Row, name: str, value: Any) -> bool:
    """Whether an unknown field is in its column, in a variant of it, or among the other fields."""
    column = naming.normalize_identifier(name) if name.strip() else None
    stored = [
        row[key]
        for key in row
        if column and key not in FIELDS and (key == column or key.startswith(f"{column}__v_"))
    ]
    others = json.loads(row.get("other_fields") or "{}")
    if name in others:
        stored.append(others[name])
    return any(is_same(one, value) for one in stored)


def is_same(stored: Any, value: Any) -> bool:
    """Whether a stored value is a JSON value, with its type and all its digits."""
    if isinstance(stored, str) and stored != value:
        stored = _from_text(stored)
    if isinstance(stored, bool) or isinstance(value, bool | None):
        return stored is value
    return bool(stored == value)


def _from_text(stored: str) -> Any:
    try:
        return json.loads(stored)
    except ValueError:
        return None


def lost(served: list[Any], rows: list[Row], rejected: list[Row]) -> list[Any]:
    """Records that are neither accepted exactly nor rejected whole with a reason."""
    raw = [json.loads(row["record"]) for row in rejected if row["reason"]]
    return [
        record
        for record in served
        if not any(is_accepted(row, record) for row in rows) and record not in raw
    ]
