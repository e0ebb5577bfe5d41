"""The views as objects in a database: names, rebuilding, renamed files, other engines."""

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest
import sqlglot

from ges_history import connect, read_report
from ges_history.reports.views import (
    descriptions,
    rebuild,
    report_names,
    time_column,
    view_statements,
)
from ges_history.warehouses.layout import LAYOUT_VERSION, read_layout
from synthetic import write_database

FILE_NAMES = [
    "plain.duckdb",
    "ges.duckdb",
    "GES.duckdb",
    "reports.duckdb",
    "main.duckdb",
    "history.duckdb",
    "a b.c \"double\" 'single'.duckdb",
    "ges.backups.duckdb",
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "fleet.duckdb"
    return write_database(path, graphs=8, backups=800)


def open_plainly(path: Path, report: str = "growth") -> int:
    """Rows of a report as a user finds it who opens the file with duckdb alone."""
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        name = row[0].replace('"', '""')
        rows = connection.execute(f'SELECT * FROM "{name}".reports.{report}').fetchall()
        return len(rows)


def test_the_nine_reports_are_there() -> None:
    assert report_names() == [
        "anomalies",
        "duration_trend",
        "growth",
        "inventory",
        "load_health",
        "recovery_point",
        "reliability",
        "running",
        "size_trend",
    ]


@pytest.mark.parametrize("report", report_names())
def test_every_report_begins_with_its_graph(report: str, fleet: Path) -> None:
    assert list(read_report(report, fleet).columns[:3]) == ["project_id", "graph_id", "graph_name"]


@pytest.mark.parametrize("report", report_names())
def test_every_file_says_its_grain_and_what_it_reads(report: str, fleet: Path) -> None:
    text = files("ges_history").joinpath(f"reports/sql/{report}.sql").read_text(encoding="utf-8")
    header = "\n".join(line for line in text.splitlines() if line.startswith("--"))
    assert re.search(r"^-- Grain: one row per ", header, re.MULTILINE)
    named = re.search(r"^-- Reads: (.+)\.$", header, re.MULTILINE)
    assert named is not None
    read = set(re.findall(r"\b(?:FROM|JOIN) ((?:ges|reports)\.\w+)", text))
    assert set(named[1].split(", ")) == read
    assert time_column(report) in read_report(report, fleet).columns
    assert descriptions()[report].endswith(".")


@pytest.mark.parametrize("name", FILE_NAMES)
def test_any_file_name_works(name: str, tmp_path: Path) -> None:
    path = write_database(tmp_path / name, graphs=2, backups=60, edge_cases=False)
    assert open_plainly(path) == len(read_report("growth", path)) == 2
    with connect(path) as history:
        assert history.execute("SELECT count(*) = 60 FROM ges.backups").fetchone() == (True,)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_renamed_file_still_answers(name: str, fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(fleet.read_bytes())
    assert len(read_report("growth", path)) == len(read_report("growth", fleet))
    if not name.lower().startswith("ges."):  # there DuckDB itself finds `ges.backups` ambiguous
        assert open_plainly(path) == open_plainly(fleet)
    with duckdb.connect(str(path)) as connection:
        rebuild(connection)
    assert open_plainly(path) == open_plainly(fleet)


def test_a_file_renamed_from_ges_still_answers(tmp_path: Path) -> None:
    path = write_database(tmp_path / "ges.duckdb", graphs=2, backups=60)
    rows = open_plainly(path)
    renamed = path.rename(tmp_path / "other.duckdb")
    assert len(read_report("growth", renamed)) == rows
    with duckdb.connect(str(renamed)) as connection:
        assert rebuild(connection)
    assert open_plainly(renamed) == rows


def test_an_attached_file_answers_under_its_alias(fleet: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{fleet}' AS other (READ_ONLY)")
        row = connection.execute("SELECT count(*) FROM other.reports.growth").fetchone()
    assert row == (open_plainly(fleet),)


def test_a_rebuild_that_changes_nothing_writes_nothing(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.duckdb"
    path.write_bytes(fleet.read_bytes())
    with duckdb.connect(str(path)) as connection:
        assert not rebuild(connection)
        assert not path.with_name("copy.duckdb.wal").exists()
    assert path.read_bytes() == fleet.read_bytes()


@pytest.mark.parametrize(
    "damage",
    ["DROP VIEW reports.anomalies", "DROP SCHEMA reports CASCADE", "DROP VIEW reports.about"],
)
def test_a_rebuild_brings_back_what_is_missing(damage: str, fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.duckdb"
    path.write_bytes(fleet.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute(damage)
        assert rebuild(connection)
        assert not rebuild(connection)
    assert open_plainly(path, "anomalies") == open_plainly(fleet, "anomalies")


def test_a_rebuild_that_fails_leaves_the_old_views(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.duckdb"
    path.write_bytes(fleet.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP VIEW reports.about")
        connection.execute("ALTER TABLE ges.listings RENAME TO others")
        with pytest.raises(duckdb.CatalogException):
            rebuild(connection)
        assert read_layout(connection) is None
        views = "SELECT count(*) FROM duckdb_views() WHERE schema_name = 'reports'"
        assert connection.execute(views).fetchone() == (len(view_statements()),)


def test_a_rebuild_keeps_the_views_of_others(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.duckdb"
    path.write_bytes(fleet.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE VIEW reports.mine AS SELECT 1 AS one")
        connection.execute("DROP VIEW reports.growth")
        rebuild(connection)
        assert connection.execute("SELECT one FROM reports.mine").fetchone() == (1,)


def test_the_database_says_its_layout_and_describes_its_views(fleet: Path) -> None:
    with duckdb.connect(str(fleet), read_only=True) as connection:
        assert read_layout(connection) == LAYOUT_VERSION
        comments = dict(
            connection.execute(
                "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'reports'"
            ).fetchall()
        )
    assert {name: comments[name] for name in report_names()} == descriptions()


@pytest.mark.parametrize("report", ["size_trend", "duration_trend", "reliability"])
def test_the_zone_of_the_session_changes_nothing(report: str, fleet: Path) -> None:
    with duckdb.connect(str(fleet), read_only=True) as connection:
        answers = []
        for zone in ("UTC", "America/New_York", "Pacific/Kiritimati"):
            connection.execute(f"SET TimeZone = '{zone}'")
            answers.append(
                sorted(connection.execute(f"SELECT * FROM reports.{report}").fetchall(), key=repr)
            )
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("dialect", ["postgres", "spark"])
def test_the_statements_transpile(dialect: str) -> None:
    statements = view_statements(dialect)
    assert len(statements) == len(view_statements())
    for statement in statements:
        tree = sqlglot.parse_one(statement, read=dialect)
        assert isinstance(tree, sqlglot.exp.Create)
        assert tree.sql(dialect=dialect).startswith("CREATE OR REPLACE VIEW reports.")


def test_quantiles_are_continuous_on_other_engines() -> None:
    postgres, spark = ("\n".join(view_statements(dialect)) for dialect in ("postgres", "spark"))
    assert "PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY duration)" in postgres
    assert "PERCENTILE(duration, 0.95)" in spark


def test_no_view_keeps_to_the_ways_of_one_engine() -> None:
    text = "\n".join(view_statements())
    for trick in ("GROUP BY ALL", "ARG_MAX", "ANY_VALUE", "TRY_CAST", "PIVOT", "LATERAL", "ASOF"):
        assert trick not in text.upper()
    assert not re.search(r"MEDIAN\([^)]*\) OVER", text)


def test_every_graph_has_one_name(fleet: Path) -> None:
    with connect(fleet) as history:
        names = dict(
            history.execute("SELECT graph_id, graph_name FROM reports.graph_names").fetchall()
        )
    assert names["renamed"] == "new name"
    assert names["renamed-unlisted"] == "newest"
    assert names["nameless"] == "nameless"
    assert names["never-listed"] == "never-listed"


def test_age_of_the_last_success_follows_the_clock(tmp_path: Path) -> None:
    later = datetime.now(UTC) - timedelta(days=10)
    path = write_database(tmp_path / "old.duckdb", graphs=0, now=later)
    frame = read_report("recovery_point", path).set_index("graph_id")
    assert frame["rpo_age_hours"].dropna().min() > 24 * 10
    assert bool(frame["overdue"]["spike"])
