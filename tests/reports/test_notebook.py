"""The notebook as a script and as an app: it draws, it follows its controls, it holds no file."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import pytest
from playwright.sync_api import Locator, expect

import warm_python
from browser import CHROMIUM, NO_BROWSER, Visit, chromium, visit
from ges_history.reports import words
from ges_history.warehouses import warehouse_for
from notebook_app import NOTEBOOK, served
from synthetic import write_database
from tooltips import day_of, tip_at
from watched import HOUR, Backup, Life, ProjectRow, write_history


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "fleet.duckdb"
    return write_database(path, graphs=5, backups=800, edge_cases=False)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    words = ["-m", "ges_history", "notebook", *arguments]
    return warm_python.run([sys.executable, *words], cwd=folder, timeout=200)


def run_as_script(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(NOTEBOOK), *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_notebook_runs_as_a_script(database: Path, tmp_path: Path) -> None:
    done = run_as_script(tmp_path, "--database", str(database))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Growth of 3 graphs" in done.stdout
    assert "graph-1" in done.stdout


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the notebook in this process, as a script does; what its cells show."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(NOTEBOOK), *arguments])
        shown, _ = runpy.run_path(str(NOTEBOOK))["app"].run()
        return "\n".join(getattr(output, "text", "") for output in shown)

    return run


def test_notebook_without_a_database_says_how_to_make_one(
    run_here: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GES_BACKUPS_DATABASE", "elsewhere.duckdb")
    run_here()
    shown = capsys.readouterr().out
    assert "There is no database elsewhere.duckdb" in shown
    assert "ges-backups demo" in shown


def test_notebook_of_graphs_without_backups_says_so(
    run_here: Callable[..., str], tmp_path: Path
) -> None:
    path = write_database(tmp_path / "new.duckdb", graphs=0, edge_cases=False)
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO ges.graphs (id, project_id, name) VALUES ('g', 'p', 'new')")
    assert "Without any success: 1 (new)" in run_here("--database", str(path))


def test_two_projects_of_one_name_are_two_choices(
    run_here: Callable[..., str], tmp_path: Path
) -> None:
    lives = [Life("g", (Backup(HOUR),), project_id=project) for project in ("p1", "p2", "p3")]
    rows = [ProjectRow("p1", "prod"), ProjectRow("p2", "prod"), ProjectRow("p3", "dev")]
    path = write_history(tmp_path / "alike.duckdb", lives, rows).path
    shown = run_here("--database", str(path))
    assert all(choice in shown for choice in ("prod (p1)", "prod (p2)", "dev"))


@pytest.mark.parametrize("suffix", ["html", "ipynb"])
def test_the_command_writes_the_notebook_with_its_charts(
    suffix: str, database: Path, tmp_path: Path
) -> None:
    done = command(tmp_path, "--database", str(database), "--output", f"trends.{suffix}")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / f"trends.{suffix}").read_text(encoding="utf-8")
    assert "graph-1" in text
    assert text.count("vega") > 5
    if suffix == "ipynb":
        assert {"code", "markdown"} <= {cell["cell_type"] for cell in json.loads(text)["cells"]}


@pytest.mark.parametrize("output", ["nowhere/trends.html", "folder.html"])
def test_a_notebook_that_cannot_be_written_is_a_sentence(
    output: str, database: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.html").mkdir()
    done = command(tmp_path, "--database", str(database), "--output", output)
    assert done.returncode in (1, 2)
    assert output in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_command_without_a_history_is_a_sentence(tmp_path: Path) -> None:
    done = command(tmp_path, "--database", "none.duckdb")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "There is no database none.duckdb" in done.stderr


def test_the_notebook_is_in_the_wheel(tmp_path: Path) -> None:
    root = NOTEBOOK.parents[1]
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, root],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as packed:
        assert packed.read("ges_history/notebooks/backup_trends.py") == NOTEBOOK.read_bytes()


@pytest.fixture(scope="module")
def opened(database: Path) -> Iterator[Visit]:
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    with (
        served(database) as address,
        chromium() as browser,
        visit(browser, address, allowed=address) as found,
    ):
        found.page.locator("svg.marks").nth(6).wait_for(timeout=120_000)
        yield found


TITLES = ("Stored at the source", "Size", "Duration", "Throughput", "Days on target",
          "Reliability", "Growth and forecast")  # fmt: skip


def chart(opened: Visit, title: str) -> Locator:
    """The chart below a heading."""
    heading = opened.page.get_by_role("heading", name=title, exact=True)
    return (
        opened.page.locator("div.marimo-cell").filter(has=heading).last.locator("svg.marks").first
    )


@pytest.mark.browser
def test_notebook_draws_its_charts_without_any_network(opened: Visit) -> None:
    for title in TITLES:
        expect(chart(opened, title)).to_be_visible()
        assert chart(opened, title).locator("path[aria-roledescription]").count() > 2
    assert opened.requests == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("title", "mark", "time", "figures"),
    [
        ("Stored at the source", "point", "Day",
         {"Stored": ("storage_trend", "day", "stored_mb", words.size)}),
        ("Size", "circle", "Day",
         {"Size": ("size_trend", "day", "size_mb", words.size),
          "7-day mean": ("size_trend", "day", "avg_7d_mb", words.size)}),
        ("Duration", "point", "Week from",
         {"Median": ("duration_trend", "week", "p50_duration_s", words.seconds),
          "95 % within": ("duration_trend", "week", "p95_duration_s", words.seconds)}),
        ("Throughput", "point", "Week from",
         {"Throughput": ("duration_trend", "week", "mb_per_s", lambda x: f"{x:,.1f} MB/s")}),
        ("Days on target", "rect", "Day",
         {"Last success, at most": ("adherence", "day", "oldest_age_hours", words.hours)}),
        ("Reliability", "rect", "Month",
         {"Success rate": ("reliability", "month", "success_rate", words.percent),
          "Failed": ("reliability", "month", "failed", str)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_pointing_at_a_chart_shows_the_figures_that_sql_gives(
    title: str,
    mark: str,
    time: str,
    figures: dict[str, tuple[str, str, str, Callable[[Any], str]]],
    opened: Visit,
    database: Path,
) -> None:
    marks = chart(opened, title).locator(f"path[aria-roledescription^={mark}]")
    for place in (3, marks.count() // 2):
        tip = tip_at(opened.page, marks.nth(place))
        for label, (report, column, field, told) in figures.items():
            day = day_of(tip[time]) if time != "Month" else month_of(tip[time])
            rows = warehouse_for(database).read(
                f"SELECT {field} AS x FROM reports.{report}"
                f" WHERE graph_name = ? AND {column} <= ? ORDER BY {column} DESC LIMIT 1",
                tip["Graph"],
                day,
            )
            assert tip[label] == told(rows.column("x")[0].as_py()), label


@pytest.mark.browser
def test_a_forecast_says_its_interval(opened: Visit, database: Path) -> None:
    marks = chart(opened, "Growth and forecast").locator("path[aria-roledescription=point]")
    tip = tip_at(opened.page, marks.nth(2))
    (row,) = (
        warehouse_for(database)
        .read("SELECT * FROM reports.growth WHERE graph_name = ?", tip["Graph"])
        .to_pylist()
    )
    today = datetime.now(UTC).date()
    late = (today - row["last_day"]).days
    assert day_of(tip["Day"]) == today + timedelta(days=90)
    ahead = max(row["projected_90d_mb"] + late * row["mb_per_day"], 0)
    assert tip["Forecast"] == words.size(ahead)
    assert tip["Lowest"] != tip["Highest"]


def month_of(text: str) -> date:
    """The month that a tooltip says: Nov 2026."""
    return datetime.strptime(text.replace("Sept", "Sep"), "%b %Y").date()


@pytest.mark.browser
def test_axes_say_dates(opened: Visit) -> None:
    labels = chart(opened, "Size").locator(".role-axis-label text").all_text_contents()
    assert any(re.fullmatch(r"\d{1,2} \w{3} 20\d\d", label) for label in labels), labels


@pytest.mark.browser
def test_choosing_another_graph_changes_the_figures(opened: Visit) -> None:
    page = opened.page
    expect(chart(opened, "Size")).not_to_contain_text("graph-4")
    page.locator("marimo-multiselect button").first.click()
    page.get_by_role("option", name="graph-4").click()
    page.keyboard.press("Escape")
    for title in TITLES:
        expect(chart(opened, title)).to_contain_text("graph-4", timeout=60_000)


@pytest.mark.browser
def test_a_load_can_write_while_the_notebook_is_open(opened: Visit, database: Path) -> None:
    deadline = time.monotonic() + 20  # a question may just be read; between two, the file is free
    while True:
        try:
            writer = duckdb.connect(str(database))
        except duckdb.IOException:
            assert time.monotonic() < deadline, "the notebook holds the database"
            time.sleep(0.2)
        else:
            writer.close()
            return


@pytest.mark.browser
def test_a_question_in_sql_is_answered_and_bounded_to_the_history(opened: Visit) -> None:
    page = opened.page
    editor = page.locator(".cm-content").last
    for question, answer in (
        ("SELECT 6 * 7 AS answer_is, count(*) AS n FROM ges.graphs", "answer_is"),
        ("SELECT * FROM read_text('/etc/hostname')", "file system operations are disabled"),
    ):
        editor.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(question)
        page.get_by_role("button", name="Run", exact=True).last.click()
        expect(page.get_by_text(answer).last).to_be_visible(timeout=60_000)
