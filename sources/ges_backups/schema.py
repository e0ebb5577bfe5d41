"""The tables beside `ges.backups`: their columns with descriptions, and how rows become Arrow."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import simplejson

from .rows import BACKUP_COLUMNS, UTC_TIME

GRAPH_STATUS = {
    "100": "preparing",
    "200": "running",
    "201": "upgrading",
    "202": "importing",
    "203": "rolling back",
    "204": "exporting",
    "205": "clearing",
    "206": "preparing to expand",
    "207": "expanding",
    "208": "rolling back an expansion",
    "210": "preparing replicas",
    "211": "adding replicas",
    "300": "faulty",
    "303": "creation failed",
    "400": "deleted",
    "800": "frozen",
    "900": "stopped",
    "901": "stopping",
    "920": "starting",
}
"""Graph status codes, after the vendor's SDK."""

SIZE_CLASS = {
    "0": "ten thousand edges",
    "1": "a million edges",
    "2": "ten million edges",
    "3": "a hundred million edges",
    "4": "a billion edges",
    "5": "ten billion edges",
    "6": "a hundred billion edges",
    "401": "a billion edges, enhanced",
}
"""Size classes of a graph, after the vendor's SDK."""

_GRAPH_TEXT = {
    "id": "Graph ID.",
    "project_id": "ID of the project that was listed.",
    "name": "Graph name.",
    "status": "Status code, as answered.",
    "status_name": "The status code in words; empty for a code that is not known.",
    "region_code": "Region.",
    "data_store_version": "Version of the graph.",
    "arch": "CPU architecture: x86_64 or aarch64.",
    "product_type": "InMemory (memory edition) or Persistence (database edition).",
    "graph_size_type_index": "Size class, a code, as answered.",
    "size_class": "The size class in words; empty for a code that is not known.",
    "created": "Creation time, as answered.",
    "updated": "Time of the last change, as answered.",
}
GRAPH_DELETED_AT = (
    "Time of the listing that first found the graph missing; empty while the API knows it."
)
GRAPH_COLUMNS: dict[str, Any] = {
    name: {
        "data_type": "text",
        "nullable": name not in ("id", "project_id"),
        "description": text,
    }
    for name, text in _GRAPH_TEXT.items()
} | {"deleted_at": {"data_type": "timestamp", "description": GRAPH_DELETED_AT}}


def graph_rows(graphs: Iterable[dict[str, Any]], project_id: str) -> list[dict[str, Any]]:
    """Rows of `ges.graphs` out of records of ListGraphs2 that have a text id."""
    rows = []
    for graph in graphs:
        row: dict[str, Any] = {name: _as_text(graph.get(name)) for name in _GRAPH_TEXT}
        row["project_id"] = project_id
        row["status_name"] = GRAPH_STATUS.get(row["status"] or "")
        row["size_class"] = SIZE_CLASS.get(row["graph_size_type_index"] or "")
        row["deleted_at"] = None
        rows.append(row)
    return rows


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else simplejson.dumps(value)
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


LISTING_COLUMNS: dict[str, Any] = {
    "project_id": {
        "data_type": "text",
        "nullable": False,
        "description": "Project that was asked.",
    },
    "graph_id": {"data_type": "text", "nullable": False, "description": "Graph that was listed."},
    "listed_at": {"data_type": "timestamp", "description": "When its listing began, UTC."},
    "outcome": {
        "data_type": "text",
        "description": "complete (all pages), incremental (what is new), missing, forbidden, failed.",
    },
    "error_code": {"data_type": "text", "description": "The API's error code, if any."},
    "error_msg": {"data_type": "text", "description": "What went wrong, if anything."},
    "backup_count": {"data_type": "bigint", "description": "Backups that the API counted last."},
    "requests": {"data_type": "bigint", "description": "Requests that the listing took."},
    "restarts": {"data_type": "bigint", "description": "Times it was read again from the start."},
    "last_complete_at": {
        "data_type": "timestamp",
        "description": "When a complete listing of the graph last began, UTC.",
    },
    "last_read_at": {
        "data_type": "timestamp",
        "description": "When one without an error, and not of a window of starts only, last began, UTC.",
    },
    "cursor": {
        "data_type": "text",
        "description": "From where the next load reads, JSON; it counts if the load of the row is complete.",
    },
}
PROJECT_COLUMNS: dict[str, Any] = {
    "id": {"data_type": "text", "nullable": False, "description": "Project ID."},
    "name": {"data_type": "text", "description": "Name in the settings; the id where it has none."},
    "region": {"data_type": "text", "description": "Region, or the host of the endpoint."},
    "first_listed_at": {"data_type": "timestamp", "description": "When it was first listed, UTC."},
    "last_listed_at": {"data_type": "timestamp", "description": "When it was last listed, UTC."},
    "cursor": {
        "data_type": "text",
        "description": "When it was asked last what deleted graphs have left, and what came of it, JSON;"
        " it counts if the load of the row is complete.",
    },
}
REJECTED_COLUMNS: dict[str, Any] = {
    "record_hash": {"data_type": "text", "nullable": False, "description": "Names this version."},
    "project_id": {
        "data_type": "text",
        "nullable": False,
        "description": "Project that was asked.",
    },
    "graph_id": {"data_type": "text", "description": "Graph that was listed."},
    "backup_id": {"data_type": "text", "description": "The record's id, if it has one."},
    "reason": {"data_type": "text", "description": "What does not fit."},
    "record": {"data_type": "text", "description": "The whole record, JSON as text."},
    "first_seen_at": {"data_type": "timestamp", "description": "When it was first read, UTC."},
}
COLUMNS = {
    "backups": BACKUP_COLUMNS,
    "graphs": GRAPH_COLUMNS,
    "listings": LISTING_COLUMNS,
    "projects": PROJECT_COLUMNS,
    "rejected_backups": REJECTED_COLUMNS,
}
"""The tables of the dataset and their columns."""

_TO_ARROW = {"text": pa.string(), "bigint": pa.int64(), "timestamp": UTC_TIME}


def plain_table(rows: list[dict[str, Any]], columns: dict[str, Any]) -> pa.Table:
    """A table of rows in the types of one of the column sets above."""
    return pa.Table.from_pylist(rows, schema=_schema(columns))


def _schema(columns: dict[str, Any]) -> pa.Schema:
    return pa.schema(
        pa.field(name, _TO_ARROW[hint["data_type"]], nullable=hint.get("nullable", True))
        for name, hint in columns.items()
    )
