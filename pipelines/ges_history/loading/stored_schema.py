"""The schema that dlt keeps in a warehouse: what columns unknown fields became, and of what type."""

import base64
import json
import zlib
from contextlib import suppress
from typing import Literal, cast

import pyarrow as pa
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema, TStoredSchema

from ges_backups.known import Ask
from ges_backups.rows import stray_column, unknown_columns

_NEWEST_FIRST = (
    "SELECT {what} FROM {{_dlt_version}} WHERE schema_name = '{name}' ORDER BY inserted_at DESC"
)


def stored_version(ask: Ask, name: str) -> str | None:
    """The hash of the newest schema, None where there is none."""
    return _newest(ask, "version_hash", name)


def read_stored_schema(ask: Ask, name: str) -> TStoredSchema | None:
    """The newest schema; None where there is none."""
    text = _newest(ask, "schema", name)
    return None if text is None else _parse(text)


def _parse(text: str) -> TStoredSchema:
    """A schema, which dlt keeps as compressed JSON or plain."""
    with suppress(ValueError, zlib.error):  # an older dlt kept it plain
        text = zlib.decompress(base64.b64decode(text, validate=True)).decode()
    return cast("TStoredSchema", json.loads(text))


def with_real_columns(ask: Ask, schema: Schema, own: Schema | None) -> Schema:
    """The schema, with the columns of unknown fields that the warehouse has, in their types there.

    Of two loads that bring new fields at once, one may store its schema last, and know nothing of
    what the other has made: columns of its own, other types, ``FIELD__v_text`` for what did not fit.
    `own` is the schema with which this project loaded before. What no load has made stays unknown.
    """
    rows = ask("SELECT * FROM {backups} LIMIT 0")
    if rows is None or "backups" not in schema.tables:
        return schema
    known = schema.tables["backups"]["columns"]
    there = {
        name: _data_type(rows.schema.field(name).type)
        for name in unknown_columns(rows.column_names)
    }
    made = {**(columns_made(ask, schema.name, own) if there.keys() - known.keys() else {}), **known}
    strays = set(map(stray_column, made))
    mended: dict[str, TColumnSchema] = {}
    for name, real in there.items():
        said = made[name].get("data_type") if name in made else None
        if real is None or not (said or name in strays):
            continue
        kind = said if (real, said) == ("text", "json") else real
        if name not in known or kind != said:
            mended[name] = {"name": name, "data_type": kind, "nullable": True}
    if not mended:
        return schema
    schema = schema.clone()
    schema.tables["backups"]["columns"].update(mended)
    return schema


def columns_made(ask: Ask, name: str, own: Schema | None = None) -> dict[str, TColumnSchema]:
    """The columns of backups in all schemas that the warehouse keeps, and in one's own."""
    stored = ask(_NEWEST_FIRST.format(what="schema", name=name))
    texts = stored.column(0).drop_null().to_pylist() if stored is not None else []
    schemas = [_parse(text)["tables"] for text in reversed(texts)]
    schemas += [own.tables] if own is not None else []
    made: dict[str, TColumnSchema] = {}
    for tables in schemas:
        made |= tables["backups"]["columns"] if "backups" in tables else {}
    return made


def _data_type(of: pa.DataType) -> Literal["bool", "bigint", "double", "text"] | None:
    """dlt's data type of a column that a query gives; None where it may be one of several."""
    if pa.types.is_boolean(of):
        return "bool"
    if pa.types.is_integer(of):
        return "bigint"
    if pa.types.is_floating(of):
        return "double"
    return "text" if pa.types.is_string(of) or pa.types.is_large_string(of) else None


def _newest(ask: Ask, what: str, name: str) -> str | None:
    table = ask(f"{_NEWEST_FIRST.format(what=what, name=name)} LIMIT 1")
    return str(table.column(0)[0]) if table is not None and len(table) else None
