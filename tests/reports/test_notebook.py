"""The notebook as a script and as an app: it draws, it follows its controls, it holds no file."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import expect

from browser import CHROMIUM, NO_BROWSER, Visit, chromium, visit
from notebook_app import NOTEBOOK, served
from synthetic import write_database


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "fleet.duckdb"
    return write_database(path, graphs=5, backups=800, edge_cases=False)


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


def test_notebook_without_a_database_says_how_to_make_one(tmp_path: Path) -> None:
    done = run_as_script(tmp_path, GES_BACKUPS_DATABASE="elsewhere.duckdb")
    assert done.returncode == 0
    assert "There is no database elsewhere.duckdb" in done.stdout
    assert "ges-backups demo" in done.stdout


@pytest.fixture(scope="module")
def opened(database: Path) -> Iterator[Visit]:
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    with (
        served(database) as address,
        chromium() as browser,
        visit(browser, address, allowed=address) as found,
    ):
        found.page.locator("canvas").nth(4).wait_for(timeout=60_000)
        yield found


@pytest.mark.browser
def test_notebook_draws_its_charts_without_any_network(opened: Visit) -> None:
    page = opened.page
    for title in ("Size", "Duration", "Throughput", "Reliability", "Growth and forecast"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    canvas = page.locator("canvas").first
    assert canvas.evaluate("canvas => canvas.width * canvas.height") > 10_000
    assert canvas.evaluate(_COLOURS) > 5
    assert opened.requests == []


@pytest.mark.browser
def test_choosing_another_graph_changes_the_figures(opened: Visit) -> None:
    page = opened.page
    before = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    expect(page.get_by_text("graph-4", exact=True)).to_have_count(0)
    page.locator("marimo-multiselect button").first.click()
    page.get_by_role("option", name="graph-4").click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("graph-4", exact=True).first).to_be_visible(timeout=60_000)
    assert page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != before


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


_COLOURS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""
