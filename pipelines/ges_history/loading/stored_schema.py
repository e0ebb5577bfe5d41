"""The schema that dlt keeps in a warehouse: what columns unknown fields became, and of what type."""

import base64
import json
import zlib
from contextlib import suppress
from typing import cast

from dlt.common.schema.typing import TStoredSchema

from ges_backups.known import Ask

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


def _newest(ask: Ask, what: str, name: str) -> str | None:
    table = ask(_NEWEST.format(what=what, name=name))
    return str(table.column(0)[0]) if table is not None and len(table) else None
