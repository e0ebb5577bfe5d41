"""Tables and the fleet's screen, on a terminal of 80 columns and beside what the views say."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from rich.cells import cell_len
from rich.console import Console

import warm_python
from ges_history.reports.attention import judge, verdict
from ges_history.reports.cells import readable
from ges_history.reports.fitting import TEXTS, fit
from ges_history.reports.overview import Fleet, UnknownProjectError, read_fleet, scope_of
from ges_history.reports.read import read_table
from ges_history.reports.screen import console_for, fleet_screen, report_table, without_needless_ids
from ges_history.reports.selection import most_wanted
from ges_history.reports.views import report_names
from ges_history.reports.words import day
from ges_history.warehouses import warehouse_for
from hostile import write_hostile
from synthetic import DAY_MS, OTHER_PROJECT, PROJECT, insert_backups, write_database
from terminal import in_terminal
from watched import DAY, HOUR, Backup, Life, ProjectRow, write_history

WIDTH = 80
COMMAND = [sys.executable, "-c", "from ges_history.cli import main; main()"]
EACH_REPORT = """
import sys
from ges_history.cli import cli
for report in sys.argv[2:]:
    print(f"report {report}:")
    cli.main(["report", report, "--database", sys.argv[1]], standalone_mode=False)
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.duckdb"
    done = warm_python.run([*COMMAND, "demo", "--database", path])
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile(tmp_path_factory.mktemp("hostile") / "hostile.duckdb")


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("edges") / "edges.duckdb", graphs=6, backups=900)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, str]]:
    """What each report of a history shows on a terminal, in which one process prints them all."""

    @cache
    def tables(path: Path) -> dict[str, str]:
        command = [sys.executable, "-c", EACH_REPORT, str(path), *report_names()]
        code, shown = in_terminal(command, tmp_path_factory.mktemp("shown"), {"PATH": ""})
        assert code == 0, shown
        _, *parts = re.split(r"^report (\w+):\n", shown, flags=re.MULTILINE)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    return tables


def fleet_of(path: Path, **scope: list[str]) -> Fleet:
    with warehouse_for(path).reading() as read:
        return read_fleet(read, scope_of(read, **scope))


def screen(path: Path, width: int = WIDTH) -> str:
    console = Console(width=width, file=StringIO(), highlight=False, markup=False, emoji=False)
    with console.capture() as shown:
        console.print(fleet_screen(fleet_of(path), width))
    return shown.get()


def figure(shown: str, label: str) -> str:
    found = re.search(rf"{label} +(\S+(?: [A-Z]B| %)?)", shown)
    assert found is not None, label
    return found[1]


@pytest.mark.parametrize("data", ["demo", "hostile", "edges"])
@pytest.mark.parametrize("report", report_names())
def test_no_figure_and_no_date_is_cut_on_80_columns(
    report: str,
    data: str,
    tables: Callable[[Path], dict[str, str]],
    request: pytest.FixtureRequest,
) -> None:
    path = request.getfixturevalue(data)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", tables(path)[report]).split("\n")
    assert max(map(cell_len, lines)) <= WIDTH
    table = without_needless_ids(most_wanted(read_table(report, path, limit=51), report, 50))
    fitted = fit(readable(table), WIDTH - 2)
    assert len(fitted.columns) > 2 or table.num_rows == 0
    rows = zip(*(column.cells for column in fitted.columns), strict=True)
    whole = [column.name not in TEXTS for column in fitted.columns]
    moving = re.compile(r"\d+(?:\.\d+)? (?:s|min|h|days)$|^-?\d+ ")  # ages run on
    for row in rows:
        exact = [
            text
            for text, is_whole in zip(row, whole, strict=True)
            if is_whole and text and not moving.search(text)
        ]
        assert any(all(text in line for text in exact) for line in lines), exact
    for line in lines:
        assert not re.search(r"\d\N{HORIZONTAL ELLIPSIS}(?:\s|$)", line) or data != "demo"


def test_what_was_left_out_is_told_and_wide_shows_it(demo: Path) -> None:
    table = without_needless_ids(read_table("anomalies", demo))
    narrow = StringIO()
    Console(file=narrow, width=WIDTH).print(report_table(table, WIDTH))
    told = " ".join(narrow.getvalue().split())
    assert "Left out for width: backup, change; --wide shows all." in told
    wide = StringIO()
    console_for(wide, wide=True).print(report_table(table, WIDTH, wide=True))
    assert table.column("backup_id")[0].as_py() in wide.getvalue()
    assert "Left out" not in wide.getvalue()


def test_names_of_graphs_are_cut_after_columns_were_dropped() -> None:
    name = "a_graph_with_a_name_of_fifty_characters_as_allowed"
    table = pa.table(
        {
            "graph_name": [name, "short"],
            "day": [date(2026, 11, 3)] * 2,
            "size_mb": [9_891_234, 5],
            "previous_size_mb": [9_891_000, 4],
            "change_pct": [0.1, -20.0],
        }
    )
    fitted = fit(readable(table), 78)
    assert fitted.left_out == ["change"]
    assert fitted.columns[0].cells[0] == name
    tight = fit(readable(table), 32)
    assert tight.left_out == ["change", "before"]
    cut = "a_graph_with_a_name"[:11] + "\N{HORIZONTAL ELLIPSIS}"
    assert [column.cells[0] for column in tight.columns] == [cut, "2026-11-03", "9.4 TB"]
    assert sum(tight.widths) + 2 * (len(tight.widths) - 1) <= 32


def test_a_column_has_one_format_in_words_and_units() -> None:
    table = pa.table(
        {
            "graph_name": ["a\x1b[31m\u202eb"],
            "month": [date(2026, 11, 1)],
            "is_partial": [True],
            "rpo_age_hours": [543.4],
            "elapsed_s": [-102_596],
            "size_mb": [Decimal(27_901_599)],
            "mb_per_day": [-0.00278],
            "success_rate": [0.9999],
            "r2": [0.000941],
            "last_success_at": [datetime(2026, 6, 8, 13, 55, 13, tzinfo=UTC)],
            "overdue": [None],
            "median_lifetime_days": [300.61],
            "value": [float("nan")],
        }
    )
    found = {column.name: (column.heading, column.cells[0]) for column in readable(table)}
    assert found == {
        "graph_name": ("graph", "a\ufffd[31m\ufffdb"),
        "month": ("month", "2026-11 so far"),
        "rpo_age_hours": ("age", "22 days"),
        "elapsed_s": ("for", "-28 h 30 min"),
        "size_mb": ("size", "26.6 TB"),
        "mb_per_day": ("growth a day", "0 MB"),
        "success_rate": ("success rate", "99.9 %"),
        "r2": ("r²", "0.00"),
        "last_success_at": ("last success [UTC]", "2026-06-08 13:55"),
        "overdue": ("overdue", ""),
        "median_lifetime_days": ("lifetime", "300.6 days"),
        "value": ("value", ""),
    }


def test_anomalies_say_sizes_or_times_row_by_row() -> None:
    table = pa.table({"kind": ["slow", "size_drop"], "value": [3600, 3600], "expected": [1, 1]})
    value = next(column for column in readable(table) if column.name == "value")
    assert value.cells == ["60 min", "3.5 GB"] or value.cells == ["1 h", "3.5 GB"]


@pytest.mark.parametrize("data", ["demo", "hostile", "edges"])
def test_the_fleets_screen_fits_80_columns(
    data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(data)
    code, shown = in_terminal([*COMMAND, "report", "--database", str(path)], tmp_path, {})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\n")
    assert code == 0
    assert max(map(cell_len, lines)) <= WIDTH
    assert set(shown) & {"\u202e", "\x07"} == set()


def test_one_count_of_graphs_that_need_attention(edges: Path) -> None:
    fleet = fleet_of(edges)
    graphs = judge(fleet)
    alarmed = [graph for graph in graphs if graph.alarms]
    living = [graph for graph in graphs if not graph.deleted]
    shown = screen(edges)
    assert 0 < len(alarmed) == fleet.totals["attention"] < len(living)
    assert verdict(graphs) == f"{len(alarmed)} of {len(living)} graphs need attention."
    assert verdict(graphs) in shown
    assert figure(shown, "need attention") == str(len(alarmed))
    assert f"Needs attention ({len(alarmed)})" in shown


def test_the_screens_volume_is_that_of_the_backups(demo: Path) -> None:
    with duckdb.connect(str(demo), read_only=True) as connection:
        ((stored, added, removed),) = connection.execute(
            """SELECT sum(size) FILTER (deleted_at IS NULL), sum(size) FILTER (started_at >= day),
                coalesce(sum(size) FILTER (deleted_at >= day), 0)
            FROM ges.backups, (SELECT date_trunc('day', now() AT TIME ZONE 'UTC')
                AT TIME ZONE 'UTC' - INTERVAL 29 DAY AS day)
            WHERE status = 'success'"""
        ).fetchall()
    totals = fleet_of(demo).totals
    assert totals["stored_mb"] == stored
    assert totals["growth_mb_per_day"] == pytest.approx((added - removed) / 30)
    assert totals["projected_90d_mb"] == pytest.approx(stored + 3 * (added - removed))
    assert figure(screen(demo), "stored at the source") == f"{stored / 1024**2:.1f} TB"


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    """Twelve graphs with a backup a day until the last load, five days ago."""
    then = datetime.now(UTC) - timedelta(days=5, hours=1)
    path = write_database(tmp_path / "stale.duckdb", graphs=0, edge_cases=False, now=then)
    now = int(then.timestamp() * 1000)
    with duckdb.connect(str(path)) as connection:
        (catalog,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        backups = [
            {
                "id": f"{graph}-{n}",
                "graph_id": f"g{graph}",
                "status": "success",
                "size": 10,
                "duration": 5,
                "start_timestamp": now - n * DAY_MS - 3_600_000,
            }
            for graph in range(12)
            for n in range(20)
        ]
        insert_backups(connection, catalog, backups)
        connection.execute(
            "INSERT INTO ges.listings (project_id, graph_id, listed_at, outcome, last_complete_at)"
            " SELECT DISTINCT project_id, graph_id, ?::TIMESTAMPTZ, 'complete', ?::TIMESTAMPTZ"
            " FROM ges.backups",
            [then, then],
        )
    return path


def test_a_dead_scheduler_is_one_alarm_and_no_graph_is_overdue(stale: Path) -> None:
    fleet = fleet_of(stale)
    assert [row["overdue"] for row in fleet.recovery] == [False] * 12
    shown = screen(stale)
    first = shown.splitlines()[0].strip()
    assert first == "No load for 5 days; nothing newer is known."
    assert "All graphs are in order." in shown
    assert figure(shown, "need attention") == "0"


def test_the_alarm_is_coloured(stale: Path, tmp_path: Path) -> None:
    _, shown = in_terminal([*COMMAND, "report", "--database", str(stale)], tmp_path, {})
    assert re.match(r"\x1b\[1;31mNo load for 5 days", shown.lstrip("\n"))


def test_stamps_ahead_of_the_clock_are_told(tmp_path: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=28, minutes=30)
    path = write_database(tmp_path / "ahead.duckdb", graphs=0, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        (catalog,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        at = int(ahead.timestamp() * 1000)
        running = {"id": "r", "graph_id": "g", "status": "backing_up", "start_timestamp": at}
        insert_backups(connection, catalog, [running])
    assert "The source's clock is 28 h 30 min ahead of this one" in " ".join(screen(path).split())


def test_a_size_that_was_nought_has_grown_by_no_percentage(tmp_path: Path) -> None:
    path = write_database(tmp_path / "nought.duckdb", graphs=0, edge_cases=False)
    at = int(datetime.now(UTC).timestamp() * 1000) - DAY_MS // 2
    backups = [
        {
            "id": f"b{n}",
            "graph_id": "g",
            "status": "success",
            "size": 500_000 if n < 6 else 0,
            "start_timestamp": at - n * DAY_MS,
        }
        for n in range(30)
    ]
    with duckdb.connect(str(path)) as connection:
        insert_backups(connection, "nought", backups)
    fleet = fleet_of(path)
    (growth,) = fleet.growth
    assert (growth["level_before_mb"], growth["level_change_pct"]) == (0, None)
    ((problem,),) = [graph.problems for graph in judge(fleet)]
    since = day(growth["level_since"])
    assert problem.sentence == f"size grew since {since}: 488.3 GB, before 0 MB"


def test_graphs_without_any_backup_are_the_alarm(tmp_path: Path) -> None:
    path = write_database(tmp_path / "new.duckdb", graphs=0, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO ges.graphs (id, project_id, name) SELECT 'g' || n, ?, 'graph ' || n"
            " FROM range(3) t (n)",
            [PROJECT],
        )
        connection.execute(
            "INSERT INTO ges.listings (project_id, graph_id, listed_at, outcome, last_read_at)"
            " SELECT project_id, id, now(), 'complete', now() FROM ges.graphs"
        )
    shown = screen(path)
    assert figure(shown, "without any success") == "3"
    assert "3 of 3 graphs need attention." in shown
    assert shown.count("no successful backup yet") == 3


def test_an_empty_project_is_a_screen_too(tmp_path: Path) -> None:
    path = write_database(tmp_path / "empty.duckdb", graphs=0, edge_cases=False)
    shown = screen(path)
    assert "No graph is known yet." in shown
    assert figure(shown, "graphs at the source") == "0"
    assert figure(shown, "last load") == "never"


def test_a_project_that_was_refused_from_its_first_load_on_is_told(tmp_path: Path) -> None:
    path = write_database(tmp_path / "refused.duckdb", graphs=0, edge_cases=False)

    def is_told_after(*statements: str) -> bool:
        with duckdb.connect(str(path)) as connection:
            for statement in statements:
                connection.execute(statement)
        return "shut could not be listed: forbidden, GES.0016." in screen(path)

    assert is_told_after(
        "INSERT INTO ges.projects (id, name) VALUES ('shut', 'shut')",
        "INSERT INTO ges.listings (project_id, graph_id, listed_at, outcome, error_code)"
        " VALUES ('shut', '*', now(), 'forbidden', 'GES.0016')",
    )
    assert is_told_after(
        "INSERT INTO ges.graphs (id, project_id, name, deleted_at) VALUES ('g', 'shut', 'g', now())"
    )
    graphs_by_themselves = '{"deleted_graphs_asked_at": 9e9}'
    assert not is_told_after(f"UPDATE ges.projects SET cursor = '{graphs_by_themselves}'")


@pytest.fixture
def two_projects(tmp_path: Path) -> Path:
    path = write_database(tmp_path / "two.duckdb", graphs=4, backups=200, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        (catalog,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        at = int(datetime.now(UTC).timestamp() * 1000) - DAY_MS
        other = {"id": "o", "graph_id": "g", "project_id": OTHER_PROJECT, "status": "success"}
        insert_backups(connection, catalog, [other | {"size": 77, "start_timestamp": at}])
        connection.execute("DELETE FROM ges.projects")
        for id_, name, region in ((PROJECT, "orders", "eu-1"), (OTHER_PROJECT, "risk", "eu-2")):
            connection.execute(
                "INSERT INTO ges.projects (id, name, region, first_listed_at, last_listed_at)"
                " VALUES (?, ?, ?, now(), now())",
                [id_, name, region],
            )
    return path


def test_the_screen_names_projects_and_sums_one_or_all(two_projects: Path) -> None:
    whole = fleet_of(two_projects)
    one = fleet_of(two_projects, projects=["risk"])
    assert one.totals["stored_mb"] == 77
    assert [row["project_name"] for row in fleet_of(two_projects, regions=["eu-2"]).projects] == [
        "risk"
    ]
    rest = fleet_of(two_projects, projects=[PROJECT]).totals["stored_mb"]
    assert whole.totals["stored_mb"] == rest + 77
    shown = screen(two_projects)
    assert "Projects (2)" in shown
    assert re.search(r"risk +.*77 MB", shown)
    with pytest.raises(UnknownProjectError, match=r"no project nope; it holds orders, risk"):
        fleet_of(two_projects, projects=["nope"])


def test_the_lists_begin_with_the_worst_as_the_reports_do(tmp_path: Path) -> None:
    calm = tuple(Backup(2 * HOUR + n * DAY) for n in range(9))
    late = tuple(Backup(9 * DAY + n * DAY) for n in range(9))
    lives = [
        Life(name, (*past, Backup(age, "backing_up")), project_id=f"p-{name}")
        for name, past, age in [
            *((f"a{n}", calm, timedelta(seconds=30)) for n in range(6)),
            ("late", late, timedelta(seconds=20)),
            ("stuck", calm, HOUR),
        ]
    ]
    rows = [ProjectRow(life.project_id, life.project_id) for life in lives]
    path = write_history(tmp_path / "worst.duckdb", lives, rows).path
    shown = screen(path, 200)
    parts = re.split(r"^(Projects|Needs attention|In progress)", shown, flags=re.MULTILINE)
    for title, report, column in (("Projects", "overview", "project_name"),
                                  ("In progress", "running", "graph_name")):  # fmt: skip
        worst = read_table(report, path, limit=5).column(column).to_pylist()
        part = parts[parts.index(title) + 1]
        assert re.findall(r"^ ((?:p-)?(?:a\d|late|stuck)) ", part, re.MULTILINE) == worst


def test_without_a_terminal_all_columns_are_there_and_lines_end_where_they_end(demo: Path) -> None:
    for arguments in (["report"], ["report", "growth"]):
        done = warm_python.run([*COMMAND, *arguments, "--database", demo])
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) < 400
        assert "Left out" not in done.stdout
    assert "highest in 90" in re.sub(r"\s+", " ", done.stdout) or "highest" in done.stdout
