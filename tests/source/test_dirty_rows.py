"""Dirty records through a whole load: each is found again, none stops a load or wedges a later one."""

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirty import GRAPH, HOSTILE_NAMES, HOSTILE_TEXTS, good_record, lost, pages
from ges_emulator import Emulator
from ges_history.reports.overview import read_fleet
from ges_history.warehouses.duckdb_file import DuckDbFile
from harness import FIRST_MS, Row, Warehouse, examples, fill, fleet_of, the_graph
from ledger import Ledger


def spoil(emulator: Emulator, rows: list[Any]) -> None:
    """Serve these rows, and nothing else, for the graph g1."""
    graph = the_graph(emulator.fleet)
    for backup in graph.backups:
        graph.delete_backup(backup)
    for number, row in enumerate(rows):
        graph.add_record(row, start_ms=FIRST_MS + number)


@examples(25)
@given(st.lists(pages(), min_size=1, max_size=3), st.sampled_from([1, 2, 3, 100]))
def test_every_dirty_record_is_found_again_by_each_load(
    versions: list[list[Any]], page_size: int
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dirty-"))
    try:
        with Emulator(fleet_of(graphs=2, backups=2)) as emulator:
            ledger = Ledger(folder)
            for rows in versions:
                spoil(emulator, rows)
                ledger.load(emulator, page_size=page_size, full=True)
                kept = list(ledger.backups.values())
                assert lost(rows, kept, list(ledger.rejected.values())) == []
                assert {"g2-b0", "g2-b1"} <= ledger.listed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@examples(2)
@given(st.lists(pages(), min_size=2, max_size=2))
def test_every_dirty_record_is_found_again_in_duckdb(versions: list[list[Any]]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="dirty-"))
    warehouse = Warehouse(folder / "history.duckdb")
    try:
        with Emulator(fleet_of(graphs=2, backups=2)) as emulator:
            for rows in versions:
                spoil(emulator, rows)
                warehouse.load(emulator)
                assert lost(rows, warehouse.rows("backups"), warehouse.rejected) == []
                assert {"g2-b0", "g2-b1"} <= warehouse.listed
            before, rejected = warehouse.backups, warehouse.rejected
            assert warehouse.load(emulator, full=True).exit_code == 0  # reported is no news
            assert (warehouse.backups, warehouse.rejected) == (before, rejected)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_hostile_names_and_texts_are_kept_and_do_nothing(warehouse: Warehouse) -> None:
    rows: list[Row] = [
        {**good_record(number), name: HOSTILE_TEXTS[number % len(HOSTILE_TEXTS)]}
        for number, name in enumerate(HOSTILE_NAMES)
    ]
    rows += [
        {**good_record(100 + number), "name": text, "new": {text: [text]}}
        for number, text in enumerate(HOSTILE_TEXTS)
    ]
    with Emulator(fleet_of()) as emulator:
        spoil(emulator, rows)
        warehouse.load(emulator)
        assert lost(rows, warehouse.rows("backups"), warehouse.rejected) == []
        before = warehouse.backups
        assert warehouse.load(emulator, full=True).outcome == "unchanged"
    assert warehouse.backups == before


def test_a_field_named_like_a_system_column_of_postgres_is_no_column(warehouse: Warehouse) -> None:
    named = {"xmin": 1, "xmax": 2, "cmin": 3, "cmax": 4, "ctid": "(0,1)", "tableoid": 5}
    with Emulator(fleet_of(backups=0)) as emulator:
        the_graph(emulator.fleet).add_record({**good_record(1), **named})
        warehouse.load(emulator)
    (row,) = warehouse.rows("backups")
    assert json.loads(row["other_fields"]) == named
    assert not named.keys() & row.keys()


def test_a_new_field_becomes_a_column_and_another_type_its_variant(warehouse: Warehouse) -> None:
    versions: list[Row] = [
        {"tags": {"a": [1, {"b": 2}]}, "cost": 1.5, "copies": 3, "origin": "here", "hot": True},
        {"tags": [1, 2], "cost": 2, "copies": 2**64, "origin": 7, "hot": "no"},
        {"tags": "none", "cost": "free", "copies": 0.1, "origin": None, "hot": False},
    ]
    with Emulator(fleet_of(backups=0)) as emulator:
        graph = the_graph(emulator.fleet)
        for number, extra in enumerate(versions):
            graph.add_record({**good_record(number), **extra})
            warehouse.load(emulator)
        assert warehouse.load(emulator, full=True).outcome == "unchanged"

    rows = warehouse.backups
    first, second, third = (rows[f"dirty{number}"] for number in range(3))
    assert json.loads(first["tags"]) == versions[0]["tags"]
    assert json.loads(second["tags"]) == [1, 2]
    assert json.loads(third["tags"]) == "none"
    assert (first["cost"], second["cost"], third["cost__v_text"]) == (1.5, 2.0, "free")
    assert (first["copies"], second["copies__v_text"]) == (3, str(2**64))
    assert third["copies__v_double"] == 0.1
    assert (first["origin"], second["origin__v_bigint"], third["origin"]) == ("here", 7, None)
    assert (first["hot"], second["hot__v_text"], third["hot"]) == (True, "no", False)


def test_a_rejected_record_is_reported_once_per_version_and_accepted_when_it_fits(
    ledger: Ledger,
) -> None:
    with Emulator(fleet_of(backups=2)) as emulator:
        graph = the_graph(emulator.fleet)
        bad = graph.add_record({**good_record(9), "size": "much"})

        outcome = ledger.load(emulator)
        assert (outcome.exit_code, outcome.backups["rejected"]) == (3, 1)
        assert outcome.problems[0]["backup_id"] == "dirty9"
        assert "size" in outcome.problems[0]["error_msg"]
        for full in (False, True):
            outcome = ledger.load(emulator, full=full)
            assert (outcome.exit_code, outcome.backups["rejected"]) == (0, 0)

        bad.record["size"] = "more"
        assert ledger.load(emulator).exit_code == 3
        bad.record["size"] = 5
        assert ledger.load(emulator).backups["new"] == 1

    assert ledger.backups["dirty9"]["size"] == 5
    records = [json.loads(row["record"]) for row in ledger.rejected.values()]
    assert sorted(record["size"] for record in records) == ["more", "much"]
    assert {row["graph_id"] for row in ledger.rejected.values()} == {GRAPH}


def test_a_backup_that_turns_bad_keeps_its_last_good_row_and_no_mark(ledger: Ledger) -> None:
    with Emulator(fleet_of(backups=3)) as emulator:
        ledger.load(emulator)
        good = ledger.backups["g1-b1"]
        the_graph(emulator.fleet).backups[1].record["size"] = -1
        outcome = ledger.load(emulator)

    assert outcome.backups["rejected"] == 1
    assert ledger.backups["g1-b1"] == good


@pytest.mark.parametrize("order", ["old_to_new", "new_to_old"])
def test_a_running_backup_that_is_rejected_is_read_again_until_it_has_ended(
    ledger: Ledger, order: str
) -> None:
    fleet = fleet_of(backups=10)
    graph = the_graph(fleet)
    running = graph.add_backup(FIRST_MS + 10**10, status="backing_up", size=-1, id="running")
    running.record["size"] = -1
    with Emulator(fleet, order=order) as emulator:
        ledger.load(emulator, page_size=4)
        assert "running" not in ledger.backups
        fill(graph, 10, first=200)
        ledger.load(emulator, page_size=4)
        fill(graph, 10, first=300)
        running.finish(size=8)
        ledger.load(emulator, page_size=4)

    assert ledger.backups["running"]["size"] == 8


@pytest.mark.parametrize("status", ["backing_up", "queued"])
@pytest.mark.parametrize("others", ["much", 1], ids=["all rejected", "others fit"])
def test_a_rejected_one_that_has_not_ended_is_read_again_whatever_the_others_are(
    ledger: Ledger, status: str, others: Any
) -> None:
    with Emulator(fleet_of(backups=9)) as emulator:
        backups = the_graph(emulator.fleet).backups
        for backup in backups:
            backup.record["size"] = others
        running = backups[3]
        running.record.update(size="much", status=status, end_timestamp=None)
        ledger.load(emulator, page_size=3)
        assert "g1-b3" not in ledger.backups
        running.finish(size=8)
        ledger.load(emulator, page_size=3)

    assert ledger.backups["g1-b3"]["size"] == 8


def test_an_id_that_two_graphs_list_is_kept_once_and_reported_once(ledger: Ledger) -> None:
    with Emulator(fleet_of(graphs=2, backups=2)) as emulator:
        for graph in emulator.fleet.graphs:
            graph.add_backup(FIRST_MS - 1, id="twin", size=len(graph.id), new_field=graph.id)
        assert ledger.load(emulator).exit_code == 3
        row = ledger.backups["twin"]
        (rejected,) = ledger.rejected.values()
        other = json.loads(rejected["record"])
        assert {row["graph_id"], other["graph_id"]} == {"g1", "g2"}
        assert {row["new_field"], other["new_field"]} == {"g1", "g2"}

        for full in (False, True, True):
            assert ledger.load(emulator, full=full).exit_code == 0
            assert ledger.backups["twin"] == row
        assert len(ledger.rejected) == 1


def test_an_id_that_stands_on_two_pages_is_kept_once(warehouse: Warehouse) -> None:
    with Emulator(fleet_of(backups=6)) as emulator:
        graph = the_graph(emulator.fleet)
        graph.add_record({**graph.backups[0].record, "size": 99}, start_ms=10**15)
        outcome = warehouse.load(emulator, page_size=3)
        assert (outcome.graphs["failed"], outcome.backups["rejected"]) == (0, 1)
        sizes = {
            warehouse.backups["g1-b0"]["size"],
            json.loads(warehouse.rejected[0]["record"])["size"],
        }
        assert sizes == {0, 99}
        assert set(warehouse.backups) == {f"g1-b{number}" for number in range(6)}
        assert warehouse.deleted == set()
        with DuckDbFile(warehouse.path).reading() as read:
            assert read_fleet(read).totals["rejected_30d"] == 1
        before = warehouse.backups
        for full in (False, True):
            assert warehouse.load(emulator, page_size=3, full=full).outcome == "unchanged"
        assert warehouse.backups == before
        assert set(warehouse.backups) == {f"g1-b{number}" for number in range(6)}


def test_rows_without_an_id_do_not_hide_those_that_have_one(ledger: Ledger) -> None:
    with Emulator(fleet_of(backups=5)) as emulator:
        graph = the_graph(emulator.fleet)
        for place in (0, 3, 7):
            graph.add_record({"status": "success"}, index=place)
        assert ledger.load(emulator, page_size=3).backups["new"] == 5
        graph.delete_backup("g1-b2")
        ledger.load(emulator, page_size=3)

    assert ledger.deleted == {"g1-b2"}
    assert len(ledger.rejected) == 1


@pytest.mark.parametrize("listing", ["graphs", "project"])
def test_an_id_that_is_no_text_to_keep_is_rejected_and_harms_no_other(
    ledger: Ledger, listing: str
) -> None:
    """A list of a known graph is evidence: its ids are held against those of the warehouse."""
    with Emulator(fleet_of(graphs=2, backups=3)) as emulator:
        ledger.load(emulator, listing=listing)
        graph = the_graph(emulator.fleet)
        graph.add_record({**good_record(9), "id": "a\ud800"}, start_ms=FIRST_MS)
        graph.delete_backup("g1-b1")
        outcome = ledger.load(emulator, listing=listing)

    assert (outcome.exit_code, outcome.backups["rejected"]) == (3, 1)
    assert ledger.deleted == {"g1-b1"}


def test_numbers_of_any_length_and_deep_fields_load(warehouse: Warehouse) -> None:
    with Emulator(fleet_of(backups=1)) as emulator:
        graph = the_graph(emulator.fleet)
        for digits in (19, 5000):
            deep: Any = 1
            for _ in range(digits // 6):
                deep = [deep]
            graph.add_record({**good_record(digits), f"deep{digits}": deep})
            long = {f"long{digits}": 10 ** min(digits, 4000)}
            graph.add_record({**good_record(digits + 1), **long})
        warehouse.load(emulator)
        assert warehouse.load(emulator, full=True).exit_code == 0

    rows = warehouse.backups
    assert rows["dirty20"]["long19"] is not None
    assert rows["dirty5001"]["long5000"] is not None
    assert {"g1-b0", "dirty20", "dirty5001"} <= warehouse.listed


def test_the_time_of_rejection_is_kept(ledger: Ledger) -> None:
    before = datetime.now(UTC)
    with Emulator(fleet_of(backups=1)) as emulator:
        the_graph(emulator.fleet).add_record(None)
        ledger.load(emulator)
    (rejected,) = ledger.rejected.values()
    assert before <= rejected["first_seen_at"] <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("graph_id", "reason", "backups"),
    [("*", "the id *", 8), ("\N{SNOWMAN}" * 334, "more than 1,000 bytes", 6)],
)
def test_a_graph_whose_id_cannot_be_is_rejected_and_harms_no_other(
    warehouse: Warehouse, graph_id: str, reason: str, backups: int
) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    fill(fleet.add_graph(graph_id), 2)
    with Emulator(fleet) as emulator:
        assert warehouse.load(emulator).exit_code == 3
        assert warehouse.load(emulator).exit_code == 0
    assert warehouse.last_outcomes == {"g1": "complete", "g2": "complete"}
    assert {reason in row["reason"] for row in warehouse.rejected} == {True}
    assert len(warehouse.backups) == backups
    assert len(warehouse.rejected) == 1 + 8 - backups
