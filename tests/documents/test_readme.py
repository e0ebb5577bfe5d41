"""The documents cannot drift: every command, view, column and setting is there, and the SQL runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ges_backups.rows import BACKUP_COLUMNS
from ges_backups.schema import GRAPH_COLUMNS, LISTING_COLUMNS, REJECTED_COLUMNS
from ges_history import connect
from ges_history.cli import cli
from ges_history.reports.views import report_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
QUESTIONS = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    command = [str(Path(sys.executable).with_name("ges-backups")), "demo"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "ges_backups.duckdb"


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_each_command_is_in_the_readme(command: str) -> None:
    assert f"ges-backups {command}" in README


@pytest.mark.parametrize("option", sorted(o for p in cli.commands["load"].params for o in p.opts))
def test_each_option_of_load_is_in_the_readme(option: str) -> None:
    assert option in README


@pytest.mark.parametrize("name", report_names())
def test_each_view_is_in_the_readme(name: str) -> None:
    assert f"`reports.{name}`" in README


@pytest.mark.parametrize(
    "columns", [BACKUP_COLUMNS, GRAPH_COLUMNS, LISTING_COLUMNS, REJECTED_COLUMNS]
)
def test_each_column_is_in_the_readme_with_its_meaning(columns: dict[str, dict[str, str]]) -> None:
    for name, hints in columns.items():
        assert f"| `{name}` |" in README
        assert hints["description"] in README


def test_there_are_five_questions() -> None:
    assert len(QUESTIONS) == 5


@pytest.mark.parametrize("question", range(5))
def test_a_question_of_the_readme_runs_and_answers(question: int, demo_database: Path) -> None:
    with connect(demo_database) as history:
        assert history.sql(QUESTIONS[question]).fetchall()


def test_each_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)(?:`|  )", documents))
    assert {"demo", "test", "check", "help"} <= targets
    assert named <= targets


def test_each_guarantee_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []


def test_each_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    block = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    names = set(re.findall(r'"([A-Za-z0-9-]+)(?:\[\w+\])?[><=]', block))
    reasons = (ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in sorted(names) if name not in reasons] == []
