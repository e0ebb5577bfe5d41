"""The lowest versions that the metadata admits, the newest that there are, and each Python."""

import ast
import shutil
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from environments import ROOT, Environment, Packages, make_environment, run

pytestmark = pytest.mark.integration

FAST = (
    "tests/source/test_client.py",
    "tests/source/test_listing.py",
    "tests/source/test_records.py",
    "tests/reports/test_reports_views.py",
)
TESTERS = ("pytest", "pytest-timeout", "hypothesis", "huaweicloudsdkges")


def python_of(minor: str) -> str:
    """A Python of this version, from the path or of pyenv."""
    found = shutil.which(f"python{minor}")
    beside = sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python"))
    if not found and not beside:
        pytest.skip(f"there is no Python {minor} here")
    return str(beside[-1]) if beside else str(found)


EVERY_REPORT = """
import ges_history as h
from ges_history.reports.views import report_names
print({name: len(h.read_report(name, "d.duckdb")) for name in report_names()})
"""


def walk_through(environment: Environment, folder: Path) -> None:
    """The demo, the screen, a table, the page, and every report as a script's DataFrame."""
    program, where = environment.program("ges-backups"), ["--database", "d.duckdb"]
    run([program, "demo", *where], folder)
    assert "4 of 12 graphs need attention." in run([program, "report", *where], folder).stdout
    table = run([program, "report", "growth", "--limit", "3", *where], folder).stdout
    assert len(table.strip().splitlines()) >= 5
    run([program, "report", "--html", "page.html", *where], folder)
    assert (folder / "page.html").stat().st_size > 500_000
    rows = ast.literal_eval(run([environment.python, "-c", EVERY_REPORT], folder).stdout)
    assert rows["recovery_point"] == 13  # the deleted one, too
    assert rows["size_trend"] > 1000


def test_lowest_versions_that_are_admitted(packages: Packages, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "venv", python=python_of("3.11"))
    environment.install("--resolution", "lowest-direct", f"{packages.wheel}[page]")
    walk_through(environment, tmp_path)


def test_newest_versions_that_are_admitted(packages: Packages, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "venv", python=python_of("3.13"))
    environment.install("--upgrade", f"{packages.wheel}[page]")
    walk_through(environment, tmp_path)


def test_dlt_is_held_to_the_minor_release_whose_inside_is_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "dlt~=1.31.0" in project["dependencies"]
    assert version("dlt").startswith("1.31.")


@pytest.mark.parametrize("minor", ["3.12", "3.13"])
def test_fast_tests_pass_with_python(minor: str, packages: Packages, tmp_path: Path) -> None:
    environment = make_environment(
        tmp_path / "venv", *TESTERS, f"{packages.wheel}[page]", python=python_of(minor)
    )
    command = [environment.python, "-m", "pytest", *FAST, "-p", "no:cacheprovider", "-m"]
    done = run([*command, "not browser and not soak and not integration"], packages.clone)
    assert " passed" in done.stdout
    assert " failed" not in done.stdout
