"""``dlt init ges_backups duckdb --location CLONE``, in an environment with dlt and the requirements only."""

import sys
from pathlib import Path

import duckdb
import pytest

from environments import Environment, Packages, attempt, make_environment, run
from ges_emulator import Emulator, Fleet
from harness import TOKEN, fleet_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def only_dlt(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    requirements = packages.clone / "sources" / "ges_backups" / "requirements.txt"
    return make_environment(
        tmp_path_factory.mktemp("dlt") / "venv", "-r", str(requirements), "dlt[duckdb]"
    )


@pytest.fixture
def project(only_dlt: Environment, packages: Packages, tmp_path: Path) -> Path:
    """A folder in which `dlt init` has laid down the source and its script."""
    command = [only_dlt.program("dlt"), "--non-interactive", "init", "ges_backups", "duckdb"]
    done = run([*command, "--location", str(packages.clone)], tmp_path)
    assert "ges_backups" in done.stdout
    return tmp_path


def settings(project: Path, emulator: Emulator) -> dict[str, str]:
    """Where the API is; and a folder for dlt's pipelines that no other run has used."""
    prefix = "SOURCES__GES_BACKUPS__"
    return {
        f"{prefix}ENDPOINT": emulator.endpoint,
        f"{prefix}PROJECT_ID": emulator.fleet.project_id,
        f"{prefix}CREDENTIALS__TOKEN": TOKEN,
        "DLT_DATA_DIR": str(project / "dlt_data"),
    }


def rows(project: Path) -> dict[str, bool]:
    """Backups by id, and whether they are marked as deleted."""
    with duckdb.connect(project / "ges_backups.duckdb", read_only=True) as database:
        found = database.sql("SELECT id, deleted_at IS NOT NULL FROM ges.backups").fetchall()
    assert len(found) == len({backup for backup, _ in found})
    return dict(found)


def test_lays_down_the_source_its_script_and_its_requirements(project: Path) -> None:
    laid = {path.name for path in project.iterdir()}
    assert {"ges_backups", "ges_backups_pipeline.py", "requirements.txt", ".dlt"} <= laid
    assert "dlt[duckdb]" in (project / "requirements.txt").read_text()
    assert not (project / "ges_history").exists()


def test_script_loads_twice_with_rows_and_marks(project: Path, only_dlt: Environment) -> None:
    fleet: Fleet = fleet_of(graphs=2, backups=3)
    script = [only_dlt.python, "ges_backups_pipeline.py"]
    with Emulator(fleet) as emulator:
        run(script, project, **settings(project, emulator))
        assert rows(project) == dict.fromkeys(
            [f"g{graph}-b{backup}" for graph in (1, 2) for backup in range(3)], False
        )
        fleet.graphs[0].delete_backup("g1-b0")
        fleet.graphs[1].add_backup(fleet.now, id="new")
        run(script, project, **settings(project, emulator))
    after = rows(project)
    assert after.pop("new") is False
    assert [backup for backup, marked in after.items() if marked] == ["g1-b0"]


def test_cursors_survive_so_that_a_long_history_is_not_read_again(
    project: Path, only_dlt: Environment
) -> None:
    fleet = fleet_of(graphs=1, backups=450)
    script = [only_dlt.python, "ges_backups_pipeline.py"]
    with Emulator(fleet, page_cap=100) as emulator:
        run(script, project, **settings(project, emulator))
        first = len(emulator.requests)
        run(script, project, **settings(project, emulator))
        assert len(emulator.requests) - first <= 3
    assert first >= 6


def test_works_nested_in_another_package(project: Path, only_dlt: Environment) -> None:
    (project / "dlt_sources").mkdir()
    (project / "ges_backups").rename(project / "dlt_sources" / "ges_backups")
    run([only_dlt.python, "-c", "from dlt_sources.ges_backups import ges_backups"], project)


def test_what_is_not_set_is_said(project: Path, only_dlt: Environment) -> None:
    own = str(project / "dlt_data")  # dlt's usual folder may hold a pipeline of this name
    done = attempt([only_dlt.python, "ges_backups_pipeline.py"], project, DLT_DATA_DIR=own)
    assert done.returncode != 0
    assert "ges_backups" in done.stderr
    assert "project_id" in done.stderr or "credentials" in done.stderr.lower()


def test_lists_the_source_and_no_broken_one(packages: Packages, only_dlt: Environment) -> None:
    command = [only_dlt.program("dlt"), "init", "--list-sources", "--location", str(packages.clone)]
    shown = run(command, packages.clone.parent).stdout
    assert "ges_backups: dlt source of the backups" in shown
    assert "not available" not in shown


def test_requirements_are_what_the_source_imports(
    packages: Packages, only_dlt: Environment
) -> None:
    """Nothing of the command line's, the reports' or the emulator's comes with the source."""
    listed = (packages.clone / "sources" / "ges_backups" / "requirements.txt").read_text()
    assert "#" not in listed
    code = "import sys, ges_backups; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = run([only_dlt.python, "-c", code], packages.clone / "sources").stdout.split()
    assert not {"click", "rich", "pandas", "aiohttp", "ges_history"} & (
        set(loaded) - set(sys.stdlib_module_names) - {"click"}
    )
