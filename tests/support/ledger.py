"""A warehouse of dictionaries: reads over HTTP as a load does, without dlt and DuckDB.

It merges as `ges_history` does, in a few lines, so that thousands of loads fit into a minute, and
tells what a load did by the same tally. What it shows of reading is held against the real warehouse
by the tests that use both.
"""

import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from dlt.common.schema import Schema
from dlt.common.schema.utils import new_table

from ges_backups.batches import Project, ProjectLoad
from ges_backups.client import GesClient
from ges_backups.credentials import GesCredentials
from ges_backups.graph import PROJECT_WIDE, GraphListing, ListingOptions
from ges_backups.known import Known, KnownListing
from ges_backups.listing import Cursor
from ges_backups.pace import Sent
from ges_backups.page_size import PageSize
from ges_backups.records import Rejected
from ges_backups.rows import BACKUP_COLUMNS
from ges_backups.schema import LISTING_COLUMNS, plain_table
from ges_backups.settings import parse_interval
from ges_emulator import Emulator
from ges_history.loading.outcome import Counts, LoadOutcome, Tally
from harness import TOKEN, Row, Warehouse


@dataclass
class Ledger:
    """Takes loads like `harness.Warehouse`, by either listing; `outcomes` are those of the last one.

    Its `page_size` may be ``auto``, as that of a warehouse is where nothing is said of it.
    """

    folder: Path
    listing: str = "graphs"
    page_size: int | str = 100
    backups: dict[str, Row] = field(default_factory=dict)
    graphs: dict[str, Row] = field(default_factory=dict)
    listings: dict[str, Row] = field(default_factory=dict)
    projects: dict[str, Row] = field(default_factory=dict)
    outcomes: list[GraphListing] = field(default_factory=list)
    rejected: dict[str, Row] = field(default_factory=dict)
    news: list[Rejected] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)

    def load(
        self,
        emulator: Emulator,
        *,
        page_size: Any = None,
        concurrency: int = 4,
        request_seconds: float = 60.0,
        full_listing_interval: str = "24h",
        full: bool = False,
        graph_ids: list[str] | None = None,
        listing: str | None = None,
        credentials: GesCredentials | None = None,
    ) -> LoadOutcome:
        """One load, by a listing of its own or the ledger's; nothing is kept of one that raises."""
        sent = Sent()
        client = GesClient(
            emulator.endpoint, concurrency=concurrency, request_seconds=request_seconds, sent=sent
        )
        names = [PROJECT_WIDE] if (listing or self.listing) == "project" else graph_ids
        project = Project(emulator.fleet.project_id, graph_ids=names)
        client.authorize(credentials or GesCredentials(token=TOKEN), project.id, None)
        known, watch = self._known(project.id), _Watch()
        interval = parse_interval(full_listing_interval)
        size = page_size or self.page_size
        if size == "auto":
            learned = known.learned_size
            size = PageSize(learned=learned, now=time.time(), retry_seconds=interval)
        options = ListingOptions(size, full, False, interval)
        load = ProjectLoad(client, project, options, concurrency, known, watch)
        batches = list(load.iter_batches(self._schema))
        self.outcomes, self.news = watch.listings, watch.news
        before, written = self._counts(project.id), dict[str, Row]()
        ids: set[str] = set()
        for batch in batches:
            if batch.backups is not None:
                self._learn_types(batch.backups.schema)
            for row in _rows(batch.backups):
                assert row["id"] not in ids, "the same id twice would break the merge"
                ids.add(row["id"])
                if self.backups.get(row["id"]) != row:
                    self.backups[row["id"]] = written[row["id"]] = row
            self.graphs.update({row["id"]: row for row in _rows(batch.graphs)})
            self.listings.update({row["graph_id"]: row for row in _rows(batch.listings)})
            self.projects.update({row["id"]: row for row in _rows(batch.projects)})
            for row in _rows(batch.rejected):
                self.rejected.setdefault(row["record_hash"], row)
        marked = sum(row["deleted_at"] is not None for row in written.values())
        after = self._counts(project.id)
        return watch.outcome(int(sent), before, after, len(written), marked)

    def _counts(self, project_id: str) -> Counts:
        rows = [row for row in self.backups.values() if row["project_id"] == project_id]
        there = [row for row in rows if row["deleted_at"] is None]
        return Counts(
            total=len(rows),
            marked=len(rows) - len(there),
            running=sum(row["status"] == "backing_up" for row in there),
            graphs=len({row["graph_id"] for row in there}),
        )

    def _schema(self) -> Schema:
        """What dlt would know of the columns."""
        return _schema_of(tuple(self.types.items()))

    def _learn_types(self, columns: pa.Schema) -> None:
        for column in columns:
            kind = (column.metadata or {}).get(b"data_type")
            if kind and column.name not in BACKUP_COLUMNS:
                self.types[column.name] = kind.decode()

    def _known(self, project_id: str) -> Known:
        listings = {
            key: KnownListing(
                row["outcome"],
                row["last_complete_at"],
                row["last_read_at"],
                Cursor.from_json(row["cursor"]),
            )
            for key, row in self.listings.items()
        }
        return _KnownLedger(
            project=self.projects.get(project_id),
            listings=listings,
            graphs=self.graphs,
            holding=frozenset(row["graph_id"] for row in self.backups.values()),
            rejected=frozenset(self.rejected),
            ledger=self,
        )

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, as `Warehouse.rows` has them."""
        tables = {"backups": self.backups, "graphs": self.graphs, "listings": self.listings}
        tables |= {"projects": self.projects, "rejected_backups": self.rejected}
        return list(tables[table].values())

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


Keeper = Warehouse | Ledger
"""Where the loads of a test go."""


@dataclass
class _KnownLedger(Known):
    """Answers from the ledger instead of by SQL."""

    ledger: Any = None

    def backups_of(self, graph_ids: Iterable[str]) -> pa.Table:
        """The rows of some graphs."""
        wanted = set(graph_ids)
        return self._table(row for row in self._all() if row["graph_id"] in wanted)

    def owners_of(self, ids: Iterable[str]) -> pa.Table:
        """The rows with some ids."""
        return self._table(self.ledger.backups[one] for one in ids if one in self.ledger.backups)

    def iter_rows(self, ids: Iterable[str]) -> Iterator[pa.Table]:
        """Whole rows, one by one."""
        for one in ids:
            yield pa.Table.from_pylist([self.ledger.backups[one]])

    def iter_listings(self, graph_ids: Iterable[str]) -> Iterator[pa.Table]:
        """Whole rows, one by one."""
        for one in graph_ids:
            yield plain_table([self.ledger.listings[one]], LISTING_COLUMNS)

    def _all(self) -> list[Row]:
        return list(self.ledger.backups.values())

    @staticmethod
    def _table(rows: Iterable[Row]) -> pa.Table:
        schema = pa.schema(
            [
                ("id", pa.string()),
                ("graph_id", pa.string()),
                ("is_marked", pa.bool_()),
                ("are_own", pa.bool_()),
            ]
        )
        marked = [
            {**row, "is_marked": row["deleted_at"] is not None, "are_own": True} for row in rows
        ]
        return pa.Table.from_pylist(marked, schema=schema)


@functools.cache
def _schema_of(types: tuple[tuple[str, str], ...]) -> Schema:
    """Columns of these types; a load only reads it, and to make one takes as long as to list."""
    schema = Schema("ges_backups")
    columns = [{"name": name, "data_type": kind} for name, kind in types]
    schema.update_table(new_table("backups", columns=columns))  # type: ignore[arg-type]
    return schema


class _Watch(Tally):
    """A load's tally, which remembers what it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.listings: list[GraphListing] = []
        self.news: list[Rejected] = []

    def listed(self, listing: GraphListing) -> bool:
        """Count and remember it; an unchanged one brings nothing to the ledger."""
        self.listings.append(listing)
        return super().listed(listing)

    def rejected(self, record: Rejected) -> None:
        """Count and remember it."""
        self.news.append(record)
        super().rejected(record)


def _rows(table: pa.Table | None) -> list[Row]:
    return table.to_pylist() if table is not None else []
