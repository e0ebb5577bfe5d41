"""Lakes for tests: in a folder and in a bucket, and loads of plain rows into them."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beginnings import Beginnings
from ges_backups.rows import BACKUP_COLUMNS
from ges_backups.schema import LISTING_COLUMNS, REJECTED_COLUMNS
from ges_backups.source import INSERT_ONLY, UPSERT
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.lake_storage import arrow_schema
from ges_history.warehouses.lake_upsert import Staged
from s3_server import S3Server

Row = dict[str, Any]
URL = "DESTINATION__FILESYSTEM__BUCKET_URL"
RUNTIME = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
    "LOAD__PARALLELISM_STRATEGY": "sequential",
}
STARTED = datetime(2024, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000
FIRST_MS = int(STARTED.timestamp() * 1000)


@dataclass(frozen=True)
class Place:
    """Where a lake is, as dlt's configuration, and a folder for the packages."""

    settings: Mapping[str, str]
    folder: Path

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set dlt's configuration."""
        for name, value in {**RUNTIME, **self.settings}.items():
            monkeypatch.setenv(name, value)

    def warehouse(self, host: str = "here") -> LakeWarehouse:
        """The lake, as a host sees it that has a folder of its own."""
        beside = self.folder / host
        beside.mkdir(exist_ok=True)
        return LakeWarehouse(beside)


def folder_place(folder: Path) -> Place:
    """A lake in a folder whose name needs care."""
    lake = folder / "name=x" / "a lake=1 50%"
    return Place({URL: str(lake)}, folder)


def begin(
    beginnings: Beginnings,
    place: Place,
    fill: Callable[[Place], object],
    *known_by: object,
    host: str = "here",
) -> None:
    """A lake in a folder as a host's `fill` leaves one: made once in a run, and copied."""
    name = Path(place.settings[URL]).relative_to(place.folder)

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(URL, str(folder / name))
            fill(Place({URL: str(folder / name)}, folder))

    beginnings.copy(place.folder, make, "lake", name, host, known_by)
    (packages,) = (place.folder / host).glob(".ges_backups.lake-*.dlt")
    packages.rename(place.warehouse(host).folder)


def bucket_place(server: S3Server, folder: Path) -> Place:
    """A lake in a bucket, under a prefix of its own."""
    return Place(server.settings(f"s3://lake/{uuid.uuid4().hex}"), folder)


def backup(id_: str, **values: Any) -> Row:
    """A row of `ges.backups`."""
    return {
        "id": id_,
        "graph_id": "g1",
        "project_id": "p1",
        "start_timestamp": FIRST_MS,
        "started_at": STARTED,
        **values,
    }


@dlt.source(name="ges_backups")
def plain_rows(tables: Mapping[str, Sequence[pa.Table]]) -> Iterable[Any]:
    """A source of ready rows, under the hints of the real one."""

    @dlt.resource(primary_key="id", write_disposition=UPSERT, columns=BACKUP_COLUMNS)
    def backups() -> Iterator[pa.Table]:
        yield from tables.get("backups", ())

    @dlt.resource(
        primary_key=["project_id", "graph_id"], write_disposition=UPSERT, columns=LISTING_COLUMNS
    )
    def listings() -> Iterator[pa.Table]:
        yield from tables.get("listings", ())

    @dlt.resource(
        primary_key=["project_id", "record_hash"],
        write_disposition=INSERT_ONLY,
        columns=REJECTED_COLUMNS,
    )
    def rejected_backups() -> Iterator[pa.Table]:
        yield from tables.get("rejected_backups", ())

    return backups, listings, rejected_backups


def as_table(rows: Sequence[Row], table: str = "backups") -> pa.Table:
    """Rows in the types of a table; columns that it does not know follow from the values."""
    schema = arrow_schema(table)
    names = dict.fromkeys(name for row in rows for name in row)
    fields = [
        schema.field(name)
        if name in schema.names
        else pa.field(name, pa.array([row.get(name) for row in rows]).type)
        for name in names
    ]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(fields))


def staged(folder: Path, name: str, *rows: Row) -> Staged:
    """Backups as a load's package brings them."""
    path = folder / f"{name}.parquet"
    pq.write_table(as_table(rows), path)
    compared = [column for column in rows[0] if column not in ("id", "_dlt_load_id")]
    return Staged("backups", [str(path)], ["id"], compared)


def load_rows(
    lake: LakeWarehouse,
    backups: Sequence[Row] = (),
    *,
    project: str = "p1",
    wait: float = 30.0,
    **others: Sequence[Row],
) -> None:
    """Load rows as a load does: under the lock, then the tables that are missing."""
    tables = {
        name: [as_table(rows, name)]
        for name, rows in {"backups": backups, **others}.items()
        if rows
    }
    with lake.lock(project, wait):
        pipeline = lake.pipeline(project)
        if pipeline.has_pending_data:
            pipeline.run()
        pipeline.run(plain_rows(tables))
        lake.publish_reports()


def rows_of(lake: LakeWarehouse, table: str = "backups", columns: str = "*") -> list[Row]:
    """All rows of a table, by their keys."""
    keys = {"backups": "project_id, id", "listings": "project_id, graph_id"}
    order = keys.get(table, "1")
    return list(lake.read(f"SELECT {columns} FROM ges.{table} ORDER BY {order}").to_pylist())
