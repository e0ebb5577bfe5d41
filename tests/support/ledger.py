"""A warehouse of dictionaries: reads over HTTP as a load does, without dlt and DuckDB.

It merges and marks as `ges_history` does, in a few lines, so that thousands of loads fit into a
minute. What it shows of reading is held against the real warehouse by the tests that use both.
"""

import copy
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
from dlt.common.schema import Schema

from ges_backups.batches import GraphLoad
from ges_backups.client import GesClient
from ges_backups.credentials import GesCredentials
from ges_backups.graph import GraphListing, ListingOptions
from ges_backups.records import Rejected
from ges_backups.settings import parse_interval
from ges_emulator import Emulator
from harness import TOKEN, Row


@dataclass
class Ledger:
    """Takes loads like `harness.Warehouse`; `outcomes` are the listings of the last one."""

    folder: Path
    state: Row = field(default_factory=dict)
    backups: dict[str, Row] = field(default_factory=dict)
    listings: dict[str, Row] = field(default_factory=dict)
    outcomes: list[GraphListing] = field(default_factory=list)
    rejected: dict[str, Row] = field(default_factory=dict)
    news: list[Rejected] = field(default_factory=list)

    def load(
        self,
        emulator: Emulator,
        *,
        page_size: int = 100,
        concurrency: int = 4,
        request_seconds: float = 60.0,
        full_listing_interval: str = "24h",
        full: bool = False,
        graph_ids: list[str] | None = None,
    ) -> None:
        """One load; nothing is kept of one that raises."""
        client = GesClient(
            emulator.endpoint, concurrency=concurrency, request_seconds=request_seconds
        )
        client.authorize(GesCredentials(token=TOKEN), emulator.fleet.project_id, None)
        options = ListingOptions(page_size, full, False, parse_interval(full_listing_interval))
        watch = _Watch({row["graph_id"] for row in self.backups.values()})
        load = GraphLoad(client, emulator.fleet.project_id, graph_ids, options, concurrency, watch)
        state = copy.deepcopy(self.state)
        with suppress(Exception):
            dlt.pipeline().deactivate()
        dlt.pipeline("ledger", pipelines_dir=str(self.folder))
        batches = list(load.iter_batches(state, Schema("ges_backups")))
        self.state, self.outcomes, self.news = state, watch.listings, watch.news
        for table in ("backups", "listings", "rejected", "listed"):
            rows = [
                row
                for batch in batches
                if (found := getattr(batch, table)) is not None
                for row in found.to_pylist()
            ]
            getattr(self, f"_take_{table}")(rows)

    def _take_backups(self, rows: list[Row]) -> None:
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids)), "the same id twice would break the merge"
        self.backups = dict(self.backups)
        for row in rows:
            mark = self.backups.get(row["id"], {}).get("deleted_at")
            self.backups[row["id"]] = {**row, "deleted_at": mark}

    def _take_listings(self, rows: list[Row]) -> None:
        self.listings.update({row["graph_id"]: row for row in rows})

    def _take_rejected(self, rows: list[Row]) -> None:
        for row in rows:
            self.rejected.setdefault(row["record_hash"], row)

    def _take_listed(self, rows: list[Row]) -> None:
        complete = {row["graph_id"]: row["listed_at"] for row in rows if row["id"] is None}
        seen = {(row["graph_id"], row["id"]) for row in rows}
        for key, row in self.backups.items():
            if (row["graph_id"], key) in seen:
                self.backups[key] = {**row, "deleted_at": None}
            elif row["graph_id"] in complete and row["deleted_at"] is None:
                self.backups[key] = {**row, "deleted_at": complete[row["graph_id"]]}

    @property
    def listed(self) -> set[str]:
        """Ids of backups that are not marked as deleted."""
        return {key for key, row in self.backups.items() if row["deleted_at"] is None}

    @property
    def deleted(self) -> set[str]:
        """Ids of backups that are marked as deleted."""
        return self.backups.keys() - self.listed

    @property
    def last_outcomes(self) -> dict[str, str]:
        """What became of each graph that the last load asked for, by its id."""
        return {listing.graph_id: listing.outcome for listing in self.outcomes}

    @property
    def restarts(self) -> int:
        """How often a listing of the last load was read again."""
        return sum(listing.restarts for listing in self.outcomes)


class _Watch:
    """An observer that remembers."""

    def __init__(self, known: set[Any]) -> None:
        self._known = known
        self.listings: list[GraphListing] = []
        self.news: list[Rejected] = []

    def begin(self, project_id: str, graphs: int, requests: int) -> None:
        """Nothing to do."""

    def knows(self, project_id: str, graph_id: str) -> bool:
        """Whether there are backups of the graph."""
        return graph_id in self._known

    def has_graph(self, row: Any) -> bool:
        """The ledger keeps no graphs."""
        return False

    def listed(self, listing: GraphListing) -> bool:
        """Remember it; an unchanged one brings nothing to the ledger."""
        self.listings.append(listing)
        return True

    def rejected(self, record: Rejected) -> None:
        """Remember it."""
        self.news.append(record)
