"""A lake that is loaded every hour stays small, and no reader notices."""

import itertools
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from ges_history.warehouses import lake_storage, lake_upkeep, lake_upsert
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_reading import loads
from ges_history.warehouses.lake_storage import LakeStorage
from ges_history.warehouses.lake_upkeep import tidy
from ges_history.warehouses.lake_upsert import UPKEEP_COMMITS, Staged, upsert
from lake_place import FIRST_MS, HOUR_MS, STARTED, Place, Row, as_table, backup, load_rows, rows_of

LOADS = 48 * int(os.environ.get("GES_SOAK", "1"))
KEYS = {"backups": ["id"], "listings": ["project_id", "graph_id"]}


def bring(lake: LakeWarehouse, fence: Fence, folder: Path, table: str, rows: list[Row]) -> None:
    """What a load's package does for one table."""
    path = folder / f"{table}.parquet"
    pq.write_table(as_table(rows, table), path)
    compared = [name for name in rows[0] if name not in KEYS[table] and name != "_dlt_load_id"]
    upsert(lake.storage, Staged(table, [str(path)], KEYS[table], compared), fence, folder)


def hourly_load(lake: LakeWarehouse, fence: Fence, folder: Path, hour: int) -> None:
    """A backup has ended, one has begun, one has been deleted; the graph was listed."""
    start = FIRST_MS + hour * HOUR_MS
    rows = [backup(f"b{hour:05}", start_timestamp=start, status="backing_up", deleted_at=None)]
    if hour:
        rows.append(
            backup(
                f"b{hour - 1:05}",
                start_timestamp=start - HOUR_MS,
                status="success",
                deleted_at=None,
            )
        )
    if hour >= 20:
        rows.append(
            backup(
                f"b{hour - 20:05}",
                start_timestamp=start - 20 * HOUR_MS,
                status="success",
                deleted_at=STARTED + timedelta(hours=hour),
            )
        )
    listing = {"project_id": "p1", "graph_id": "g1", "listed_at": STARTED + timedelta(hours=hour)}
    bring(lake, fence, folder, "backups", rows)
    bring(lake, fence, folder, "listings", [listing | {"_dlt_load_id": f"{hour}.0"}])
    folder_of_loads = Path(lake.storage.location("_dlt_loads"))
    folder_of_loads.mkdir(exist_ok=True)
    (folder_of_loads / f"ges_backups__{hour:05}.0.jsonl").write_text("{}")
    tidy(lake.storage, fence)


def size_of(folder: Path) -> tuple[int, int]:
    """Files and bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


@pytest.fixture
def no_reader_in_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all that was written by earlier loads were older than a day."""
    at_once = lake_storage.PROPERTIES | {
        "delta.deletedFileRetentionDuration": "interval 0 hours",
        "delta.logRetentionDuration": "interval 0 hours",
    }
    monkeypatch.setattr(lake_storage, "PROPERTIES", at_once)
    monkeypatch.setattr(lake_upkeep, "READER_HOURS", 0)


def test_many_loads_leave_as_much_as_a_quarter_of_them(
    folder_lake: Place, no_reader_in_a_day: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_upkeep, "KEPT_LOADS", 20)
    lake = folder_lake.warehouse()
    fence = Fence("p1")
    most: dict[int, tuple[int, int]] = {}
    for hour in range(LOADS):
        hourly_load(lake, fence, folder_lake.folder, hour)
        quarter = hour * 4 // LOADS
        found = size_of(Path(lake.storage.location("backups")))
        most[quarter] = max(most.get(quarter, (0, 0)), found)
    print("most files and bytes in each quarter:", most)
    assert most[3][0] <= most[1][0] + 12
    assert most[3][1] < 2 * most[1][1]
    assert len(lake.storage.files(lake.storage.opened("backups"))) <= 2 * UPKEEP_COMMITS
    held = rows_of(lake, columns="id, status, deleted_at")
    assert [row["id"] for row in held] == [f"b{hour:05}" for hour in range(LOADS)]
    assert sum(row["status"] == "backing_up" for row in held) == 1
    assert sum(row["deleted_at"] is not None for row in held) == LOADS - 20
    assert len(loads(lake.storage)) <= lake_upkeep.KEPT_LOADS + UPKEEP_COMMITS


def test_files_of_rows_that_stay_as_they_are_become_one(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    fence = Fence("p1")
    for hour in range(UPKEEP_COMMITS):
        start = FIRST_MS + hour * HOUR_MS
        row = backup(f"b{hour:05}", start_timestamp=start, status="success", deleted_at=None)
        bring(lake, fence, folder_lake.folder, "backups", [row])
    assert len(lake.storage.files(lake.storage.opened("backups"))) == UPKEEP_COMMITS
    tidy(lake.storage, fence)
    assert len(lake.storage.files(lake.storage.opened("backups"))) == 1
    assert len(rows_of(lake)) == UPKEEP_COMMITS


@pytest.mark.parametrize("times", [1, 100])
def test_upkeep_during_which_another_project_commits_harms_no_load(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """To Delta it has read the whole table, though it writes its own project's part alone."""
    lake = folder_lake.warehouse()
    fence, other = Fence("p1"), Fence("p2")
    changes = iter(range(times))

    def bring_other(size: int) -> None:
        row = backup("other", project_id="p2", size=size)
        bring(lake, other, folder_lake.folder, "backups", [row])

    def partition_while_another_commits(table: str) -> str:
        for size in itertools.islice(changes, 1):
            bring_other(size)
        return lake_storage.partition_of(table)

    bring_other(-1)
    for number in range(3):
        bring(lake, fence, folder_lake.folder, "backups", [backup(f"b{number}")])
    monkeypatch.setattr(lake_upkeep, "partition_of", partition_while_another_commits)
    monkeypatch.setattr(lake_upsert, "COMMIT_TRIES", 3)
    fence.due = {"backups"}
    tidy(lake.storage, fence)
    files = lake.storage.files_by_project(lake.storage.opened("backups"))
    assert len(files["p1"]) == (1 if times == 1 else 3)
    assert [row["id"] for row in rows_of(lake)] == ["b0", "b1", "b2", "other"]


def test_a_reader_keeps_what_it_opened(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    fence = Fence("p1")
    for hour in range(5):
        hourly_load(lake, fence, folder_lake.folder, hour)
    with lake.reading() as read:
        before = read("SELECT * FROM ges.backups ORDER BY id").to_pylist()
        for hour in range(5, 5 + 2 * UPKEEP_COMMITS):
            hourly_load(lake, fence, folder_lake.folder, hour)
        assert read("SELECT * FROM ges.backups ORDER BY id").to_pylist() == before
    assert len(rows_of(lake)) == 5 + 2 * UPKEEP_COMMITS


def test_a_reader_who_opened_before_a_load_sees_nothing_of_it(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    listing = {"project_id": "p1", "graph_id": "g1"}
    load_rows(lake, [backup("a")], listings=[{**listing, "backup_count": 1}])
    with lake.reading() as read:
        load_rows(lake, [backup("a"), backup("b")], listings=[{**listing, "backup_count": 2}])
        counts = read("SELECT backup_count AS n FROM ges.listings")
        for query in ("FROM ges.backups", "FROM ges._dlt_loads"):
            assert (
                read(f"SELECT count(*) AS n {query}").to_pylist()
                == counts.to_pylist()
                == [{"n": 1}]
            )


def test_a_reader_in_the_middle_of_a_load_sees_no_listing_that_is_newer_than_its_backups(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = folder_lake.warehouse()
    listing = {"project_id": "p1", "graph_id": "g1"}
    load_rows(lake, [backup("a")], listings=[{**listing, "backup_count": 1}])
    open_, counts = LakeStorage.open, iter(range(2, 100))

    def open_after_a_load(storage: LakeStorage, table: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(LakeStorage, "open", open_)
            count = next(counts)
            rows = [backup(f"b{number}") for number in range(1, count)]
            load_rows(lake, [backup("a"), *rows], listings=[{**listing, "backup_count": count}])
        return open_(storage, table)

    monkeypatch.setattr(LakeStorage, "open", open_after_a_load)
    with lake.reading() as read:
        monkeypatch.undo()
        held = read("SELECT count(*) AS n FROM ges.backups").to_pylist()[0]["n"]
        assert held >= read("SELECT backup_count FROM ges.listings").to_pylist()[0]["backup_count"]


def test_the_loads_to_which_a_listing_refers_are_kept(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_upkeep, "KEPT_LOADS", 2)
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")], listings=[{"project_id": "p1", "graph_id": "g1"}])
    (first,) = loads(lake.storage).column("load_id").to_pylist()
    load_rows(lake, [backup("of p2", project_id="p2")], project="p2")
    second = max(loads(lake.storage).column("load_id").to_pylist())
    project = pa.table({"id": ["p2"], "cursor": ["{}"], "_dlt_load_id": [second]})
    write_deltalake(lake.storage.opened("projects"), project, mode="append", schema_mode="merge")
    for number in range(4):
        load_rows(lake, [backup(f"b{number}")])
    tidy(lake.storage, Fence("p1", due={"backups"}))
    kept = sorted(loads(lake.storage).column("load_id").to_pylist())
    assert len(kept) == 4
    assert kept[:2] == [first, second]


def test_two_projects_may_prune_the_same_load(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_upkeep, "KEPT_LOADS", 1)
    lake = folder_lake.warehouse()
    for id_ in "abc":
        load_rows(lake, [backup(id_)])
    small_files = LakeStorage.small_files

    def and_one_that_went_meanwhile(storage: LakeStorage, folder: str) -> list[str]:
        found = small_files(storage, folder)
        return [f"{storage.location(folder)}/ges_backups__1.5.jsonl", *found]

    monkeypatch.setattr(LakeStorage, "small_files", and_one_that_went_meanwhile)
    tidy(lake.storage, Fence("p1", due={"backups"}))
    monkeypatch.undo()
    assert loads(lake.storage).num_rows == 1


def test_a_load_is_complete_where_it_cannot_be_tidied_after_it(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError("status 403 Forbidden: AccessDenied DeleteObject")

    monkeypatch.setattr(DeltaTable, "vacuum", refused)
    monkeypatch.setattr(lake_upsert, "UPKEEP_COMMITS", 1)
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")])
    assert len(rows_of(lake)) == 1
    said: list[str] = []
    with lake.lock("p1", say=said.append):
        fence = lake._fence("p1")
        fence.due.add("backups")
    (line,) = said
    assert line.startswith("The load is complete; the lake could not be tidied after it: The lake")


def test_a_project_tidies_its_own_part(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    fences = {project: Fence(project) for project in ("p1", "p2")}
    for number in range(4):
        for project, fence in fences.items():
            rows = [backup(f"{project}-{number}", project_id=project)]
            bring(lake, fence, folder_lake.folder, "backups", rows)
    tidy(lake.storage, Fence("p1", due={"backups"}))
    opened = lake.storage.opened("backups")
    assert len(lake.storage.files(opened, ["p1"])) == 1
    assert len(lake.storage.files(opened, ["p2"])) == 4
    assert len(rows_of(lake)) == 8
