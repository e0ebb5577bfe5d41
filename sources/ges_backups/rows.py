"""From accepted records to tables: derived columns, and columns for fields that are not known here.

An unknown field becomes a column of the type that its first value has (dlt's rule); a later value
of another type goes into a variant column, named as dlt names them (``field__v_text``). What types
the columns have is remembered for the whole run. Objects and lists are JSON. A field whose name
cannot be a column goes into the JSON column `other_fields`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import simplejson

from .records import (
    BATCH_SCHEMA,
    BOOLEAN_FIELDS,
    EXTRA,
    MAX_BIGINT,
    NUMBER_FIELDS,
    TEXT_FIELDS,
    load_exact,
)

OTHER_FIELDS = "other_fields"
MAX_UNKNOWN_COLUMNS = 200
UTC_TIME = pa.timestamp("us", tz="UTC")

_DERIVED = {
    "project_id": "ID of the project that was listed.",
    "started_at": "Start of the backup job, from start_timestamp.",
    "ended_at": "End of the backup job, from end_timestamp; empty until it has ended.",
    "deleted_at": "Time of the load that first missed the backup in a complete listing; "
    "empty while the API lists it.",
}
_OF_PIPELINE = {
    "_dlt_load_id": "dlt's id of the load that last changed the row.",
}
_ARROW_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}
_DLT_TYPE = b"data_type"
#: Columns that every table of PostgreSQL has.
_OF_POSTGRES = ("xmin", "xmax", "cmin", "cmax", "ctid", "tableoid")
RESERVED = frozenset(
    (
        *TEXT_FIELDS,
        *NUMBER_FIELDS,
        *BOOLEAN_FIELDS,
        *_DERIVED,
        *_OF_PIPELINE,
        *_OF_POSTGRES,
        OTHER_FIELDS,
    )
)

BACKUP_COLUMNS: dict[str, Any] = {
    **{name: {"data_type": "text", "description": text} for name, text in TEXT_FIELDS.items()},
    **{name: {"data_type": "bigint", "description": text} for name, text in NUMBER_FIELDS.items()},
    **{name: {"data_type": "bool", "description": text} for name, text in BOOLEAN_FIELDS.items()},
    **{
        name: {"data_type": "text" if name == "project_id" else "timestamp", "description": text}
        for name, text in _DERIVED.items()
    },
}
for _name in ("id", "graph_id", "project_id", "start_timestamp", "started_at"):
    BACKUP_COLUMNS[_name]["nullable"] = False


def unknown_columns(names: Iterable[str]) -> list[str]:
    """Those of the columns of `ges.backups` that fields have made which the source does not know."""
    return [name for name in names if name not in BACKUP_COLUMNS and not name.startswith("_dlt")]


def stray_column(name: str) -> str:
    """Where values go, as text, that the column of their name cannot hold: another load chose its type."""
    return f"{name}__v_text"


def backups_table(
    batches: Iterable[pa.RecordBatch | pa.Table],
    project_id: str,
    types: dict[str, str],
    normalize: Callable[[str], str],
) -> pa.Table:
    """One table of the columns of `ges.backups` out of accepted rows.

    Args:
        batches: Rows in `records.BATCH_SCHEMA`.
        project_id: The project that was listed.
        types: dlt's data types by column: at first those that earlier loads made. New columns are
            added in place; one dictionary serves all tables of a run, or their types would clash.
        normalize: The naming convention's function from a field's name to a column's.
    """
    tables = [b if isinstance(b, pa.Table) else pa.Table.from_batches([b]) for b in batches]
    table = pa.concat_tables(tables) if tables else BATCH_SCHEMA.empty_table()
    extra = table.column(EXTRA)
    table = table.drop_columns([EXTRA])
    start, end = table.column("start_timestamp"), table.column("end_timestamp")
    ended = pc.if_else(pc.equal(end, 0), pa.scalar(None, pa.int64()), end)
    for name, values, nullable in (
        ("project_id", pa.repeat(project_id, len(table)), False),
        ("started_at", _to_utc(start), False),
        ("ended_at", _to_utc(ended), True),
        ("deleted_at", pa.nulls(len(table), UTC_TIME), True),
    ):
        arrow_type = pa.string() if name == "project_id" else UTC_TIME
        table = table.append_column(pa.field(name, arrow_type, nullable=nullable), values)
    table = _not_null(table, "graph_id")
    if extra.null_count < len(extra):
        for field, values in spread(extra.to_pylist(), types, normalize).items():
            table = table.append_column(field, values)
    return table


def named_backups(table: pa.Table) -> Iterator[tuple[str, str]]:
    """Graph and id of each of a table's backups."""
    return zip(table.column("graph_id").to_pylist(), table.column("id").to_pylist(), strict=True)


def with_marks(table: pa.Table, marks: Mapping[tuple[str, str], datetime]) -> pa.Table:
    """A table of backups with `deleted_at` of some set, by graph and id."""
    place = table.schema.get_field_index("deleted_at")
    times = pa.array([marks.get(named) for named in named_backups(table)], UTC_TIME)
    return table.set_column(place, table.schema.field(place), times)


def whole_rows(
    rows: pa.Table, columns: Mapping[str, Any], column_types: Mapping[str, str]
) -> pa.Table:
    """Whole rows as a warehouse gives them, in the types in which the source sends them.

    Args:
        rows: All columns of a table.
        columns: Its hints.
        column_types: dlt's data types of the columns that have none, by column.
    """
    arrays, fields = [], []
    for name in rows.column_names:
        if name.startswith("_dlt"):
            continue
        hint = columns.get(name, {})
        kind = str(hint.get("data_type") or column_types.get(name, ""))
        column = rows.column(name)
        if isinstance(column.type, pa.BaseExtensionType):
            storage = [chunk.storage for chunk in column.chunks]
            column = pa.chunked_array(storage, column.type.storage_type)
        arrow_type = UTC_TIME if kind == "timestamp" else _ARROW_TYPES.get(kind, column.type)
        arrays.append(column.cast(arrow_type))
        nullable = bool(hint.get("nullable", True))
        fields.append(pa.field(name, arrow_type, nullable, metadata={_DLT_TYPE: kind}))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _to_utc(stamps: pa.ChunkedArray) -> pa.ChunkedArray:
    return stamps.cast(pa.timestamp("ms", tz="UTC")).cast(UTC_TIME)


def _not_null(table: pa.Table, name: str) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = table.schema.field(place).with_nullable(False)
    return table.set_column(place, field, table.column(place))


def spread(
    extra: list[str | None], types: dict[str, str], normalize: Callable[[str], str]
) -> dict[pa.Field, pa.Array]:
    """Columns out of the JSON objects of unknown fields; every value is found again in one of them.

    Args:
        extra: A JSON object a row, or None.
        types: See `backups_table`; what is new is added.
        normalize: From a field's name to a column's.
    """
    most = MAX_UNKNOWN_COLUMNS + len(RESERVED.intersection(types))
    columns: dict[str, list[Any]] = {}
    owners: dict[str, str] = {}
    for row, text in enumerate(extra):
        if text is None:
            continue
        others: dict[str, Any] = {}
        for field, value in load_exact(text).items():
            if value is None:
                continue
            column = _column_of(field, owners, normalize)
            if column is None or (column not in types and len(types) >= most):
                others[field] = value
                continue
            kind, converted = _typed(value, types.get(column))
            if types.setdefault(column, kind) != kind:
                column = f"{column}__v_{kind}"
            if types.setdefault(column, kind) != kind:
                others[field] = value
                continue
            columns.setdefault(column, [None] * len(extra))[row] = converted
        if others:
            types[OTHER_FIELDS] = "json"
            columns.setdefault(OTHER_FIELDS, [None] * len(extra))[row] = simplejson.dumps(others)
    return {
        pa.field(name, _ARROW_TYPES[types[name]], metadata={_DLT_TYPE: types[name]}): pa.array(
            values, type=_ARROW_TYPES[types[name]]
        )
        for name, values in columns.items()
    }


def json_columns(table: pa.Table) -> dict[str, Any]:
    """dlt's hints for the columns of a table that hold JSON, which Arrow has as text."""
    return {
        field.name: {"data_type": "json"}
        for field in table.schema
        if (field.metadata or {}).get(_DLT_TYPE) == b"json"
    }


def _column_of(field: str, owners: dict[str, str], normalize: Callable[[str], str]) -> str | None:
    """The column for a field; None where its name is no column's, or another's."""
    try:
        column = normalize(field)
    except ValueError:
        return None
    if not column or column in RESERVED or column.startswith("_dlt") or "__v_" in column:
        return None
    return column if owners.setdefault(column, field) == field else None


def _typed(value: Any, known: str | None) -> tuple[str, Any]:
    """The data type that keeps a value exactly, the known one where it does, and the value in it."""
    match value:
        case _ if known == "json":
            return "json", simplejson.dumps(value)
        case bool():
            return "bool", value
        case str():
            return "text", value
        case dict() | list():
            return "json", simplejson.dumps(value)
        case int() if known == "double" and abs(value) <= 2**53:
            return "double", float(value)
        case int() if abs(value) <= MAX_BIGINT:
            return "bigint", value
        case int():
            return "text", str(value)
    literal = simplejson.dumps(value)
    number = float(literal)
    return ("double", number) if _is_exact(number, literal) else ("text", literal)


def _is_exact(number: float, literal: str) -> bool:
    """Whether a double holds all that a number in JSON says."""
    if abs(number) == float("inf"):
        return False
    try:
        return Decimal(repr(number)) == Decimal(literal)
    except InvalidOperation:  # an exponent that is longer than any decimal's
        return False
