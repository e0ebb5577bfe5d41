"""One load of a project: its graphs listed, what they brought in batches, marks where backups have gone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.runtime.collector import NULL_COLLECTOR
from dlt.common.runtime.collector_base import Collector
from dlt.common.schema import Schema

from .client import GesClient
from .graph import GOOD, PROJECT_WIDE, GraphListing, ListingOptions
from .known import Known
from .listing import Cursor
from .page_size import PageSize
from .pool import GraphPool, fetch_graphs
from .records import Rejected, record_of, reject
from .rows import BACKUP_COLUMNS, backups_table, named_backups, whole_rows, with_marks
from .schema import (
    GRAPH_COLUMNS,
    LISTING_COLUMNS,
    PROJECT_COLUMNS,
    REJECTED_COLUMNS,
    graph_rows,
    plain_table,
)
from .unlisted import GONE, Asked, Followed, list_unlisted

BATCH_ROWS = 20_480
"""Backups in each batch but the last: six fill a row group of DuckDB, which is written whole or again."""
HELD_ROWS = 5_000
"""Fewer listings and rejected records wait for a later batch: dlt takes 5 ms to look at a table."""
MANY_TABLES = 100
"""So many tables of pending rows become one."""


class Observer(Protocol):
    """Is told how a load goes."""

    def begin(self, project_id: str, graphs: int) -> None:
        """So many graphs will be listed."""

    def listed(self, listing: GraphListing) -> bool:
        """One graph was listed. True: an unchanged listing is recorded by the observer."""

    def rejected(self, record: Rejected) -> None:
        """A record was rejected that no earlier load reported."""


@dataclass(frozen=True)
class Project:
    """What is listed.

    Attributes:
        id: The project's id.
        name: For people; None where the id has to do.
        region: Region, or the host of the endpoint.
        graph_ids: Graphs to list; None for all that ListGraphs answers; `PROJECT_WIDE` alone for
            all backups of the project in one listing.
    """

    id: str
    name: str | None = None
    region: str | None = None
    graph_ids: Sequence[str] | None = None


@dataclass
class Batch:
    """What some graphs brought: one table for each resource, None where there is nothing.

    An empty table stands for a table that the warehouse does not have yet.
    """

    backups: pa.Table | None = None
    graphs: pa.Table | None = None
    listings: pa.Table | None = None
    rejected: pa.Table | None = None
    projects: pa.Table | None = None

    def __bool__(self) -> bool:
        """Whether it holds a row."""
        return any(vars(self).values())


@dataclass
class _Pending:
    """Listings on their way into a batch.

    `complete` holds the ids of lists that are evidence, `vanished` rows that went while their lists
    were read: they come last, behind those of another graph that lists the same id.
    """

    rows: list[pa.Table] = field(default_factory=list)
    listings: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    graphs: list[dict[str, Any]] = field(default_factory=list)
    complete: dict[str, tuple[datetime, pa.Array]] = field(default_factory=dict)
    vanished: list[pa.Table] = field(default_factory=list)
    size: int = 0
    combined: int = 0

    def add(self, rows: pa.Table) -> None:
        """Take the rows of a listing; many tables become one, since each costs 15 KB beside its rows."""
        self.rows.append(rows)
        self.size += len(rows)
        if len(self.rows) - self.combined == MANY_TABLES:
            self.rows[self.combined :] = [_by_graph(self.rows[self.combined :]).combine_chunks()]
            self.combined += 1

    def held(self) -> "_Pending":
        """What the next batch begins with."""
        return _Pending(
            listings=self.listings,
            rejected=self.rejected,
            graphs=self.graphs,
            vanished=self.vanished,
        )


class SeenIds:
    """Tells ids that came before in a run, in 8 bytes each: the same id twice would break a merge."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def repeated(self, ids: Sequence[str]) -> list[bool]:
        """For each id whether it came before, in this call or an earlier one; remembers them all."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        block = np.sort(hashes)
        if not (block[1:] == block[:-1]).any() and not self._known(block).any():
            self._remember(block)
            return [False] * len(ids)
        block, first, place = np.unique(hashes, return_index=True, return_inverse=True)
        again = self._known(block)[place]
        again[np.setdiff1d(np.arange(len(ids)), first, assume_unique=True)] = True
        self._remember(block)
        return [bool(flag) for flag in again]

    def seen(self, ids: Sequence[str]) -> list[bool]:
        """For each id whether it came in an earlier call of `repeated`."""
        known = self._known(np.fromiter(map(hash, ids), np.int64, len(ids)))
        return [bool(flag) for flag in known]

    def _known(self, hashes: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, Any]:
        known = np.zeros(len(hashes), bool)
        for block in self._blocks:
            at = np.minimum(np.searchsorted(block, hashes), len(block) - 1)
            known |= block[at] == hashes
        return known

    def _remember(self, block: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Keep few blocks, each at least twice the next: looking one up stays cheap."""
        while self._blocks and len(self._blocks[-1]) < 2 * len(block):
            block = np.sort(np.concatenate([self._blocks.pop(), block]), kind="stable")
        if len(block):
            self._blocks.append(block)


class ProjectLoad:
    """Lists the graphs of a project and turns the listings into batches, cursors and marks included.

    Args:
        client: Sends the requests.
        project: What is listed.
        options: How graphs are read.
        concurrency: Graphs listed at once.
        known: What the warehouse holds of the project.
        observer: Is told of each listing, or None.
        collector: Shows the progress.
    """

    def __init__(
        self,
        client: GesClient,
        project: Project,
        options: ListingOptions,
        concurrency: int,
        known: Known,
        observer: Observer | None = None,
        collector: Collector = NULL_COLLECTOR,
    ) -> None:
        self._client = client
        self._project = project
        self._options = options
        self._concurrency = concurrency
        self._known = known
        self._observer = observer
        self._collector = collector
        self._seen = SeenIds()
        self._rejected: set[str] = set()
        self._read_schema: Callable[[], Schema] = lambda: Schema("ges_backups")
        self._found: dict[str, dict[str, Any]] = {}
        self._told_graphs: set[str] = set()
        self._followed = Followed(hidden=_hidden(known) if project.graph_ids is None else set())
        self._asked = Asked.from_json((known.project or {}).get("cursor"))
        self._cursors = _cursors(known, is_project=project.graph_ids == [PROJECT_WIDE])
        self._gone: dict[tuple[str, str], datetime] = {}
        self._vanished: dict[tuple[str, str], datetime] = {}
        self._shared: dict[str, pa.Table] = {}
        self._has_sent_backups = False
        self._rest: pa.Table | None = None
        self._size = PageSize.of(options.page_size)
        self._told_size = known.learned_size

    def iter_batches(self, schema: Callable[[], Schema]) -> Iterator[Batch]:
        """Yield batches as the listings come; memory is bounded by the batch, not by the fleet.

        Args:
            schema: Gives the source's schema; asked for where a backup has come.
        """
        self._read_schema = schema
        pending = _Pending()
        graph_ids = self._find_graphs(pending)
        if self._observer:
            self._observer.begin(self._project.id, len(graph_ids))
        pool = GraphPool(self._client, self._project.id, self._options, self._concurrency)
        is_touched = self._known.project is None
        on_wait = partial(self._tell_of_throttling, len(graph_ids))
        for listing in pool.iter_listings(graph_ids, self._cursors, on_wait):
            self._collector.update("Graphs", 1, total=len(graph_ids))
            if listing.rows is not None:
                _ = self._types  # not in `_batch`: dlt keeps its callers' frames, and so the rows
            self._take(listing, pending)
            if pending.size >= BATCH_ROWS:
                is_touched = True
                held = len(pending.listings) + len(pending.rejected)
                yield from self._even(self._batch(pending, hold=held < HELD_ROWS))
                pending = pending.held()
                pa.default_memory_pool().release_unused()
        if self._project.graph_ids is None and self._asked.is_due(self._options):
            self._take_unlisted(pending)
            is_touched = True
        self._forget_cursors(pending)
        for batch in self._even(self._batch(pending, is_last=True), is_last=True):
            is_touched = True
            yield batch
        for table in self._iter_marks():
            is_touched = True
            yield Batch(backups=table)
        if is_touched:
            yield self._of_project()
        pa.default_memory_pool().release_unused()

    def _tell_of_throttling(self, graphs: int) -> None:
        if self._client.pace.refused_seconds is not None:
            why = "waiting, as the API throttles"
            self._collector.update("Graphs", 0, total=graphs, message=why)

    def _find_graphs(self, pending: _Pending) -> list[str]:
        """The graphs to list: the chosen ones, or the project's; one that left its list is asked once."""
        if self._project.graph_ids is not None:
            return list(self._project.graph_ids)
        records, rejected = fetch_graphs(self._client, self._project.id, self._options.page_size)
        self._found = {row["id"]: row for row in graph_rows(records, self._project.id)}
        for record in rejected:
            self._reject(record, pending)
        left = [
            graph_id
            for graph_id, listing in self._known.listings.items()
            if graph_id not in self._found
            and graph_id != PROJECT_WIDE
            and listing.outcome not in GONE
        ]
        return [*self._found, *sorted(left)]

    def _take(self, listing: GraphListing, pending: _Pending) -> None:
        observed = self._observer.listed(listing) if self._observer else False
        if listing.graph_id == PROJECT_WIDE:
            self._take_graphs_of_rows(listing, pending)
        else:
            self._take_graph(listing, pending)
            if listing.graph_id in self._found or not _is_gone(listing):
                self._followed.add(listing)
            elif listing.outcome == "forbidden":
                self._followed.hidden.add(listing.graph_id)
        if listing.unchanged and observed and not self._has_learned():
            return
        pending.listings.append(self._listing_row(listing))
        pending.size += 1
        self._take_rows(listing, pending)

    def _take_unlisted(self, pending: _Pending) -> None:
        """What deleted graphs have left; where that is not told, nobody can mend it."""
        listing = list_unlisted(
            self._client,
            self._project.id,
            self._options,
            self._concurrency,
            self._known,
            self._followed,
        )
        self._asked = Asked(listing.listed_at.timestamp(), listing.outcome)
        self._take_graphs_of_rows(listing, pending)
        self._take_rows(listing, pending)

    def _forget_cursors(self, pending: _Pending) -> None:
        """Drop the cursors of the other kind of listing: what this one marks, they do not know of."""
        is_project = self._project.graph_ids == [PROJECT_WIDE]
        others = [
            graph_id
            for graph_id, listing in self._known.listings.items()
            if listing.cursor is not None and (graph_id == PROJECT_WIDE) != is_project
        ]
        for table in self._known.iter_listings(others):
            pending.listings += [{**row, "cursor": None} for row in table.to_pylist()]

    def _take_rows(self, listing: GraphListing, pending: _Pending) -> None:
        """The records that a listing brought, and what it does not hold any more."""
        for record in listing.rejected:
            self._reject(record, pending)
        rows = listing.rows
        if listing.listed_ids is not None:
            rows = self._take_evidence(listing, listing.listed_ids, pending)
        if rows is not None and len(rows):
            pending.add(rows)

    def _take_evidence(
        self, listing: GraphListing, listed: Sequence[str], pending: _Pending
    ) -> pa.Table | None:
        """What a complete list does not hold has gone: of the warehouse's, and of what came meanwhile.

        The rows that it holds are returned.
        """
        ids = set(listed)
        rows = listing.rows
        if rows is not None and len(rows) + len(listing.rejected) != len(ids):
            is_listed = pc.is_in(rows.column("id"), pa.array(ids, pa.string()))
            vanished, rows = rows.filter(pc.invert(is_listed)), rows.filter(is_listed)
            if len(vanished):
                self._vanished.update(dict.fromkeys(named_backups(vanished), listing.listed_at))
                pending.vanished.append(vanished)
        if listing.graph_id == PROJECT_WIDE or listing.graph_id in self._known.holding:
            pending.complete[listing.graph_id] = (listing.listed_at, pa.array(ids, pa.string()))
        return rows

    def _take_graph(self, listing: GraphListing, pending: _Pending) -> None:
        """The graph's row, where it differs from the known one; missing graphs are marked, once."""
        known = self._known.graphs.get(listing.graph_id)
        row = self._found.get(listing.graph_id)
        if row is None and self._project.graph_ids is not None and listing.rows is not None:
            (told,) = graph_rows([_graph_of(listing)], self._project.id)
            row = _with_news(known or {}, told)
        if row is None and known is not None:
            row = {name: known.get(name) for name in GRAPH_COLUMNS}
        if row is None:
            return
        mark = known.get("deleted_at") if known else None
        if listing.outcome == "missing":
            mark = mark or listing.listed_at
        elif listing.outcome in GOOD:
            mark = None
        row = {**row, "deleted_at": mark}
        if known is None or any(known.get(name) != row[name] for name in GRAPH_COLUMNS):
            pending.graphs.append(row)
            self._told_graphs.add(listing.graph_id)

    def _take_graphs_of_rows(self, listing: GraphListing, pending: _Pending) -> None:
        """The rows of the graphs whose backups a listing of the project brought, where they differ.

        A row of this load that waits for its batch takes the values, too; its mark stays.
        """
        waiting = {row["id"]: row for row in pending.graphs}
        for row in graph_rows(_graphs_of(listing), self._project.id):
            if row["id"] in self._told_graphs:
                if row["id"] in waiting:
                    waiting[row["id"]].update(_with_news(waiting[row["id"]], row))
                continue
            known = self._known.graphs.get(str(row["id"])) or {}
            mark = known.get("deleted_at")
            if row["status"] == "400":
                mark = mark or listing.listed_at
            elif self._project.graph_ids is not None:  # else it is not in the list of graphs
                mark = None
            told = {**_with_news(known, row), "deleted_at": mark}
            if any(known.get(name) != told[name] for name in GRAPH_COLUMNS):
                pending.graphs.append(told)

    def _has_learned(self) -> bool:
        """Whether the server's pages are not as the warehouse knows: then one cursor must tell it."""
        learned = self._size.to_state()
        return learned is not None and learned != self._told_size

    def _listing_row(self, listing: GraphListing) -> dict[str, Any]:
        cursor = listing.cursor or self._cursors.get(listing.graph_id)
        if listing.graph_id not in self._found and _is_gone(listing):
            cursor = None  # the project's listing may mark what this graph has left
        if cursor is not None:
            self._told_size = self._size.to_state()
            cursor = replace(cursor, page_size=self._told_size)
        known = self._known.listings.get(listing.graph_id)
        complete_at = known.last_complete_at if known else None
        if listing.last_complete_at:
            complete_at = datetime.fromtimestamp(listing.last_complete_at, UTC)
        read_at = known.last_read_at if known else None
        if listing.outcome in GOOD and not self._options.window:
            read_at = listing.listed_at
        error = listing.error
        return {
            "project_id": self._project.id,
            "graph_id": listing.graph_id,
            "listed_at": listing.listed_at,
            "outcome": listing.outcome,
            "error_code": (error.error_code or str(error.status or "")) if error else None,
            "error_msg": (error.error_msg or error.problem) if error else None,
            "backup_count": listing.backup_count,
            "requests": listing.requests,
            "restarts": listing.restarts,
            "last_complete_at": complete_at,
            "last_read_at": read_at,
            "cursor": cursor.to_json() if cursor else None,
        }

    def _reject(self, record: Rejected, pending: _Pending) -> None:
        """Take a rejected record, unless it was reported: by this load, or by an earlier one."""
        if record.record_hash in self._rejected or record.record_hash in self._known.rejected:
            return
        self._rejected.add(record.record_hash)
        if self._observer:
            self._observer.rejected(record)
        pending.rejected.append(
            {
                "record_hash": record.record_hash,
                "project_id": self._project.id,
                "graph_id": record.graph_id,
                "backup_id": record.backup_id,
                "reason": record.reason,
                "record": record.record,
                "first_seen_at": datetime.now(UTC),
            }
        )

    def _batch(self, pending: _Pending, *, hold: bool = False, is_last: bool = False) -> Batch:
        """What is pending as tables; `hold` leaves what is no backup for a later batch."""
        rows = self._own_rows(pending, pending.vanished if is_last else [])
        batch = Batch()
        if rows is not None and len(rows):
            self._has_sent_backups = True
            batch.backups = self._table(rows)
            if is_last and self._vanished:
                batch.backups = with_marks(batch.backups, self._vanished)
        if hold:
            return batch
        if pending.graphs:
            batch.graphs = plain_table(pending.graphs, GRAPH_COLUMNS)
        if pending.listings:
            batch.listings = plain_table(pending.listings, LISTING_COLUMNS)
        if pending.rejected:
            batch.rejected = plain_table(pending.rejected, REJECTED_COLUMNS)
        pending.graphs, pending.listings, pending.rejected = [], [], []
        return batch

    def _even(self, batch: Batch, *, is_last: bool = False) -> Iterator[Batch]:
        """The batch with its backups `BATCH_ROWS` at a time; what remains waits for the next, or is last."""
        rows, rest = batch.backups, self._rest
        if rows is not None:
            if rest is not None and rest.schema.equals(rows.schema, check_metadata=True):
                rows = pa.concat_tables([rest, rows])
            elif rest is not None:
                yield Batch(backups=rest)
            whole = len(rows) - len(rows) % BATCH_ROWS
            for at in range(0, whole, BATCH_ROWS):
                yield Batch(backups=rows.slice(at, BATCH_ROWS))
            rest = rows.slice(whole) if whole < len(rows) else None
        batch.backups, self._rest = (rest, None) if is_last else (None, rest)
        if batch:
            yield batch

    @cached_property
    def _schema(self) -> Schema:
        return self._read_schema()

    @cached_property
    def _types(self) -> dict[str, str]:
        """dlt's data types of the columns of `ges.backups`; those of new fields are added."""
        columns = self._schema.tables.get("backups", {}).get("columns", {})
        return {name: str(it["data_type"]) for name, it in columns.items() if "data_type" in it}

    def _table(self, rows: pa.Table) -> pa.Table:
        normalize = self._schema.naming.normalize_identifier
        return backups_table([rows], self._project.id, self._types, normalize)

    def _own_rows(self, pending: _Pending, vanished: list[pa.Table]) -> pa.Table | None:
        """The rows of a batch without those of ids that another graph has brought, or keeps."""
        rows = None
        if pending.rows or vanished:
            rows = pa.concat_tables([*sorted(pending.rows, key=_graph_id), *vanished])
        if not self._known.is_empty:
            rows = self._against_known(rows, pending)
        if rows is None:
            return None
        again = self._seen.repeated(rows.column("id").to_pylist())
        if not any(again):
            return rows
        for record in rows.filter(pa.array(again)).to_pylist():
            self._reject_shared(record, pending)
        return rows.filter(pa.array([not flag for flag in again]))

    def _reject_shared(self, record: dict[str, Any], pending: _Pending) -> None:
        """Reject a row that another graph has, too; its own graph is read in full by the next load."""
        reason = "another graph lists a backup with the same id"
        self._reject(reject(record_of(record), record["graph_id"], reason), pending)
        for row in pending.listings:
            if row["graph_id"] in (record["graph_id"], PROJECT_WIDE):
                row["cursor"] = None

    def _against_known(self, rows: pa.Table | None, pending: _Pending) -> pa.Table | None:
        """Note which known backups are not listed any more; hold back rows that another graph keeps."""
        graph_ids = set(pending.complete)
        if PROJECT_WIDE in pending.complete:
            graph_ids |= self._known.holding - self._followed.unmarked
        known = self._known.backups_of(sorted(graph_ids & self._known.holding))
        owner = known.column("graph_id")
        unmarked = pa.array(self._followed.unmarked, pa.string())
        for graph_id, (listed_at, listed) in pending.complete.items():
            if graph_id == PROJECT_WIDE:
                is_of_list = pc.invert(pc.is_in(owner, unmarked))
            else:
                is_of_list = pc.equal(owner, graph_id)
            held = known.filter(pc.and_(pc.invert(known.column("is_marked")), is_of_list))
            gone = held.filter(pc.invert(pc.is_in(held.column("id"), value_set=listed)))
            self._gone.update(dict.fromkeys(named_backups(gone), listed_at))
        return None if rows is None else self._without_kept(rows, known, pending)

    def _without_kept(self, rows: pa.Table, known: pa.Table, pending: _Pending) -> pa.Table:
        """The rows without those of backups that are another graph's, as far as is known.

        They stay that graph's until its own listing does not hold them: see `_iter_marks`. The one
        list of a project names each backup's graph: only other projects can have another.
        """
        is_one_list = self._project.graph_ids == [PROJECT_WIDE]
        ids = rows.column("id")
        here = known.filter(pc.is_in(known.column("id"), value_set=ids))
        places = pc.index_in(ids, value_set=here.column("id"))
        is_own = pc.equal(here.column("graph_id").take(places), rows.column("graph_id"))
        others = ids.filter(pc.invert(pc.fill_null(is_own, False)))
        owners = {
            owner["id"]: owner
            for owner in self._known.owners_of(dict.fromkeys(others.to_pylist())).to_pylist()
            if not owner["is_marked"] and (owner["graph_id"], owner["id"]) not in self._gone
        }
        if not owners:
            return rows

        def is_of_another(graph_id: str, backup_id: str) -> bool:
            owner = owners.get(backup_id)
            if owner is None:
                return False
            return not (owner["are_own"] and (is_one_list or owner["graph_id"] == graph_id))

        is_kept = pa.array([is_of_another(*named) for named in named_backups(rows)], pa.bool_())
        for place, record in enumerate((held := rows.filter(is_kept)).to_pylist()):
            self._reject_shared(record, pending)
            self._shared.setdefault(record["id"], held.slice(place, 1))
        return rows.filter(pc.invert(is_kept))

    def _iter_marks(self) -> Iterator[pa.Table]:
        """Rows of backups that no listing of this load showed, marked; of shared ones, the other graph's."""
        moved = [one for one in self._unseen() if one in self._shared]
        if moved:
            self._seen.repeated(moved)
            rows = self._table(pa.concat_tables(self._shared[one] for one in moved))
            yield with_marks(rows, self._vanished)
        for table in self._known.iter_rows(self._unseen()):
            made = [
                name for name in table.column_names if name in {**BACKUP_COLUMNS, **self._types}
            ]
            rows = whole_rows(table.select(made), BACKUP_COLUMNS, self._types)
            yield with_marks(rows, self._gone)

    def _unseen(self) -> list[str]:
        """Ids of what has gone that this load has brought of no graph."""
        ids = [backup_id for _, backup_id in self._gone]
        return [one for one, seen in zip(ids, self._seen.seen(ids), strict=True) if not seen]

    def _of_project(self) -> Batch:
        """The project's row; with the first one, all tables that have none yet."""
        known = self._known.project
        now = datetime.now(UTC)
        row = {
            "id": self._project.id,
            "name": self._project.name or self._project.id,
            "region": self._project.region,
            "first_listed_at": known["first_listed_at"] if known else now,
            "last_listed_at": now,
            "cursor": self._asked.to_json(),
        }
        batch = Batch(projects=plain_table([row], PROJECT_COLUMNS))
        if known is None:
            if not self._has_sent_backups:
                batch.backups = backups_table([], self._project.id, {}, str)
            batch.graphs = plain_table([], GRAPH_COLUMNS)
            batch.listings = plain_table([], LISTING_COLUMNS)
            batch.rejected = plain_table([], REJECTED_COLUMNS)
        return batch


def _cursors(known: Known, *, is_project: bool) -> dict[str, Cursor]:
    """The cursors that hold: not those of graphs whose backups another listing may have marked."""
    return {
        graph_id: listing.cursor
        for graph_id, listing in known.listings.items()
        if listing.cursor is not None and (is_project or listing.outcome not in GONE)
    }


def _hidden(known: Known) -> set[str]:
    """The graphs that were forbidden when they were last asked for."""
    return {
        graph_id
        for graph_id, listing in known.listings.items()
        if listing.outcome == "forbidden" and graph_id != PROJECT_WIDE
    }


def _is_gone(listing: GraphListing) -> bool:
    """Whether nothing of a graph can be read."""
    return listing.outcome in GONE and listing.rows is None


def _by_graph(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(sorted(tables, key=_graph_id))


def _with_news(known: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A graph's row, where what a backup tells of it takes the place of what is known."""
    told = {name: value for name, value in row.items() if value is not None}
    return {name: told.get(name, known.get(name)) for name in GRAPH_COLUMNS}


def _graph_id(rows: pa.Table) -> str:
    return str(rows.column("graph_id")[0])


def _graphs_of(listing: GraphListing) -> Iterator[dict[str, Any]]:
    """What the newest backup of each graph tells of it, where a project was listed."""
    if listing.rows is None:
        return
    newest: dict[str, tuple[int, int]] = {}
    graph_ids = listing.rows.column("graph_id").to_pylist()
    starts = listing.rows.column("start_timestamp").to_pylist()
    for place, (graph_id, start) in enumerate(zip(graph_ids, starts, strict=True)):
        newest[graph_id] = max(newest.get(graph_id, (start, place)), (start, place))
    rows = listing.rows.take(pa.array([place for _, place in newest.values()], pa.int64()))
    yield from (_graph_in(row) for row in rows.to_pylist())


def _graph_in(backup: dict[str, Any]) -> dict[str, Any]:
    """What a backup tells of its graph."""
    same = ("data_store_version", "arch", "product_type", "graph_size_type_index")
    return {
        "id": backup["graph_id"],
        "name": backup["graph_name"],
        "status": backup["graph_status"],
        **{name: backup[name] for name in same},
    }


def _graph_of(listing: GraphListing) -> dict[str, Any]:
    """What a graph's newest backup tells of it, where the list of graphs was not asked."""
    return {**next(_graphs_of(listing)), "id": listing.graph_id}
