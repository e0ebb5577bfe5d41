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
from ges_backups.rows import BACKUP_COLUMNS

_NEWEST = (
    "SELECT {what} FROM {{_dlt_version}} WHERE schema_name = '{name}'"
    " ORDER BY inserted_at DESC LIMIT 1"
)


def stored_version(ask: Ask, name: str) -> str | None:
    """The hash of the newest schema, None where there is none."""
    return _newest(ask, "version_hash", name)


def read_stored_schema(ask: Ask, name: str) -> TStoredSchema | None:
    """The newest schema, which dlt keeps as compressed JSON or plain; None where there is none."""
    text = _newest(ask, "schema", name)
    if text is None:
        return None
    with suppress(ValueError, zlib.error):  # an older dlt kept it plain
        text = zlib.decompress(base64.b64decode(text, validate=True)).decode()
    return cast("TStoredSchema", json.loads(text))


def with_real_types(ask: Ask, schema: Schema) -> Schema:
    """The schema, its columns of unknown fields in the types that they have in the warehouse.

    Of two loads that bring a new field at once in different types, one makes the column, the other
    may store its schema last; what does not fit is then in ``FIELD__v_text``.
    """
    rows = ask("SELECT * FROM {backups} LIMIT 0")
    known = schema.tables.get("backups", {}).get("columns", {})
    there = (
        {field.name: _data_type(field.type) for field in rows.schema} if rows is not None else {}
    )
    mended: dict[str, TColumnSchema] = {}
    for name, hint in known.items():
        if name in BACKUP_COLUMNS or name.startswith("_dlt"):
            continue
        real, stray = there.get(name), f"{name}__v_text"
        is_json = (real, hint.get("data_type")) == ("text", "json")
        if real and real != hint.get("data_type") and not is_json:
            mended[name] = {"name": name, "data_type": real, "nullable": True}
        if there.get(stray) == "text" and stray not in known:
            mended[stray] = {"name": stray, "data_type": "text", "nullable": True}
    if not mended:
        return schema
    schema = schema.clone()
    schema.tables["backups"]["columns"].update(mended)
    return schema


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
    table = ask(_NEWEST.format(what=what, name=name))
    return str(table.column(0)[0]) if table is not None and len(table) else None
