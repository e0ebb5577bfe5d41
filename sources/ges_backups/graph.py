"""One graph, listed: which way it is read, what came of it, and what the next load needs to know."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from .client import GesClient
from .errors import (
    AnswerError,
    Forbidden,
    GraphMissing,
    RequestRefused,
    SourceDown,
    TransientError,
    Unforeseen,
)
from .keys import Again, Key, ids_of, own_key
from .listing import (
    FIRST_ROWS,
    Cursor,
    Listed,
    Order,
    Page,
    moved_cursor,
    moved_where_refused,
    next_cursor,
    read_complete,
    read_recent,
    tail_start,
)
from .page_size import PageSize
from .pages import parse_backups
from .records import ENDED, Rejected, Rows, is_unfinished, record_of, reject
from .settings import is_graph_id

Outcome = Literal["complete", "incremental", "missing", "forbidden", "failed"]
GOOD: tuple[Outcome, ...] = ("complete", "incremental")
"""What became of a listing that told all there was to know."""
PROJECT_WIDE = "*"
"""In the place of a graph's id: all backups of the project, those of deleted graphs included."""
SHORT_LIST = 100
"""Up to so many rows a list that comes in one page is read whole each time: that proves most."""

FetchMany = Callable[[Callable[[int], Page[Rows]], Sequence[int]], Generator[Page[Rows]]]


@dataclass(frozen=True)
class GraphListing:
    """What listing one graph brought.

    Attributes:
        graph_id: The graph, or `PROJECT_WIDE`.
        outcome: See `ges.listings.outcome`.
        listed_at: When its listing began, UTC.
        backup_count: The API's last count, None where it answered none.
        requests: Requests sent.
        restarts: Times that the listing was read again from the start.
        error: What went wrong, None where nothing did.
        rows: Accepted rows in `records.BATCH_SCHEMA`, each id once with its last values.
        rejected: Records that do not fit, of those that were read.
        listed_ids: All keys of the list, where what it does not hold has gone; None elsewhere.
        cursor: For the next load; None leaves the one before.
        unchanged: The answer was the same as in the last load, so nothing is passed on.
        last_complete_at: Epoch seconds of the last complete listing, None where there was none.
    """

    graph_id: str
    outcome: Outcome
    listed_at: datetime
    backup_count: int | None
    requests: int
    restarts: int = 0
    error: AnswerError | None = None
    rows: pa.Table | None = None
    rejected: list[Rejected] = field(default_factory=list)
    listed_ids: list[str] | None = None
    cursor: Cursor | None = None
    unchanged: bool = False
    last_complete_at: float | None = None


@dataclass(frozen=True)
class ListingOptions:
    """How graphs are read.

    Attributes:
        page_size: Rows asked for in a page, or what finds the most that the server takes.
        full: Read everything, whatever the cursor says.
        window: Only a window of starts is loaded: read everything, move no cursor, mark nothing.
        full_listing_seconds: Age of the last complete listing from which another is due.
        is_extra: The load is complete without this listing: whatever fails is only its outcome.
        enough: A list of no more rows than these is not read behind its first page; None reads all.
    """

    page_size: int | PageSize
    full: bool
    window: bool
    full_listing_seconds: float
    is_extra: bool = False
    enough: int | None = None


def backups_path(project_id: str, graph_id: str) -> str:
    """``/v2/{project_id}/graphs/{graph_id}/backups``, ids quoted as one segment each.

    For `PROJECT_WIDE` ``/v2/{project_id}/graphs/backups`` (ListBackups2): the same answer, for all
    graphs of the project.
    """
    if graph_id == PROJECT_WIDE:
        return f"/v2/{quote(project_id, safe='')}/graphs/backups"
    return f"/v2/{quote(project_id, safe='')}/graphs/{quote(graph_id, safe='')}/backups"


class GraphReader:
    """Reads one graph's listing; keeps every page, so that nothing that was seen is lost.

    Args:
        client: Sends the requests.
        project_id: The project.
        graph_id: The graph, or `PROJECT_WIDE`.
        cursor: What the last load left, None for a graph that was never read.
        options: How to read.
        side_by_side: Runs a fetch over many offsets, yields the pages in that order; none is on its
            way any more when it is closed.
    """

    def __init__(
        self,
        client: GesClient,
        project_id: str,
        graph_id: str,
        cursor: Cursor | None,
        options: ListingOptions,
        side_by_side: FetchMany,
    ) -> None:
        self._client = client
        self._path = backups_path(project_id, graph_id)
        self._graph_id = graph_id
        self._asked_for = None if graph_id == PROJECT_WIDE else graph_id
        self._cursor = cursor
        self._options = options
        self._size = PageSize.of(options.page_size)
        self._side_by_side = side_by_side
        self._pages: list[Page[Rows]] = []
        self._requests = 0
        self._restarts = 0
        self._listed_at = datetime.now(UTC)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._requests

    def read(self) -> GraphListing:
        """List the graph; an answer that is an error becomes the listing's outcome.

        Raises:
            CredentialsError, SourceDown: No graph can be listed.
        """
        try:
            if self._asked_for is not None and not is_graph_id(self._asked_for):
                raise RequestRefused("this id cannot stand in a path", path=ascii(self._graph_id))
            return self._list()
        except GraphMissing as error:
            return self._failed("missing", error)
        except Forbidden as error:
            return self._failed("forbidden", error)
        except TransientError as error:
            graphs = f"/v2/{self._path.split('/')[2]}/graphs"
            if not self._options.is_extra and not self._client.answers(graphs):
                raise SourceDown(f"The API does not answer: {error}") from error
            return self._failed("failed", error)
        except AnswerError as error:
            return self._failed("failed", error)

    def _list(self) -> GraphListing:
        limit, width = self._size.rows, self._size.width
        first = None
        if self._cursor is not None and self._is_recent(self._cursor):
            if self._cursor.order == "new_to_old":
                first = self._fetch(0, min(limit, FIRST_ROWS))
            recent = read_recent(self._fetch, self._cursor, width, first)
            if recent is not None and (found := self._recent(self._cursor, recent)) is not None:
                return found
        if first is None or self._options.full or _is_short_of(first, limit):
            first = self._fetch(0, limit)
        if self._options.enough is not None and first.count <= self._options.enough:
            rows, rejected = self._collect()
            return self._result("incremental", first.count, rows=rows, rejected=rejected)
        if first.is_last and not self._is_due(self._cursor) and self._is_same(first):
            return self._result("complete", first.count, unchanged=True)
        listed = read_complete(
            self._fetch, self._fetch_many, limit, self._path, first, self._keep_last_answers
        )
        return self._complete(listed, first)

    @staticmethod
    def _is_due(cursor: Cursor | None) -> bool:
        """Whether the cursor must learn that the list was read in full, even if it is as it was."""
        return cursor is not None and None not in (cursor.completed_at, cursor.order)

    def _is_recent(self, cursor: Cursor) -> bool:
        """Whether the cursor may save a complete listing."""
        if self._options.full or self._options.window or cursor.completed_at is None:
            return False
        age = self._listed_at.timestamp() - cursor.completed_at
        return 0 <= age < self._options.full_listing_seconds

    def _is_same(self, first: Page[Rows]) -> bool:
        cursor = self._cursor
        return (
            cursor is not None
            and cursor.digest is not None
            and not self._options.full
            and not self._options.window
            and cursor.digest == first.digest()
        )

    def _recent(self, cursor: Cursor, listed: Listed) -> GraphListing | None:
        """What is new; None where the rows are not in the cursor's order: the list has turned."""
        only_first = len(self._pages) == 1 and listed.count == cursor.count
        if only_first and self._is_same(self._pages[0]):
            return self._result("incremental", listed.count, unchanged=True)
        rows, rejected = self._collect()
        if not _is_in_order(rows, listed, cursor.order):
            return None
        if self._has_same_tail(cursor, listed, rows):
            return self._result("incremental", listed.count, unchanged=True)
        moved = moved_cursor(cursor, listed, _unfinished(rows, rejected), self._pages[0].digest())
        return self._result(
            "incremental",
            listed.count,
            rows=rows,
            rejected=rejected,
            cursor=self._with_tail(moved, listed, rows, rejected),
        )

    def _has_same_tail(self, cursor: Cursor, listed: Listed, rows: pa.Table) -> bool:
        """Whether what was read is as it was: all of it, since what is the same is passed on to nobody."""
        end = listed.position + len(listed.keys)
        return (
            cursor.tail is not None
            and listed.count == cursor.count
            and all(listed.position <= at < end for _, at in cursor.unfinished)
            and cursor.tail == tail_digest(listed.keys, listed.count, rows)
        )

    def _read_next(self, cursor: Cursor, listed: Listed) -> Sequence[Key]:
        """The rows that the next load reads first, as far as can be told."""
        if cursor.order == "new_to_old":
            return listed.keys[: min(self._size.width, FIRST_ROWS)]
        return listed.keys[max(0, tail_start(cursor, self._size.width) - listed.position) :]

    def _with_tail(
        self, cursor: Cursor, listed: Listed, rows: pa.Table, rejected: Sequence[Rejected]
    ) -> Cursor:
        if cursor.order is None or cursor.anchor is None or rejected:
            return replace(cursor, tail=None)
        keys = self._read_next(cursor, listed)
        return replace(cursor, tail=tail_digest(keys, listed.count, rows))

    def _complete(self, listed: Listed, first: Page[Rows]) -> GraphListing:
        rows, rejected = self._collect()
        if repeated := set(ids_of(key for key in listed.keys if isinstance(key, Again))):
            rejected += other_versions(self._pages, rows, repeated)
        one_page = listed.count <= min(len(first.keys), SHORT_LIST)
        if self._options.window:
            return replace(
                self._result("incremental", listed.count, rows=rows),
                rejected=rejected,
                cursor=_forget_answer(self._cursor),
            )
        starts = [] if one_page else _starts(rows, listed.keys)
        cursor = next_cursor(
            self._cursor,
            listed,
            starts=starts,
            unfinished=set() if one_page else _unfinished(rows, rejected),
            one_page=one_page,
            now=self._listed_at.timestamp(),
        )
        cursor = self._with_tail(cursor, listed, rows, rejected)
        if cursor.tail is None:  # else the next load reads an end of the list
            cursor = replace(cursor, digest=first.digest())
        return replace(
            self._result("complete", listed.count, rows=rows),
            rejected=rejected,
            listed_ids=ids_of(listed.keys),
            cursor=cursor,
        )

    def _failed(self, outcome: Outcome, error: AnswerError) -> GraphListing:
        rows, rejected = self._collect() if self._pages else (None, [])
        known = _forget_answer(self._cursor)
        return replace(
            self._result(outcome, self._pages[-1].count if self._pages else None, rows=rows),
            error=error,
            rejected=rejected,
            cursor=known if self._pages else None,
        )

    def _result(
        self,
        outcome: Outcome,
        count: int | None,
        *,
        rows: pa.Table | None = None,
        rejected: list[Rejected] | None = None,
        listed_ids: list[str] | None = None,
        cursor: Cursor | None = None,
        unchanged: bool = False,
    ) -> GraphListing:
        known = self._cursor.completed_at if self._cursor else None
        return GraphListing(
            graph_id=self._graph_id,
            outcome=outcome,
            listed_at=self._listed_at,
            backup_count=count,
            requests=self._requests,
            restarts=self._restarts,
            rows=rows if rows is not None and len(rows) else None,
            rejected=rejected or [],
            listed_ids=listed_ids,
            cursor=cursor,
            unchanged=unchanged,
            last_complete_at=self._listed_at.timestamp() if outcome == "complete" else known,
        )

    def _fetch(self, offset: int, limit: int) -> Page[Rows]:
        page = self._ask(offset, limit)
        self._pages.append(page)
        return page

    def _fetch_many(self, offsets: Sequence[int], limit: int) -> Generator[Page[Rows]]:
        """The pages in their order; kept as they come, since of two answers the later one counts."""
        with closing(self._side_by_side(lambda at: self._fetch(at, limit), offsets)) as pages:
            yield from pages

    def _ask(self, offset: int, limit: int) -> Page[Rows]:
        is_first = not self._pages or not offset

        def read(body: bytes) -> Page[Rows]:
            return parse_backups(body, self._path, offset, self._asked_for, keep=is_first)

        def fetch(rows: int) -> Page[Rows]:
            params = {"offset": offset, "limit": rows}
            page = self._client.get(self._path, params, read, self._count_request)
            if not page.is_last:
                self._size.answered(rows, len(page.keys))
            return page

        with moved_where_refused(offset):
            return self._size.ask("backups" if self._asked_for else PROJECT_WIDE, limit, fetch)

    def _count_request(self) -> None:
        self._requests += 1

    def _keep_last_answers(self) -> None:
        """Before another try: keep one page with the last answer of each key, not all pages."""
        self._restarts += 1
        self._pages = [merged(self._pages)]

    def _collect(self) -> tuple[pa.Table, list[Rejected]]:
        """All rows that were seen, each key once, as its last answer had it."""
        return collect(self._pages)


def unforeseen(project_id: str, graph_id: str, error: Exception, requests: int) -> GraphListing:
    """The outcome of a graph where something happened that nobody foresaw: failed, with its words."""
    return GraphListing(
        graph_id=graph_id,
        outcome="failed",
        listed_at=datetime.now(UTC),
        backup_count=None,
        requests=requests,
        error=Unforeseen(error, path=backups_path(project_id, graph_id)),
    )


def _is_short_of(page: Page[Rows], limit: int) -> bool:
    """Whether a page was asked for as a small one, and a larger one would bring more."""
    return len(page.keys) == FIRST_ROWS < limit and not page.is_last


def collect(pages: Sequence[Page[Rows]]) -> tuple[pa.Table, list[Rejected]]:
    """Accepted rows of pages, in the order of their keys' first sight; later answers win.

    Where a key was accepted in one answer and rejected in a later one, both are kept: the record
    that came last is in the second list.
    """
    table, rejected = _last_answers(pages)
    return table, list(rejected.values())


def merged(pages: Sequence[Page[Rows]]) -> Page[Rows]:
    """One page of which `collect` makes the same as of all these; its keys have no order."""
    table, rejected = _last_answers(pages)
    accepted: list[Key] = table.column("id").to_pylist()
    size = len(accepted)
    batches = table.combine_chunks().to_batches()
    rows = Rows(
        batches[0] if batches else pages[0].rows.batch.slice(0, 0),
        [*range(size), *[None] * len(rejected)] if rejected else range(size),
        dict(enumerate(rejected.values(), size)),
    )
    return Page(pages[0].offset, pages[-1].count, [*accepted, *rejected], rows, pages[0].answer)


def _last_answers(pages: Sequence[Page[Rows]]) -> tuple[pa.Table, dict[Key, Rejected]]:
    if len(pages) == 1 and isinstance(pages[0].rows.index, range):
        return pa.Table.from_batches([pages[0].rows.batch]), {}
    offsets: dict[Key, int] = {}
    rejected: dict[Key, Rejected] = {}
    base = 0
    for page in pages:
        rows = page.rows
        if isinstance(rows.index, range):  # regular throughout: no key stands twice
            offsets.update(zip(page.keys, range(base, base + len(page.keys)), strict=True))
        else:
            for place, (key, index) in enumerate(zip(page.keys, rows.index, strict=True)):
                if index is None:
                    rejected[key] = rows.rejected[place]
                else:
                    offsets[own_key(key)] = base + index
        base += rows.batch.num_rows
    table = pa.Table.from_batches([page.rows.batch for page in pages])
    if len(offsets) < len(table):
        table = table.take(pa.array(list(offsets.values()), type=pa.int64()))
    return table, rejected


def tail_digest(keys: Sequence[Key], count: int, rows: pa.Table) -> str:
    """Names the rows with these keys as they were answered, in a list of so many."""
    wanted = pc.is_in(rows.column("id"), value_set=pa.array(ids_of(keys), type=pa.string()))
    text = repr((count, sorted(map(repr, rows.take(pc.indices_nonzero(wanted)).to_pylist()))))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def other_versions(
    pages: Sequence[Page[Rows]], kept: pa.Table, repeated: set[str]
) -> list[Rejected]:
    """Versions of backups that a list holds at several places, but for the ones that are kept."""
    reason = "the id stands in the list a second time, with other values"
    tables = [page.rows.batch for page in pages]
    wanted = pa.array(sorted(repeated))

    def versions(table: pa.RecordBatch | pa.Table) -> list[Rejected]:
        rows = table.filter(pc.is_in(table.column("id"), wanted)).to_pylist()
        return [reject(record_of(row), row["graph_id"], reason) for row in rows]

    found = {record.record_hash: record for table in tables for record in versions(table)}
    for record in versions(kept):
        found.pop(record.record_hash, None)
    return list(found.values())


def _is_in_order(rows: pa.Table, listed: Listed, order: Order | None) -> bool:
    """Whether the rows of a listing start in this order."""
    starts = _starts(rows, listed.keys)
    return starts == sorted(starts, reverse=order == "new_to_old")


def _starts(rows: pa.Table, keys: Sequence[Key]) -> list[int]:
    """Starts of the accepted rows among those with these keys, in their order."""
    ids = rows.column("id").to_pylist()
    starts: list[int] = rows.column("start_timestamp").to_pylist()
    if ids == keys:
        return starts
    known = dict(zip(ids, starts, strict=True))
    return [known[key] for key in keys if key in known]


def _unfinished(rows: pa.Table, rejected: Iterable[Rejected]) -> set[str]:
    """Backups that have not ended; a rejected one may fit when it has."""
    ended = pc.is_in(rows.column("status"), value_set=pa.array(ENDED))
    others = rows.select(["id", "status", "end_timestamp"]).filter(pc.invert(ended))
    accepted = {
        key
        for key, status, end in zip(*(column.to_pylist() for column in others.columns), strict=True)
        if is_unfinished(status, end)
    }
    return accepted | {
        record.backup_id for record in rejected if record.backup_id and record.is_unfinished
    }


def _forget_answer(cursor: Cursor | None) -> Cursor:
    """The cursor after rows were loaded beside it: the last answer no longer says what is stored."""
    return replace(cursor or Cursor(), digest=None, tail=None)
