"""Reports that a Spark Connect server works out are those that DuckDB works out."""

import csv
import io
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import spark_server
import warm_python
from ges_history.errors import DatabaseError, NoHistory
from ges_history.reports.catalogue import (
    LISTS,
    column_texts,
    grain_columns,
    report_names,
    view_names,
)
from ges_history.reports.read import read_answer, read_table
from ges_history.reports.views import view_statements
from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.seam import Warehouse
from ges_history.warehouses.spark import SCRATCH, SparkLake
from ges_history.warehouses.spark_address import SparkAddress
from lake_copy import copy_history, write_without
from lake_place import RUNTIME, Place, backup, bucket_place, folder_place, load_rows
from s3_server import S3Server
from spark_server import other_server, running_sail
from synthetic import write_database

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet:FutureWarning")
SEEDS = (0, pytest.param(1, marks=pytest.mark.soak))
OF_NOW = {
    "load_age_hours": 0.1,
    "rpo_age_hours": 0.1,
    "stale_hours": 0.1,
    "elapsed_s": 360,
    "longest_gap_hours": 1e-9,
}
"""Columns that run with the clock, and what they may run on while a test runs."""


@pytest.fixture(scope="module")
def sail() -> Iterator[str]:
    with running_sail() as remote:
        yield remote


@pytest.fixture(scope="module", params=["sail", "other"])
def remote(request: pytest.FixtureRequest, sail: str) -> str:
    if request.param == "sail":
        return sail
    other = other_server()
    if other is None:
        pytest.skip("no other Spark Connect server is named")
    return other


@pytest.fixture(scope="module", params=SEEDS)
def histories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DuckDbFile, LakeWarehouse]]:
    """A random fleet with every awkward case, in a DuckDB file and in a lake."""
    folder = tmp_path_factory.mktemp("fleet")
    place = folder_place(folder)
    with pytest.MonkeyPatch.context() as patch:
        place.enter(patch)
        database = write_database(
            folder / "fleet.duckdb", seed=request.param, graphs=14, backups=4_000
        )
        yield DuckDbFile(database), copy_history(database, place.warehouse(), folder)


def ges_backups(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, as a person runs it."""
    return warm_python.run(
        [sys.executable, "-m", "ges_history", *arguments], {**os.environ, **environment}
    )


def sorted_rows(table: pa.Table, view: str) -> list[dict[str, Any]]:
    keys = [*grain_columns(view), *table.column_names]
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=lambda row: repr([row[key] for key in keys if key in row]))


def same(name: str, one: Any, other: Any) -> bool:
    """Equal; numbers nearly, those that run with the clock within some minutes."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        near = next((it for end, it in OF_NOW.items() if name == end), 1e-9)
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=near)
    return bool(one == other)


def differences(view: str, one: pa.Table, other: pa.Table) -> list[Any]:
    if one.num_rows != other.num_rows:
        return [(view, one.num_rows, other.num_rows)]
    pairs = zip(sorted_rows(one, view), sorted_rows(other, view), strict=True)
    return [
        (view, name, a[name], b[name])
        for a, b in pairs
        for name in a
        if not same(name, a[name], b[name])
    ]


def assert_same_reports(one: Warehouse, other: Warehouse) -> None:
    wrong = []
    with one.reading() as expecting, other.reading() as finding:
        for view in view_names():
            query = f"SELECT * FROM reports.{view}"
            expected, found = expecting(query), finding(query)
            assert found.schema.names == expected.schema.names
            assert expected.num_rows > 0
            wrong += differences(view, expected, found)
    assert wrong == []


def test_a_lake_answers_as_the_file_does(histories: tuple[DuckDbFile, LakeWarehouse]) -> None:
    assert_same_reports(*histories)


def test_spark_answers_as_duckdb_does(
    histories: tuple[DuckDbFile, LakeWarehouse], remote: str
) -> None:
    file, lake = histories
    assert_same_reports(file, SparkLake(lake, remote))
    assert not list(Path(lake.storage.bucket, SCRATCH).glob("*"))


def test_a_lake_of_before_last_read_at_is_read(
    folder_lake: Place, sail: str, tmp_path: Path
) -> None:
    database = write_database(tmp_path / "x.duckdb", graphs=3, backups=60)
    lake = copy_history(database, folder_lake.warehouse(), tmp_path)
    write_without(Path(lake.storage.location("listings")), "last_read_at")
    assert_same_reports(lake, SparkLake(lake, sail))


def test_starts_of_any_year_reach_spark(folder_lake: Place, sail: str) -> None:
    lake = folder_lake.warehouse()
    years = {year: datetime(year, 1, 5, 23, tzinfo=UTC) for year in (1970, 2024, 2300, 9999)}
    rows = [
        backup(
            str(year),
            start_timestamp=int(start.timestamp()) * 1000,
            started_at=start,
            status="success",
            size=1,
            duration=1,
        )
        for year, start in years.items()
    ]
    load_rows(lake, rows)
    with lake.reading() as duck, SparkLake(lake, sail).reading() as spark:
        for view in ("duration_trend", "reliability"):
            query = f"SELECT * FROM reports.{view}"
            assert duck(query).num_rows == len(years)
            assert differences(view, duck(query), spark(query)) == []


def test_what_spark_kept_and_who_asks_may_not_remove_costs_no_answer(
    histories: tuple[DuckDbFile, LakeWarehouse], sail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError

    _, lake = histories
    files = lake.storage.filesystem()
    monkeypatch.setattr(type(files), "rm", refused)
    assert SparkLake(lake, sail).read("SELECT * FROM reports.anomalies").num_rows > 0
    monkeypatch.undo()
    files.rm(f"{lake.storage.bucket}/{SCRATCH}", recursive=True)


def test_values_and_windows_reach_spark(
    histories: tuple[DuckDbFile, LakeWarehouse], sail: str
) -> None:
    _, lake = histories
    spark: Any = SparkLake(lake, sail)
    now = datetime.now(UTC)
    for report, given in (
        ("size_trend", {"since": now - timedelta(days=20), "until": now, "limit": 7}),
        ("anomalies", {"since": date(2020, 1, 1), "graph": "spike"}),
        ("backups", {"status": "failed", "limit": 5}),
        ("recovery_point", {"graph": ["spike", "renamed"]}),
    ):
        expected = read_table(report, lake, **given)
        found = read_table(report, spark, **given)
        assert expected.num_rows > 0
        assert differences(report, expected, found) == []


def test_spark_answers_every_report_of_some_graphs(
    histories: tuple[DuckDbFile, LakeWarehouse], sail: str
) -> None:
    _, lake = histories
    graphs = ["spike", "stuck", "renamed", "markup"]
    wrong = []
    with lake.reading() as duck, SparkLake(lake, sail).reading() as spark:
        for report in (*report_names(), *LISTS):
            if "graph_id" in column_texts(report):
                expected, found = (
                    read_answer(read, report, graph=graphs).table for read in (duck, spark)
                )
                assert expected.num_rows > 0
                wrong += differences(report, expected, found)
    assert wrong == []


def test_the_printed_views_run_in_a_catalogue_of_ones_own(
    sail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / "lake"))
    database = write_database(tmp_path / "x.duckdb", graphs=3, backups=300)
    lake = copy_history(database, LakeWarehouse(tmp_path), tmp_path)
    printed = ges_backups("reports", "--sql", "spark")
    assert printed.returncode == 0
    session = SparkSession.builder.remote(sail).create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.sql("CREATE DATABASE IF NOT EXISTS ges").collect()
    for table in ("backups", "graphs", "listings", "projects", "rejected_backups"):
        path = lake.storage.location(table)
        session.sql(f"CREATE TABLE ges.{table} USING delta LOCATION '{path}'").collect()
    statements = printed.stdout.strip().rstrip(";").split(";\n\n")
    assert len(statements) == len(view_statements("spark")) + 1
    for statement in statements:
        session.sql(statement).collect()
    with lake.reading() as duck:
        for view in view_names():
            query = f"SELECT * FROM reports.{view}"
            assert differences(view, duck(query), session.sql(query).toArrow()) == []
    session.stop()


def test_a_server_that_is_not_there_is_a_sentence(
    histories: tuple[DuckDbFile, LakeWarehouse],
) -> None:
    _, lake = histories
    with pytest.raises(DatabaseError, match=r"sc://127\.0\.0\.1:1") as error:
        SparkLake(lake, "sc://127.0.0.1:1/;token=never-shown").read("SELECT 1")
    assert "never-shown" not in str(error.value)


@pytest.mark.parametrize(
    "after",
    [
        "/;token=never-shown==",
        ";token=never-shown",
        "/;use_ssl=true;token=never-shown;x",
        "/?token=never-shown",
        "/token=never-shown",
        "/#never-shown",
        "0000/;token=never-shown",
    ],
)
def test_an_address_that_is_none_is_refused_without_a_word_of_it(
    folder_lake: Place, after: str
) -> None:
    for remote in (f"sc://127.0.0.1:15002{after}", "sc://user:never-shown@127.0.0.1:15002/"):
        with pytest.raises(DatabaseError, match="must be sc://HOST:PORT") as error:
            SparkLake(folder_lake.warehouse(), remote)
        assert "never-shown" not in str(error.value)


def test_a_token_that_spark_repeats_is_hidden() -> None:
    address = SparkAddress("sc://spark/;token=a-secret%3D%3D;user_id=somebody")
    assert (str(address), address.host, address.port) == ("sc://spark", "spark", 15002)
    assert address.hide("INVALID 'token=a-secret==' a-secret%3D%3D") == "INVALID 'token=***' ***"


@pytest.mark.parametrize("name", ["l*", "l?", "l{a,b}"])
def test_a_lake_whose_path_spark_takes_for_a_pattern_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = Place({"DESTINATION__FILESYSTEM__BUCKET_URL": str(tmp_path / name)}, tmp_path)
    place.enter(monkeypatch)
    with pytest.raises(DatabaseError, match="cannot be read by Spark"):
        SparkLake(place.warehouse(), "sc://127.0.0.1:15002")


def test_a_server_that_dies_in_the_middle_is_a_sentence_within_a_minute(
    folder_lake: Place, tmp_path: Path
) -> None:
    database = write_database(tmp_path / "x.duckdb", graphs=1, backups=9, edge_cases=False)
    lake = copy_history(database, folder_lake.warehouse(), tmp_path)
    command = [sys.executable, spark_server.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        remote = f"sc://127.0.0.1:{int(server.stdout.readline())}"
        try:
            with SparkLake(lake, remote).reading() as read:
                assert read("SELECT count(*) AS n FROM ges.backups").to_pylist() == [{"n": 9}]
                server.kill()
                server.wait()
                start = time.monotonic()
                with pytest.raises(DatabaseError) as error:
                    read("SELECT * FROM reports.running")
        finally:
            server.kill()
    assert str(error.value).startswith(
        f"The Spark Connect server at {remote} does not answer any more"
    )
    assert time.monotonic() - start < 60


def test_a_lake_without_a_history_is_no_history_to_spark(folder_lake: Place, sail: str) -> None:
    with pytest.raises(NoHistory):
        SparkLake(folder_lake.warehouse(), sail).read("SELECT 1")


def test_the_command_takes_the_server_from_the_environment(
    histories: tuple[DuckDbFile, LakeWarehouse], sail: str, tmp_path: Path
) -> None:
    _, lake = histories
    page = tmp_path / "page.html"
    arguments = ["--destination", "filesystem", "--database", str(tmp_path / "x.duckdb")]
    environment = {
        **RUNTIME,
        "GES_BACKUPS_SPARK": sail,
        "DESTINATION__FILESYSTEM__BUCKET_URL": lake.storage.bucket,
    }
    for given in (["growth", "--format", "csv"], ["--html", str(page)], []):
        run = ges_backups("report", *given, *arguments, **environment)
        assert (run.returncode, run.stderr) == (0, "")
        if given[:1] == ["growth"]:
            rows = list(csv.reader(io.StringIO(run.stdout)))  # names hold line ends
            assert len(rows) == lake.read("FROM reports.growth").num_rows + 1
    assert "spike" in page.read_text()


def test_spark_needs_a_lake(tmp_path: Path) -> None:
    database = write_database(tmp_path / "x.duckdb")
    run = ges_backups("report", "--spark", "sc://h:1", "--database", str(database))
    assert run.returncode == 1
    assert "filesystem" in run.stderr


def test_spark_reads_a_bucket(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = bucket_place(s3, tmp_path)
    place.enter(monkeypatch)
    database = write_database(tmp_path / "x.duckdb", graphs=3, backups=300)
    lake = copy_history(database, place.warehouse(), tmp_path)
    names = {
        "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT": "ENDPOINT_URL",
        "AWS_REGION": "REGION_NAME",
    }
    prefix = "DESTINATION__FILESYSTEM__CREDENTIALS__"
    for name, of_dlt in names.items():
        monkeypatch.setenv(name, place.settings[prefix + of_dlt])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with (  # a new server, since it reads its environment once
        running_sail() as remote,
        lake.reading() as duck,
        SparkLake(lake, remote).reading() as spark,
    ):
        for view in ("anomalies", "growth", "size_trend", "inventory"):
            query = f"SELECT * FROM reports.{view}"
            assert differences(view, duck(query), spark(query)) == []
    files = lake.storage.filesystem()
    scratch = f"{lake.storage.bucket.removeprefix('s3://')}/{SCRATCH}"
    left = [path for path in files.find(f"s3://{scratch}") if path != scratch]  # the folder's own
    assert not left
