"""A history database of any size, written straight by SQL: no HTTP, no dlt.

The tables are those that a load writes. The fleet is random but follows from the seed, and can
carry one graph for each awkward case (`EDGE_GRAPHS`). One million backups take a few seconds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ges_history.reports.views import rebuild

PROJECT = "5f2c8d0e9b1a4c7d"
OTHER_PROJECT = "a0b1c2d3e4f5"
EMPTY_PROJECT = "e0e0e0e0e0e0"
BARE_PROJECT = "b0b0b0b0b0b0"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

BACKUP_COLUMNS = """id VARCHAR NOT NULL, name VARCHAR, backup_method VARCHAR,
    graph_id VARCHAR NOT NULL, graph_name VARCHAR, graph_status VARCHAR,
    graph_size_type_index VARCHAR, data_store_version VARCHAR, arch VARCHAR, product_type VARCHAR,
    status VARCHAR, start_timestamp BIGINT NOT NULL, start_time VARCHAR, end_timestamp BIGINT,
    end_time VARCHAR, size BIGINT, duration BIGINT, encrypted BOOLEAN, project_id VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL, ended_at TIMESTAMPTZ, _dlt_load_id VARCHAR,
    deleted_at TIMESTAMPTZ, a_newer_field VARCHAR"""

TABLES = {
    "backups": BACKUP_COLUMNS,
    "graphs": """id VARCHAR, project_id VARCHAR, name VARCHAR, status VARCHAR, status_name VARCHAR,
    region_code VARCHAR, data_store_version VARCHAR, arch VARCHAR, product_type VARCHAR,
    graph_size_type_index VARCHAR, size_class VARCHAR, created VARCHAR, updated VARCHAR,
    deleted_at TIMESTAMPTZ""",
    "listings": """project_id VARCHAR, graph_id VARCHAR, listed_at TIMESTAMPTZ, outcome VARCHAR,
    error_code VARCHAR, error_msg VARCHAR, backup_count BIGINT, requests BIGINT, restarts BIGINT,
    last_complete_at TIMESTAMPTZ, last_read_at TIMESTAMPTZ""",
    "projects": """id VARCHAR, name VARCHAR, region VARCHAR, first_listed_at TIMESTAMPTZ,
    last_listed_at TIMESTAMPTZ, cursor VARCHAR""",
    "rejected_backups": """project_id VARCHAR, graph_id VARCHAR, backup_id VARCHAR, reason VARCHAR,
    record VARCHAR, first_seen_at TIMESTAMPTZ, record_hash VARCHAR""",
    "_dlt_loads": """load_id VARCHAR, schema_name VARCHAR, status BIGINT, inserted_at TIMESTAMPTZ,
    schema_version_hash VARCHAR""",
    "_dlt_version": "version BIGINT, schema_name VARCHAR",
    "_dlt_pipeline_state": "version BIGINT, pipeline_name VARCHAR, state VARCHAR",
}

FROM_NUMBERS = """
INSERT INTO {catalog}.ges.backups
SELECT md5('{seed}/' || n), 'auto-' || n, method,
    '{prefix}' || graph, CASE WHEN graph % 10 = 9 AND n % 2 = 0 THEN 'old-' ELSE '' END
        || 'graph-' || graph, '200', '1', '2.2.23', 'x86_64', 'InMemory', status,
    start_ms, strftime(make_timestamp(start_ms * 1000), '%Y-%m-%dT%H:%M:%S'),
    CASE WHEN status <> 'backing_up' THEN start_ms + duration * 1000 END,
    CASE WHEN status <> 'backing_up' THEN strftime(
        make_timestamp((start_ms + duration * 1000) * 1000), '%Y-%m-%dT%H:%M:%S') END,
    size, CASE WHEN status <> 'backing_up' THEN duration END, false, '{project}',
    make_timestamptz(start_ms * 1000),
    CASE WHEN status <> 'backing_up' THEN make_timestamptz((start_ms + duration * 1000) * 1000) END,
    '1700000000.0', CASE WHEN deleted_ms > 0 THEN make_timestamptz(deleted_ms * 1000) END, NULL
FROM numbers"""


PART_GRAPHS = 10_000
"""So many are written at once, each part from a seed of its own: memory is that of a part."""


def write_database(
    path: Path,
    *,
    graphs: int = 12,
    backups: int = 1_200,
    seed: int = 0,
    now: datetime | None = None,
    edge_cases: bool = True,
    views: bool = True,
) -> Path:
    """Write a history of `backups` backups, the newest shortly before `now` (default: now)."""
    moment = now or datetime.now(UTC)
    write_empty(path, views=views)
    connection = duckdb.connect(str(path))
    try:
        catalog = _quoted(_scalar(connection, "SELECT current_database()"))
        each = max(backups // max(graphs, 1), 1)
        for part, first in enumerate(range(0, graphs, PART_GRAPHS)):
            some = min(PART_GRAPHS, graphs - first)
            _write_fleet(connection, catalog, some, each, seed + part, moment)
        if edge_cases:
            _write_edge_cases(connection, catalog, moment)
        connection.execute(
            f"INSERT INTO {catalog}.ges._dlt_loads VALUES ('1700000000.0', 'ges', 0, ?, 'h')",
            [moment],
        )
    finally:
        connection.close()
    return path


def write_empty(path: Path, *, views: bool = True) -> None:
    """Write the tables of a history without a row; those of one file name are made once."""
    path.write_bytes(_empty(path.name, views=views))


@lru_cache(maxsize=16)
def _empty(name: str, *, views: bool) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        with duckdb.connect(str(path)) as connection:
            catalog = _quoted(_scalar(connection, "SELECT current_database()"))
            connection.execute(f"CREATE SCHEMA {catalog}.ges")
            for table, columns in TABLES.items():
                connection.execute(f"CREATE TABLE {catalog}.ges.{table} ({columns})")
            if views:
                rebuild(connection)
        return path.read_bytes()


def _write_fleet(
    connection: duckdb.DuckDBPyConnection,
    catalog: str,
    graphs: int,
    each: int,
    seed: int,
    now: datetime,
) -> None:
    numbers = pa.table(_numbers(np.random.default_rng(seed), graphs, each, _ms(now)))
    connection.register("numbers", numbers)
    connection.execute(
        FROM_NUMBERS.format(catalog=catalog, seed=seed, prefix=f"g{seed}-", project=PROJECT)
    )
    connection.unregister("numbers")
    connection.execute(  # every tenth graph is not in the table of graphs
        f"""INSERT INTO {catalog}.ges.graphs
        SELECT 'g{seed}-' || n, '{PROJECT}', 'graph-' || n, '200', 'running', 'region-1', '2.2.23',
            'x86_64', 'InMemory', '1', 'a million edges', NULL, NULL,
            CASE WHEN n % 10 = 8 THEN ?::TIMESTAMPTZ END
        FROM range({graphs}) t (n) WHERE n % 10 <> 9""",
        [now],
    )
    connection.execute(
        f"""INSERT INTO {catalog}.ges.listings
        SELECT '{PROJECT}', 'g{seed}-' || n, ?::TIMESTAMPTZ,
            ['complete', 'incremental', 'complete', 'failed'][n % 4 + 1],
            CASE WHEN n % 4 = 3 THEN 'GES.0001' END, NULL, {each}, 1, 0,
            CASE WHEN n % 8 <> 7 THEN ?::TIMESTAMPTZ END, CASE WHEN n % 8 = 3 THEN ?::TIMESTAMPTZ END
        FROM range({graphs}) t (n)""",
        [now, now - timedelta(hours=5), now - timedelta(hours=1)],
    )


def _numbers(
    random: np.random.Generator, graphs: int, each: int, now_ms: int
) -> dict[str, np.ndarray]:
    """Columns of a fleet: steady growth with noise, rhythms, failures, retention, outliers."""
    shape = (graphs, each)
    step_ms = random.choice([6, 12, 24, 24, 48], (graphs, 1)) * HOUR_MS
    back = np.arange(each)[::-1] * step_ms + random.integers(60_000, HOUR_MS, shape)
    back += (random.random(shape) < 0.01).cumsum(axis=1)[:, ::-1] * 3 * DAY_MS
    start_ms = now_ms - back
    base = random.lognormal(7, 1.5, (graphs, 1)) + 1
    grown = base * (1 + random.normal(0.001, 0.001, (graphs, 1)) * np.arange(each))
    size = np.maximum(grown * random.normal(1, 0.01, shape), 0)
    size *= np.where(random.random(shape) < 0.004, random.choice([0.3, 0.7, 1.5, 3], shape), 1)
    duration = 20 + size / random.uniform(5, 50, (graphs, 1)) * random.lognormal(0, 0.1, shape)
    duration *= np.where(random.random(shape) < 0.004, 4, 1)
    failed = random.random(shape) < random.choice([0, 0.01, 0.05, 0.3], (graphs, 1))
    status = np.where(failed, "failed", "success").astype(object)
    status[:, -1] = np.where(random.random(graphs) < 0.1, "backing_up", status[:, -1])
    method = np.where(random.random(shape) < 0.8, "auto", "manual").astype(object)
    lifetime_ms = (random.integers(5, 60, (graphs, 1)) * DAY_MS).astype(np.int64)
    gone = (method == "auto") & (start_ms + lifetime_ms < now_ms)
    return {
        "n": np.arange(graphs * each),
        "graph": np.repeat(np.arange(graphs), each),
        "start_ms": start_ms.astype(np.int64).ravel(),
        "size": np.where(status == "success", size, 0).astype(np.int64).ravel(),
        "duration": duration.astype(np.int64).ravel(),
        "status": status.ravel(),
        "method": method.ravel(),
        "deleted_ms": np.where(gone, start_ms + lifetime_ms, 0).ravel(),
    }


def insert_backups(
    connection: duckdb.DuckDBPyConnection, catalog: str, records: Sequence[dict[str, Any]]
) -> None:
    """Insert backups given as {column: value}; `started_at` follows from `start_timestamp`."""
    rows = [{"project_id": PROJECT, **record} for record in records]
    for row in rows:
        row["started_at"] = _instant(row["start_timestamp"])
    insert_rows(connection, f"{catalog}.ges.backups", rows)


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[dict[str, Any]]
) -> None:
    """Insert rows given as {column: value} at once, in their order; what a row lacks is NULL."""
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = pa.table({name: [row.get(name) for row in rows] for name in names})
    with connection.cursor() as inserting:
        inserting.register("rows_to_insert", columns)
        inserting.execute(f"INSERT INTO {table} ({', '.join(names)}) FROM rows_to_insert")


def _write_edge_cases(connection: duckdb.DuckDBPyConnection, catalog: str, now: datetime) -> None:
    insert_backups(connection, catalog, edge_backups(_ms(now)))
    for row in (
        ("never-backed-up", PROJECT, "never backed up", None),
        ("renamed", PROJECT, "new name", None),
        ("markup", PROJECT, "[red]=cmd()[/red]\x1b[31m\nx|y", None),
        ("two-projects", OTHER_PROJECT, "twin b", None),
        ("nameless", PROJECT, None, None),
        ("gone", PROJECT, "gone", now),
    ):
        connection.execute(
            f"INSERT INTO {catalog}.ges.graphs (id, project_id, name, deleted_at)"
            " VALUES (?, ?, ?, ?)",
            list(row),
        )
    for project in (  # OTHER_PROJECT was loaded by the first release, which had no table of them
        (PROJECT, "main project", "region-1", now - timedelta(days=400), now),
        (EMPTY_PROJECT, "an empty one", "region-2", now - timedelta(days=9), now),
        (BARE_PROJECT, None, "region-2", now - timedelta(days=1), now - timedelta(days=5)),
    ):
        connection.execute(
            f"INSERT INTO {catalog}.ges.projects VALUES (?, ?, ?, ?, ?, NULL)", project
        )
    connection.execute(
        f"INSERT INTO {catalog}.ges.listings (project_id, graph_id, listed_at, outcome, last_read_at)"
        " VALUES (?, 'without-backups', ?, 'complete', ?)",
        [BARE_PROJECT, now - timedelta(days=5), now - timedelta(days=5)],
    )
    for graph, outcome, code, complete, read in (
        ("never-listed", "forbidden", "GES.0016", None, None),
        ("gone", "missing", "GES.0047", now - timedelta(days=2), None),
        ("markup", "failed", "APIGW.1", now - timedelta(hours=50), now - timedelta(hours=3)),
        ("renamed", "incremental", None, now - timedelta(hours=20), now),
    ):
        connection.execute(
            f"INSERT INTO {catalog}.ges.listings (project_id, graph_id, listed_at, outcome,"
            " error_code, last_complete_at, last_read_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [PROJECT, graph, now, outcome, code, complete, read],
        )
    connection.execute(
        f"INSERT INTO {catalog}.ges.rejected_backups VALUES (?, 'renamed', NULL, 'no id', '{{}}',"
        " ?, 'h')",
        [PROJECT, now],
    )


def edge_backups(now_ms: int) -> list[dict[str, Any]]:
    """One graph for each awkward case, the newest backups some hours before `now_ms`."""
    at = (now_ms // DAY_MS - 1) * DAY_MS + 2 * HOUR_MS
    series: dict[str, list[dict[str, Any]]] = {
        "one-backup": [_ok(at, 100, 10)],
        "no-success": [_ok(at - n * DAY_MS, 0, 5) | {"status": "failed"} for n in range(40)],
        "only-running": [_running(at)],
        "zero-size": [_ok(at - n * DAY_MS, 0 if n % 3 else n, 10) for n in range(20)],
        "zero-duration": [_ok(at - n * DAY_MS, 50, 0) for n in range(20)],
        "gaps": [_ok(at - n * n * DAY_MS, 100 + n, 10 + n) for n in range(15)],
        "two-days": [_ok(at - n * DAY_MS, 100 + n, 10) for n in range(2)],
        "same-instant": [_ok(at - n // 2 * DAY_MS, 10 + n, 5 + n) for n in range(24)],
        "same-instant-failures": [
            _ok(at - n // 3 * DAY_MS, n, 5) | {"status": "failed" if n % 4 else "success"}
            for n in range(60)
        ],
        "renamed": [
            _ok(at - n * DAY_MS, 10, 5) | {"graph_name": f"old name {n}"} for n in range(9)
        ],
        "renamed-unlisted": [
            _ok(at - n * DAY_MS, 10, 5) | {"graph_name": "newest" if n == 0 else "old"}
            for n in range(9)
        ],
        "nameless": [_ok(at, 10, 5)],
        "markup": [_ok(at - n * DAY_MS, 10, 5) for n in range(3)],
        "unknown-values": [
            _ok(at - n * HOUR_MS, None if n % 2 else 7, None if n % 3 else 9)
            | {"status": ("success", None, "paused", "success")[n % 4], "backup_method": None}
            for n in range(60)
        ],
        "stuck": [_ok(at - n * DAY_MS, 10, 60) for n in range(1, 20)] + [_running(at)],
        "vanished-running": [_running(at) | {"deleted_at": _instant(now_ms)}],
        "gone": [
            _ok(at - n * DAY_MS, 1000, 60) | {"deleted_at": _instant(now_ms - n * HOUR_MS)}
            for n in range(20)
        ],
        "spike": [
            _ok(at - n * DAY_MS, {3: 5000, 8: 100}.get(n, 1000), 600 if n == 5 else 60)
            for n in range(45)
        ],
        "day-borders": [_ok(at - 2 * HOUR_MS - n * DAY_MS + n % 2 - 1, n, n) for n in range(30)],
        "level-drop": [
            _ok(at - n * DAY_MS, 210 if n < 10 else 1000 + n % 5, 60) for n in range(45)
        ],
        "level-old": [_ok(at - n * DAY_MS, 2000 if n < 40 else 1000, 60) for n in range(60)],
        "level-twice": [
            _ok(at - n * DAY_MS, 300 if n < 3 else 900 if n < 20 else 500, 60) for n in range(80)
        ],
        "level-too-short": [_ok(at - n * DAY_MS, 100 if n < 2 else 1000, 60) for n in range(30)],
        "level-weekly": [
            _ok(at - n * 7 * DAY_MS, (90 if n < 20 else 800) + n % 3, 60) for n in range(60)
        ],
        "level-spiky": [
            _ok(at - n * DAY_MS, 5000 if n in (4, 5) else 1000 if n < 12 else 400, 9)
            for n in range(40)
        ],
        "level-first": [_ok(at - n * DAY_MS, 1 if n == 8 else 900 + n, 9) for n in range(9)],
        "growing-fast": [_ok(at - n * DAY_MS, 40 * (100 - n), 60) for n in range(100)],
        "short-lived": [
            _ok(at - n * DAY_MS, 50, 5) | {"deleted_at": _instant(at - n * DAY_MS + HOUR_MS)}
            for n in range(6)
        ],
        "two-projects": [_ok(at - n * DAY_MS, 10, 5) for n in range(12)],
    }
    records = [
        {"id": f"{graph}-{n:03}", "graph_id": graph, **record}
        for graph, backups in series.items()
        for n, record in enumerate(backups)
    ]
    twins = [
        record | {"id": f"b-{record['id']}", "project_id": OTHER_PROJECT, "size": 99}
        for record in records
        if record["graph_id"] == "two-projects"
    ]
    return records + twins


def _ok(start_ms: int, size: int | None, duration: int | None) -> dict[str, Any]:
    return {
        "start_timestamp": start_ms,
        "size": size,
        "duration": duration,
        "status": "success",
        "backup_method": "auto",
    }


def _running(start_ms: int) -> dict[str, Any]:
    return {"start_timestamp": start_ms, "status": "backing_up", "backup_method": "manual"}


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    ((value,),) = connection.execute(sql).fetchall()
    return value


EDGE_GRAPHS = tuple(sorted({record["graph_id"] for record in edge_backups(DAY_MS * 20_000)}))
