"""Histories of earlier versions go on; those of later ones are refused in words and left alone."""

import gzip
import hashlib
from pathlib import Path

import duckdb
import pytest

from cli_harness import Command, folder_of
from ges_emulator import Emulator
from ges_history import connect
from ges_history.errors import DatabaseError
from ges_history.warehouses.layout import LAYOUT_VERSION
from harness import Warehouse, fill, project_called, the_graph
from make_upgrade_fixture import FIXTURES, PAGE_SIZE, second_fleet

EARLIER = sorted(FIXTURES.glob("history_v*.duckdb.gz"))


@pytest.fixture(params=EARLIER, ids=lambda path: path.name.split(".")[0])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """A database that an earlier version wrote."""
    warehouse = Warehouse(tmp_path / "history.duckdb")
    warehouse.path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return warehouse


def schemas_of(warehouse: Warehouse) -> set[str]:
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT schema_name FROM duckdb_schemas()"
            " WHERE database_name = current_database() AND schema_name <> 'main'"
        ).fetchall()
    return {name for (name,) in rows}


def test_there_is_a_history_of_the_first_release() -> None:
    assert [path.name for path in EARLIER][:1] == ["history_v0_1_0.duckdb.gz"]
    assert all(path.stat().st_size < 300_000 for path in EARLIER)


def test_earlier_history_goes_on(earlier: Warehouse) -> None:
    fleet = second_fleet()
    then = earlier.backups
    assert earlier.deleted == {"g2-b3"}
    fill(the_graph(fleet), 2, first=50)
    running = the_graph(fleet).backups[-1]
    running.finish(size=5)
    the_graph(fleet, "g3").delete_backup("g3-b0")
    with Emulator(fleet) as emulator:
        outcome = earlier.load(emulator, page_size=PAGE_SIZE)
        again = earlier.load(emulator, page_size=PAGE_SIZE)
    counts = {kind: outcome.backups[kind] for kind in ("new", "changed", "deleted", "rejected")}
    assert counts == {"new": 2, "changed": 1, "deleted": 1, "rejected": 0}
    assert again.outcome == "unchanged"
    now = earlier.backups
    assert now.keys() - then.keys() == {"g1-b50", "g1-b51"}
    changed = {key for key, row in then.items() if now[key] != row}
    assert changed == {"running", "g3-b0"}
    assert len(earlier.rejected) == 1
    assert schemas_of(earlier) == {"ges", "reports"}


def test_another_project_joins_an_earlier_history_with_a_graph_of_the_same_id(
    earlier: Warehouse,
) -> None:
    then = earlier.backups
    (first,) = {row["project_id"] for row in earlier.rows("graphs")}
    other = project_called("other", graph_id="g1")
    with Emulator(other) as emulator:
        assert earlier.load(emulator).backups["new"] == 3
    with Emulator(second_fleet()) as emulator:
        outcome = earlier.load(emulator, page_size=PAGE_SIZE)
    assert (outcome.backups["changed"], outcome.backups["deleted"]) == (0, 0)
    assert {key: earlier.backups[key] for key in then} == then
    graphs = {(row["project_id"], row["id"]) for row in earlier.rows("graphs")}
    assert graphs == {(first, "g1"), (first, "g2"), (first, "g3"), (other.project_id, "g1")}


def test_earlier_history_answers_with_the_reports_of_today(earlier: Warehouse) -> None:
    with connect(earlier.path) as history:
        rows = history.execute(
            "SELECT graph_id, backups, deleted FROM reports.inventory WHERE backup_method = 'auto'"
            " ORDER BY graph_id"
        ).fetchall()
    assert rows == [("g1", 10, 0), ("g2", 8, 1), ("g3", 9, 0)]


@pytest.fixture
def newer(earlier: Warehouse) -> Warehouse:
    """A database that a later version wrote."""
    with duckdb.connect(str(earlier.path)) as connection:
        connection.execute(
            f"CREATE OR REPLACE VIEW reports.about AS SELECT {LAYOUT_VERSION + 1} AS layout_version,"
            " 'of a later version' AS views_fingerprint"
        )
    return earlier


def test_newer_history_is_refused_and_left_alone(newer: Warehouse) -> None:
    before = hashlib.sha256(newer.path.read_bytes()).hexdigest()
    with Emulator(second_fleet()) as emulator:
        with pytest.raises(DatabaseError, match=r"written by a newer version .* upgrade"):
            newer.load(emulator)
        assert emulator.requests == []
        command = Command(emulator, newer.path.parent)
        for words in (["load"], ["report"], ["report", "inventory"]):
            done = command.run(*words, "--database", newer.path.name)
            assert done.code == 1
            assert "newer version" in done.err
            assert "Traceback" not in done.err
    assert hashlib.sha256(newer.path.read_bytes()).hexdigest() == before
    assert not (newer.path.parent / f"{newer.path.name}.wal").exists()
    assert folder_of(newer.path).is_dir()
