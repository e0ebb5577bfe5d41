"""What is asked of a report: windows, the worst first, several files as one, words for instants."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import warm_python
from ges_backups.errors import SettingsError
from ges_emulator import Emulator
from ges_history import connect, read_report
from ges_history.errors import DatabaseError
from ges_history.instants import Instant, parse_instant
from ges_history.reports.catalogue import report_names, worst_first
from ges_history.reports.selection import SelectionError
from ges_history.warehouses.opening import database_files
from harness import FIRST_MS, Warehouse
from synthetic import DAY_MS, write_database

NOW = datetime(2026, 6, 17, 13, 30, tzinfo=UTC)  # a Wednesday
ABOUT_NOW = [
    "growth",
    "inventory",
    "load_health",
    "overview",
    "recovery_point",
    "running",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reading") / "fleet.duckdb"
    return write_database(path, graphs=10, backups=1_000)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2026-06-08", datetime(2026, 6, 8, tzinfo=UTC)),
        ("2026-06-08T13:55:13Z", datetime(2026, 6, 8, 13, 55, 13, tzinfo=UTC)),
        ("2026-06-08T13:55:13+02:00", datetime(2026, 6, 8, 11, 55, 13, tzinfo=UTC)),
        (date(2026, 6, 8), datetime(2026, 6, 8, tzinfo=UTC)),
        (datetime(2026, 6, 8, 5), datetime(2026, 6, 8, 5, tzinfo=UTC)),
        (
            datetime(2026, 6, 8, 5, tzinfo=timezone(timedelta(hours=5))),
            datetime(2026, 6, 8, tzinfo=UTC),
        ),
        (pd.Timestamp("2026-06-08", tz="UTC"), datetime(2026, 6, 8, tzinfo=UTC)),
        ("now", NOW),
        ("today", datetime(2026, 6, 17, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 6, 16, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("12h", NOW - timedelta(hours=12)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
    ],
)
def test_an_instant_is_what_a_person_means(given: str | date, found: datetime) -> None:
    assert parse_instant(given, NOW) == found


@pytest.mark.parametrize("given", ["", "soon", "7", "d", "2026-13-01", "999999w", "-7d"])
def test_what_is_no_instant_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is no instant: give one like 2026-06-08"):
        parse_instant(given, NOW)


def test_the_reports_about_now_are_these() -> None:
    assert [name for name in report_names() if worst_first(name)] == ABOUT_NOW


@pytest.mark.parametrize("report", ABOUT_NOW)
def test_a_report_about_now_has_no_window(report: str, database: Path) -> None:
    for bound in ({"since": "7d"}, {"until": "today"}):
        with pytest.raises(SelectionError, match="is about now and has no window"):
            read_report(report, database, **bound)


@pytest.mark.parametrize("report", ["size_trend", "anomalies", "backups"])
def test_a_window_ends_after_it_begins(report: str, database: Path) -> None:
    for since, until in (("2026-02-01", "2026-01-01"), ("2026-02-01", "2026-02-01")):
        with pytest.raises(SelectionError, match="must be before until"):
            read_report(report, database, since=since, until=until)


@pytest.mark.parametrize(
    ("report", "column"), [("duration_trend", "week"), ("reliability", "month")]
)
def test_periods_that_overlap_the_window_are_kept(report: str, column: str, database: Path) -> None:
    whole = read_report(report, database, graph="level-weekly")
    begin = whole[column].iloc[3]
    inside = begin + timedelta(days=2, hours=5)
    kept = read_report(report, database, graph="level-weekly", since=inside)
    assert kept[column].tolist() == whole[column].tolist()[3:]
    kept = read_report(report, database, graph="level-weekly", until=inside)
    assert kept[column].tolist() == whole[column].tolist()[:4]
    kept = read_report(report, database, graph="level-weekly", until=begin)
    assert kept[column].tolist() == whole[column].tolist()[:3]


def test_a_day_that_overlaps_the_window_is_kept(database: Path) -> None:
    whole = read_report("size_trend", database, graph="spike")
    day = whole["day"].iloc[-3]
    rows = read_report(
        "size_trend",
        database,
        graph="spike",
        since=day + timedelta(hours=23),
        until=day + timedelta(hours=24),
    )
    assert rows["day"].tolist() == [day]


def test_a_window_of_instants_is_exact(database: Path) -> None:
    backups = read_report("backups", database, graph="spike")
    at = backups["started_at"].iloc[5]
    since = read_report("backups", database, graph="spike", since=at.to_pydatetime())
    until = read_report("backups", database, graph="spike", until=at.to_pydatetime())
    assert (len(since), len(until)) == (6, len(backups) - 6)


def test_a_limit_of_a_report_about_now_keeps_the_worst(database: Path) -> None:
    recovery = read_report("recovery_point", database)
    here = recovery[recovery["graph_deleted_at"].isna()]
    never = (here["successes"] == 0).sum()
    overdue = (here["overdue"].fillna(False)).sum()
    assert min(never, overdue) > 0
    worst = read_report("recovery_point", database, limit=int(never + overdue))
    assert (worst["successes"].iloc[:never] == 0).all()
    assert worst["overdue"].iloc[never:].all()
    assert read_report("running", database, limit=1)["stuck"].tolist() == [True]
    growing = read_report("growth", database, limit=4)
    assert growing["is_new_level"].all()
    largest = read_report("inventory", database)["size_mb"]
    assert read_report("inventory", database, limit=3)["size_mb"].tolist() == largest[:3].tolist()
    assert largest.is_monotonic_decreasing
    health = read_report("load_health", database)
    failed = ~health["outcome"].isin(["complete", "incremental"])
    assert failed.iloc[: failed.sum()].all()


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 50 databases, `p-00.duckdb` to `p-49.duckdb`, of a project each."""
    folder = tmp_path_factory.mktemp("fifty")
    at = int(datetime.now(UTC).timestamp() * 1000)
    empty = write_database(folder / "empty.duckdb", graphs=0, edge_cases=False, views=False)
    for number in range(50):
        path = folder / f"p-{number:02}.duckdb"
        path.write_bytes(empty.read_bytes())
        project = f"id{number:02}"
        with duckdb.connect(str(path)) as connection:
            catalog = f'"p-{number:02}"'
            connection.execute(
                f"INSERT INTO {catalog}.ges.projects VALUES ('{project}', 'project {number}', 'r',"
                f" now(), now(), NULL)"
            )
            connection.execute(
                f"INSERT INTO {catalog}.ges.listings (project_id, graph_id, listed_at, outcome)"
                f" VALUES ('{project}', 'g', now(), 'complete')"
            )
            connection.execute(
                f"""INSERT INTO {catalog}.ges.backups (id, project_id, graph_id, graph_name,
                    start_timestamp, started_at, size, duration, status)
                SELECT 'b-{number}-' || n, '{project}', 'g', 'orders', stamp,
                    make_timestamptz(stamp * 1000), {10 + number}, 5, 'success'
                FROM (SELECT n, {at} - n * {DAY_MS} - 60000 AS stamp FROM range(4) t (n))"""
            )
            if number == 7:
                connection.execute(f"ALTER TABLE {catalog}.ges.backups ADD COLUMN newer VARCHAR")
                connection.execute(f"DROP TABLE {catalog}.ges.rejected_backups")
    return folder


def test_fifty_files_are_one_history(fifty: Path) -> None:
    overview = read_report("overview", fifty / "p-*.duckdb")
    assert len(overview) == 50
    assert overview["stored_mb"].sum() == sum(4 * (10 + number) for number in range(50))
    assert set(overview["project_name"]) == {f"project {number}" for number in range(50)}
    trend = read_report("size_trend", fifty / "p-*.duckdb", graph="orders", project="project 7")
    assert trend["size_mb"].tolist() == [17] * 4
    with connect([fifty / "p-0?.duckdb", fifty / "p-49.duckdb"]) as history:
        assert history.execute("SELECT count(*), count(newer) FROM ges.backups").fetchone() == (
            44,
            0,
        )


def test_a_glob_and_a_name_are_each_file_once(fifty: Path, tmp_path: Path) -> None:
    files = database_files([fifty / "p-01.duckdb", str(fifty / "p-0[12].duckdb")])
    assert [path.name for path in files] == ["p-01.duckdb", "p-02.duckdb"]
    named = write_database(tmp_path / "a[1].duckdb", graphs=1, backups=9, edge_cases=False)
    assert database_files(named) == [named]
    with pytest.raises(DatabaseError, match="No database is like"):
        database_files(tmp_path / "z*.duckdb")


def test_a_project_in_two_files_is_refused(fifty: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes((fifty / "p-03.duckdb").read_bytes())
    with pytest.raises(DatabaseError, match=r"The project id03 is in .*p-03\.duckdb and .*copy"):
        read_report("overview", [fifty / "p-03.duckdb", copy])


@pytest.mark.parametrize(
    "words",
    [
        "report",
        "report size_trend",
        "report --html page.html",
        "check",
        "metrics",
        "publish s.duckdb",
    ],
)
def test_a_table_without_a_column_is_said_to_be_no_history(words: str, tmp_path: Path) -> None:
    path = write_database(tmp_path / "x.duckdb", graphs=1, backups=9, views=False)
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE x.ges.backups DROP COLUMN size")
    command = [sys.executable, "-m", "ges_history", *words.split(), "--database", str(path)]
    done = warm_python.run(command, cwd=tmp_path)
    assert done.returncode == (3 if words == "check" else 1)
    assert re.fullmatch(r'ges-backups: .*/x\.duckdb cannot be read as .* "size"\n', done.stderr)
    with pytest.raises(DatabaseError, match=r'/x\.duckdb cannot be read as .* "size"'):
        connect(path)


@pytest.mark.parametrize("form", [str, datetime.date, lambda at: at.isoformat()], ids=range(3))
def test_a_load_takes_the_same_instants(
    form: Callable[[datetime], Instant], warehouse: Warehouse, emulator: Emulator
) -> None:
    second_day = datetime.fromtimestamp(FIRST_MS / 1000, UTC) + timedelta(days=1)
    assert warehouse.load(emulator, since=form(second_day)).backups["new"] == 2 * 2


def test_a_load_refuses_what_is_no_instant(warehouse: Warehouse, emulator: Emulator) -> None:
    with pytest.raises(SettingsError, match="'soon' is no instant"):
        warehouse.load(emulator, since="soon")
