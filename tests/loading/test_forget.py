"""A project that came into a history by mistake goes out again; nothing else changes."""

from pathlib import Path

from cli_harness import Command
from ges_emulator import Emulator, Fleet
from harness import NOW, Warehouse, assert_exact, fill


def two_projects(warehouse: Warehouse, emulator: Emulator) -> str:
    """Load a second project beside the emulator's; its id."""
    other = Fleet("ffffffffffffffffffffffffffffffff", now=NOW)
    fill(other.add_graph("x1"), 4)
    with Emulator(other) as two:
        warehouse.load(emulator)
        warehouse.load(two)
    return other.project_id


def test_a_project_is_forgotten_with_all_its_rows(
    warehouse: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    other = two_projects(warehouse, emulator)
    command = Command(emulator, tmp_path)
    done = command.run("forget", other, "--yes", "--database", str(warehouse.path))
    assert done.code == 0, done.err
    assert "1 graphs and 4 backups will be removed" in done.out
    assert "removed 4 backups, 1 graphs, 1 listings, 1 projects, 0 rejected_backups" in done.out
    for table in ("backups", "graphs", "listings"):
        assert {row["project_id"] for row in warehouse.rows(table)} == {emulator.fleet.project_id}
    assert_exact(warehouse, emulator.fleet)
    assert warehouse.load(emulator).outcome == "unchanged"


def test_it_asks_first_and_knows_what_there_is(
    warehouse: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    other = two_projects(warehouse, emulator)
    command = Command(emulator, tmp_path)
    refused = command.run("forget", other, "--database", str(warehouse.path))
    assert refused.code != 0
    assert len(warehouse.backups) == 10
    unknown = command.run("forget", "nobody", "--yes", "--database", str(warehouse.path))
    assert unknown.code == 1
    assert "knows no project 'nobody'; there is" in unknown.err


def test_a_forgotten_project_that_is_loaded_again_is_listed_in_full(
    warehouse: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    warehouse.load(emulator)
    command = Command(emulator, tmp_path)
    project = emulator.fleet.project_id
    assert command.run("forget", project, "--yes", "--database", str(warehouse.path)).code == 0
    assert warehouse.backups == {}
    outcome = warehouse.load(emulator)
    assert outcome.backups["new"] == 6
    assert_exact(warehouse, emulator.fleet)
