"""What a lake holds after loads: exactly what was sent last, for each key once."""

import errno
import random
import re
import shutil
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake

from ges_history.errors import DatabaseError, NoHistory
from ges_history.warehouses import lake_upsert, warehouse_for
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_upsert import upsert
from lake_place import (
    FIRST_MS,
    HOUR_MS,
    STARTED,
    Place,
    Row,
    backup,
    load_rows,
    rows_of,
    staged,
)
from s3_server import S3Server


def without_load(rows: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k != "_dlt_load_id"} for row in rows]


def test_a_lake_without_a_history_says_so(place: Place) -> None:
    with pytest.raises(NoHistory, match="ges-backups load --destination filesystem"):
        place.warehouse().read("SELECT 1")


def test_after_a_first_load_every_table_is_there(place: Place) -> None:
    lake = place.warehouse()
    load_rows(lake, [backup("a")])
    counts = {
        name: lake.read(f"SELECT count(*) AS n FROM ges.{name}").column(0)[0].as_py()
        for name in ("backups", "graphs", "listings", "projects", "rejected_backups", "_dlt_loads")
    }
    assert counts == {
        "backups": 1,
        "graphs": 0,
        "listings": 0,
        "projects": 0,
        "rejected_backups": 0,
        "_dlt_loads": 1,
    }
    assert lake.read("SELECT * FROM reports.inventory").num_rows == 1


@pytest.mark.parametrize("name", ["l[1]", "l]", "l^", "l|", "l\\", "l\n", "l%41"])
def test_a_folder_whose_name_delta_does_not_take_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / name))
    with pytest.raises(DatabaseError, match=r"cannot hold a lake.*Give it another name\."):
        warehouse_for(tmp_path / "x.duckdb", "filesystem")
    assert list(tmp_path.iterdir()) == []


def test_fields_may_have_the_names_that_a_load_uses_itself(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    names = ("day", "held_start", "held", "known", "staged", "files", "s", "h", "k")
    rows = [backup(f"b{number}", **dict.fromkeys(names, number)) for number in range(3)]
    load_rows(lake, rows)
    rows[1] |= {"size": 5, "day": 9}
    load_rows(lake, [*rows, backup("new", day=4)])
    found = {row["id"]: row for row in rows_of(lake)}
    assert {id_: row["day"] for id_, row in found.items()} == {"b0": 0, "b1": 9, "b2": 2, "new": 4}
    assert found["b1"]["held_start"] == 1
    assert [row["start_timestamp"] for row in found.values()] == [FIRST_MS] * 4


def test_a_file_of_another_beside_dlts_own_harms_nothing(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")])
    for folder in ("_dlt_loads", "_dlt_version"):
        Path(lake.storage.location(folder), "foreign.jsonl").write_text("{")
    load_rows(lake, [backup("b")])
    assert lake.read("SELECT count(*) AS n FROM ges._dlt_loads").to_pylist() == [{"n": 2}]
    assert [row["id"] for row in rows_of(lake)] == ["a", "b"]


NAMES = ["l*?{a,b}", "#l&=;,+ %4", "50% ä'€`$l~!@"]
EACH_ALONE = ["l*", "l?", "l{a,b}", "#l", "l&=;,+", "50% ä'€", "l %4", "`$l~!@"]


def assert_holds_rows(lake: LakeWarehouse) -> None:
    """What is loaded is there once, with its last values."""
    for size in (1, 2):
        load_rows(lake, [backup("a", size=size), backup(f"b{size}")])
    found = [(row["id"], row["size"]) for row in rows_of(lake)]
    assert found == [("a", 2), ("b1", None), ("b2", None)]


@pytest.mark.parametrize(
    "name", [*NAMES, *(pytest.param(name, marks=pytest.mark.soak) for name in EACH_ALONE)]
)
def test_any_other_folder_holds_a_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = {"DESTINATION__FILESYSTEM__BUCKET_URL": str(tmp_path / name)}
    place = Place(settings, tmp_path)
    place.enter(monkeypatch)
    lake = place.warehouse()
    assert_holds_rows(lake)
    assert lake.read("SELECT * FROM reports.inventory").num_rows == 1
    assert (tmp_path / name / "ges" / "init").is_file()


@pytest.mark.parametrize("prefix", ["a[b", "a#1", "a?b", "a%41"])
def test_a_prefix_of_a_bucket_that_delta_does_not_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    settings = S3Server("http://127.0.0.1:9").settings(f"s3://lake/{prefix}")
    Place(settings, tmp_path).enter(monkeypatch)
    with pytest.raises(DatabaseError, match=rf"s3:/+lake/{re.escape(prefix)}' cannot hold a lake"):
        warehouse_for(tmp_path / "x.duckdb", "filesystem")


def test_any_other_prefix_of_a_bucket_holds_a_lake(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(s3.settings("s3://lake/my größe {a,b} 50% x*y+&=;,~!@'"), tmp_path)
    place.enter(monkeypatch)
    assert_holds_rows(place.warehouse())


@pytest.mark.parametrize(
    "url",
    [
        "sftp://user:never-shown@127.0.0.1:1/lake",
        "abfss://x:never-shown@acct.dfs.core.windows.net/lake",
        "https://user:never-shown@h/lake",
        "s3://KEY:never-shown@lake/x",
        "memory://never-shown",
    ],
)
def test_a_place_that_is_neither_folder_nor_bucket_is_refused_without_a_word_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    settings = S3Server("http://127.0.0.1:9").settings(url)
    Place(settings, tmp_path).enter(monkeypatch)
    with pytest.raises(DatabaseError, match="must be a folder or s3://BUCKET/PATH") as error:
        warehouse_for(tmp_path / "x.duckdb", "filesystem")
    assert "never-shown" not in str(error.value)


def test_credentials_that_a_bucket_repeats_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = S3Server("http://127.0.0.1:9").settings("s3://lake/x")
    session = {"DESTINATION__FILESYSTEM__CREDENTIALS__AWS_SESSION_TOKEN": "never-shown"}
    Place({**settings, **session}, tmp_path).enter(monkeypatch)
    lake = warehouse_for(tmp_path / "x.duckdb", "filesystem")
    said = str(
        lake.explain(OSError("400: <Code>ExpiredToken</Code><Token-0>never-shown</Token-0>"))
    )
    assert "<Token-0>***</Token-0>" in said


def test_a_folder_of_packages_that_cannot_be_made_is_named(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")])
    elsewhere = folder_lake.warehouse("elsewhere")
    elsewhere.folder.write_text("a file where a folder must be")
    with (
        pytest.raises(DatabaseError, match=f"folder {elsewhere.folder} cannot be written"),
        elsewhere.lock("p1"),
    ):
        pass


def test_a_folder_of_packages_that_dlt_does_not_take_is_named(folder_lake: Place) -> None:
    lake = folder_lake.warehouse("50% off")
    with pytest.raises(DatabaseError, match=r"50% off.* holds the sign %"), lake.lock("p1"):
        pass


@pytest.mark.parametrize("by", [[], ["project_id", "graph_id"]])
def test_a_table_that_is_not_partitioned_by_its_project_is_refused(
    folder_lake: Place, by: list[str]
) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")])
    table = Path(lake.storage.location("backups"))
    rows = pa.table(DeltaTable(table).to_pyarrow_table())
    shutil.rmtree(table)
    write_deltalake(table, rows, partition_by=by or None)
    with pytest.raises(DatabaseError, match="table backups: it must be partitioned by project_id"):
        lake.read("FROM reports.inventory")


@pytest.mark.parametrize("held", ["lock", "asking", "reading"])
def test_what_is_wrong_with_another_file_is_not_said_of_the_lake(
    folder_lake: Place, held: str
) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a")])
    holding = {"lock": lambda: lake.lock("p1"), "asking": lake.asking, "reading": lake.reading}
    wrong = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/file")
    with pytest.raises(PermissionError), holding[held]():
        raise wrong
    assert str(lake.explain(wrong)) == "/elsewhere/file: Permission denied."
    inside = PermissionError(errno.EACCES, "Permission denied", lake.storage.location("backups"))
    assert "The lake" in str(lake.explain(inside))


@pytest.mark.parametrize("part", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_key_that_a_bucket_refuses_is_told_with_the_setting(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setenv(f"DESTINATION__FILESYSTEM__CREDENTIALS__{part}", "another")
    lake = bucket_lake.warehouse()
    said = r"refuses these credentials: check DESTINATION__FILESYSTEM__CREDENTIALS__\.\.\.\."
    with pytest.raises(DatabaseError, match=said):
        lake.read("FROM ges.backups")
    with pytest.raises(DatabaseError, match=said), lake.lock("p1", 1.0):
        pass


@pytest.mark.parametrize(
    ("words", "is_refusal"),
    [
        ("An error occurred (403) when calling the HeadObject operation: Forbidden", True),
        ("Client error with status 403 Forbidden: <Error>", True),
        ("An error occurred (SignatureDoesNotMatch) when calling PutObject", True),
        ("Forbidden", True),
        ("Object at ges/backups/part-0-4031-a403.parquet not found", False),
        ("/data/forbidden/lake/_delta_log: not a table", False),
    ],
)
def test_only_a_refusal_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, is_refusal: bool
) -> None:
    settings = S3Server("http://127.0.0.1:9").settings("s3://lake/a403")
    Place(settings, tmp_path).enter(monkeypatch)
    said = str(warehouse_for(tmp_path / "x.duckdb", "filesystem").explain(OSError(words)))
    assert ("refuses these credentials" in said) == is_refusal
    assert ("CREDENTIALS__" in said) == is_refusal
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / "lake"))
    in_a_folder = str(warehouse_for(tmp_path / "x.duckdb", "filesystem").explain(OSError(words)))
    assert "credentials" not in in_a_folder


def test_only_what_changed_is_written(place: Place) -> None:
    lake = place.warehouse()
    load_rows(lake, [backup("a", size=1), backup("b", size=None), backup("c", size=3)])
    first = {row["id"]: row["_dlt_load_id"] for row in rows_of(lake)}
    load_rows(lake, [backup("a", size=1), backup("b", size=None), backup("c", size=4)])
    second = {row["id"]: row["_dlt_load_id"] for row in rows_of(lake)}
    assert (first["a"], first["b"]) == (second["a"], second["b"])
    assert first["c"] != second["c"]
    version = lake.storage.opened("backups").version()
    load_rows(lake, [backup("a", size=1), backup("b", size=None), backup("c", size=4)])
    assert lake.storage.opened("backups").version() == version


def test_a_mark_is_set_and_goes_again(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    gone = STARTED + timedelta(days=1)
    for mark in (None, gone, None):
        load_rows(lake, [backup("a", deleted_at=mark), backup("b", deleted_at=None)])
        assert [row["deleted_at"] for row in rows_of(lake)] == [mark, None]


def test_a_rejected_record_is_kept_as_it_was_first_seen(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    for reason in ("first", "second"):
        record = {"record_hash": "h", "project_id": "p1", "reason": reason}
        load_rows(lake, [backup("a")], rejected_backups=[record])
    assert [row["reason"] for row in rows_of(lake, "rejected_backups")] == ["first"]


def test_project_ids_stay_text(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    for project in ("007", "1e3", "7"):
        load_rows(lake, [backup("a", project_id=project)], project=project)
    assert [row["project_id"] for row in rows_of(lake)] == ["007", "1e3", "7"]


def test_a_value_that_another_project_has_as_a_number_becomes_a_column_beside(
    folder_lake: Place,
) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a", newer=1)])
    load_rows(lake, [backup("b", project_id="p2", newer="x")], project="p2")
    load_rows(lake, [backup("c", project_id="p3", newer="12")], project="p3")
    columns = [(row["newer"], row.get("newer__v_text")) for row in rows_of(lake)]
    assert columns == [(1, None), (None, "x"), (12, None)]


def test_a_field_that_a_record_lacks_is_null_in_its_row(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a", newer="x"), backup("b", newer="x")])
    load_rows(lake, [backup("a")])
    assert [row["newer"] for row in rows_of(lake)] == [None, "x"]


def test_a_column_that_the_load_does_not_know_stays_as_it_is(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a", zone="red", size=1), backup("b", zone="blue")])
    opened = lake.storage.opened("backups")
    opened.alter.add_columns([Field("remark", "string")])
    opened.update({"remark": "'mine'"})
    known = staged(folder_lake.folder, "known", backup("a", size=2), backup("c"))
    upsert(lake.storage, known, Fence("p1"), folder_lake.folder)
    columns = "id, size, zone, remark"
    assert [tuple(row.values()) for row in rows_of(lake, columns=columns)] == [
        ("a", 2, "red", "mine"),
        ("b", None, "blue", "mine"),
        ("c", None, None, None),
    ]
    load_rows(lake, [backup("a", size=3)])
    assert rows_of(lake, columns=columns)[0] == {
        "id": "a",
        "size": 3,
        "zone": None,
        "remark": "mine",
    }


def test_an_id_that_one_project_has_lost_and_another_lists_is_there_once(
    folder_lake: Place,
) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("twin", deleted_at=STARTED), backup("a", deleted_at=None)])
    other = {"project_id": "p2", "start_timestamp": FIRST_MS + HOUR_MS, "deleted_at": None}
    for size in (1, 2):
        load_rows(lake, [backup("twin", size=size, **other), backup("b", **other)], project="p2")
    load_rows(lake, [backup("a", deleted_at=STARTED)])
    found = rows_of(lake, columns="project_id, id, size, deleted_at")
    assert [tuple(row.values()) for row in found] == [
        ("p1", "a", None, STARTED),
        ("p2", "b", None, None),
        ("p2", "twin", 2, None),
    ]


def test_what_is_cut_while_it_is_forgotten_is_listed_again_and_can_be_forgotten_again(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = folder_lake.warehouse()
    others = {"listings": [{"project_id": "p1", "graph_id": "g1", "cursor": "{}"}]}
    load_rows(lake, [backup("a"), backup("b", project_id="p2")], **others)
    delete, cut = DeltaTable.delete, iter([None, KeyError("cut"), None])

    def delete_or_fail(table: DeltaTable, rows: str, **options: Any) -> Any:
        if (error := next(cut)) is not None:
            raise error
        return delete(table, rows, **options)

    monkeypatch.setattr(DeltaTable, "delete", delete_or_fail)
    with pytest.raises(KeyError, match="cut"):
        lake.forget("p1")
    assert (rows_of(lake, "listings"), len(rows_of(lake))) == ([], 2)
    assert lake.forget("p1")["backups"] == 1
    assert [row["id"] for row in rows_of(lake)] == ["b"]


def test_a_project_is_forgotten_while_another_one_brings_a_column(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a"), backup("b", project_id="p2")])
    delete, meanwhile = DeltaTable.delete, iter([backup("b", project_id="p2", newer=1)])

    def delete_late(table: DeltaTable, rows: str, **options: Any) -> Any:
        for row in meanwhile:
            load_rows(folder_lake.warehouse("other"), [row], project="p2")
        return delete(table, rows, **options)

    monkeypatch.setattr(DeltaTable, "delete", delete_late)
    assert lake.forget("p1")["backups"] == 1
    assert [(row["id"], row["newer"]) for row in rows_of(lake)] == [("b", 1)]


def test_many_new_rows_come_in_parts_by_their_starts(
    folder_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_upsert, "APPENDED_AT_ONCE", 50)
    lake = folder_lake.warehouse()
    rows = [
        backup(f"b{number:03}", start_timestamp=FIRST_MS + number * 77 % 240 * HOUR_MS)
        for number in range(240)
    ]
    load_rows(lake, rows[::2])
    files = pa.table(lake.storage.opened("backups").get_add_actions(flatten=True)).to_pylist()
    ranges = sorted((f["min.start_timestamp"], f["max.start_timestamp"]) for f in files)
    assert len(ranges) >= 3
    assert all(one[1] < other[0] for one, other in pairwise(ranges))
    assert max(file["num_records"] for file in files) <= 50

    load_rows(lake, rows)
    assert [row["id"] for row in rows_of(lake)] == [row["id"] for row in rows]
    version = lake.storage.opened("backups").version()
    load_rows(lake, rows)
    assert lake.storage.opened("backups").version() == version


def random_backup(chance: random.Random, id_: str, load: int) -> Row:
    """A backup whose every value may have moved since it was last seen, its start too."""
    values: dict[str, Any] = {
        "start_timestamp": FIRST_MS + chance.randrange(2_000) * HOUR_MS,
        "size": chance.choice([None, 0, 1, 10**12]),
        "duration": chance.choice([None, 7]),
        "status": chance.choice(["success", "backing_up", None, "o'dd"]),
        "deleted_at": chance.choice([None, STARTED + timedelta(days=load)]),
    }
    if load >= 3:
        values["newer"] = chance.choice([None, 1.5])
    if chance.random() < 0.5:
        values["start_timestamp"] = FIRST_MS
    return backup(id_, **values)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2))])
def test_random_loads_leave_what_was_sent_last(folder_lake: Place, seed: int) -> None:
    chance = random.Random(seed)
    expected: dict[str, Row] = {}
    for load in range(7):
        lake = folder_lake.warehouse(f"host{load % 2}")
        ids = chance.sample([f"b{n}" for n in range(60)], chance.randrange(1, 40))
        rows = [random_backup(chance, id_, load) for id_ in ids]
        load_rows(lake, rows)
        expected |= {row["id"]: row for row in rows}
        held = without_load(rows_of(lake))
        names = held[0].keys()
        assert held == [
            {name: expected[id_].get(name) for name in names} for id_ in sorted(expected)
        ]
