"""The demo stays apart from a history of one's own; a schedule's log tells time, and only what counts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from beginnings import Beginnings
from cli_harness import SETTING, STAMPED, Command, environment
from ges_emulator import Emulator, Fault, Fleet, demo_fleet
from ges_history import connect
from harness import Warehouse, fleet_of


@pytest.fixture
def command(emulator: Emulator, tmp_path: Path) -> Command:
    return Command(emulator, tmp_path)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran, though variables name a project and a file of one's own."""
    folder = tmp_path_factory.mktemp("demo")
    with Emulator(fleet_of(graphs=2)) as emulator:
        done = Command(emulator, folder).run("demo", GES_BACKUPS_DATABASE="mine.duckdb")
        assert emulator.requests == []
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def demo(shown: Path, command: Command) -> Path:
    """The demo's file in the folder of the command."""
    shutil.copytree(shown, command.folder, dirs_exist_ok=True)
    return command.folder / "ges_demo.duckdb"


@pytest.fixture
def begun(command: Command, emulator: Emulator, beginnings: Beginnings) -> Command:
    """A command where a load has been before."""
    beginnings.load(Warehouse(command.folder / "ges_backups.duckdb"), emulator)
    return command


def projects(database: Path) -> list[str]:
    with connect(database) as history:
        rows = history.sql("SELECT DISTINCT project_id FROM ges.graphs").fetchall()
    return [project for (project,) in rows]


def test_demo_is_never_in_the_file_of_ones_own(demo: Path, command: Command) -> None:
    assert not (command.folder / "ges_backups.duckdb").exists()
    assert projects(demo) == [demo_fleet().project_id]
    loaded = command.load()
    assert loaded.code == 0
    assert projects(command.folder / "ges_backups.duckdb") == [command.emulator.fleet.project_id]


def test_ones_own_project_is_refused_by_a_demo(demo: Path, command: Command) -> None:
    before = demo.read_bytes()
    refused = command.load("--database", "ges_demo.duckdb")
    assert refused.code == 1
    assert "demo" in refused.err
    assert "--database" in refused.err
    assert demo.read_bytes() == before


def test_demo_is_refused_by_ones_own_history(begun: Command) -> None:
    before = (begun.folder / "ges_backups.duckdb").read_bytes()
    refused = begun.run("demo", "--database", "ges_backups.duckdb")
    assert refused.code == 1
    assert "--database" in refused.err
    assert (begun.folder / "ges_backups.duckdb").read_bytes() == before


def test_demo_is_not_led_to_ones_own_file_by_a_variable(shown: Path) -> None:
    assert (shown / "ges_demo.duckdb").exists()
    assert not (shown / "mine.duckdb").exists()


def test_variable_of_an_option_is_the_same_for_each_command(command: Command) -> None:
    assert command.load(GES_BACKUPS_DATABASE="mine.duckdb").code == 0
    assert (command.folder / "mine.duckdb").exists()
    shown = command.run("report", "inventory", GES_BACKUPS_DATABASE="mine.duckdb")
    assert shown.code == 0


def test_each_line_of_a_log_has_its_time(command: Command) -> None:
    done = command.load()
    assert len(done.lines) == 4
    unset = command.load(SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN=None)
    assert unset.code == 1
    assert STAMPED.fullmatch(unset.err.strip().removeprefix("ges-backups: "))


def test_quiet_is_silent_while_all_is_well(begun: Command) -> None:
    done = begun.load("--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_quiet_tells_each_problem(command: Command, fleet: Fleet) -> None:
    assert command.emulator is not None
    command.emulator.faults.add(Fault.http(403), times=99, graph_id="g1")
    done = command.load("--quiet")
    assert done.code == 3
    assert [line.split(":")[0] for line in done.lines] == ["problem   graph g1"]


def test_quiet_still_tells_why_nothing_could_be_done(command: Command) -> None:
    done = command.load("--quiet", SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN=None)
    assert done.code == 1
    assert "No credentials" in done.err


def test_module_is_the_command(command: Command) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ges_history", "load", "--json"],
        cwd=command.folder,
        env=environment(command.emulator, command.folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"outcome": "complete"' in done.stdout


def test_completion_knows_the_commands(command: Command) -> None:
    words = {"COMP_WORDS": "ges-backups re", "COMP_CWORD": "1"}
    done = command.run(_GES_BACKUPS_COMPLETE="bash_complete", **words)
    assert {line.split(",")[1] for line in done.out.split()} >= {"report", "reports"}
    script = command.run(_GES_BACKUPS_COMPLETE="zsh_source")
    assert "compdef" in script.out


def test_fast_emulator_stays_in_the_past(tmp_path: Path) -> None:
    program = [str(Path(sys.executable).with_name("ges-backups")), "emulate", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*program, "--speed", "10000000"],
        stdout=pipe,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            printed = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
            assert "30 days" in printed
            settings = dict(re.findall(r"export (\w+)=(\S+)", printed))
            done = Command(None, tmp_path).load(**settings)
            assert done.code == 0, done.err
        finally:
            process.kill()
    with connect(tmp_path / "ges_backups.duckdb") as history:
        ((ahead,),) = history.sql(
            "SELECT count(*) FROM ges.backups WHERE started_at > now()"
        ).fetchall()
    assert ahead == 0


def test_settings_that_do_not_exist_are_told(begun: Command) -> None:
    meant = {
        "PAGESIZE": "PAGE_SIZE",
        "CREDENTIALS__TOKN": "CREDENTIALS__TOKEN",
        "GRAPH_ID": "GRAPH_IDS",
    }
    done = begun.load("--quiet", **{f"{SETTING}{wrong}": "1" for wrong in meant})
    assert done.code == 0
    for wrong, right in meant.items():
        assert f"{SETTING}{wrong}; did you mean {SETTING}{right}?" in done.err


def test_settings_that_exist_are_not_told(begun: Command) -> None:
    known = {"PAGE_SIZE": "50", "FULL_LISTING_INTERVAL": "1h", "BACKUPS__WRITE_DISPOSITION": "x"}
    done = begun.load(**{f"SOURCES__GES_BACKUPS__{name}": at for name, at in known.items()})
    assert "There is no setting" not in done.err


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v1.0", "/v2/0123/graphs"])
def test_endpoint_with_a_version_is_told(path: str, command: Command) -> None:
    assert command.emulator is not None
    endpoint = command.emulator.endpoint
    done = command.load(SOURCES__GES_BACKUPS__ENDPOINT=f"{endpoint}{path}")
    assert done.code == 1
    assert f"use {endpoint}." in done.err
    assert command.emulator.requests == []
