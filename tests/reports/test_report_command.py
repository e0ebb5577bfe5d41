"""`ges-backups report`, `ges-backups reports`, and reading a report from Python."""

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt
from pyarrow import csv, parquet

import ges_history
import warm_python
from cli_harness import WITHOUT_RIGHTS
from ges_history import connect, read_report
from ges_history.cli import cli
from ges_history.errors import DatabaseError, HistoryError
from ges_history.reports.overview import UnknownGraphError
from ges_history.reports.read import UnknownReportError
from ges_history.reports.selection import SelectionError
from ges_history.reports.views import (
    descriptions,
    missing_tables,
    report_names,
    view_names,
)
from small_disk import fill_up, only_root, small_disk
from synthetic import PROJECT, write_database
from watched import HOUR, Backup, Life, write_history

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "fleet.duckdb"
    return write_database(path, graphs=10, backups=600)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history whose page is soon made."""
    path = tmp_path_factory.mktemp("command") / "small.duckdb"
    return write_database(path, graphs=2, backups=20, edge_cases=False)


def running(database: Path) -> Run:
    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(
            cli, [*map(str, arguments), "--database", str(database)], catch_exceptions=False
        )

    return run


@pytest.fixture
def run(database: Path) -> Run:
    return running(database)


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    words = ["-c", "from ges_history.cli import main; main()", *map(str, arguments)]
    return warm_python.run([sys.executable, *words], cwd=cwd)


def test_reports_lists_every_report_with_its_line() -> None:
    result = CliRunner().invoke(cli, ["reports"])
    assert [line.split()[0] for line in result.output.splitlines()] == report_names()
    assert all(text in result.output for text in descriptions().values())


@pytest.mark.parametrize("report", [*report_names(), "backups"])
def test_every_report_is_a_table(report: str, run: Run, database: Path) -> None:
    lines = run("report", report, "--limit", "3").output.splitlines()
    rows = len(read_report(report, database, limit=3))
    assert rows > 0
    assert sum(bool(line.strip()) for line in lines) >= rows + 2


def test_a_table_says_that_rows_are_left_out(run: Run) -> None:
    assert "These are 50 rows" in run("report", "size_trend").stderr
    assert run("report", "size_trend", "--limit", "7").stdout.count("\n") < 14
    assert "rows" not in run("report", "growth").stderr


def test_the_rows_that_are_left_out_are_the_oldest(run: Run, database: Path) -> None:
    newest = read_report("size_trend", database, graph="spike")["day"].iloc[-50:]
    shown = run("report", "size_trend", "--graph", "spike").stdout
    found = re.findall(r"\d{4}-\d\d-\d\d", shown)
    assert found == [f"{day:%Y-%m-%d}" for day in newest]


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


def test_jsonl_is_an_object_a_line(run: Run, tmp_path: Path, database: Path) -> None:
    run("report", "size_trend", "-g", "spike", "-o", tmp_path / "trend.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "trend.jsonl").read_text().splitlines()]
    expected = read_report("size_trend", database, graph="spike")
    assert [row["size_mb"] for row in rows] == expected["size_mb"].tolist()
    assert rows[0]["day"] == f"{expected['day'].iloc[0]:%Y-%m-%d}"


@pytest.mark.parametrize("name", ["=1+1", "-1", "#N/A"])
def test_a_sheet_has_every_row_in_utc_and_text_as_it_is(
    name: str, run: Run, tmp_path: Path, database: Path
) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE ges.graphs SET name = ? WHERE id = 'renamed'", [name])
    try:
        run("report", "recovery_point", "-o", tmp_path / "points.xlsx")
    finally:
        with duckdb.connect(str(database)) as connection:
            connection.execute("UPDATE ges.graphs SET name = 'new name' WHERE id = 'renamed'")
    sheet = pd.read_excel(
        tmp_path / "points.xlsx", engine="openpyxl", keep_default_na=False, na_values=[""]
    ).set_index("graph_id")
    expected = read_report("recovery_point", database).set_index("graph_id")
    assert len(sheet) == len(expected)
    assert sheet["graph_name"]["renamed"] == name
    assert sheet["last_success_at"]["spike"] == expected["last_success_at"]["spike"].tz_localize(
        None
    )
    assert sheet["successes"].sum() == expected["successes"].sum()


def test_a_dash_is_stdout(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = running(small)
    monkeypatch.chdir(tmp_path)
    printed = run("report", "growth", "-o", "-", "--format", "csv").stdout
    run("report", "growth", "-o", "growth.csv")
    assert printed == Path("growth.csv").read_text()
    page = run("report", "--html", "-").stdout
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["growth.csv"]


def test_the_page_is_said_to_be_written(small: Path, tmp_path: Path) -> None:
    page = tmp_path / "backups.html"
    result = running(small)("report", "--html", page)
    assert result.stdout == f"page      {page} ({page.stat().st_size / 1e6:.1f} MB)\n"


def test_backups_are_listed_as_they_are_newest_first(run: Run, database: Path) -> None:
    arguments = ["report", "backups", "-g", "stuck", "-g", "no-success", "--format", "json"]
    rows = json.loads(run(*arguments).output)
    assert len(rows) == 20 + 40
    assert [row["started_at"] for row in rows] == sorted(
        (row["started_at"] for row in rows), reverse=True
    )
    failed = json.loads(run(*arguments, "--status", "failed", "--limit", "3").output)
    assert [row["backup_id"] for row in failed] == [f"no-success-{n:03}" for n in range(3)]
    spike = read_report("backups", database, graph="spike", status="success")
    assert spike["size_mb"].tolist()[:4] == [1000, 1000, 1000, 5000]


def test_a_project_is_chosen_by_name_or_id(run: Run) -> None:
    for project in ("main project", PROJECT):
        rows = json.loads(
            run("report", "growth", "--project-name", project, "--format", "json").output
        )
        assert {row["project_id"] for row in rows} == {PROJECT}
        assert {row["project_name"] for row in rows} == {"main project"}
    with pytest.raises(UnknownGraphError, match="did you mean main project"):
        run("report", "growth", "--project-name", "main projct")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["anomalies", "-g", "one-backup"], "no backup differs from the 8 or more"),
        (["size_trend", "-g", "never backed up"], "no backup succeeded yet"),
        (
            ["size_trend", "-g", "spike", "--since", "2001-01-01", "--until", "2001-02-01"],
            "some from",
        ),
        (["backups", "--status", "paused", "-g", "spike"], "has the status 'paused'"),
        (["running", "-g", "spike"], "no backup is in progress"),
    ],
)
def test_no_rows_are_told_with_the_reason(arguments: list[str], reason: str, run: Run) -> None:
    shown = run("report", *arguments)
    assert shown.stdout.startswith("no rows: ")
    assert reason in shown.stdout
    assert shown.stdout.count("\n") == 1
    as_json = run("report", *arguments, "--format", "json")
    assert json.loads(as_json.stdout) == []
    assert reason in as_json.stderr


def completed(words: str) -> list[str]:
    """What bash is offered for the last word."""
    found = warm_python.run(
        [sys.executable, "-c", "from ges_history.cli import main; main()"],
        env={
            **os.environ,
            "_GES_BACKUPS_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
    )
    return [line.split(",", 1)[1] for line in found.stdout.splitlines() if line]


def test_a_shell_completes_reports_and_graphs(database: Path) -> None:
    assert completed("ges-backups report s") == ["size_trend", "storage_trend"]
    options = f"ges-backups report --database {database} growth --graph gr"
    assert completed(options) == sorted({f"graph-{n}" for n in range(10)} | {"growing-fast"})
    assert completed("ges-backups report --database /nowhere.duckdb growth --graph g") == []


def test_a_shell_is_offered_no_name_that_it_would_run_or_split(tmp_path: Path) -> None:
    path = write_database(tmp_path / "names.duckdb", graphs=0, edge_cases=False)
    hostile = [
        "z;touch PWNED;#",
        "z$(touch PWNED)",
        "z`id`",
        "z y",
        "z\x1b[31m",
        "z\nz",
        "z'",
        "z*",
    ]
    plain = ["z-plain_1.0", "züge"]
    with duckdb.connect(str(path)) as connection:
        connection.executemany(
            "INSERT INTO ges.graphs (id, project_id, name) VALUES (?, 'p', ?)",
            [[f"g{number}", name] for number, name in enumerate([*hostile, *plain])],
        )
    assert completed(f"ges-backups report --database {path} growth --graph z") == plain


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_signs_that_a_terminal_lacks_end_no_report(encoding: str, database: Path) -> None:
    command = [sys.executable, "-m", "ges_history", "report", "anomalies", "--database", database]

    def shown(encoding: str) -> str:
        env = os.environ | {"PYTHONIOENCODING": encoding}
        return subprocess.run(
            command, env=env, capture_output=True, check=True, encoding=encoding
        ).stdout

    deviations = shown("utf-8").count("\N{GREEK SMALL LETTER SIGMA}")
    assert shown(encoding).count("?") == deviations > 0


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--database", "shut/h.duckdb"],
        ["report", "growth", "--database", "shut/*.duckdb"],
        ["forget", "g1", "--yes", "--database", "shut/h.duckdb"],
        ["report", "--html", "shut/page.html", "--database", "h.duckdb"],
    ],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_entered_is_a_sentence(words: list[str], tmp_path: Path) -> None:
    write_database(tmp_path / "h.duckdb", graphs=1, edge_cases=False)
    shut = tmp_path / "shut"
    shut.mkdir()
    shut.chmod(0)
    command = [*WITHOUT_RIGHTS, sys.executable, "-m", "ges_history"]
    try:
        done = subprocess.run(
            [*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    finally:
        shut.chmod(0o700)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "shut" in done.stderr
    assert "Permission denied" in done.stderr


def test_all_is_described_for_catalogues(run: Run, database: Path) -> None:
    described = json.loads(CliRunner().invoke(cli, ["reports", "--format", "json"]).output)
    assert described == ges_history.describe()
    assert [it["name"] for it in described["reports"]] == [f"reports.{n}" for n in report_names()]
    assert {it["name"] for it in described["tables"]} == {
        f"ges.{name}" for name in ("backups", "graphs", "listings", "projects", "rejected_backups")
    }
    with connect(database) as history:
        for entry in [*described["reports"], *described["views"]]:
            rows = history.sql(f"FROM {entry['name']}")
            assert [column["name"] for column in entry["columns"]] == rows.columns
            keys = ", ".join(entry["key"])
            twice = f"SELECT 1 FROM {entry['name']} GROUP BY {keys} HAVING count(*) > 1"
            assert history.execute(twice).fetchall() == []
            assert all(column["description"] for column in entry["columns"])
            assert entry["grain"].startswith("one row per ")
    growth = next(it for it in described["reports"] if it["name"] == "reports.growth")
    assert {c["name"]: c["unit"] for c in growth["columns"]}["mb_per_day"] == "MB/day"
    assert growth["is_about_now"]


def test_the_views_are_printed_in_the_sql_of_others() -> None:
    spark = CliRunner().invoke(cli, ["reports", "--sql", "spark"]).output
    assert spark.count("CREATE OR REPLACE VIEW reports.") == len(view_names())
    assert "PERCENTILE(duration, 0.95)" in spark
    mine = CliRunner().invoke(cli, ["reports", "--sql", "duckdb"]).output
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA ges")
        for table, columns in missing_tables(set()).items():
            connection.execute(f"CREATE TABLE ges.{table} ({columns})")
        connection.execute(mine)
        assert connection.execute("FROM reports.growth").fetchall() == []
    wrong = CliRunner().invoke(cli, ["reports", "--sql", "cobol"])
    assert wrong.exit_code == 2
    assert "postgres, " in wrong.output


def test_the_public_api_is_what_is_listed() -> None:
    assert sorted(ges_history.__all__) == [
        "HistoryError",
        "__version__",
        "connect",
        "copy_history",
        "describe",
        "load",
        "read_report",
        "report_names",
    ]
    for name in ges_history.__all__:
        assert getattr(ges_history, name)
        assert name == "__version__" or name in (ges_history.__doc__ or "")
    assert ges_history.HistoryError is HistoryError
    assert ges_history.report_names() == report_names()


def test_markdown_cells_keep_to_themselves(run: Run) -> None:
    lines = run("report", "recovery_point", "-g", "markup", "--format", "markdown").output
    bars = {line.replace("\\|", "").count("|") for line in lines.splitlines()}
    assert len(lines.splitlines()) == 3
    assert len(bars) == 1


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    names = ["_orders_", "a&lt;b", "~~old~~", "__main__", "a_b_c"]
    lives = [Life(name, (Backup(HOUR),), name=name) for name in names]
    path = write_history(tmp_path / "names.duckdb", lives).path
    text = running(path)("report", "recovery_point", "--format", "markdown").output
    page = MarkdownIt().enable(["table", "strikethrough"]).render(text)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert {html.unescape(cell) for cell in cells} >= set(names)


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


@pytest.mark.parametrize("named", ["itself", "its log", "a link", "a hard link", "its folder"])
@pytest.mark.parametrize(
    "words",
    [
        ["report", "growth", "--output"],
        ["report", "--html"],
        ["metrics", "--output"],
        ["load", "--metrics"],
        ["load", "--page"],
        ["load", "--publish"],
    ],
    ids=" ".join,
)
def test_an_output_is_never_the_database(words: list[str], named: str, lone: Path) -> None:
    before = lone.read_bytes()
    output = lone.with_name("other")
    if named == "a link":
        output.symlink_to(lone)
    elif named == "a hard link":
        output.hardlink_to(lone)
    else:
        names = {"itself": lone.name, "its log": f"{lone.name}.wal"}
        output = lone.parent / names.get(named, f".{lone.name}.dlt/rollback.journal")
    pattern = lone if words[0] == "load" else lone.with_suffix(".d*")
    result = CliRunner().invoke(cli, [*words, str(output), "--database", str(pattern)])
    assert result.exit_code == 2
    assert "is the database itself" in result.output
    assert lone.read_bytes() == before


def test_an_output_is_replaced_whole_and_a_new_one_is_for_its_owner(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "growth.csv"
    run("report", "growth", "-o", file)
    whole = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("old")
    file.chmod(0o644)
    with file.open() as kept:
        run("report", "growth", "-o", file)
        assert kept.read() == "old"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (whole, 0o644)
    assert list(tmp_path.iterdir()) == [file]


@only_root
def test_a_full_disk_leaves_the_old_output_and_no_part_of_a_new_one(
    run: Run, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 64) as disk:
        (disk / "old.csv").write_text("old")
        (tmp_path / "link.csv").symlink_to(disk / "old.csv")
        fill_up(disk)
        for file in (disk / "old.csv", tmp_path / "link.csv", disk / "new.csv"):
            with pytest.raises(HistoryError, match=r"csv cannot be written: No space left"):
                run("report", "size_trend", "-o", file)
        assert (disk / "old.csv").read_text() == "old"
        assert sorted(path.name for path in disk.iterdir()) == ["filling", "old.csv"]


def test_a_link_stays_a_link_and_a_pipe_a_pipe(run: Run, tmp_path: Path) -> None:
    run("report", "growth", "-o", tmp_path / "growth.csv")
    whole = (tmp_path / "growth.csv").read_bytes()
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe.csv"
    link.symlink_to("behind.csv")
    for _ in range(2):
        run("report", "growth", "-o", link)
        assert (link.is_symlink(), (tmp_path / "behind.csv").read_bytes()) == (True, whole)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run("report", "growth", "-o", pipe)
        assert os.read(reader, len(whole) + 1) == whole
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_stdout_by_its_path_is_written_and_not_replaced(small: Path, tmp_path: Path) -> None:
    stdout = "/proc/self/fd/1"  # where /dev/stdout leads
    words = ["report", "growth", "--database", str(small), "--format", "csv", "-o", stdout]
    program = [sys.executable, "-c", "from ges_history.cli import main; main()", *words]
    with (tmp_path / "out.csv").open("w+") as file:
        subprocess.run(program, stdout=file, check=True)
        assert file.read() == running(small)("report", "growth", "--format", "csv").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "nope"], "there are adherence"),
        (["report", "size_tend"], "did you mean size_trend"),
        (["report", "growth", "--since", "7d"], "is about now"),
        (["report", "size_trend", "--since", "1d", "--until", "2d"], "must be before"),
        (["report", "overview", "--graph", "spike"], "has no graphs"),
        (["report", "growth", "--status", "failed"], "has no status"),
        (["report", "--limit", "3"], "NAME"),
        (["report", "size_trend", "--since", "soon"], "is no instant"),
        (["report", "growth", "--limit", "0"], "range"),
        (["report", "size_trend", "--limit", "99999999999999999999"], "up to 2,147,483,647"),
        (["report", "growth", "--wait", "nan"], "no number"),
        (["report", "growth", "--html", "page.html"], "without a NAME"),
        (["report", "--since", "7d"], "NAME"),
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
        result = command("report", "growth", "--wait", "0.5", cwd=lone.parent)
        holder.communicate("\n")
    assert result.returncode == 1
    assert f"process {holder.pid}" in result.stderr


def test_a_report_waits_for_what_holds_the_database(lone: Path) -> None:
    hold = f"import duckdb; c = duckdb.connect({str(lone)!r}); print('held', flush=True); input()"
    report = "from ges_history.cli import main; main()"
    arguments = ["report", "growth", "--graph", "spike", "--format", "csv"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", hold], **pipes) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        command = [sys.executable, "-c", report, *arguments]
        with subprocess.Popen(command, cwd=lone.parent, stderr=subprocess.PIPE, **pipes) as waiting:
            assert waiting.stderr is not None
            told = waiting.stderr.readline()
            holder.communicate("\n")
            shown, _ = waiting.communicate()
    assert f"process {holder.pid}" in told
    assert "waiting up to 60 s" in told
    assert waiting.returncode == 0
    assert [line.split(",")[1] for line in shown.splitlines()] == ['"graph_id"', '"spike"']


def test_an_unknown_graph_names_close_ones(database: Path) -> None:
    with pytest.raises(UnknownGraphError, match="did you mean graph-"):
        read_report("growth", database, graph="grahp-3")
    with pytest.raises(UnknownGraphError, match="load_health"):
        read_report("growth", database, graph="zzzzzzzz")
    with pytest.raises(UnknownReportError, match="size_trend"):
        read_report("sizes", database)


@pytest.mark.parametrize(
    ("report", "keys"),
    [
        *((report, [["new name", "g0-2"]]) for report in report_names()),
        ("size_trend", ["renamed", "new name", ["renamed", "graph-1"], "g0-2"]),
    ],
)
def test_a_graph_is_chosen_by_id_or_name(
    report: str, keys: list[str | list[str]], database: Path
) -> None:
    whole = read_report(report, database)
    for key in keys:
        wanted = {key} if isinstance(key, str) else set(key)
        if "graph_id" not in whole:
            with pytest.raises(SelectionError):
                read_report(report, database, graph=key)
            continue
        expected = whole[whole["graph_id"].isin(wanted) | whole["graph_name"].isin(wanted)]
        assert report in ("anomalies", "running") or len(expected)
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
    assert read_report("size_trend", database, until="0001-01-01").empty


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
