"""What the tests of loading share: a fleet behind HTTP, a warehouse, and what must be in it."""

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import duckdb
from hypothesis import settings

from ges_backups.records import BOOLEAN_FIELDS, NUMBER_FIELDS, TEXT_FIELDS
from ges_emulator import Emulator, Fleet, Graph
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load

TOKEN = "emulator-token"
NOW = datetime(2025, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
FIRST_MS = 1_600_000_000_000
ORDERS = ("old_to_new", "new_to_old", "shuffled")
"""In which a server may list."""
FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS, *BOOLEAN_FIELDS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


def examples(count: int) -> settings:
    """So many examples of hypothesis; the environment's `GES_SOAK` multiplies them."""
    return settings(max_examples=count * int(os.environ.get("GES_SOAK", "1")))


def fill(graph: Graph, count: int, first: int = 0) -> None:
    """Give a graph backups, one a day, named after their graph and number."""
    for number in range(first, first + count):
        graph.add_backup(
            FIRST_MS + number * DAY_MS, id=f"{graph.id}-b{number}", size=number, duration=number
        )


def fleet_of(graphs: int = 1, backups: int = 3) -> Fleet:
    """A fleet of graphs `g1`, `g2`, ... with so many backups each."""
    fleet = Fleet(now=NOW)
    for number in range(1, graphs + 1):
        fill(fleet.add_graph(f"g{number}"), backups)
    return fleet


def project_called(name: str, graph_id: str = "same") -> Fleet:
    """A project whose one graph has an id that others have, too, and three backups of its own."""
    fleet = Fleet(f"{name}0123456789abcdef"[:32], now=NOW)
    graph = fleet.add_graph(graph_id, name=f"of {name}")
    for number in range(3):
        graph.add_backup(FIRST_MS + number * DAY_MS, id=f"{name}-b{number}", size=number)
    return fleet


def the_graph(fleet: Fleet, graph_id: str = "g1") -> Graph:
    """A graph that exists."""
    graph = fleet.graph(graph_id)
    assert graph is not None
    return graph


def settings_for(emulator: Emulator, **settings: Any) -> dict[str, Any]:
    """Arguments of `ges_backups` that reach an emulator."""
    return {
        "project_id": emulator.fleet.project_id,
        "endpoint": emulator.endpoint,
        "credentials": {"token": TOKEN},
        **settings,
    }


@dataclass
class Warehouse:
    """A DuckDB file that loads go to."""

    path: Path
    settings: Row = field(default_factory=dict)

    def load(self, emulator: Emulator, **settings: Any) -> LoadOutcome:
        """One load; `settings` are arguments of `load` and of the source."""
        return load(self.path, **settings_for(emulator, **self.settings, **settings))

    def load_with(self, **settings: Any) -> LoadOutcome:
        """One load with these settings and no others."""
        return load(self.path, **settings)

    def rows(self, table: str) -> list[Row]:
        """All rows of a table of the dataset, as dictionaries; none where there is no table."""
        if not self.path.exists():
            return []
        with duckdb.connect(str(self.path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            catalog = connection.execute("SELECT current_catalog()").fetchone()
            assert catalog is not None
            try:
                cursor = connection.execute(f'SELECT * FROM "{catalog[0]}".ges.{table}')
            except duckdb.CatalogException:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @property
    def backups(self) -> dict[str, Row]:
        """The backups by their ids; fails where an id came twice."""
        rows = self.rows("backups")
        repeated = [key for key, times in Counter(row["id"] for row in rows).items() if times > 1]
        assert not repeated
        return {row["id"]: row for row in rows}

    @property
    def listed(self) -> set[str]:
        """Ids of backups that are not marked as deleted."""
        return {key for key, row in self.backups.items() if row["deleted_at"] is None}

    @property
    def deleted(self) -> set[str]:
        """Ids of backups that are marked as deleted."""
        return {key for key, row in self.backups.items() if row["deleted_at"] is not None}

    @property
    def listings(self) -> dict[str, Row]:
        """The latest listing of each graph."""
        return {row["graph_id"]: row for row in self.rows("listings")}

    @property
    def last_outcomes(self) -> dict[str, str]:
        """What became of each graph, by its id."""
        return {key: row["outcome"] for key, row in self.listings.items()}

    @property
    def rejected(self) -> list[Row]:
        """The rejected records."""
        return self.rows("rejected_backups")

    def snapshot(self) -> dict[str, list[str]]:
        """Everything that a person can see, to compare before and after."""
        tables = ("backups", "graphs", "listings", "rejected_backups")
        return {table: sorted(map(repr, self.rows(table))) for table in tables}


def expected_row(record: Row, project_id: str) -> Row:
    """The row of `ges.backups` that a record stands for, without the columns of the pipeline."""
    end = record.get("end_timestamp")
    return {
        **{name: record.get(name) for name in FIELDS},
        "project_id": project_id,
        "started_at": EPOCH + timedelta(milliseconds=record["start_timestamp"]),
        "ended_at": EPOCH + timedelta(milliseconds=end) if end else None,
    }


def served(fleet: Fleet) -> dict[str, Row]:
    """The rows that must be in the warehouse, unmarked: what the graphs list now."""
    with fleet.lock:
        return {
            backup.record["id"]: expected_row(backup.record, fleet.project_id)
            for graph in fleet.graphs
            for backup in graph.rows.natural
        }


class Kept(Protocol):
    """What keeps backups: a warehouse or a ledger."""

    @property
    def backups(self) -> dict[str, Row]:
        """The backups by their ids."""


def differences(warehouse: Kept, fleet: Fleet) -> dict[str, Any]:
    """What is wrong in the warehouse after a load of a fleet that has stood still since."""
    found: dict[str, Any] = {}
    rows = warehouse.backups
    for key, expected in served(fleet).items():
        if key not in rows:
            found[key] = "is missing"
            continue
        row = {name: rows[key][name] for name in expected}
        if row != expected:
            found[key] = {n: (row[n], expected[n]) for n in expected if row[n] != expected[n]}
        elif rows[key]["deleted_at"] is not None:
            found[key] = "is marked as deleted"
    for key in rows.keys() - served(fleet).keys():
        if rows[key]["deleted_at"] is None:
            found[key] = "is not marked as deleted"
    return found


def assert_exact(warehouse: Kept, fleet: Fleet) -> None:
    """The warehouse holds what the fleet lists, exactly; the rest is marked as deleted."""
    assert differences(warehouse, fleet) == {}


class Asked:
    """Counts what an emulator was asked since this was made."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._start = len(emulator.requests)

    @classmethod
    def of(cls, emulator: Emulator) -> "Asked":
        """Counts everything that the emulator was ever asked."""
        asked = cls(emulator)
        asked._start = 0
        return asked

    def count(self, endpoint: str | None = "backups", graph_id: str | None = None) -> int:
        """Requests of an endpoint, of one graph or of all."""
        return sum(
            request.endpoint == endpoint and graph_id in (None, request.graph_id)
            for request in self._emulator.requests[self._start :]
        )

    @property
    def total(self) -> int:
        """Requests of any kind."""
        return len(self._emulator.requests) - self._start
