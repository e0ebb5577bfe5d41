"""A believable fleet: a dozen graphs, two years, and some trouble worth finding in the reports."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ges_emulator.fleet import Fleet
from ges_emulator.graph_life import Graph, Run
from ges_emulator.schedule import Schedule

TWO_YEARS_DAYS = 730
BIG = {"graph_size_type_index": "4", "arch": "aarch64", "data_store_version": "2.4.8"}
DATABASE = {"graph_size_type_index": "5", "product_type": "Persistence", "encrypted": True}


class Event(NamedTuple):
    """Something that happened to the fleet."""

    days_ago: float
    happen: Callable[[Fleet], object]


def demo_fleet(seed: int = 20210608, now: datetime | None = None) -> Fleet:
    """The demo's fleet as it is at ``now`` (default: this moment), ready to be advanced.

    What there is to find: ``fraud_rings`` shrank, ``recommendations`` got slow,
    ``supply_chain`` has been failing for five days, ``hr_org_chart`` has no backup for three
    weeks, ``identity_graph`` is stuck in ``backing_up``, ``social_network`` grows fast,
    ``customer_360`` was called ``crm_graph``, ``patents_archive`` has imports with old starts,
    ``campaign_2024`` was deleted, and one backup is running.
    """
    now = (datetime.now(UTC) if now is None else now).replace(microsecond=0)
    fleet = Fleet(now=now - timedelta(days=TWO_YEARS_DAYS), seed=seed)
    for event in sorted(_history(), key=lambda event: -event.days_ago):
        fleet.advance(now - timedelta(days=event.days_ago) - fleet.now)
        event.happen(fleet)
    fleet.advance(now - fleet.now)
    _run_now(fleet, "social_network")
    return fleet


def _history() -> list[Event]:
    return [
        Event(730, _created("orders", 12.5, size_mb=2400, growth_per_day=0.0012, keep=400)),
        Event(730, _created("crm_graph", 17, BIG, size_mb=5200, growth_per_day=0.0008)),
        Event(730, _created("patents_archive", 2, every_hours=168, size_mb=9000)),
        Event(730, _created("identity_graph", 19, size_mb=760, growth_per_day=0.0005, keep=365)),
        Event(728, _created("hr_org_chart", 21, size_mb=42, keep=500)),
        Event(700, _created("supply_chain", 18.25, size_mb=1900, failure_rate=0.02, keep=300)),
        Event(610, _created("fraud_rings", 15, BIG, every_hours=12, size_mb=3100, keep=600)),
        Event(590, _created("campaign_2024", 20, size_mb=310)),
        Event(540, _created("recommendations", 16, BIG, size_mb=4400, growth_per_day=0.0006)),
        Event(420, _created("network_topology", 1, every_hours=6, size_mb=130, keep=900)),
        Event(300, _created("social_network", 14, DATABASE, size_mb=6000, growth_per_day=0.011)),
        Event(180, _created("knowledge_base", 22, failure_rate=0.01, size_mb=880, keep=90)),
        Event(45, _created("bill_of_materials", 13, size_mb=260)),
        *(Event(days, _added("orders", 2600)) for days in range(690, 10, -60)),
        *(Event(days, _added("crm_graph", 5900)) for days in range(650, 61, -90)),
        Event(20, _added("customer_360", 6300)),
        *(Event(days, _added("network_topology", 140)) for days in (333, 102, 3)),
        Event(270, lambda fleet: fleet.delete_graph(_named(fleet, "campaign_2024").id)),
        Event(150, _added("knowledge_base", 0, status="failed")),
        Event(61, lambda fleet: _named(fleet, "crm_graph").rename("customer_360")),
        Event(40, _added("patents_archive", 7100, method="import", older_by_days=1500)),
        Event(40, _added("patents_archive", 7600, method="import", older_by_days=1320)),
        Event(33, _changed("recommendations", mb_per_second=0.9)),
        Event(21, lambda fleet: _changed("hr_org_chart", stops_at=fleet.now)(fleet)),
        Event(9, lambda fleet: _changed("fraud_rings", size_mb=640, size_at=fleet.now)(fleet)),
        Event(5, _changed("supply_chain", failure_rate=1.0)),
        Event(3, _changed("identity_graph", stuck=True)),
    ]


def _created(
    name: str,
    hour: float,
    fields: dict[str, Any] | None = None,
    every_hours: float = 24,
    **schedule: Any,
) -> Callable[[Fleet], object]:
    def happen(fleet: Fleet) -> None:
        graph = fleet.add_graph(name=name, **(fields or {}))
        midnight = fleet.now.replace(hour=0, minute=0, second=0) + timedelta(days=1)
        at = midnight + timedelta(hours=hour)
        graph.schedule = Schedule(at, timedelta(hours=every_hours), **schedule)

    return happen


def _changed(name: str, **fields: Any) -> Callable[[Fleet], object]:
    def happen(fleet: Fleet) -> None:
        schedule = _named(fleet, name).schedule
        for field, value in fields.items():
            setattr(schedule, field, value)

    return happen


def _added(
    name: str,
    size_mb: int,
    status: str = "success",
    method: str = "manual",
    older_by_days: float = 0,
) -> Callable[[Fleet], object]:
    def happen(fleet: Fleet) -> None:
        start = fleet.now - timedelta(days=older_by_days, minutes=37)
        _named(fleet, name).add_backup(start, 20 + size_mb // 4, size_mb, status, method)

    return happen


def _run_now(fleet: Fleet, name: str) -> None:
    start = fleet.now - timedelta(minutes=4)
    backup = _named(fleet, name).add_backup(start, status="backing_up", method="manual")
    backup.run = Run(fleet.now + timedelta(minutes=90), "success", 5640, 140_000)


def _named(fleet: Fleet, name: str) -> Graph:
    return next(graph for graph in fleet.graphs if graph.name == name)
