"""What follows a load: deletion marks, descriptions in the database, reports, old states pruned."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

from ges_backups.rows import DELETED_AT

KEPT_STATES = 3


@dataclass(frozen=True)
class Settled:
    """Backups that were marked as deleted, and deleted ones that came back."""

    deleted: int = 0
    returned: int = 0

    def __add__(self, other: "Settled") -> "Settled":
        return Settled(self.deleted + other.deleted, self.returned + other.returned)


def settle(pipeline: dlt.Pipeline) -> Settled:
    """Bring the database in line with the last load; safe to repeat, and after a kill as well.

    For scripts that run the source themselves: call it after ``pipeline.run(ges_backups(...))``.
    A backup is marked in `deleted_at` where a complete listing of its graph did not hold it; the
    mark goes where a listing shows the backup again.

    Args:
        pipeline: A pipeline that has loaded the source `ges_backups`.

    Returns:
        How many marks were set and removed.
    """
    with pipeline.sql_client() as client:
        return settle_with(pipeline, client)


def settle_with(pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> Settled:
    """`settle` through a client that is open already."""
    present = _tables(client, ("backups", "graphs", "listings", "listed_backups"))
    if not present:
        return Settled()
    add_deleted_at(client, sorted(present & {"backups", "graphs"}))
    settled = Settled()
    if {"backups", "listed_backups"} <= present:
        settled = _mark_backups(client)
    if {"graphs", "listings"} <= present:
        _mark_graphs(client)
    _describe(pipeline, client, present)
    _prune_states(pipeline, client)
    if {"backups", "graphs", "listings"} <= present and is_duckdb(pipeline):
        _rebuild_reports(client)
    return settled


def is_duckdb(pipeline: dlt.Pipeline) -> bool:
    """Whether the pipeline loads into a DuckDB file, by whatever name the destination is set up."""
    destination = pipeline.destination
    return destination is not None and destination.destination_type == "dlt.destinations.duckdb"


def _tables(client: SqlClientBase[Any], names: Iterable[str]) -> set[str]:
    present = set()
    for name in names:
        try:
            table = client.make_qualified_table_name(name)
            client.execute_sql(f"SELECT 1 FROM {table} LIMIT 0")  # noqa: S608
            present.add(name)
        except DatabaseUndefinedRelation:
            continue
    return present


def add_deleted_at(client: SqlClientBase[Any], tables: Iterable[str]) -> None:
    """The column of marks is not among those that the source sends: a merge would undo the marks."""
    for name in tables:
        table = client.make_qualified_table_name(name)
        if "deleted_at" not in _columns(client, table):
            client.execute_sql(
                f"ALTER TABLE {table} ADD COLUMN deleted_at TIMESTAMP WITH TIME ZONE"
            )


def _columns(client: SqlClientBase[Any], table: str) -> list[str]:
    with client.execute_query(f"SELECT * FROM {table} LIMIT 0") as cursor:  # noqa: S608
        return [column[0] for column in cursor.description or ()]


def _mark_backups(client: SqlClientBase[Any]) -> Settled:
    """Apply the evidence of the last load, then clear it, in one transaction."""
    backups = client.make_qualified_table_name("backups")
    listed = client.make_qualified_table_name("listed_backups")
    if not count_rows(client, f"{listed}"):
        return Settled()
    here = "l.project_id = b.project_id AND l.graph_id = b.graph_id"
    complete = f"EXISTS (SELECT 1 FROM {listed} l WHERE {here} AND l.id IS NULL)"  # noqa: S608
    seen = f"EXISTS (SELECT 1 FROM {listed} l WHERE {here} AND l.id = b.id)"  # noqa: S608
    gone = f"b.deleted_at IS NULL AND {complete} AND NOT {seen}"
    back = f"b.deleted_at IS NOT NULL AND {seen}"
    with client.begin_transaction():
        deleted = count_rows(client, f"{backups} b WHERE {gone}")
        returned = count_rows(client, f"{backups} b WHERE {back}")
        if deleted:
            client.execute_sql(
                f"UPDATE {backups} AS b SET deleted_at = (SELECT MAX(l.listed_at) FROM {listed} l"  # noqa: S608
                f" WHERE {here}) WHERE {gone}"
            )
        if returned:
            client.execute_sql(f"UPDATE {backups} AS b SET deleted_at = NULL WHERE {back}")  # noqa: S608
        client.execute_sql(f"DELETE FROM {listed}")  # noqa: S608
    return Settled(deleted, returned)


def _mark_graphs(client: SqlClientBase[Any]) -> None:
    """A graph that is missing gets the time of the listing that first missed it, once."""
    graphs = client.make_qualified_table_name("graphs")
    listings = client.make_qualified_table_name("listings")
    here = "l.project_id = g.project_id AND l.graph_id = g.id"
    missing = f"(SELECT MAX(l.listed_at) FROM {listings} l WHERE {here} AND l.outcome = 'missing')"  # noqa: S608
    there = f"EXISTS (SELECT 1 FROM {listings} l WHERE {here} AND l.outcome IN ('complete', 'incremental'))"  # noqa: S608
    for condition, value in (
        (f"g.deleted_at IS NULL AND {missing} IS NOT NULL", missing),
        (f"g.deleted_at IS NOT NULL AND {there}", "NULL"),
    ):
        if count_rows(client, f"{graphs} g WHERE {condition}"):
            client.execute_sql(f"UPDATE {graphs} AS g SET deleted_at = {value} WHERE {condition}")  # noqa: S608


def count_rows(client: SqlClientBase[Any], of: str) -> int:
    """How many rows a FROM clause gives."""
    rows = client.execute_sql(f"SELECT COUNT(*) FROM {of}")  # noqa: S608
    return int(rows[0][0]) if rows else 0


def _describe(pipeline: dlt.Pipeline, client: SqlClientBase[Any], present: set[str]) -> None:
    """The schema's descriptions as comments in the database, once for each version of the schema."""
    if not pipeline.default_schema_name:
        return
    version = pipeline.default_schema.version_hash
    if pipeline.state["_local"].get("described") == version:
        return
    for statement in _comments(pipeline, client, present):
        client.execute_sql(statement)
    pipeline.set_local_state_val("described", version)


def _comments(
    pipeline: dlt.Pipeline, client: SqlClientBase[Any], present: set[str]
) -> Iterator[str]:
    for name in sorted(present):
        schema = pipeline.default_schema.tables.get(name)
        if schema is None:
            continue
        table = client.make_qualified_table_name(name)
        if text := schema.get("description"):
            yield f"COMMENT ON TABLE {table} IS {_literal(text)}"
        described = {
            column: str(hints["description"])
            for column, hints in schema["columns"].items()
            if hints.get("description")
        }
        if name == "backups":
            described["deleted_at"] = DELETED_AT
        for column, text in described.items():
            yield f"COMMENT ON COLUMN {table}.{client.escape_column_name(column)} IS {_literal(text)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _prune_states(pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> None:
    """Keep the newest states only: dlt adds one for each load that changed something."""
    state = client.make_qualified_table_name("_dlt_pipeline_state")
    rows = client.execute_sql(
        f"SELECT version FROM {state} WHERE pipeline_name = %s ORDER BY version DESC",  # noqa: S608
        pipeline.pipeline_name,
    )
    if rows and len(rows) > KEPT_STATES:
        client.execute_sql(
            f"DELETE FROM {state} WHERE pipeline_name = %s AND version < %s",  # noqa: S608
            pipeline.pipeline_name,
            rows[KEPT_STATES - 1][0],
        )


def _rebuild_reports(client: SqlClientBase[Any]) -> None:
    from ges_history.reports.views import rebuild  # noqa: PLC0415

    rebuild(client.native_connection)
