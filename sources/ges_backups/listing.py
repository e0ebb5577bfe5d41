"""One complete, exact listing out of pages that move, and the cursor that a later load starts from.

The list is paged by offsets, and rows start, end, appear and vanish between two pages. The proof
of continuity is overlap: each page is asked for at the position of the last row already read (the
*anchor*). Where rows keep their relative order, a page that shows the anchor continues the chain
without a gap, whatever moved before it. At the end the chain must be as long as the last count
that the API answered; if not, the listing is read again, a bounded number of times.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from math import ceil, inf
from typing import Any, Generic, Literal, TypeVar

from .errors import AnswerError, GraphMissing, RequestRefused, UnsettledListing
from .keys import Again, Key, own_key

R = TypeVar("R")
Order = Literal["old_to_new", "new_to_old"]

MAX_RESTARTS = 5
MAX_IDLE_PAGES = 12
MAX_SINGLE_READS = 16
MAX_GROWTH = 1000
FIRST_ROWS = 50
"""Rows asked for first of a list that runs from new to old."""
ROWS_WORTH_A_REQUEST = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One answer: `keys[i]` names the row at position `offset + i` of a list of `count` rows.

    `answer` is the answer's bytes, where they were asked for.
    """

    offset: int
    count: int
    keys: Sequence[Key]
    rows: R
    answer: bytes | None = None

    def digest(self) -> str | None:
        """Names the answer, where it is kept; a long one costs as much as to decode it."""
        if self.answer is None:
            return None
        return hashlib.sha256(b"%d %b" % (self.offset, self.answer)).hexdigest()[:24]

    @property
    def end(self) -> int:
        """The position behind the last row."""
        return self.offset + len(self.keys)

    @property
    def is_last(self) -> bool:
        """Whether the list ends with this page."""
        return self.end >= self.count


Fetch = Callable[[int, int], Page[R]]
FetchMany = Callable[[Sequence[int], int], Generator[Page[R]]]


@dataclass(frozen=True)
class Cursor:
    """What a later load needs to know about a graph; an empty one knows nothing but that it was read.

    Attributes:
        count: Rows at the last listing.
        order: The order seen, None where it was mixed.
        anchor: Key of the newest row's end of the list: the last row, or the first if new to old.
            None where the whole list came in one page.
        unfinished: Key and position of each backup that had not ended.
        digest: Of the first answer of the last load, where the next may get the same: that needs
            no second look.
        tail: Of the rows that the next load reads first from an old-to-new list, likewise.
        completed_at: Epoch seconds of the last complete listing, for lists of several pages.
        page_size: What was learned of the server's pages: see `PageSize.to_state`.
    """

    count: int = -1
    order: Order | None = None
    anchor: str | None = None
    unfinished: tuple[tuple[str, int], ...] = ()
    digest: str | None = None
    tail: str | None = None
    completed_at: float | None = None
    page_size: dict[str, Any] | None = None

    def to_json(self) -> str:
        """As the text of `ges.listings.cursor`, without the fields that say nothing."""
        told = {name: value for name, value in asdict(self).items() if value not in (None, (), [])}
        return json.dumps(told)

    @classmethod
    def from_json(cls, text: str | None) -> "Cursor | None":
        """The cursor that `to_json` wrote; None where there is none, or another version's."""
        try:
            told = json.loads(text) if text else None
            if not isinstance(told, dict):
                return None
            unfinished = tuple((str(key), int(at)) for key, at in told.get("unfinished", ()))
            return cls(**{**told, "unfinished": unfinished})
        except (ValueError, TypeError):
            return None


@dataclass
class Chain(Generic[R]):
    """The rows read so far, in the order of the list, without a gap; `most` bounds how many."""

    start: int = 0
    most: float = inf
    keys: list[Key] = field(default_factory=list)
    rank: dict[Key, int] = field(default_factory=dict)
    last: Page[R] | None = None
    counts: set[int] = field(default_factory=set)
    repeats: bool = False
    singly: bool = False

    @property
    def end(self) -> int:
        """The position behind the chain, as far as nothing moved."""
        return self.start + len(self.keys)

    def see(self, page: Page[R]) -> Page[R]:
        """Remember an answer as the last one, and its count."""
        self.last = page
        self.counts.add(page.count)
        return page

    def append(self, keys: Sequence[Key]) -> None:
        """Add rows behind the anchor; a key that the chain already holds breaks it."""
        start = len(self.keys)
        self.keys += keys
        self.rank.update(zip(keys, range(start, len(self.keys)), strict=True))
        if len(self.rank) != len(self.keys):
            repeated = next(key for at, key in enumerate(self.keys) if self.rank[key] != at)
            raise ListMoved(f"{repeated!r} came at two places of the list")
        if len(self.keys) > self.most:
            raise ListMoved("the list grows faster than it can be read")

    def append_again(self, keys: Iterable[Key]) -> None:
        """Add rows behind the anchor; a key that the chain already holds gets a name of its own."""
        for key in keys:
            again = key in self.rank
            self.repeats |= again
            self.append([Again(key, -len(self.keys)) if again else key])  # no place in a page

    def put_before(self, keys: Sequence[Key]) -> None:
        """Add rows in front of the chain."""
        self.keys = [*keys, *self.keys]
        self.rank = {key: rank for rank, key in enumerate(self.keys)}

    def newest_known(self, page: Page[R]) -> int | None:
        """Index of the page's row that is furthest along the chain; None where none is known."""
        ranks = [(self.rank[key], i) for i, key in enumerate(page.keys) if key in self.rank]
        if [rank for rank, _ in ranks] != sorted(rank for rank, _ in ranks):
            raise ListMoved("the order of the list changed")
        return max(ranks)[1] if ranks else None


@dataclass(frozen=True)
class Listed:
    """A complete listing: all keys in order, or what changed since a cursor.

    Attributes:
        keys: Keys read, in the order of the list.
        position: Position of the first key.
        count: Rows of the whole list, as last answered.
        restarts: How often the listing was read again from the start.
    """

    keys: list[Key]
    position: int
    count: int
    restarts: int = 0


class ListMoved(Exception):
    """The chain cannot be continued: read the listing again.

    Args:
        problem: What does not fit, in words.
        refusal: The answer to a page behind the first, where that was none: the list may be shorter.
    """

    def __init__(self, problem: str, refusal: AnswerError | None = None) -> None:
        super().__init__(problem)
        self.refusal = refusal


@contextmanager
def moved_where_refused(offset: int) -> Iterator[None]:
    """A page behind the first that is refused may be behind the end: then the list has moved."""
    try:
        yield
    except (RequestRefused, GraphMissing) as error:
        if not offset or (error.status != 400 and not isinstance(error, GraphMissing)):
            raise
        refusal = RequestRefused(  # whether the graph is missing, only the first page tells
            error.problem,
            path=error.path,
            status=error.status,
            error_code=error.error_code,
            error_msg=error.error_msg,
        )
        raise ListMoved(str(error), refusal) from error


def read_complete(
    fetch: Fetch[R],
    fetch_many: FetchMany[R],
    limit: int,
    path: str,
    first: Page[R] | None = None,
    on_restart: Callable[[], object] = lambda: None,
) -> Listed:
    """Read the whole list, once if nothing contradicts, and at most `MAX_RESTARTS` times again.

    Args:
        fetch: Fetches the page at an offset; raises `AnswerError`, or `ListMoved` where the list may
            end before the offset.
        fetch_many: Fetches the pages at several offsets side by side, yields them in that order.
        limit: Rows asked for in one page; the server may answer fewer.
        path: Request path, for the error's words.
        first: The page at offset 0, if it has just been read.
        on_restart: Called before the list is read again.

    Raises:
        UnsettledListing: Each of the tries broke or did not add up.
        AnswerError: As it was answered; the last try's, where an offset was refused each time.
    """
    problem, most = "", 0
    refusal: AnswerError | None = None
    standing: list[Key] = []
    for restarts in range(MAX_RESTARTS + 1):
        if restarts:
            on_restart()
        try:
            page = first if first is not None and restarts == 0 else fetch(0, limit)
            most = most or page.count + MAX_GROWTH
            chain = Chain[R](most=most)
            chain.see(page)
            if restarts % 2 or standing:
                _read_standing(fetch, chain, limit)
            else:
                chain.append(page.keys)
                _read_ahead(fetch_many, chain, limit)
                _read_on(fetch, chain, limit)
            count = _catch_up_in_front(fetch, chain, limit)
            if chain.counts != {count}:
                _confirm_end(fetch, chain, count, limit)
        except ListMoved as moved:
            problem, refusal = str(moved), moved.refusal
            standing = []
            continue
        is_proven = not chain.repeats or (chain.keys == standing and not _may_have_turned(chain))
        if len(chain.keys) == count and is_proven:
            return Listed(chain.keys, 0, count, restarts)
        standing = chain.keys if chain.repeats else []
        refusal = None
        problem = f"{len(chain.keys)} different rows were read, but the list says it has {count}"
    if refusal is not None:
        raise refusal
    raise UnsettledListing(
        f"the listing did not settle in {MAX_RESTARTS + 1} tries: {problem}; "
        "what was read is loaded, the next load lists it again",
        path=path,
        error_code="UNSETTLED",
        error_msg=problem,
    )


def _read_ahead(fetch_many: FetchMany[R], chain: Chain[R], limit: int) -> None:
    """Read the rest side by side, as long as each page starts with the last row of the one before."""
    first = chain.last
    if first is None or first.is_last or len(first.keys) < 2:
        return
    step = len(first.keys) - 1
    with closing(fetch_many(range(step, first.count - 1, step), limit)) as pages:
        for page in pages:
            if len(page.keys) < 2 or page.keys[0] != chain.keys[-1]:
                return
            chain.see(page)
            chain.append(page.keys[1:])


def _read_standing(fetch: Fetch[R], chain: Chain[R], limit: int) -> None:
    """Read a list that stands still, but may hold a key at several places; a move breaks it.

    With repeats the overlap proves less: such a listing counts when it was read twice the same.
    """
    page = chain.last
    assert page is not None
    chain.append_again(page.keys)
    anchor = page.keys[-1:]
    while chain.end < page.count:
        page = chain.see(fetch(chain.end - 1, limit))
        if _own_keys(page.keys[:1]) != _own_keys(anchor):
            raise ListMoved("the list moved")
        fresh = page.keys[1:]
        if not fresh:
            chain.singly = True
            fresh = _step_singly(fetch, page, limit)
        if not fresh:
            raise ListMoved("the list does not advance")
        chain.append_again(fresh)
        anchor = fresh[-1:]


def _may_have_turned(chain: Chain[R]) -> bool:
    """Whether it looks as if every row is listed once and the order turned between two answers.

    Rows that came twice then stand as far from the start as from the end, and hide as many others.
    A turn goes unseen where the anchor is in the middle, or at any row where pages hold one row.
    """
    ids = _own_keys(chain.keys)
    if not chain.singly:
        return ids == ids[::-1]
    first: dict[Key, int] = {}
    places = ((first.setdefault(key, at), at) for at, key in enumerate(ids))
    return all(one == other or one + other == len(ids) - 1 for one, other in places)


def _own_keys(keys: Iterable[Key]) -> list[Key]:
    """Keys without what tells the rows apart that have the same one."""
    return [own_key(key) for key in keys]


def _read_on(fetch: Fetch[R], chain: Chain[R], limit: int) -> None:
    """Read from the anchor to the end of the list, page by page, and find the anchor where it moved."""
    at = chain.end - 1
    step_back = 1
    idle = 0
    while chain.last is not None and not (
        chain.last.is_last and (not chain.keys or chain.last.keys[-1:] == chain.keys[-1:])
    ):
        idle += 1
        if idle > MAX_IDLE_PAGES:
            raise ListMoved("the list does not advance")
        page = chain.see(fetch(max(at, 0), limit))
        known = chain.newest_known(page)
        if known is None:
            if page.offset == 0:
                raise ListMoved("nothing that was read is listed any more")
            step_back = min(step_back * 2, page.offset)
            at = min(page.offset, page.count) - step_back
            continue
        step_back = 1
        fresh = page.keys[known + 1 :]
        single = len(page.keys) == 1
        at_anchor = page.keys[known] == chain.keys[-1]
        if single and at_anchor and not page.is_last:
            fresh = _step_singly(fetch, page, limit)
        at = page.offset + known + len(fresh) + (single and not at_anchor)
        if fresh:
            idle = 0
            chain.append(fresh)
        elif page.is_last:
            return


def _step_singly(fetch: Fetch[R], anchor: Page[R], limit: int) -> Sequence[Key]:
    """The row behind an anchor where pages hold one row: it counts if nothing moved meanwhile.

    The counts tell of a row that went in front of the anchor and one that came in its place.
    """
    following = fetch(anchor.offset + 1, limit)
    again = fetch(anchor.offset, limit)
    if again.keys[:1] != anchor.keys or not following.count == again.count == anchor.count:
        return []
    return following.keys


def _catch_up_in_front(fetch: Fetch[R], chain: Chain[R], limit: int) -> int:
    """Add rows that came in front of the chain while it was read; the count as last answered."""
    if chain.last is None or len(chain.keys) >= chain.last.count:
        return chain.last.count if chain.last else 0
    page = fetch(0, limit)
    known = [i for i, key in enumerate(page.keys) if key in chain.rank]
    if known and page.keys[known[0]] == chain.keys[0]:
        chain.put_before(page.keys[: known[0]])
    return page.count


def _confirm_end(fetch: Fetch[R], chain: Chain[R], count: int, limit: int) -> None:
    """Where answers differed in their count: the last row must still be the last, by one more answer."""
    page = fetch(max(chain.end - 1, 0), limit)
    if page.count != count or _own_keys(page.keys) != _own_keys(chain.keys[-1:]):
        raise ListMoved("the list moved at its end")


def read_recent(
    fetch: Fetch[R], cursor: Cursor, limit: int, first: Page[R] | None
) -> Listed | None:
    """Read what is new since a cursor, and each unfinished backup again.

    Returns None where the cursor does not hold any more: counts do not add up, a row is not where
    it was, or its place is refused. Then the whole list has to be read.
    """
    if cursor.anchor is None or cursor.order is None:
        return None
    try:
        if cursor.order == "old_to_new":
            return _read_tail(fetch, cursor, limit)
        return _read_head(fetch, cursor, limit, first)
    except ListMoved:
        return None


def tail_start(cursor: Cursor, limit: int) -> int:
    """Where to read an old-to-new list from: the anchor, or an unfinished backup before it."""
    depths = [cursor.count - at for _, at in cursor.unfinished]
    return cursor.count - _rows_to_read(depths, 1, limit)


def _rows_to_read(depths: Iterable[int], least: int, limit: int) -> int:
    """How many rows of the newest end to read in pages, so that it costs the least.

    Args:
        depths: How far from that end the unfinished backups stand, 1 for the newest row. Those
            that stand deeper than what is read are asked for one by one.
        least: Rows that are read anyway.
        limit: Rows of a page, as the server answers them.
    """
    deeper = sorted({depth for depth in depths if depth > least})

    def cost(step: tuple[int, int]) -> float:
        rows, singles = step
        pages = 3 * rows if limit == 1 else max(1, ceil((rows - 1) / (limit - 1)))
        return pages + rows / ROWS_WORTH_A_REQUEST + singles

    steps = [(rows, len(deeper) - place) for place, rows in enumerate([least, *deeper])]
    return min(steps, key=cost)[0]


def _read_tail(fetch: Fetch[R], cursor: Cursor, limit: int) -> Listed | None:
    start = tail_start(cursor, limit)
    expected = {at: key for key, at in cursor.unfinished}
    expected[cursor.count - 1] = str(cursor.anchor)
    page = fetch(start, limit)
    if page.count < cursor.count or page.keys[:1] != [expected[start]]:
        return None
    chain = Chain[R](start=start, most=page.count - start + MAX_GROWTH, last=page)
    chain.append(page.keys)
    _read_on(fetch, chain, limit)
    listed = _finish(fetch, chain, expected)
    return listed if listed and listed.count == start + len(chain.keys) else None


def _read_head(fetch: Fetch[R], cursor: Cursor, limit: int, first: Page[R] | None) -> Listed | None:
    page = first or fetch(0, limit)
    new = page.count - cursor.count
    if new < 0:
        return None
    expected = {at + new: key for key, at in cursor.unfinished}
    expected[new] = str(cursor.anchor)
    chain = Chain[R](last=page)
    chain.append(page.keys)
    depths = [at + new + 1 for _, at in cursor.unfinished]
    rows = _rows_to_read(depths, max(new + 1, chain.end), limit)
    while chain.end < rows:
        most = min(limit, rows - chain.end + 1)
        following = chain.last = fetch(chain.end - 1, most)
        if following.keys[:1] != chain.keys[-1:]:
            return None
        fresh = following.keys[1:] or _step_singly(fetch, following, limit)
        if not fresh:
            return None
        chain.append(fresh)
    listed = _finish(fetch, chain, expected)
    return listed if listed and listed.count == page.count else None


def _finish(fetch: Fetch[R], chain: Chain[R], expected: dict[int, str]) -> Listed | None:
    """Check that known rows stand where they must, and read the unfinished ones outside the chain."""
    assert chain.last is not None
    outside = [at for at in expected if not chain.start <= at < chain.end]
    if len(outside) > MAX_SINGLE_READS:
        return None
    for at, key in expected.items():
        if at not in outside:
            if chain.keys[at - chain.start] != key:
                return None
            continue
        page = fetch(at, 1)
        if page.keys[:1] != [key] or page.count != chain.last.count:
            return None
    return Listed(chain.keys, chain.start, chain.last.count)


def next_cursor(
    cursor: Cursor | None,
    listed: Listed,
    *,
    starts: list[int],
    unfinished: set[str],
    one_page: bool,
    now: float,
) -> Cursor:
    """The cursor after a complete listing.

    Args:
        cursor: The one before, for what it has reported.
        listed: A listing that `read_complete` returned.
        starts: Start in milliseconds of the accepted backups, in the order of the list.
        unfinished: Keys of those that have not ended.
        one_page: Whether the whole list came in the first page: then no more need be known.
        now: Epoch seconds.
    """
    base = replace(cursor or Cursor(), count=listed.count, digest=None)
    if one_page:
        return replace(base, order=None, anchor=None, unfinished=(), tail=None, completed_at=None)
    order = order_of(starts)
    waiting = tuple((key, at) for at, key in enumerate(listed.keys) if key in unfinished)
    anchor = _anchor(listed, order)
    return replace(base, order=order, anchor=anchor, unfinished=waiting, completed_at=now)


def moved_cursor(
    cursor: Cursor, listed: Listed, unfinished: set[str], digest: str | None
) -> Cursor:
    """The cursor after `read_recent`: the new end of the list, and who still has not ended."""
    new = listed.count - cursor.count
    shift = new if cursor.order == "new_to_old" else 0
    known = {key: at + shift for key, at in cursor.unfinished}
    known |= {
        key: at for at, key in enumerate(listed.keys, listed.position) if isinstance(key, str)
    }
    waiting = sorted((at, key) for key, at in known.items() if key in unfinished)
    anchor = _anchor(listed, cursor.order)
    return replace(
        cursor,
        count=listed.count,
        anchor=anchor,
        unfinished=tuple((key, at) for at, key in waiting),
        digest=digest,
    )


def _anchor(listed: Listed, order: Order | None) -> str | None:
    """The id at the newest end of a list; None where the row there has none of its own."""
    key = listed.keys[0] if order == "new_to_old" else listed.keys[-1]
    return key if isinstance(key, str) else None


def order_of(starts: list[int]) -> Order | None:
    """The order of a list of starts; None where it is mixed."""
    in_order = sorted(starts)  # as fast as a look at each where they are in order
    if starts == in_order:
        return "old_to_new"
    return "new_to_old" if starts == in_order[::-1] else None
