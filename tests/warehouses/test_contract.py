"""One contract, held by each warehouse: what a load leaves, and what the reports say of it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import dlt
import duckdb
import pytest

from beginnings import Beginnings, contents
from cli_harness import folder_of
from ges_backups.batches import Batch
from ges_emulator import Emulator, Fleet
from ges_history import copy_history
from ges_history.errors import DatabaseError
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load
from ges_history.loading.run import _ProjectRun
from ges_history.reports.catalogue import report_names
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.seam import Warehouse as Seam
from harness import (
    FIRST_MS,
    NOW,
    Row,
    Warehouse,
    assert_exact,
    fill,
    project_called,
    settings_for,
    the_graph,
)
from lake_copy import write_without
from lake_place import URL, Place, begin
from postgres_history import environment_of
from postgres_server import PostgresDatabase

KINDS = ("duckdb", "postgres", "filesystem")
TABLES = ("backups", "graphs", "listings", "projects", "rejected_backups")


@dataclass
class Store(Warehouse):
    """A warehouse of some kind that loads go to, seen through the seam."""

    destination: str = "duckdb"

    def load(self, emulator: Emulator, **settings: Any) -> LoadOutcome:
        """One load."""
        return load(
            self.path,
            destination=self.destination,
            **settings_for(emulator, **self.settings, **settings),
        )

    @property
    def seam(self) -> Seam:
        """The warehouse itself."""
        return warehouse_for(self.path, self.destination)

    def rows(self, table: str) -> list[Row]:
        """All rows of a table."""
        return self.seam.read(f"SELECT * FROM ges.{table}").to_pylist()


@contextmanager
def prepared(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty warehouse of a kind, its credentials in the environment."""
    store = Store(folder / "history.duckdb", destination=kind)
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    if kind == "postgres":
        database: PostgresDatabase = request.getfixturevalue("postgres")
        with environment_of(database):
            yield store
        return
    if kind == "filesystem":
        patch.setenv(URL, str(folder / "lake"))
    yield store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with prepared(request.param, tmp_path, request) as store:
        yield store


@pytest.fixture(params=KINDS)
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, emulator: Emulator, beginnings: Beginnings
) -> Iterator[Store]:
    """A warehouse into which the emulator's fleet was loaded once."""
    if request.param == "postgres":
        with environment_of(request.getfixturevalue("begun").database):
            yield Store(tmp_path / "history.duckdb", destination="postgres")
        return
    with prepared(request.param, tmp_path, request) as store:
        if request.param == "duckdb":
            beginnings.load(Warehouse(store.path), emulator)
        else:
            place = Place({URL: str(tmp_path / "lake")}, tmp_path)
            begin(beginnings, place, lambda it: _load(it, emulator), contents(emulator), host=".")
        yield store


def _load(place: Place, emulator: Emulator) -> None:
    Store(place.folder / "history.duckdb", destination="filesystem").load(emulator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_a_destination_under_a_name_of_its_own_holds_all_of_its_history(
    kind: str,
    beside: bool,
    emulator: Emulator,
    fleet: Fleet,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable, place = "CREDENTIALS", str(tmp_path / "archive.duckdb")
    if kind == "postgres":
        place = request.getfixturevalue("postgres").url
    elif kind == "filesystem":
        variable, place = "BUCKET_URL", str(tmp_path / "archive")
    monkeypatch.setenv("DESTINATION__ARCHIVE__DESTINATION_TYPE", kind)
    monkeypatch.setenv(f"DESTINATION__ARCHIVE__{variable}", place)
    if beside:
        monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", str(tmp_path / "another"))
    for host, outcome in ("one", "complete"), ("one", "unchanged"), ("two", "unchanged"):
        (tmp_path / host).mkdir(exist_ok=True)
        store = Store(tmp_path / host / "history.duckdb", destination="archive")
        assert store.load(emulator).outcome == outcome
    assert_exact(store, fleet)
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize(
    ("kind", "variable"), [("postgres", "CREDENTIALS"), ("filesystem", "BUCKET_URL")]
)
def test_what_a_destination_of_its_own_name_lacks_is_named_by_that_name(
    kind: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__ARCHIVE__DESTINATION_TYPE", kind)
    with pytest.raises(DatabaseError, match=f"DESTINATION__ARCHIVE__{variable}"):
        warehouse_for(tmp_path / "x", "archive")


def test_it_is_loaded_and_loading_again_changes_nothing(
    store: Store, emulator: Emulator, fleet: Fleet
) -> None:
    assert store.load(emulator).backups["new"] == 6
    assert_exact(store, fleet)
    before = {table: sorted(map(repr, store.rows(table))) for table in ("backups", "graphs")}
    assert store.load(emulator).outcome == "unchanged"
    assert {t: sorted(map(repr, store.rows(t))) for t in ("backups", "graphs")} == before
    assert {row["last_complete_at"] == row["listed_at"] for row in store.rows("listings")} == {True}


def test_changes_deletions_and_returns_are_followed(
    store: Store, emulator: Emulator, fleet: Fleet
) -> None:
    graph = the_graph(fleet)
    running = graph.add_backup(NOW, id="running", status="backing_up")
    store.load(emulator, page_size=2)
    running.finish(size=77)
    graph.delete_backup("g1-b1")
    outcome = store.load(emulator, page_size=2)
    assert (outcome.backups["changed"], outcome.backups["deleted"]) == (1, 1)
    assert (store.backups["running"]["size"], store.deleted) == (77, {"g1-b1"})
    marked = store.backups["g1-b1"]["deleted_at"]
    store.load(emulator, page_size=2, full=True)
    assert store.backups["g1-b1"]["deleted_at"] == marked
    fill(graph, 1, first=1)
    assert store.load(emulator, page_size=2).backups["returned"] == 1
    assert_exact(store, fleet)


def test_late_graphs_late_imports_and_dirty_rows_are_kept(
    filled: Store, emulator: Emulator, fleet: Fleet
) -> None:
    fill(fleet.add_graph("late"), 4)
    the_graph(fleet).add_backup(1_000_000_000_000, id="imported", backup_method="import")
    the_graph(fleet).add_record({"id": "broken", "graph_id": "g1"}, index=0)
    the_graph(fleet, "g2").add_backup(NOW, id="odd", new_field={"deep": [1, None]}, ratio=1.5)
    assert filled.load(emulator).exit_code == 3
    assert [row["backup_id"] for row in filled.rejected] == ["broken"]
    assert filled.backups["odd"]["ratio"] == 1.5
    the_graph(fleet, "g2").delete_backup("odd")
    assert filled.load(emulator).exit_code == 0
    assert filled.deleted == {"odd"}
    assert filled.backups["odd"]["ratio"] == 1.5
    assert {"late-b0", "imported"} <= filled.listed


def test_a_graph_that_is_missing_is_marked_and_its_backups_stay(
    filled: Store, emulator: Emulator, fleet: Fleet
) -> None:
    fleet.delete_graph("g2")
    filled.load(emulator)
    graphs = {row["id"]: row["deleted_at"] is not None for row in filled.rows("graphs")}
    assert graphs == {"g1": False, "g2": True}
    assert len(filled.backups) == 6


def test_projects_may_name_their_graphs_and_break_their_records_alike(store: Store) -> None:
    fleets = [project_called("orders"), project_called("risk")]
    for fleet in fleets:
        the_graph(fleet, "same").add_record({"id": "bad", "graph_id": "same"})
    with Emulator(fleets[0]) as orders, Emulator(fleets[1]) as risk:
        assert [store.load(one).exit_code for one in (orders, risk)] == [3, 3]
        before = store.backups
        the_graph(fleets[0], "same").add_backup(NOW, id="orders-new")
        for one, new in ((orders, 1), (risk, 0), (orders, 0)):
            outcome = store.load(one)
            counts = {kind: outcome.backups[kind] for kind in ("new", "changed", "deleted")}
            assert (counts, outcome.exit_code) == ({"new": new, "changed": 0, "deleted": 0}, 0)
    assert {key: store.backups[key] for key in before} == before
    assert store.backups.keys() - before.keys() == {"orders-new"}
    both = {(fleet.project_id, "same") for fleet in fleets}
    assert {(row["project_id"], row["id"]) for row in store.rows("graphs")} == both
    assert {(row["project_id"], row["graph_id"]) for row in store.rows("rejected_backups")} == both
    names = store.seam.read(
        "SELECT project_id, graph_name, graph_deleted_at FROM reports.graph_names"
    )
    assert {tuple(row.values()) for row in names.to_pylist()} == {
        (fleet.project_id, the_graph(fleet, "same").name, None) for fleet in fleets
    }


FIRST = {"whole": 1, "ratio": 1.5, "place": 1, "is_hot": True, "origin": "a", "deep": {"er": 1}}
SECOND = {
    "whole": 1.5,
    "ratio": 2**60 + 1,
    "place": "a",
    "is_hot": "yes",
    "origin": True,
    "deep": "a",
}
LATER = {
    "whole": 2.5,
    "ratio": 2**60 + 3,
    "place": "b",
    "is_hot": "no",
    "origin": False,
    "deep": "b",
}


def test_new_fields_that_two_projects_bring_at_once_in_other_types_keep_each_value(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleets = [project_called("orders"), project_called("risk")]
    graphs = [the_graph(fleet, "same") for fleet in fleets]
    graphs[0].add_backup(NOW, id="first", **FIRST)
    other = graphs[1].add_backup(NOW, id="second", **SECOND)
    with Emulator(fleets[0]) as orders, Emulator(fleets[1]) as risk:
        with monkeypatch.context() as between:
            once_the_schema_was_taken(between, lambda: store.load(orders))
            assert store.load(risk).exit_code == 0
        assert new_values(store) == {"first": exact(FIRST), "second": exact(SECOND)}
        other.record.update(LATER)
        graphs[0].add_backup(NOW, id="third", **LATER)
        assert [store.load(each, full=True).exit_code for each in (orders, risk)] == [0, 0]
        each = {"first": exact(FIRST), "second": exact(LATER), "third": exact(LATER)}
        assert new_values(store) == each
        graphs[1].delete_backup(other)
        assert store.load(risk).backups["deleted"] == 1
        assert (store.deleted, new_values(store)) == ({"second"}, each)


def test_a_field_that_goes_leaves_no_value_though_another_project_stored_its_schema_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleets = [project_called("orders"), project_called("risk")]
    brought = {"zone": "red", "box": {"a": [1]}}
    graph = the_graph(fleets[0], "same")
    backups = [graph.add_backup(NOW, id=name, **brought) for name in ("first", "second")]
    the_graph(fleets[1], "same").add_backup(NOW, id="other", tier="gold")
    with Emulator(fleets[0]) as orders, Emulator(fleets[1]) as risk:
        with monkeypatch.context() as between:
            once_the_schema_was_taken(between, lambda: store.load(orders))
            assert store.load(risk).exit_code == 0
        assert {store.backups[name]["zone"] for name in ("first", "second")} == {"red"}
        del backups[0].record["zone"], backups[0].record["box"]
        backups[1].record.update(zone=5, box={"b": 2})
        assert store.load(orders, full=True).backups["changed"] == 2
        assert store.load(orders, full=True).backups["changed"] == 0
    first, second = store.backups["first"], store.backups["second"]
    assert (first["zone"], first["box"]) == (None, None)
    assert (second["zone"], second["zone__v_bigint"]) == (None, 5)
    assert json.loads(second["box"]) == {"b": 2}
    assert store.backups["other"]["tier"] == "gold"


def once_the_schema_was_taken(patch: pytest.MonkeyPatch, other: Callable[[], object]) -> None:
    """Let another load run from its start to its end after the next one took the stored schema."""
    extract = _ProjectRun._extract

    def extracted(run: _ProjectRun, batches: Iterator[Batch]) -> None:
        patch.undo()
        beside = Thread(target=other)
        beside.start()
        beside.join()
        extract(run, batches)

    patch.setattr(_ProjectRun, "_extract", extracted)


def new_values(store: Store) -> dict[str, dict[str, list[str]]]:
    """{backup: {new field: what its columns hold, as JSON has it}}."""
    return {
        key: {
            field: [
                _as_json(value)
                for name, value in row.items()
                if name.split("__v_")[0] == field and value is not None
            ]
            for field in FIRST
        }
        for key, row in store.backups.items()
        if key in ("first", "second", "third")
    }


def exact(record: Row) -> dict[str, list[str]]:
    """Each value once."""
    return {field: [_as_json(value)] for field, value in record.items()}


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


ODD_IDS = ["o'brien", "{braces}", "a,b", "tab\tand\nline", "ünï😀", "unit\x1fseparator"]


@pytest.mark.parametrize("odd", [ODD_IDS[:-1], ODD_IDS], ids=["as one text", "as literals"])
def test_many_ids_that_another_project_holds_are_left_to_it(store: Store, odd: list[str]) -> None:
    fleets = [project_called("orders"), project_called("risk")]
    shared = [*odd, *(f"twin-{number}" for number in range(150))]
    for size, fleet in enumerate(fleets):
        for place, backup_id in enumerate(shared):
            the_graph(fleet, "same").add_backup(FIRST_MS + place, id=backup_id, size=size)
    with Emulator(fleets[0]) as orders, Emulator(fleets[1]) as risk:
        assert store.load(orders).exit_code == 0
        outcome = store.load(risk)
    assert (outcome.exit_code, outcome.backups["rejected"]) == (3, len(shared))
    kept = store.backups
    assert {(kept[one]["project_id"], kept[one]["size"]) for one in shared} == {
        (fleets[0].project_id, 0)
    }
    assert len(kept) == len(shared) + 6


def test_a_first_load_of_a_window_that_holds_nothing_is_one(
    store: Store, emulator: Emulator
) -> None:
    assert [store.load(emulator, since=NOW).exit_code for _ in range(2)] == [0, 0]
    assert store.rows("backups") == []
    assert store.load(emulator).exit_code == 0
    assert_exact(store, emulator.fleet)


def test_an_empty_project_has_all_tables_and_reports(store: Store) -> None:
    with Emulator(Fleet(now=NOW)) as emulator:
        assert store.load(emulator).exit_code == 0
    for table in TABLES:
        assert len(store.rows(table)) == (table == "projects")
    with store.seam.reading() as read:
        for name in report_names():
            assert read(f"SELECT count(*) AS n FROM reports.{name}").num_rows == 1


def test_an_empty_project_is_as_fresh_as_its_last_load(store: Store) -> None:
    with Emulator(Fleet(now=NOW)) as emulator:
        store.load(emulator)
        (first,) = store.rows("projects")
        assert store.load(emulator).outcome == "unchanged"
    (second,) = store.rows("projects")
    assert second["last_listed_at"] > first["last_listed_at"]


def test_a_load_that_is_cut_after_it_listed_is_finished_by_the_next(
    filled: Store, emulator: Emulator, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = the_graph(fleet)
    fill(graph, 2, first=50)
    graph.delete_backup("g1-b0")
    fleeting = graph.add_backup(NOW, id="fleeting")
    _load_cut(filled, emulator, monkeypatch)
    graph.delete_backup(fleeting)
    filled.load(emulator)
    assert filled.deleted == {"g1-b0", "fleeting"}
    assert_exact(filled, fleet)


def test_a_package_that_is_older_than_the_history_changes_none_of_its_rows(
    filled: Store, emulator: Emulator, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = the_graph(fleet)
    running = graph.add_backup(NOW, id="running", status="backing_up")
    graph.add_backup(NOW, id="fleeting")
    _load_cut(filled, emulator, monkeypatch)
    folder, host = filled.seam.folder, tmp_path / "of another host"
    folder.rename(host)
    graph.delete_backup("fleeting")
    running.finish(size=100)
    filled.load(emulator)
    graph.delete_backup("running")
    filled.load(emulator)
    last = filled.backups["running"]

    shutil.rmtree(folder)
    host.rename(folder)
    filled.load(emulator)

    assert filled.backups["running"] == last
    assert filled.deleted == {"running", "fleeting"}
    assert filled.load(emulator).outcome == "unchanged"
    assert_exact(filled, fleet)


def test_files_that_were_loaded_are_loaded_again_where_a_copy_of_before_lacks_them(
    filled: Store, emulator: Emulator, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_graph(fleet).add_backup(NOW, id="zoned", zone="z1")
    _load_cut(filled, emulator, monkeypatch)
    (package,) = filled.seam.folder.glob("*/load/normalized/*")
    (package / "schema_updates.json").rename(package / "applied_schema_updates.json")
    (file,) = package.glob("new_jobs/backups.*")
    completed = file.replace(package / "completed_jobs" / file.name)
    if filled.destination == "filesystem":
        completed.with_suffix(".reference").write_text(str(completed))

    filled.load(emulator)

    assert_exact(filled, fleet)


def _load_cut(store: Store, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that ends when it has listed, before it merges anything."""
    with monkeypatch.context() as cut:
        cut.setattr(dlt.Pipeline, "load", _cut)
        with pytest.raises(KeyboardInterrupt):
            store.load(emulator)


def _cut(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def told(row: Row) -> str:
    """A row of a report, its fractions to ten digits."""
    return repr({n: float(f"{v:.10g}") if isinstance(v, float) else v for n, v in row.items()})


def test_rows_and_reports_are_those_of_duckdb(
    tmp_path: Path, request: pytest.FixtureRequest, emulator: Emulator, fleet: Fleet
) -> None:
    the_graph(fleet).add_record({"id": "broken", "graph_id": "g1"}, index=0)
    fill(fleet.add_graph("g3"), 40, first=100)
    with ExitStack() as stack:
        stores = [stack.enter_context(prepared(kind, tmp_path, request)) for kind in KINDS]
        for step in range(3):
            for each in stores:
                each.load(emulator)
            the_graph(fleet).delete_backup(f"g1-b{step}")
            fill(the_graph(fleet, "g2"), 1, first=60 + step)
        left_out = {"_dlt_load_id", "cursor", "listed_at", "last_complete_at", "last_read_at"}
        left_out |= {"deleted_at", "first_seen_at", "first_listed_at", "last_listed_at", "requests"}
        for table in TABLES:
            one, *same = (
                sorted(
                    repr({n: v for n, v in sorted(row.items()) if n not in left_out})
                    for row in each.rows(table)
                )
                for each in stores
            )
            assert same == [one, one], table
        for name in ("size_trend", "duration_trend", "reliability", "growth"):
            rows = f"SELECT * FROM reports.{name}"
            one, *same = (sorted(map(told, each.seam.read(rows).to_pylist())) for each in stores)
            assert same == [one, one], name


@pytest.mark.parametrize("kind", ["postgres", "filesystem"])
def test_a_history_moves_there_with_what_the_api_forgot(
    kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    loaded: Warehouse,
    emulator: Emulator,
    fleet: Fleet,
) -> None:
    the_graph(fleet).delete_backup("g1-b0")
    loaded.load(emulator)
    (tmp_path / "there").mkdir()
    with prepared(kind, tmp_path / "there", request) as there:
        copy_history(loaded.path, to_database=there.path, to_destination=kind)
        fill(the_graph(fleet), 1, first=50)
        assert there.load(emulator).backups["new"] == 1
        assert there.deleted == {"g1-b0"}
        assert_exact(there, fleet)
        assert there.load(emulator).outcome == "unchanged"


@pytest.mark.parametrize("news", [0, 1])
def test_a_graph_whose_listing_fails_is_known_until_it_was_last_read(
    store: Store, emulator: Emulator, fleet: Fleet, news: int
) -> None:
    store.load(emulator, page_size=2)
    fill(the_graph(fleet), news, first=50)
    store.load(emulator, page_size=2)
    listings = store.listings
    assert {row["last_read_at"] == row["listed_at"] for row in listings.values()} == {True}
    emulator.forbid("g1")
    store.load(emulator)
    failed = store.listings["g1"]
    assert (failed["outcome"], failed["last_read_at"]) == ("forbidden", listings["g1"]["listed_at"])
    assert failed["last_complete_at"] < failed["last_read_at"]
    assert known_until(store)["g1"] == listings["g1"]["listed_at"]


BEFORE_LAST_READ_AT = """
    DROP SCHEMA reports CASCADE; ALTER TABLE ges.listings DROP COLUMN last_read_at;
    DELETE FROM ges._dlt_version
"""


@pytest.mark.parametrize("news", [0, 1])
def test_a_history_of_before_last_read_at_is_read_and_goes_on(
    filled: Store,
    emulator: Emulator,
    fleet: Fleet,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    news: int,
) -> None:
    listed = {key: row["listed_at"] for key, row in filled.listings.items()}
    if filled.destination == "duckdb":
        with duckdb.connect(str(filled.path)) as connection:
            connection.execute(BEFORE_LAST_READ_AT)
        shutil.rmtree(folder_of(filled.path))  # dlt has kept the schema there, too
    elif filled.destination == "postgres":
        request.getfixturevalue("begun").database.execute(BEFORE_LAST_READ_AT)
    else:
        write_without(tmp_path / "lake" / "ges" / "listings", "last_read_at")
    assert known_until(filled) == listed
    fill(the_graph(fleet), news, first=50)
    assert filled.load(emulator).exit_code == 0
    assert {row["last_read_at"] == row["listed_at"] for row in filled.listings.values()} == {True}
    assert known_until(filled) == {key: row["listed_at"] for key, row in filled.listings.items()}
    assert_exact(filled, fleet)


def known_until(store: Store) -> dict[str, Any]:
    names = store.seam.read("SELECT graph_id, known_until FROM reports.graph_names")
    return {row["graph_id"]: row["known_until"] for row in names.to_pylist()}
