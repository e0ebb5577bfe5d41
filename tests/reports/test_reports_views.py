"""The views as objects in a database: names, rebuilding, renamed files, other engines."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import sqlglot

from ges_backups.records import MAX_BIGINT
from ges_history import connect, read_report
from ges_history.reports.catalogue import LISTS, column_texts
from ges_history.reports.page import page_text
from ges_history.reports.views import (
    LATER_COLUMNS,
    descriptions,
    known_columns,
    narrowed,
    rebuild,
    report_names,
    time_column,
    view_names,
    view_statements,
)
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.layout import LAYOUT_VERSION, read_layout
from ges_history.watching.facts import read_facts
from synthetic import (
    BARE_PROJECT,
    DAY_MS,
    EMPTY_PROJECT,
    PROJECT,
    insert_backups,
    insert_rows,
    write_database,
    write_empty,
)

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


@cache
def columns_of(report: str, path: Path) -> list[str]:
    return list(read_report(report, path).columns)


@cache
def statements_for(dialect: str) -> list[str]:
    return view_statements(dialect)


def open_plainly(path: Path, report: str = "growth") -> int:
    """Rows of a report as a user finds it who opens the file with duckdb alone."""
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        name = row[0].replace('"', '""')
        rows = connection.execute(f'SELECT * FROM "{name}".reports.{report}').fetchall()
        return len(rows)


def test_the_reports_are_there() -> None:
    assert report_names() == [
        "adherence",
        "anomalies",
        "duration_trend",
        "growth",
        "inventory",
        "load_health",
        "overview",
        "recovery_point",
        "reliability",
        "running",
        "size_trend",
        "storage_trend",
    ]


@pytest.mark.parametrize("report", report_names())
def test_every_report_begins_with_what_it_is_about(report: str, fleet: Path) -> None:
    first = ["project_id", "graph_id", "graph_name", "project_name"]
    if report == "overview":
        first = ["project_id", "project_name", "region"]
    assert columns_of(report, fleet)[: len(first)] == first


@pytest.mark.parametrize("report", report_names())
def test_every_file_says_its_grain_and_what_it_reads(report: str, fleet: Path) -> None:
    text = files("ges_history").joinpath(f"reports/sql/{report}.sql").read_text(encoding="utf-8")
    header = "\n".join(line for line in text.splitlines() if line.startswith("--"))
    assert re.search(r"^-- Grain: one row per ", header, re.MULTILINE)
    named = re.search(r"^-- Reads: (.+)\.$", header, re.MULTILINE)
    assert named is not None
    read = set(re.findall(r"\b(?:FROM|JOIN) ((?:ges|reports)\.\w+)", text))
    assert set(named[1].split(", ")) == read
    assert time_column(report) in columns_of(report, fleet)
    assert descriptions()[report].endswith(".")


@pytest.fixture(scope="module")
def grown(fleet: Path) -> int:
    """How many graphs the fleet's report of growth has."""
    assert open_plainly(fleet) == len(read_report("growth", fleet)) > 1
    return open_plainly(fleet)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_any_file_name_works(name: str, tmp_path: Path) -> None:
    path = write_database(tmp_path / name, graphs=2, backups=60, edge_cases=False)
    assert open_plainly(path) == 2
    with connect(path) as history:
        assert len(history.execute("FROM reports.growth").fetchall()) == 2
        assert history.execute("SELECT count(*) = 60 FROM ges.backups").fetchone() == (True,)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_renamed_file_still_answers(name: str, fleet: Path, grown: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(fleet.read_bytes())
    assert len(read_report("growth", path)) == grown
    if not name.lower().startswith("ges."):  # there DuckDB itself finds `ges.backups` ambiguous
        assert open_plainly(path) == grown
    with duckdb.connect(str(path)) as connection:
        rebuild(connection)
    assert open_plainly(path) == grown


def test_a_name_that_begins_like_a_home_folder_is_that_of_a_file_here(
    fleet: Path, grown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "~old.duckdb").write_bytes(fleet.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read_report("growth", "~old.duckdb")) == grown


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
        connection.execute("ALTER TABLE ges.listings RENAME COLUMN outcome TO other")
        with pytest.raises(duckdb.BinderException):
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
    statements = statements_for(dialect)
    assert len(statements) == len(view_statements())
    for statement in statements:
        tree = sqlglot.parse_one(statement, read=dialect)
        assert isinstance(tree, sqlglot.exp.Create)
        assert tree.sql(dialect=dialect).startswith("CREATE OR REPLACE VIEW reports.")


def test_quantiles_are_continuous_on_other_engines() -> None:
    postgres, spark = ("\n".join(statements_for(dialect)) for dialect in ("postgres", "spark"))
    assert "PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY duration)" in postgres
    assert "PERCENTILE(duration, 0.95)" in spark


def test_no_view_keeps_to_the_ways_of_one_engine() -> None:
    text = "\n".join(view_statements())
    for trick in ("GROUP BY ALL", "ARG_MAX", "ANY_VALUE", "TRY_CAST", "PIVOT", "LATERAL", "ASOF"):
        assert trick not in text.upper()
    assert not re.search(r"MEDIAN\([^)]*\) OVER", text)


@pytest.mark.parametrize(
    "report", [name for name in (*report_names(), *LISTS) if "graph_id" in column_texts(name)]
)
def test_no_name_stands_twice_in_a_report_of_some_graphs(report: str) -> None:
    """Sail looks a name up in the wrong WITH where two of them, one in the other, have it."""
    tree = sqlglot.parse_one(f"SELECT * FROM {narrowed(report, '1 = 0')}", read="duckdb")
    names = [part.alias for part in tree.find_all(sqlglot.exp.CTE)]
    assert sorted(names) == sorted(set(names))


@pytest.fixture(scope="module")
def of_any_number(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of sizes and durations at the ends of what a load accepts."""
    path = tmp_path_factory.mktemp("huge") / "huge.duckdb"
    write_empty(path)
    now = datetime.now(UTC)
    at = int(now.timestamp() * 1000) - DAY_MS // 2
    numbers = {"largest": [MAX_BIGINT], "mixed": [MAX_BIGINT, 0, 100, MAX_BIGINT, 1, MAX_BIGINT]}
    numbers |= {"zero": [0], "jump": [MAX_BIGINT, *[100] * 59], "drop": [0, *[MAX_BIGINT] * 59]}
    records = [
        {
            "id": f"{graph}-{n}",
            "graph_id": graph,
            "backup_method": "auto",
            "status": "success",
            "start_timestamp": at - n * DAY_MS // 3,
            "size": sizes[n % len(sizes)],
            "duration": sizes[n % len(sizes)],
            "deleted_at": now if n % 5 == 4 else None,
        }
        for graph, sizes in numbers.items()
        for n in range(60)
    ]
    running = {"graph_id": "mixed", "status": "backing_up", "start_timestamp": at}
    with duckdb.connect(str(path)) as connection:
        insert_backups(connection, "huge", [*records, {**running, "id": "running"}])
        listed = {"project_id": PROJECT, "listed_at": now, "outcome": "complete"}
        insert_rows(connection, "huge.ges.listings", [{**listed, "graph_id": g} for g in numbers])
    return path


def test_sums_of_sizes_that_no_number_holds_break_no_report(of_any_number: Path) -> None:
    with connect(of_any_number) as history:
        for view in view_names():
            rows = history.execute(f"SELECT * FROM reports.{view}").fetchall()
            assert rows or view == "gaps"
        sizes = history.execute("SELECT graph_id, size_mb FROM reports.inventory").fetchall()
        assert dict(sizes)["largest"] == MAX_BIGINT
    with warehouse_for(of_any_number).reading() as read:
        facts = {graph.graph_id: graph for graph in read_facts(read).graphs}
    assert facts["largest"].source_mb == MAX_BIGINT
    assert "largest" in page_text(warehouse_for(of_any_number))


def test_every_graph_has_one_name(fleet: Path) -> None:
    with connect(fleet) as history:
        names = dict(
            history.execute("SELECT graph_id, graph_name FROM reports.graph_names").fetchall()
        )
    assert names["renamed"] == "new name"
    assert names["renamed-unlisted"] == "newest"
    assert names["nameless"] == "nameless"
    assert names["never-listed"] == "never-listed"


def test_what_was_not_listed_is_not_called_overdue(tmp_path: Path) -> None:
    later = datetime.now(UTC) - timedelta(days=10)
    path = write_database(tmp_path / "old.duckdb", graphs=0, now=later)
    frame = read_report("recovery_point", path).set_index("graph_id")
    assert frame["rpo_age_hours"].dropna().min() > 24 * 10
    assert frame["age_when_known_hours"]["spike"] < 48
    assert not frame["overdue"]["spike"]
    assert frame["known_until"]["spike"].to_pydatetime() == later
    projects = read_report("overview", path).set_index("project_id")
    assert bool(projects["stale"][PROJECT])
    assert projects["load_age_hours"][PROJECT] == pytest.approx(240, abs=0.1)


@pytest.mark.parametrize(("hours_ago", "is_stale"), [(47, False), (49, True)])
def test_a_load_is_stale_after_twice_the_usual_gap(
    hours_ago: int, is_stale: bool, tmp_path: Path
) -> None:
    then = datetime.now(UTC) - timedelta(hours=hours_ago)
    path = write_database(tmp_path / "old.duckdb", graphs=0, now=then)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM ges.backups WHERE graph_id <> 'spike'")
    project = read_report("overview", path).set_index("project_id").loc[PROJECT]
    assert (project["stale_after_hours"], bool(project["stale"])) == (48, is_stale)


@pytest.mark.parametrize(
    "missing",
    [["projects"], ["backups"], ["rejected_backups", "projects"], ["graphs", "backups"]],
    ids=" ".join,
)
def test_a_table_that_no_load_made_is_an_empty_one(
    missing: list[str], fleet: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy.duckdb"
    path.write_bytes(fleet.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP SCHEMA reports CASCADE")
        for table in missing:
            connection.execute(f"DROP TABLE ges.{table}")
    recovery = read_report("recovery_point", path)
    assert len(recovery) > 0
    assert (recovery["successes"] > 0).any() == ("backups" not in missing)
    with duckdb.connect(str(path)) as connection:
        assert rebuild(connection)
        for table in missing:
            assert connection.execute(f"SELECT count(*) FROM ges.{table}").fetchone() == (0,)
    assert open_plainly(path, "recovery_point") == len(recovery)


def test_a_project_without_backups_and_an_empty_one_are_projects(fleet: Path) -> None:
    projects = read_report("overview", fleet).set_index("project_id")
    bare, empty = projects.loc[BARE_PROJECT], projects.loc[EMPTY_PROJECT]
    assert (bare["graphs"], bare["never_succeeded"], bare["attention"]) == (1, 1, 1)
    assert (empty["graphs"], empty["backups_kept"], empty["stored_mb"]) == (0, 0, 0)
    assert (empty["project_name"], bare["project_name"]) == ("an empty one", BARE_PROJECT)
    assert list(projects.index[projects["stale"].fillna(False)]) == [BARE_PROJECT]


@pytest.mark.parametrize(
    ("graph", "points", "days_of_level", "before", "after", "is_new"),
    [
        ("level-drop", 10, 9, 1001, 210, True),
        ("level-old", 40, 39, 1000, 2000, False),
        ("level-twice", 3, 2, 900, 300, True),
        ("level-too-short", 30, None, None, None, None),
        ("level-weekly", 13, 133, 801, 91, True),
        ("level-first", 8, 7, 1, 904, True),
        ("growing-fast", 90, None, None, None, None),
        ("spike", 45, None, None, None, None),
    ],
)
def test_growth_is_fitted_after_the_last_lasting_change(
    graph: str,
    points: int,
    days_of_level: int | None,
    before: float | None,
    after: float | None,
    is_new: bool | None,
    fleet: Path,
) -> None:
    (row,) = read_report("growth", fleet, graph=graph).to_dict("records")
    assert row["points"] == points
    if days_of_level is None:
        assert pd.isna(row["level_since"])
        return
    assert (row["last_day"] - row["level_since"]).days == days_of_level
    assert (row["level_before_mb"], row["level_mb"]) == (before, after)
    assert bool(row["is_new_level"]) == is_new


def test_a_straight_line_has_no_error_and_a_short_one_no_forecast(fleet: Path) -> None:
    rows = read_report("growth", fleet).set_index("graph_id")
    line, short = rows.loc["growing-fast"], rows.loc["two-days"]
    assert line["mb_per_day"] == pytest.approx(40)
    assert line["projected_30d_mb"] == pytest.approx(4000 + 30 * 40)
    assert line["high_90d_mb"] - line["low_90d_mb"] == pytest.approx(0, abs=1e-3)
    for name in ("mb_per_day", "projected_30d_mb", "low_30d_mb", "high_90d_mb"):
        assert pd.isna(short[name])


def test_stored_volume_follows_starts_and_deletions(fleet: Path) -> None:
    rows = read_report("storage_trend", fleet, graph="short-lived")
    assert rows["added_mb"].tolist() == rows["removed_mb"].tolist() == [50] * 6
    assert rows["stored_mb"].tolist() == rows["backups"].tolist() == [0] * 6
    gone = read_report("storage_trend", fleet, graph="gone")
    assert gone["added_mb"].sum() == gone["removed_mb"].sum() == 20_000
    assert (gone["stored_mb"].iloc[-1], gone["backups"].iloc[-1]) == (0, 0)


def test_only_the_period_that_still_runs_is_partial(fleet: Path) -> None:
    today = datetime.now(UTC).date()
    for report, column, begin in (
        ("duration_trend", "week", today - timedelta(days=today.weekday())),
        ("reliability", "month", today.replace(day=1)),
    ):
        rows = read_report(report, fleet, project=PROJECT)
        partial = rows[rows["is_partial"]]
        assert set(partial[column].dt.date) == {begin}
        assert not (rows[~rows["is_partial"]][column].dt.date >= begin).any()


def test_every_column_is_described_in_the_database(fleet: Path) -> None:
    with duckdb.connect(str(fleet), read_only=True) as connection:
        comments = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns()"
            " WHERE schema_name = 'reports' AND table_name <> 'about'"
        ).fetchall()
    assert {view for view, _, _ in comments} == set(view_names())
    assert [row for row in comments if not row[2]] == []
    said = {(view, column): text for view, column, text in comments}
    assert said["growth", "mb_per_day"] == "Slope of the line, in MB/day."


def test_no_column_is_described_that_is_not_there(fleet: Path) -> None:
    with connect(fleet) as history:
        for view in view_names():
            assert set(history.sql(f"FROM reports.{view}").columns) == set(column_texts(view))


def test_a_column_that_earlier_releases_lack_has_the_type_that_a_load_gives_it() -> None:
    known = known_columns()
    for table, columns in LATER_COLUMNS.items():
        assert {name: known[table][name]["type"] for name in columns} == columns
