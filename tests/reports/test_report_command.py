"""`ges-backups report`, `ges-backups reports`, and reading a report from Python."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import csv, parquet
from rich.console import Console

from ges_history import connect, read_report
from ges_history.cli import cli
from ges_history.errors import DatabaseError, HistoryError
from ges_history.reports.cells import cell, heading
from ges_history.reports.overview import read_fleet
from ges_history.reports.read import UnknownGraphError, UnknownReportError
from ges_history.reports.screen import fleet_screen
from ges_history.reports.views import descriptions, report_names
from synthetic import PROJECT, write_database

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "fleet.duckdb"
    return write_database(path, graphs=10, backups=2_000)


@pytest.fixture
def run(database: Path) -> Run:
    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(
            cli, [*map(str, arguments), "--database", str(database)], catch_exceptions=False
        )

    return run


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-c", "from ges_history.cli import main; main()", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_reports_lists_every_report_with_its_line() -> None:
    result = CliRunner().invoke(cli, ["reports"])
    assert [line.split()[0] for line in result.output.splitlines()] == report_names()
    assert all(text in result.output for text in descriptions().values())


def test_the_fleet_fits_on_a_screen(run: Run) -> None:
    result = run("report")
    for words in ("graphs at the source", "success rate", "last load", "Overdue", "In progress"):
        assert words in result.output
    assert len(result.output.splitlines()) < 80
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("hours", "words"),
    [(None, "never"), (0.1, "6 min ago"), (30.2, "30 h ago"), (71.0, "3 days ago")],
)
def test_the_age_of_the_last_load_is_said_as_a_person_would(
    database: Path, hours: float | None, words: str
) -> None:
    with connect(database) as history:
        fleet = replace(read_fleet(history), load_age_hours=hours)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(fleet_screen(fleet))
    assert f"last load {words}" in " ".join(shown.get().split())


def test_the_fleet_says_where_the_rest_is(run: Run, database: Path) -> None:
    with connect(database) as history:
        overdue = read_fleet(history).overdue.num_rows
    assert overdue <= 5 or f"and {overdue - 5} more" in run("report").output


def test_the_fleets_figures_are_those_of_the_tables(database: Path) -> None:
    with connect(database) as history:
        fleet = read_fleet(history)
        backups = history.sql("FROM ges.backups").to_arrow_table().to_pandas()
    kept = backups[backups["deleted_at"].isna()]
    month = backups[backups["started_at"] > pd.Timestamp.now("UTC") - pd.Timedelta(days=30)]
    ended = month["status"].isin(["success", "failed"]).sum()
    growth = read_report("growth", database)
    here = read_report("recovery_point", database)
    here = here[here["graph_deleted_at"].isna()]
    assert (fleet.backups_kept, fleet.backups_at_source) == (len(backups), len(kept))
    assert fleet.stored_mb == kept["size"].sum()
    assert fleet.success_rate_30d == pytest.approx((month["status"] == "success").sum() / ended)
    assert fleet.growth_mb_per_day == pytest.approx(
        growth[growth["graph_id"].isin(here["graph_id"])]["mb_per_day"].sum()
    )
    assert fleet.graphs_at_source == len(here) < fleet.graphs
    assert fleet.overdue.num_rows == here["overdue"].sum()
    assert fleet.never_succeeded.num_rows == (here["successes"] == 0).sum()
    assert fleet.load_age_hours == pytest.approx(0, abs=0.1)


def test_a_fleet_without_backups_is_a_screen_too(tmp_path: Path) -> None:
    path = write_database(tmp_path / "new.duckdb", graphs=0, edge_cases=False)
    result = CliRunner().invoke(cli, ["report", "--database", str(path)], catch_exceptions=False)
    assert "never" in result.output
    for report in report_names():
        assert len(read_report(report, path)) == 0


@pytest.mark.parametrize("report", report_names())
def test_every_report_is_a_table(report: str, run: Run) -> None:
    result = run("report", report)
    assert result.exit_code == 0
    assert "graph" in result.output.splitlines()[1]


def test_a_table_has_units_and_readable_numbers(run: Run) -> None:
    output = run("report", "size_trend", "--graph", "spike").output
    assert "size [MB]" in output
    assert "5,000" in output


def test_a_table_says_that_rows_are_left_out(run: Run) -> None:
    assert "These are 50 rows" in run("report", "size_trend").stderr
    assert run("report", "size_trend", "--limit", "7").stdout.count("\n") < 14
    assert "rows" not in run("report", "growth").stderr


def test_text_of_the_api_does_nothing_to_the_terminal(run: Run) -> None:
    output = run("report", "recovery_point", "--graph", "markup").output
    assert "[red]=cmd()[/red]\ufffd[31m\ufffdx|y" in output
    assert "\x1b" not in output


def test_csv_has_every_row_and_digit(run: Run, tmp_path: Path, database: Path) -> None:
    run("report", "growth", "--output", tmp_path / "growth.csv")
    found = csv.read_csv(tmp_path / "growth.csv").to_pandas()
    expected = read_report("growth", database)
    assert list(found.columns) == list(expected.columns)
    assert found["mb_per_day"].tolist() == pytest.approx(
        expected["mb_per_day"].tolist(), rel=1e-12, nan_ok=True
    )


def test_csv_text_is_no_formula(tmp_path: Path) -> None:
    path = write_database(tmp_path / "formula.duckdb", graphs=1, backups=10, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE ges.graphs SET name = '=HYPERLINK(1)'")
    result = CliRunner().invoke(
        cli, ["report", "growth", "--format", "csv", "--database", str(path)]
    )
    assert '"\'=HYPERLINK(1)"' in result.output


def test_json_is_an_array_of_objects(run: Run) -> None:
    rows = json.loads(run("report", "recovery_point", "-g", "spike", "--format", "json").output)
    assert [row["graph_id"] for row in rows] == ["spike"]
    assert rows[0]["last_success_at"].endswith("Z")
    assert rows[0]["overdue"] in (True, False)


def test_markdown_cells_keep_to_themselves(run: Run) -> None:
    lines = run("report", "recovery_point", "-g", "markup", "--format", "markdown").output
    assert [line.replace("\\|", "").count("|") for line in lines.splitlines()] == [11, 11, 11]


def test_parquet_keeps_the_types(run: Run, tmp_path: Path) -> None:
    run("report", "size_trend", "--output", tmp_path / "trend.parquet")
    schema = parquet.read_table(tmp_path / "trend.parquet").schema
    assert schema.field("day").type == pa.date32()
    assert schema.field("size_mb").type == pa.int64()


def test_parquet_is_not_for_a_terminal() -> None:
    main = "from ges_history.cli import main; main()"
    leader, terminal = os.openpty()
    try:
        result = subprocess.run(
            [sys.executable, "-c", main, "report", "growth", "--format", "parquet"],
            stdout=terminal,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(leader)
        os.close(terminal)
    assert result.returncode == 2
    assert "give --output FILE" in result.stderr


def test_colour_is_for_a_terminal(database: Path) -> None:
    main = "from ges_history.cli import main; main()"
    leader, terminal = os.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", main, "report", "--database", str(database)],
            stdout=terminal,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
            check=True,
        )
        os.set_blocking(leader, False)
        shown = os.read(leader, 1_000_000)
    finally:
        os.close(leader)
        os.close(terminal)
    assert b"\x1b[31m" in shown


def test_an_output_is_never_the_database(run: Run, database: Path) -> None:
    before = database.stat().st_mtime_ns
    with pytest.raises(HistoryError, match="is the database itself"):
        run("report", "growth", "--format", "csv", "--output", database)
    assert database.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "nope"], "there are anomalies"),
        (["report", "--limit", "3"], "NAME"),
        (["report", "growth", "--since", "yesterday"], "is no date like"),
        (["report", "growth", "--limit", "0"], "range"),
        (["report", "growth", "--html", "page.html"], "without a NAME"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], says: str, run: Run) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output


@pytest.fixture
def lone(database: Path, tmp_path: Path) -> Path:
    """A copy of the database that a test can spoil."""
    path = tmp_path / "ges_backups.duckdb"
    path.write_bytes(database.read_bytes())
    return path


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "not a database":
        path.write_text("hello" * 1000)
    else:
        with duckdb.connect(str(path)) as connection:
            if how == "no history":
                connection.execute("DROP SCHEMA reports CASCADE; DROP SCHEMA ges CASCADE")
            else:
                connection.execute(
                    "CREATE OR REPLACE VIEW reports.about AS"
                    " SELECT 999 AS layout_version, 'x' AS views_fingerprint"
                )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "There is no database"),
        ("empty", "is an empty file"),
        ("not a database", "is not a DuckDB database"),
        ("no history", "holds no backup history"),
        ("newer", "newer version"),
    ],
)
def test_a_database_that_cannot_be_read_ends_in_one_sentence(
    how: str, says: str, lone: Path
) -> None:
    spoil(lone, how)
    result = command("report", cwd=lone.parent)
    assert result.returncode == 1
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    with pytest.raises(DatabaseError, match=says):
        connect(lone)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder"):
        connect(tmp_path)


def test_a_locked_database_names_its_holder(lone: Path) -> None:
    hold = f"import duckdb; c = duckdb.connect({str(lone)!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        result = command("report", "growth", cwd=lone.parent)
        holder.communicate("\n")
    assert result.returncode == 1
    assert f"in use by process {holder.pid};" in result.stderr


def test_an_unknown_graph_names_close_ones(database: Path) -> None:
    with pytest.raises(UnknownGraphError, match="did you mean graph-"):
        read_report("growth", database, graph="grahp-3")
    with pytest.raises(UnknownGraphError, match="load_health"):
        read_report("growth", database, graph="zzzzzzzz")
    with pytest.raises(UnknownReportError, match="size_trend"):
        read_report("sizes", database)


@pytest.mark.parametrize("report", report_names())
def test_a_graph_is_chosen_by_id_or_name(report: str, database: Path) -> None:
    whole = read_report(report, database)
    for key in ("renamed", "new name", ["renamed", "graph-1"], "g0-2"):
        wanted = {key} if isinstance(key, str) else set(key)
        expected = whole[whole["graph_id"].isin(wanted) | whole["graph_name"].isin(wanted)]
        found = read_report(report, database, graph=key)
        moving = [name for name in found if name in ("rpo_age_hours", "stale_hours", "elapsed_s")]
        pd.testing.assert_frame_equal(
            found.drop(columns=moving),
            expected.drop(columns=moving).reset_index(drop=True),
            check_index_type=False,
        )


def test_a_name_can_stand_for_graphs_of_two_projects(database: Path) -> None:
    found = read_report("growth", database, graph="two-projects")
    assert set(found["graph_name"]) == {"two-projects", "twin b"}
    assert len(set(found["project_id"])) == 2
    assert set(read_report("growth", database, graph="twin b")["project_id"]) != {PROJECT}


def test_since_is_included_and_until_is_not(database: Path) -> None:
    whole = read_report("size_trend", database, graph="spike")
    day = whole["day"].iloc[-5].date()
    for since in (day, str(day), datetime(day.year, day.month, day.day, tzinfo=UTC)):
        assert len(read_report("size_trend", database, graph="spike", since=since)) == 5
    assert len(read_report("size_trend", database, graph="spike", until=day)) == len(whole) - 5
    next_day = day + timedelta(days=1)
    one = read_report("size_trend", database, graph="spike", since=day, until=next_day)
    assert list(one["day"].dt.date) == [day]


def test_a_limit_keeps_the_newest_in_order(database: Path) -> None:
    whole = read_report("size_trend", database, graph="spike")
    some = read_report("size_trend", database, graph="spike", limit=4)
    pd.testing.assert_frame_equal(some, whole.tail(4).reset_index(drop=True))
    assert some["day"].is_monotonic_increasing


def test_a_frame_has_good_types(database: Path) -> None:
    anomalies = read_report("anomalies", database)
    trend = read_report("size_trend", database)
    assert str(anomalies["started_at"].dt.tz) == "UTC"
    assert trend["day"].dtype.kind == "M"
    assert isinstance(trend["previous_size_mb"].dtype, pd.Int64Dtype)
    assert isinstance(read_report("recovery_point", database)["overdue"].dtype, pd.BooleanDtype)


def test_reading_gives_the_file_back(database: Path) -> None:
    read_report("growth", database)
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE OR REPLACE TABLE main.scratch AS SELECT 1 AS one")
        connection.execute("DROP TABLE main.scratch")


def test_a_connection_cannot_change_the_history(database: Path) -> None:
    with connect(database) as history, pytest.raises(duckdb.Error):
        history.execute("DELETE FROM ges.backups")
    with connect(database) as history, pytest.raises(duckdb.Error):
        history.execute("DELETE FROM history.ges.backups")


def test_help_is_there_at_once(tmp_path: Path) -> None:
    heavy = "print([m for m in ('duckdb', 'pandas', 'pyarrow', 'rich', 'dlt') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, ges_history, ges_history.cli; {heavy}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (1234567, "1,234,567"),
        (1234.56, "1,234.6"),
        (0.012345, "0.0123"),
        (0.0, "0.0"),
        (float("nan"), ""),
        (True, "yes"),
        (date(2026, 6, 8), "2026-06-08"),
        (datetime(2026, 6, 8, 13, 55, 13, tzinfo=UTC), "2026-06-08 13:55"),
        ("a\x1b[31m\u202eb", "a\ufffd[31m\ufffdb"),
    ],
)
def test_a_cell_is_readable(value: object, text: str) -> None:
    assert cell(value) == text


def test_headings_have_units() -> None:
    assert heading("size_mb") == "size [MB]"
    assert heading("projected_30d_mb") == "projected 30d [MB]"
    assert heading("rpo_age_hours") == "rpo age [h]"
