"""A history that moves to another warehouse: what the API forgot is copied, the next load does the rest."""

import json
from pathlib import Path

import duckdb
import pytest

from ges_emulator import Emulator, Fleet
from ges_history import copy_history
from ges_history.errors import DatabaseError
from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.warehouses.snapshot import publish
from harness import Warehouse, assert_exact, fill, the_graph


@pytest.fixture
def moved(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "moved.duckdb")


def rows_without_loads(warehouse: Warehouse, table: str) -> list[str]:
    left_out = {"_dlt_load_id", "cursor"}
    return sorted(
        repr({name: value for name, value in row.items() if name not in left_out})
        for row in warehouse.rows(table)
    )


def test_a_copied_history_has_all_rows_and_goes_on(
    warehouse: Warehouse, moved: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    the_graph(fleet).add_record({"id": "broken", "graph_id": "g1"}, index=0)
    the_graph(fleet, "g2").add_backup(
        fleet.now, id="odd", new_field={"nested": [1, "a"]}, ratio=0.5
    )
    warehouse.load(emulator)
    the_graph(fleet).delete_backup("g1-b1")
    warehouse.load(emulator)

    copied = copy_history(warehouse.path, to_database=moved.path)
    assert copied == {fleet.project_id: 7}
    for table in ("backups", "graphs", "listings", "projects", "rejected_backups"):
        assert rows_without_loads(moved, table) == rows_without_loads(warehouse, table)

    the_graph(fleet, "g2").delete_backup("g2-b0")
    fill(the_graph(fleet), 1, first=50)
    outcome = moved.load(emulator)
    figures = {kind: outcome.backups[kind] for kind in ("new", "changed", "deleted")}
    assert figures == {"new": 1, "changed": 0, "deleted": 1}
    assert json.loads(moved.backups["odd"]["new_field"]) == {"nested": [1, "a"]}
    assert moved.deleted == {"g1-b1", "g2-b0"}
    assert moved.load(emulator).outcome == "unchanged"


def test_what_is_there_already_stays_and_repeating_changes_nothing(
    loaded: Warehouse, moved: Warehouse, emulator: Emulator, fleet: Fleet
) -> None:
    the_graph(fleet).delete_backup("g1-b0")
    fill(the_graph(fleet), 1, first=50)
    moved.load(emulator)
    for _ in range(2):
        copy_history(loaded.path, to_database=moved.path)
        assert set(moved.backups) == {f"g{g}-b{b}" for g in (1, 2) for b in range(3)} | {"g1-b50"}
    moved.load(emulator)
    assert moved.deleted == {"g1-b0"}
    assert_exact(moved, fleet)


def test_what_is_copied_into_a_history_is_published_and_followed(
    loaded: Warehouse, moved: Warehouse, emulator: Emulator, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.forget_graph("g2")
    moved.load(emulator)
    publish(DuckDbFile(moved.path), tmp_path / "copy.duckdb")
    copy_history(loaded.path, to_database=moved.path)
    assert publish(DuckDbFile(moved.path), tmp_path / "copy.duckdb")
    moved.load(emulator)
    assert moved.deleted == {"g2-b0", "g2-b1", "g2-b2"}


def test_what_can_only_be_read_is_copied(
    loaded: Warehouse, moved: Warehouse, tmp_path: Path
) -> None:
    """A snapshot, and a file that another connection reads."""
    snapshot = tmp_path / "copy.duckdb"
    publish(DuckDbFile(loaded.path), snapshot)
    copy_history(snapshot, to_database=moved.path)
    assert rows_without_loads(moved, "backups") == rows_without_loads(loaded, "backups")
    with duckdb.connect(str(loaded.path), read_only=True):
        copy_history(loaded.path, to_database=tmp_path / "other.duckdb")
    assert len(Warehouse(tmp_path / "other.duckdb").backups) == len(loaded.backups)


def test_onto_itself_is_refused(loaded: Warehouse, emulator: Emulator, tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(loaded.path)
    for path in (loaded.path, link):
        with pytest.raises(DatabaseError, match="onto itself"):
            copy_history(loaded.path, to_database=path)
