"""The documents cannot drift: what they show is what the code says, and each command they print runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import warm_python
from cli_harness import PROGRAM, environment
from ges_emulator import Emulator, demo_fleet
from ges_history import connect, report_names
from ges_history.cli import cli
from watched import HOUR, Backup, Life, write_history

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TABLES = (ROOT / "docs" / "tables.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
COMMANDS = [
    line.split(" #")[0].strip() for line in SHELL.splitlines() if line.startswith("ges-backups ")
]
QUESTIONS = re.findall(r"```sql\n(.*?)```", TABLES, re.DOTALL)
STAYING = ("emulate", "notebook")
"""Commands that serve until they are stopped; their own tests run them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder, and settings of a project called like the one that the README forgets."""
    folder = tmp_path_factory.mktemp("readme")
    with Emulator(demo_fleet(now=datetime.now(UTC))) as emulator:
        variables = environment(emulator, folder, SOURCES__GES_BACKUPS__NAME="old-project")
        variables["PATH"] = f"{Path(PROGRAM).parent}{os.pathsep}{variables['PATH']}"
        yield folder, variables


@pytest.fixture(scope="module")
def database(place: tuple[Path, dict[str, str]]) -> Path:
    folder, variables = place
    command = [PROGRAM, "load", "--database", "asked.duckdb"]
    done = warm_python.run(command, variables, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "asked.duckdb"


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 250
    assert README.index("make demo") < README.index(".png") < README.index("## Install")


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_each_command_is_in_the_readme(command: str) -> None:
    assert f"ges-backups {command}" in README or re.search(
        rf"^### ges-backups .*\b{command}\b", README, re.MULTILINE
    )


@pytest.mark.parametrize("option", sorted(o for p in cli.commands["load"].params for o in p.opts))
def test_each_option_of_load_is_in_the_readme(option: str) -> None:
    assert option in README


@pytest.mark.timeout(900)
def test_each_command_that_is_shown_works_as_printed(place: tuple[Path, dict[str, str]]) -> None:
    folder, variables = place
    assert len(COMMANDS) > 20
    assert shutil.which("ges-backups", path=variables["PATH"]) == PROGRAM
    for line in COMMANDS:
        assert not set("|&;<>$`*?~(") & set(line), "this line needs a shell"
        _, command, *words = shlex.split(line)
        if command in STAYING:
            known = {option for p in cli.commands[command].params for option in p.opts}
            assert {word for word in words if word.startswith("--")} <= known
            continue
        done = warm_python.run([PROGRAM, command, *words], variables, cwd=folder)
        assert "Traceback" not in done.stderr, line
        allowed = {0, 1, 2} if command == "check" else {0}
        assert done.returncode in allowed, f"{line}\n{done.stdout}\n{done.stderr}"


def test_cron_line_works_as_it_stands_but_for_its_folders(
    place: tuple[Path, dict[str, str]],
) -> None:
    folder, variables = place
    (line,) = re.findall(r"```cron\n17 \* \* \* \*  (.*)\n```", README)
    assert "/opt/ges-backups/bin/ges-backups load" in line
    here = line.replace("/srv/backups", str(folder))
    here = here.replace("/opt/ges-backups/bin/ges-backups", PROGRAM)
    bare = {**variables, "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-c", here], env=bare, check=True, cwd="/")
    log = (folder / "load.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", entry) for entry in log)
    assert any("12 listed" in entry for entry in log)


def test_systemd_unit_starts_the_command_by_its_whole_path() -> None:
    unit = README[README.index("ges-backups.service") : README.index("ges-backups.timer")]
    start = re.findall(r"^ExecStart=(\S+) (\w+)$", unit, re.MULTILINE)
    assert start == [("/opt/ges-backups/bin/ges-backups", "load")]
    assert "SuccessExitStatus=3" in unit


@pytest.mark.parametrize("name", report_names())
def test_each_view_is_in_the_readme(name: str) -> None:
    assert f"`reports.{name}`" in README


def test_reference_of_tables_is_what_the_code_says() -> None:
    spec = spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.tables() == TABLES, "make tables"


def test_there_are_five_questions() -> None:
    assert len(QUESTIONS) == 5


@pytest.mark.parametrize("question", range(5))
def test_a_question_runs_and_answers(question: int, database: Path) -> None:
    with connect(database) as history:
        rows = history.sql(QUESTIONS[question]).fetchall()
    assert rows or "deleted_at IS NOT NULL" in QUESTIONS[question]  # nothing was deleted yet


def test_the_question_of_each_graph_tells_two_of_one_name_apart(tmp_path: Path) -> None:
    (question,) = [text for text in QUESTIONS if "storage_trend" in text]
    lives = [Life("g", (Backup(HOUR, size=n),), project_id=f"p{n}", name="a") for n in (10, 500)]
    path = write_history(tmp_path / "twins.duckdb", lives).path
    with connect(path) as history:
        assert {row[-1] for row in history.sql(question).fetchall()} == {10, 500}


def test_each_setting_of_the_readme_exists() -> None:
    from ges_backups.project import ProjectSettings  # noqa: PLC0415

    known = {name.upper() for name in ProjectSettings.get_resolvable_fields()} | {"PROJECTS"}
    named = set(re.findall(r"SOURCES__GES_BACKUPS__([A-Z_]+?)(?:__|=)", README))
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert listed >= {"GRAPH_IDS", "PAGE_SIZE", "FULL_LISTING_INTERVAL"}
    assert named | listed <= known


def test_each_file_that_is_linked_exists() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        missing = [link for link in links if not (document.parent / link).exists()]
        assert missing == [], document


def test_each_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)(?:`|  )", documents))
    assert {"demo", "test", "check", "help", "integrations"} <= targets
    assert named <= targets


def test_each_guarantee_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []


def test_each_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    block = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    names = set(re.findall(r'"([A-Za-z0-9-]+)(?:\[\w+\])?[~><=]', block))
    reasons = (ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in sorted(names) if name not in reasons] == []


def test_pins_name_no_place_to_take_them_from() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert len(pins.splitlines()) > 100
    assert not re.search(r"://|@|^-|/", pins, re.MULTILINE)


def test_this_python_is_one_that_the_metadata_names() -> None:
    assert f"Python :: 3.{sys.version_info.minor}" in (ROOT / "pyproject.toml").read_text()
