"""The living fleet: what time does to it, and the demo's fleet."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ges_emulator import Fleet, Graph, Schedule, demo_fleet

NOW = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def scheduled(**fields: Any) -> Graph:
    graph = Fleet(now=NOW, seed=3).add_graph("g1", "orders")
    graph.schedule = Schedule(**{"at": NOW + HOUR, "every": 6 * HOUR, **fields})
    return graph


def records(fleet: Fleet) -> list[dict[str, Any]]:
    return [dict(backup.record) for graph in fleet.graphs for backup in graph.backups]


def test_automatic_backup_starts_runs_and_ends() -> None:
    graph = scheduled(size_mb=4000.0, noise=0.0, mb_per_second=1.0)
    graph.fleet.advance(HOUR - timedelta(seconds=1))
    assert graph.backups == []
    graph.fleet.advance(timedelta(minutes=2))
    (backup,) = graph.backups
    running = dict(backup.record)
    assert (running["status"], running["size"]) == ("backing_up", 0)
    assert re.fullmatch(r"orders_2025030118(30|31)\d\d_auto", running["name"])
    graph.fleet.advance(2 * HOUR)
    ended = backup.record
    assert (ended["status"], ended["size"], ended["duration"]) == ("success", 4000, 4020)
    assert ended["end_timestamp"] - ended["start_timestamp"] in {4_020_000, 4_021_000}
    changed = {field for field in ended if ended[field] != running[field]}
    assert changed == {"status", "end_timestamp", "end_time", "size", "duration"}


def test_retention_deletes_the_oldest_automatic_ones_only() -> None:
    graph = scheduled(keep=3)
    graph.add_backup(NOW - HOUR, method="manual", id="manual")
    graph.add_backup(NOW - 3 * HOUR, method="import", id="import")
    graph.fleet.advance(timedelta(days=1))
    before = [backup.id for backup in graph.backups]
    graph.fleet.advance(timedelta(days=1))
    after = [backup.id for backup in graph.backups]
    assert after[:2] == before[:2] == ["import", "manual"]
    assert len(after) == len(before) == 5
    assert not set(after[2:]) & set(before[2:])


def test_next_backup_is_skipped_while_one_runs() -> None:
    graph = scheduled(every=HOUR, size_mb=10_000.0, mb_per_second=1.0, noise=0.0)
    graph.fleet.advance(timedelta(days=1))
    starts = [backup.record["start_timestamp"] for backup in graph.backups]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(gap >= 10_000_000 for gap in gaps)
    assert len(starts) == 8


def test_stuck_backup_never_ends_and_stops_the_others() -> None:
    graph = scheduled(stuck=True)
    graph.fleet.advance(timedelta(days=30))
    assert [backup.record["status"] for backup in graph.backups] == ["backing_up"]


def test_schedule_stops_at_its_end() -> None:
    graph = scheduled(stops_at=NOW + timedelta(days=2))
    graph.fleet.advance(timedelta(days=30))
    assert len(graph.backups) == 8


def test_sizes_grow_and_failures_have_no_size() -> None:
    graph = scheduled(size_mb=1000.0, growth_per_day=0.01, noise=0.0, failure_rate=0.3)
    graph.fleet.advance(timedelta(days=100))
    by_status: dict[str, list[int]] = {"success": [], "failed": []}
    for backup in graph.backups[:-1]:
        by_status[backup.record["status"]].append(backup.record["size"])
    assert by_status["success"] == sorted(by_status["success"])
    assert by_status["success"][-1] == pytest.approx(1000 * 1.01**100, rel=0.02)
    assert set(by_status["failed"]) == {0}
    assert 80 < len(by_status["failed"]) < 160


def test_deleted_graph_lives_no_longer() -> None:
    graph = scheduled()
    graph.fleet.advance(timedelta(days=1))
    count = len(graph.backups)
    graph.fleet.delete_graph("g1")
    graph.fleet.advance(timedelta(days=1))
    assert len(graph.backups) == count
    assert graph.fleet.graphs == []
    assert graph.fleet.deleted_graphs == [graph]


def test_second_graph_of_the_same_id_is_refused_until_the_first_is_deleted() -> None:
    fleet = Fleet(now=NOW)
    first = fleet.add_graph("g1")
    with pytest.raises(ValueError, match="already"):
        fleet.add_graph("g1")
    fleet.delete_graph("g1")
    assert fleet.add_graph("g1") is not first


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 90_000), min_size=1, max_size=12),
    every_minutes=st.integers(5, 900),
    keep=st.none() | st.integers(0, 6),
    size_mb=st.floats(1, 20_000),
)
def test_life_is_the_same_in_one_step_or_in_many(
    steps: list[int], every_minutes: int, keep: int | None, size_mb: float
) -> None:
    lives: list[list[dict[str, Any]]] = []
    for parts in (steps, [sum(steps)]):
        graph = scheduled(every=timedelta(minutes=every_minutes), keep=keep, size_mb=size_mb)
        for seconds in parts:
            graph.fleet.advance(timedelta(seconds=seconds))
        for record in records(graph.fleet):
            assert datetime.fromisoformat(f"{record['start_time']}Z") <= graph.fleet.now
        lives.append(records(graph.fleet))
    assert lives[0] == lives[1]
    ids = [record["id"] for record in lives[0]]
    assert len(ids) == len(set(ids))
    assert sum(record["status"] == "backing_up" for record in lives[0]) <= 1


def test_demo_fleet_is_believable() -> None:
    fleet = demo_fleet(now=NOW)
    assert fleet.now == NOW
    assert len(fleet.graphs) == 12
    assert len(fleet.deleted_graphs) == 1
    count, _ = fleet.list_all_backups("old_to_new", 0, 0)
    assert 4000 < count < 8000
    methods = Counter(record["backup_method"] for record in records(fleet))
    assert methods["manual"] > 10
    assert methods["import"] == 2
    for record in records(fleet):
        assert record["start_timestamp"] <= NOW.timestamp() * 1000
        assert (record["end_timestamp"] or 0) <= NOW.timestamp() * 1000


def test_demo_fleet_has_the_troubles_it_names() -> None:
    fleet = demo_fleet(now=NOW)
    graphs = {graph.name: graph for graph in fleet.graphs}

    def series(name: str, field: str) -> list[Any]:
        return [backup.record[field] for backup in graphs[name].backups]

    def days_ago(stamp: int) -> float:
        return (NOW.timestamp() - stamp / 1000) / 86_400

    assert series("fraud_rings", "size")[-1] < 0.3 * series("fraud_rings", "size")[0]
    assert (
        series("recommendations", "duration")[-1] > 3 * series("recommendations", "duration")[-60]
    )
    assert series("supply_chain", "status")[-4:] == ["failed"] * 4
    assert days_ago(series("hr_org_chart", "start_timestamp")[-1]) > 20
    assert series("identity_graph", "status")[-1] == "backing_up"
    assert days_ago(series("identity_graph", "start_timestamp")[-1]) > 1.5
    assert series("social_network", "size")[-5] > 10 * series("social_network", "size")[0]
    assert series("customer_360", "name")[0].startswith("crm_graph_")
    assert series("customer_360", "graph_name")[0] == "customer_360"
    assert days_ago(series("patents_archive", "start_timestamp")[0]) > 1400


def test_demo_fleet_follows_from_its_seed_and_moment() -> None:
    first = records(demo_fleet(5, NOW))
    assert first == records(demo_fleet(5, NOW))
    assert first != records(demo_fleet(6, NOW))


@pytest.mark.parametrize("hour", [0, 9, 13, 20])
def test_a_day_brings_new_changed_and_deleted_backups_to_the_demo(hour: int) -> None:
    fleet = demo_fleet(now=NOW.replace(hour=hour))
    before = {record["id"]: record for record in records(fleet)}
    fleet.advance(timedelta(days=1))
    after = {record["id"]: record for record in records(fleet)}
    assert len(after.keys() - before.keys()) >= 8
    assert len(before.keys() - after.keys()) >= 4
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    assert [key for key in changed if before[key]["status"] == "backing_up"]
