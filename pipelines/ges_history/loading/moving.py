"""From one warehouse to another: what the API may have forgotten is copied, the next load does the rest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.configuration.specs import BaseConfiguration
from dlt.extract import DltResource

from ges_backups.known import read_version
from ges_backups.rows import whole_rows
from ges_backups.schema import COLUMNS
from ges_backups.source import INSERT_ONLY, KEYS, NAME, UPSERT
from ges_history.errors import DatabaseError
from ges_history.loading.dlt_settings import dlt_settings
from ges_history.loading.failures import readable_errors
from ges_history.loading.packages import Packages
from ges_history.loading.stored_schema import columns_made
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.warehouses.duckdb_files import DuckDbFiles, history_of
from ges_history.warehouses.layout import quoted
from ges_history.warehouses.seam import Read, Say, Warehouse, quiet
from ges_history.warehouses.snapshot import parts_of


def copy_history(
    database: str | Path = "ges_backups.duckdb",
    destination: str = "duckdb",
    *,
    to_database: str | Path = "ges_backups.duckdb",
    to_destination: str = "duckdb",
    wait: float = 60.0,
    say: Say = quiet,
) -> dict[str, int]:
    """Copy what a history holds and another one lacks; rows that are there already stay as they are.

    Safe to repeat. The cursors of both are left out: the next load into the other history lists
    everything, and marks what has gone.

    Args:
        database: The DuckDB file to copy from; for other destinations see `load`.
        destination: dlt's name of where it is.
        to_database: The DuckDB file to copy into, made where there is none; likewise.
        to_destination: dlt's name of where that is.
        wait: Seconds to wait for a load that holds either.
        say: Takes lines that tell a person what is going on.

    Returns:
        How many backups each project has in the history that was copied, by project id.

    Raises:
        HistoryError: One of them cannot be used; what was copied stays.
    """
    source = history_of(database, destination)
    target = warehouse_for(to_database, to_destination)
    if _is_one(source, target):
        raise DatabaseError(f"{source.name} would be copied onto itself.")
    copied = {}
    with readable_errors(target), dlt_settings(), source.reading(wait, say) as read:
        hints = _json_in(source, read, wait, say)
        projects = read(
            "SELECT project_id AS id FROM ges.listings UNION SELECT id FROM ges.projects"
        )
        for project in sorted(projects.column("id").to_pylist()):
            copied[project] = _copy_project(read, hints, target, project, wait, say)
            say(f"{project}: {copied[project]:,} backups")
    return copied


def _is_one(source: Warehouse, target: Warehouse) -> bool:
    """Whether two names are of one history."""
    if isinstance(source, DuckDbFile) and isinstance(target, DuckDbFile):
        return source.path.resolve() == target.path.resolve()
    return source.name == target.name


def _json_in(source: Warehouse, read: Read, wait: float, say: Say) -> dict[str, Any]:
    """dlt's hints for the columns of unknown fields that hold JSON: a warehouse gives them as text.

    DuckDB knows them by their type; elsewhere they are asked for, which holds nothing.
    """
    if isinstance(source, DuckDbFile | DuckDbFiles):
        names = read("SELECT * FROM ges.backups LIMIT 0").column_names
        kinds = read(
            f"SELECT {', '.join(f'typeof({quoted(name)}) AS {quoted(name)}' for name in names)}"
            " FROM ges.backups LIMIT 1"
        ).to_pylist()
        columns = [name for kind in kinds for name in names if kind[name] == "JSON"]
    else:
        with source.asking(wait, say) as ask:
            made = columns_made(ask, NAME)
        columns = [name for name, it in made.items() if it.get("data_type") == "json"]
    return {name: {"data_type": "json"} for name in columns}


def _copy_project(
    read: Read, hints: dict[str, Any], target: Warehouse, project: str, wait: float, say: Say
) -> int:
    with target.lock(project, wait, say):
        packages = Packages(target, project, say)
        if packages.are_pending:
            with target.asking(wait, say) as ask:
                is_older = packages.are_older(read_version(project, ask), ask)
            with target.writing(wait, say):
                packages.finish(is_older=is_older)
        with target.asking(wait, say) as ask:
            there = {
                "listings": ask(f"SELECT * FROM {{listings}} WHERE project_id = '{project}'"),
                "projects": ask(f"SELECT * FROM {{projects}} WHERE id = '{project}'"),
            }
        source = dlt.source(_tables, name=NAME, spec=BaseConfiguration)
        packages.pipeline.extract(source(read, hints, project, there))
        packages.pipeline.normalize()
        with target.writing(wait, say):
            packages.load()
            target.publish_reports()
    counted = read("SELECT count(*) AS n FROM ges.backups WHERE project_id = ?", project)
    return int(counted.column("n")[0].as_py())


def _tables(
    read: Read, hints: dict[str, Any], project: str, there: dict[str, pa.Table | None]
) -> list[DltResource]:
    """A resource for each table, in the columns and keys of the source.

    Args:
        read: Of the history that is copied.
        hints: dlt's for the columns of `ges.backups` that unknown fields have made.
        project: The project's id.
        there: The rows that the other history has of the tables with cursors; None where it has
            no table.
    """

    def rows(table: str) -> Iterator[pa.Table]:
        known = there.get(table)
        if known is not None and len(known):
            yield whole_rows(_without_cursors(known), COLUMNS[table], {})
        for part in parts_of(read, table, project):
            if known is not None:
                key = "id" if table == "projects" else "graph_id"
                ids = known.column(key).combine_chunks()
                part = part.filter(pc.invert(pc.is_in(part.column(key), ids)))  # noqa: PLW2901
            yield whole_rows(_without_cursors(part), COLUMNS[table], {})

    return [
        dlt.resource(
            rows(table),
            name=table,
            primary_key=KEYS[table],
            write_disposition=UPSERT if table in there else INSERT_ONLY,
            columns=columns | hints if table == "backups" else columns,
        )
        for table, columns in COLUMNS.items()
    ]


def _without_cursors(rows: pa.Table) -> pa.Table:
    """A cursor is for the warehouse in which it stands."""
    if "cursor" not in rows.column_names:
        return rows
    place = rows.schema.get_field_index("cursor")
    return rows.set_column(place, "cursor", pa.nulls(len(rows), pa.string()))
