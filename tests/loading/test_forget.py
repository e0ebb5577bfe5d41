"""A project that came into a history by mistake goes out again; nothing else changes."""

import gzip
import time
from pathlib import Path

import duckdb
import pytest

from beginnings import Beginnings, contents
from cli_harness import Command, held
from ges_emulator import Emulator, Fleet
from harness import NOW, Warehouse, assert_exact, fill

FIRST_RELEASE = Path(__file__).parents[1] / "fixtures" / "history_v0_1_0.duckdb.gz"


@pytest.fixture
def other(warehouse: Warehouse, emulator: Emulator, beginnings: Beginnings) -> str:
    """The id of a second project that was loaded beside the emulator's."""
    fleet = Fleet("ffffffffffffffffffffffffffffffff", now=NOW)
    fill(fleet.add_graph("x1"), 4)
    with Emulator(fleet) as two:

        def load_both(empty: Warehouse) -> None:
            empty.load(emulator)
            empty.load(two)

        beginnings.make(warehouse, load_both, contents(emulator), contents(two))
    return fleet.project_id


def test_a_project_is_forgotten_with_all_its_rows(
    warehouse: Warehouse, emulator: Emulator, other: str, tmp_path: Path
) -> None:
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
    warehouse: Warehouse, emulator: Emulator, other: str, tmp_path: Path
) -> None:
    command = Command(emulator, tmp_path)
    refused = command.run("forget", other, "--database", str(warehouse.path))
    assert refused.code == 1
    assert "Nothing was removed. Where nobody can be asked, give --yes." in refused.err
    assert len(warehouse.backups) == 10
    unknown = command.run("forget", "nobody", "--yes", "--database", str(warehouse.path))
    assert unknown.code == 1
    assert "knows no project 'nobody'; there is" in unknown.err


def test_what_a_killed_first_load_has_left_is_forgotten(
    loaded: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    """Files of backups that were merged before those of listings and projects."""
    with duckdb.connect(str(loaded.path)) as database:
        for table in ("listings", "projects", "graphs"):
            database.execute(f"DELETE FROM ges.{table}")
    project = emulator.fleet.project_id
    done = Command(None, tmp_path).run("forget", project, "--yes", "--database", str(loaded.path))
    assert done.code == 0, done.err
    assert loaded.backups == {}


def test_a_project_of_the_first_release_is_forgotten(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.path.write_bytes(gzip.decompress(FIRST_RELEASE.read_bytes()))
    (project,) = {row["project_id"] for row in warehouse.rows("backups")}
    words = ["forget", project, "--yes", "--database", str(warehouse.path)]
    done = Command(None, tmp_path).run(*words)
    assert done.code == 0, done.err
    assert warehouse.rows("backups") == []


def test_it_waits_for_a_reader_as_long_as_it_is_told(
    loaded: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    words = ["forget", emulator.fleet.project_id, "--yes", "--wait", "1"]
    begun = time.monotonic()
    with held(loaded.path, "reader"):
        done = Command(None, tmp_path).run(*words, "--database", str(loaded.path))
    assert done.code == 1
    assert "waiting up to 1 s" in done.err
    assert time.monotonic() - begun < 30


def test_a_forgotten_project_that_is_loaded_again_is_listed_in_full(
    loaded: Warehouse, emulator: Emulator, tmp_path: Path
) -> None:
    command = Command(emulator, tmp_path)
    project = emulator.fleet.project_id
    assert command.run("forget", project, "--yes", "--database", str(loaded.path)).code == 0
    assert loaded.backups == {}
    outcome = loaded.load(emulator)
    assert outcome.backups["new"] == 6
    assert_exact(loaded, emulator.fleet)
