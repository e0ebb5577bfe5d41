"""One load: the graphs of a project listed, cursors moved, and batches of tables for the resources."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import dlt
import numpy as np
import pyarrow as pa
from dlt.common.schema import Schema

from ges_backups.client import GesClient
from ges_backups.graph import GraphListing, ListingOptions
from ges_backups.pool import GraphPool, fetch_graphs
from ges_backups.records import Rejected, record_of, reject
from ges_backups.rows import backups_table
from ges_backups.schema import (
    GRAPH_COLUMNS,
    LISTING_COLUMNS,
    REJECTED_COLUMNS,
    graph_rows,
    listed_table,
    plain_table,
)

BATCH_ROWS = 20_000


class Observer(Protocol):
    """Is told how a load goes, and knows the warehouse that it goes to."""

    def begin(self, project_id: str, graphs: int, requests: int) -> None:
        """So many graphs will be listed; finding them took so many requests."""

    def knows(self, project_id: str, graph_id: str) -> bool:
        """Whether the warehouse holds backups of the graph: if not, none can have gone."""

    def has_graph(self, row: Mapping[str, str | None]) -> bool:
        """Whether the warehouse holds this row of `ges.graphs` as it is."""

    def listed(self, listing: GraphListing) -> bool:
        """One graph was listed. True: an unchanged listing is recorded by the observer."""

    def rejected(self, record: Rejected) -> None:
        """A record was rejected that no earlier load reported."""


@dataclass
class Batch:
    """What some graphs brought: one table for each resource, None where there is nothing."""

    backups: pa.Table | None = None
    graphs: pa.Table | None = None
    listings: pa.Table | None = None
    rejected: pa.Table | None = None
    listed: pa.Table | None = None


@dataclass
class _Pending:
    """Listings on their way into a batch."""

    rows: list[pa.Table] = field(default_factory=list)
    listings: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    listed: list[pa.Table] = field(default_factory=list)
    graphs: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0


class SeenIds:
    """Tells ids that came before in a run, in 8 bytes each: the same id twice would break a merge."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def repeated(self, ids: Sequence[str]) -> list[bool]:
        """For each id whether it came before, in this call or an earlier one; remembers them all."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        block, first, place = np.unique(hashes, return_index=True, return_inverse=True)
        known = np.zeros(len(block), bool)
        for other in self._blocks:
            at = np.minimum(np.searchsorted(other, block), len(other) - 1)
            known |= other[at] == block
        again = known[place]
        again[np.setdiff1d(np.arange(len(ids)), first, assume_unique=True)] = True
        self._remember(block)
        return [bool(flag) for flag in again]

    def _remember(self, block: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Keep few blocks, each at least twice the next: looking one up stays cheap."""
        while self._blocks and len(self._blocks[-1]) < 2 * len(block):
            block = np.sort(np.concatenate([self._blocks.pop(), block]), kind="stable")
        if len(block):
            self._blocks.append(block)


class GraphLoad:
    """Lists graphs and turns the listings into batches; moves the cursors in dlt's state.

    Args:
        client: Sends the requests.
        project_id: The project.
        graph_ids: Graphs to list; None for all that ListGraphs answers.
        options: How graphs are read.
        concurrency: Graphs listed at once.
        observer: Is told of each listing, or None.
    """

    def __init__(
        self,
        client: GesClient,
        project_id: str,
        graph_ids: Sequence[str] | None,
        options: ListingOptions,
        concurrency: int,
        observer: Observer | None,
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._graph_ids = graph_ids
        self._options = options
        self._concurrency = concurrency
        self._observer = observer
        self._seen = SeenIds()
        self._rejected: set[str] = set()
        self._requests = 0
        self._left: set[str] = set()
        self._repeats: list[str] = []

    def iter_batches(self, state: dict[str, Any], schema: Schema) -> Iterator[Batch]:
        """Yield batches as the listings come; memory is bounded by the batch, not by the fleet."""
        project = state.setdefault("projects", {}).setdefault(self._project_id, {})
        cursors = project.setdefault("graphs", {})
        self._repeats = project.setdefault("repeats", [])
        pending = _Pending()
        graph_ids = self._find_graphs(project, pending)
        if self._observer:
            self._observer.begin(self._project_id, len(graph_ids), self._requests)
        pool = GraphPool(self._client, self._project_id, self._options, self._concurrency)
        collector = dlt.current.pipeline().collector
        for listing in pool.iter_listings(graph_ids, dict(cursors)):
            collector.update("Graphs", 1, total=len(graph_ids))
            self._take(listing, pending)
            self._keep_cursor(listing, cursors)
            if listing.graph_id in self._left and listing.outcome in ("missing", "forbidden"):
                self._keep_gone(project, {listing.graph_id, *project.get("gone", ())})
            if pending.size >= BATCH_ROWS:
                yield self._batch(pending, schema)
                pending = _Pending()
                pa.default_memory_pool().release_unused()
        yield self._batch(pending, schema)
        pa.default_memory_pool().release_unused()

    def _find_graphs(self, project: dict[str, Any], pending: _Pending) -> list[str]:
        """The graphs to list: the chosen ones, or the project's; one that left its list is asked once."""
        if self._graph_ids is not None:
            return list(self._graph_ids)
        records, rejected, self._requests = fetch_graphs(
            self._client, self._project_id, self._options.page_size
        )
        pending.graphs.extend(records)
        for record in rejected:
            self._reject(record, pending)
        listed = [record["id"] for record in records]
        gone = set(project.get("gone", ()))
        self._left = set(project["graphs"]).difference(listed)
        self._keep_gone(project, gone & self._left)
        return listed + sorted(self._left - gone)

    @staticmethod
    def _keep_gone(project: dict[str, Any], gone: set[str]) -> None:
        """Remember graphs that left the list and are no longer asked for."""
        if project.get("gone", []) != sorted(gone):
            project["gone"] = sorted(gone)

    def _take(self, listing: GraphListing, pending: _Pending) -> None:
        observed = self._observer.listed(listing) if self._observer else False
        if listing.unchanged and observed:
            return
        pending.listings.append(_listing_row(listing, self._project_id))
        pending.size += 1
        for record in listing.rejected:
            self._reject(record, pending)
        if listing.rows is not None:
            pending.rows.append(listing.rows)
            pending.size += len(listing.rows)
            if self._graph_ids is not None:
                pending.graphs.append(_graph_of(listing))
        self._take_evidence(listing, pending)

    def _take_evidence(self, listing: GraphListing, pending: _Pending) -> None:
        if listing.listed_ids is None:
            return
        ids = set(listing.listed_ids)
        if not self._may_be_gone(listing, ids):
            return
        marks = [None] if listing.outcome == "complete" else []
        evidence = listed_table(
            [*sorted(ids), *marks], self._project_id, listing.graph_id, listing.listed_at
        )
        pending.listed.append(evidence)
        pending.size += len(evidence)

    def _may_be_gone(self, listing: GraphListing, ids: set[str]) -> bool:
        """Whether the warehouse may hold backups that are not listed: older ones, or some just deleted."""
        if self._observer is None or self._observer.knows(self._project_id, listing.graph_id):
            return True
        return listing.rows is not None and not ids.issuperset(
            listing.rows.column("id").to_pylist()
        )

    def _without_repeats(self, pending: _Pending) -> pa.Table | None:
        """The rows whose id no other graph of this load has brought; the others are rejected."""
        if not pending.rows:
            return None
        rows = pa.concat_tables(sorted(pending.rows, key=_graph_id))
        again = self._seen.repeated(rows.column("id").to_pylist())
        if not any(again):
            return rows
        for record in rows.filter(pa.array(again)).to_pylist():
            reason = "another graph of this load lists a backup with the same id"
            rejected = reject(record_of(record), record["graph_id"], reason)
            if rejected.record_hash not in self._repeats:
                self._reject(rejected, pending)
                self._repeats.append(rejected.record_hash)
        return rows.filter(pa.array([not flag for flag in again]))

    def _new_graphs(self, pending: _Pending) -> list[dict[str, str | None]]:
        rows = graph_rows(pending.graphs, self._project_id)
        observer = self._observer
        return [row for row in rows if not observer or not observer.has_graph(row)]

    def _reject(self, record: Rejected, pending: _Pending) -> None:
        if self._observer:
            self._observer.rejected(record)
        row = {
            "record_hash": record.record_hash,
            "project_id": self._project_id,
            "graph_id": record.graph_id,
            "backup_id": record.backup_id,
            "reason": record.reason,
            "record": record.record,
            "first_seen_at": datetime.now(UTC),
        }
        if record.record_hash not in self._rejected:
            self._rejected.add(record.record_hash)
            pending.rejected.append(row)

    def _keep_cursor(self, listing: GraphListing, cursors: dict[str, Any]) -> None:
        if listing.cursor is not None:
            moved = listing.cursor.to_state()
            if cursors.get(listing.graph_id) != moved:
                cursors[listing.graph_id] = moved

    def _batch(self, pending: _Pending, schema: Schema) -> Batch:
        known = schema.tables.get("backups", {}).get("columns", {})
        types = {
            name: str(column["data_type"])
            for name, column in known.items()
            if "data_type" in column
        }
        normalize = schema.naming.normalize_identifier
        rows = self._without_repeats(pending)
        graphs = self._new_graphs(pending)
        return Batch(
            backups=backups_table([rows], self._project_id, types, normalize) if rows else None,
            graphs=plain_table(graphs, GRAPH_COLUMNS) if graphs else None,
            listings=plain_table(pending.listings, LISTING_COLUMNS) if pending.listings else None,
            rejected=plain_table(pending.rejected, REJECTED_COLUMNS) if pending.rejected else None,
            listed=pa.concat_tables(pending.listed) if pending.listed else None,
        )


def _graph_id(rows: pa.Table) -> str:
    return str(rows.column("graph_id")[0])


def _listing_row(listing: GraphListing, project_id: str) -> dict[str, Any]:
    complete_at = listing.last_complete_at
    return {
        "project_id": project_id,
        "graph_id": listing.graph_id,
        "listed_at": listing.listed_at,
        "outcome": listing.outcome,
        "error_code": listing.error.error_code or str(listing.error.status or "")
        if listing.error
        else None,
        "error_msg": (listing.error.error_msg or listing.error.problem) if listing.error else None,
        "backup_count": listing.backup_count,
        "requests": listing.requests,
        "restarts": listing.restarts,
        "last_complete_at": datetime.fromtimestamp(complete_at, UTC) if complete_at else None,
    }


def _graph_of(listing: GraphListing) -> dict[str, Any]:
    """What a graph's newest backup tells of it, where the list of graphs was not asked."""
    assert listing.rows is not None
    starts = listing.rows.column("start_timestamp").to_pylist()
    newest = listing.rows.slice(starts.index(max(starts)), 1).to_pylist()[0]
    same = ("data_store_version", "arch", "product_type", "graph_size_type_index")
    return {
        "id": listing.graph_id,
        "name": newest["graph_name"],
        "status": newest["graph_status"],
        **{name: newest[name] for name in same},
    }
