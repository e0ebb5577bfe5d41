"""A listing is complete and bounded, whatever the list does between two pages.

The list is in memory and moves by a script that hypothesis writes. `test_properties` shows the
same over HTTP.
"""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from ges_backups import listing
from ges_backups.errors import UnsettledListing
from ges_backups.keys import ids_of, row_keys
from ges_backups.listing import (
    MAX_RESTARTS,
    Cursor,
    Listed,
    Page,
    moved_cursor,
    next_cursor,
    order_of,
    read_complete,
    read_recent,
)
from harness import examples

PATH = "/v2/p/graphs/g/backups"
COMPLETED_AT = 1_700_000_000.0


@dataclass
class MovingList:
    """Keys from old to new; before each fetch the next move of the script happens."""

    keys: list[str]
    cap: int | None = None
    reverse: bool = False
    script: list[tuple[str, int]] = field(default_factory=list)
    asked: int = 0
    made: int = 0
    gone: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def move(self, kind: str, place: int) -> None:
        """One move; `place` is taken modulo the length of the list."""
        match kind:
            case "delete" if self.keys:
                self.gone.add(self.keys.pop(place % len(self.keys)))
            case "insert":
                self.made += 1
                self.keys.insert(place % (len(self.keys) + 1), f"new{self.made}")
            case "append":
                self.made += 1
                self.keys.append(f"new{self.made}")
            case "retain" if self.keys:
                self.gone.add(self.keys.pop(0))
            case "cap":
                self.cap = place % 7 + 1
            case "turn":
                self.reverse = not self.reverse

    def fetch(self, offset: int, limit: int) -> Page[None]:
        """One page, after the next move."""
        if self.script:
            self.move(*self.script.pop(0))
        self.asked += 1
        assert offset >= 0
        rows = self.keys[::-1] if self.reverse else list(self.keys)
        rows = rows[offset : offset + min(limit, self.cap or limit)]
        self.read.update(rows)
        return Page(offset, len(self.keys), rows, None)

    def fetch_many(self, offsets: Sequence[int], limit: int) -> Generator[Page[None]]:
        """Pages as four threads bring them: asked for last to first, yielded first to last."""
        for start in range(0, len(offsets), 4):
            ahead = [(at, self.fetch(at, limit)) for at in reversed(offsets[start : start + 4])]
            yield from (page for _, page in reversed(ahead))


def keys_of(count: int) -> list[str]:
    return [f"b{number}" for number in range(count)]


def complete(moving: MovingList, limit: int) -> Listed:
    return read_complete(moving.fetch, moving.fetch_many, limit, PATH)


def cursor_of(listed: Listed, unfinished: set[str], *, order: str) -> Cursor:
    """The cursor after a complete listing; starts follow the order given."""
    sign = -1 if order == "new_to_old" else 1
    return next_cursor(
        None,
        listed,
        starts=[sign * place for place in range(len(listed.keys))],
        unfinished=unfinished,
        one_page=False,
        now=COMPLETED_AT,
    )


caps = st.none() | st.integers(1, 12)
limits = st.integers(1, 12)
sizes = st.integers(0, 40)
places = st.integers(0, 50)
drifts = st.tuples(st.sampled_from(["stay", "delete", "insert", "append", "retain", "cap"]), places)
scripts = st.lists(drifts, max_size=40)


@pytest.mark.parametrize("reverse", [False, True], ids=["old to new", "new to old"])
@given(size=sizes, cap=caps, limit=limits)
def test_a_list_that_stands_still_is_read_once(
    size: int, cap: int | None, limit: int, reverse: bool
) -> None:
    moving = MovingList(keys_of(size), cap=cap, reverse=reverse)

    listed = complete(moving, limit)

    width = min(limit, cap or limit)
    assert listed == Listed(keys_of(size)[::-1] if reverse else keys_of(size), 0, size)
    assert moving.asked <= (3 * size + 1 if width == 1 else 1 + -(-size // (width - 1)))


@examples(600)
@given(size=sizes, cap=caps, limit=limits, reverse=st.booleans(), script=scripts)
def test_every_row_that_was_listed_throughout_is_in_a_complete_listing(
    size: int, cap: int | None, limit: int, reverse: bool, script: list[tuple[str, int]]
) -> None:
    moving = MovingList(keys_of(size), cap=cap, reverse=reverse, script=script)

    try:
        listed = complete(moving, limit)
    except UnsettledListing:
        event("unsettled")
        return

    event(f"restarts: {listed.restarts}")
    throughout = set(keys_of(size)) - moving.gone
    assert throughout <= set(listed.keys)
    assert set(listed.keys) <= moving.read
    assert len(listed.keys) == len(set(listed.keys)) == listed.count


@examples(300)
@given(
    size=sizes,
    cap=caps,
    limit=limits,
    quiet=st.integers(0, 6),
    turns=st.lists(st.sampled_from(["stay", "stay", "turn"]), max_size=12),
)
def test_an_order_that_turns_meanwhile_loses_nothing(
    size: int, cap: int | None, limit: int, quiet: int, turns: list[str]
) -> None:
    script = [("stay", 0)] * quiet + [(kind, 0) for kind in turns]
    moving = MovingList(keys_of(size), cap=cap, script=script)

    try:
        listed = complete(moving, limit)
    except UnsettledListing:
        event("unsettled")
        return

    assert set(listed.keys) == set(keys_of(size))


@examples(100)
@given(size=sizes, cap=caps, limit=limits, drift=drifts)
def test_a_list_that_never_stands_still_is_given_up_in_bounded_requests(
    size: int, cap: int | None, limit: int, drift: tuple[str, int]
) -> None:
    moving = MovingList(keys_of(size), cap=cap, script=[drift] * 2000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "MAX_GROWTH", 50)
        try:
            kept = set(complete(moving, limit).keys)
        except UnsettledListing:
            kept = set(keys_of(size))

    assert set(keys_of(size)) - moving.gone <= kept
    width = min(limit, cap or limit)
    rows = size + 50 + 12
    assert moving.asked <= (MAX_RESTARTS + 1) * (
        20 + (3 * rows if width == 1 else 3 * rows // (width - 1))
    )


def test_an_endless_list_is_given_up() -> None:
    """Each page is followed by another one, for ever."""

    def fetch(offset: int, limit: int) -> Page[None]:
        return Page(offset, 1000, ["a", "b"], None, "")

    with pytest.raises(UnsettledListing, match="the listing did not settle in 6 tries"):
        read_complete(fetch, lambda offsets, limit: (page for page in ()), 2, PATH)


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@given(rows=st.lists(st.sampled_from("abcde"), max_size=25), cap=caps)
def test_a_list_that_holds_a_key_at_several_places_is_complete(
    rows: list[str], cap: int | None, limit: int
) -> None:
    width = min(limit, cap or limit)
    assume(
        len(set(rows)) == len(rows)
        or not (is_mirrored(rows) if width == 1 else is_palindrome(rows))
    )
    listed = complete_with_repeats(rows, cap, limit)

    assert ids_of(listed.keys) == rows
    assert listed.restarts <= (0 if len(set(rows)) == len(rows) else 2)


def test_a_list_with_repeats_counts_when_it_was_read_twice_the_same() -> None:
    assert complete_with_repeats(list("abcabd"), None, 2).restarts == 2


def test_a_list_with_repeats_that_reads_differently_each_time_is_no_proof() -> None:
    orders = cycle(["abcabd", "abdabc"])
    rows = [next(orders)]

    def fetch(offset: int, limit: int) -> Page[None]:
        if offset == 0:
            rows[0] = next(orders)
        return Page(offset, 6, list(rows[0][offset : offset + limit]), None)

    with pytest.raises(UnsettledListing):
        read_complete(fetch, lambda offsets, limit: (page for page in ()), 2, PATH)


def test_a_count_that_was_short_once_does_not_end_the_list() -> None:
    """The last answer counts one row too few; the one that confirms it holds a single row."""
    answers = [
        Page(0, 6, ["a", "b", "c"], None),
        Page(2, 5, ["c", "d", "e"], None),
        Page(4, 6, ["e"], None),
    ]

    def fetch(offset: int, limit: int) -> Page[None]:
        if answers:
            return answers.pop(0)
        return Page(offset, 6, list("abcdef"[offset : offset + limit]), None)

    listed = read_complete(fetch, lambda offsets, limit: (page for page in ()), 3, PATH)
    assert listed.keys == list("abcdef")


@pytest.mark.parametrize(("rows", "limit"), [("abcba", 2), ("xabyax", 1), ("abca", 1)])
def test_repeats_that_a_turning_order_would_show_are_no_proof(rows: str, limit: int) -> None:
    with pytest.raises(UnsettledListing):
        complete_with_repeats(list(rows), None, limit)


def complete_with_repeats(rows: list[str], cap: int | None, limit: int) -> Listed:
    """The listing of a list that stands still and holds keys at several places."""

    def fetch(offset: int, limit: int) -> Page[None]:
        keys = row_keys([{"id": key} for key in rows[offset : offset + min(limit, cap or limit)]])
        return Page(offset, len(rows), keys, None, "")

    return read_complete(
        fetch, lambda offsets, limit: (fetch(at, limit) for at in offsets), limit, PATH
    )


def is_palindrome(rows: list[str]) -> bool:
    """Whether the rows are the same from both ends."""
    return rows == rows[::-1]


def is_mirrored(rows: list[str]) -> bool:
    """Whether equal rows stand at mirrored places only."""
    size = len(rows)
    pairs = [(i, j) for i in range(size) for j in range(i) if rows[i] == rows[j]]
    return all(i + j == size - 1 for i, j in pairs)


def test_a_count_that_never_fits_the_rows_is_an_error_that_says_so() -> None:
    def fetch(offset: int, limit: int) -> Page[None]:
        rows = keys_of(5)[offset : offset + limit]
        return Page(offset, 6, rows, None, "") if rows else Page(offset, 6, [], None, "")

    with pytest.raises(UnsettledListing) as unsettled:
        read_complete(fetch, lambda offsets, limit: (fetch(at, limit) for at in offsets), 3, PATH)
    assert unsettled.value.error_code == "UNSETTLED"


@pytest.mark.parametrize("wrong_by", [-2, -1, 1, 2])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_counts_that_are_wrong_lose_no_row(limit: int, wrong_by: int) -> None:
    """One or two answers of a listing count wrongly, whichever they are."""
    for wrong in itertools.combinations(range(24), 2):
        moving = MovingList(keys_of(11))
        answered: list[int] = []

        def fetch(
            offset: int,
            limit: int,
            moving: MovingList = moving,
            answered: list[int] = answered,
            wrong: tuple[int, int] = wrong,
        ) -> Page[None]:
            page = moving.fetch(offset, limit)
            answered.append(offset)
            count = page.count + wrong_by * (len(answered) - 1 in wrong)
            return replace(page, count=max(count, page.end))

        listed = read_complete(
            fetch, lambda at, limit, fetch=fetch: (fetch(one, limit) for one in at), limit, PATH
        )
        assert listed.keys == keys_of(11)


def test_rows_that_come_in_front_meanwhile_cost_no_second_reading() -> None:
    script = [("stay", 0), ("append", 0), ("append", 0)]
    moving = MovingList(keys_of(20), reverse=True, script=script)

    listed = complete(moving, 5)

    assert (listed.restarts, listed.count) == (0, 22)
    assert listed.keys == moving.keys[::-1]


def test_a_row_that_an_order_turned_twice_shows_twice_is_no_repeat() -> None:
    script = [("stay", 0), ("turn", 0), *[("stay", 0)] * 4, ("turn", 0)]
    moving = MovingList(keys_of(3), script=script)

    assert sorted(complete(moving, 1).keys) == keys_of(3)


between = st.lists(
    st.tuples(st.sampled_from(["delete", "insert", "append", "append", "retain"]), places),
    max_size=6,
)


@examples(800)
@given(
    size=st.integers(2, 60),
    cap=caps,
    limit=limits,
    reverse=st.booleans(),
    unfinished=st.sets(st.integers(0, 60), max_size=6),
    moves=between,
    script=st.lists(drifts, max_size=6),
    rounds=st.integers(1, 3),
)
def test_what_is_new_and_what_had_not_ended_is_read_or_the_cursor_is_given_up(
    size: int,
    cap: int | None,
    limit: int,
    reverse: bool,
    unfinished: set[int],
    moves: list[tuple[str, int]],
    script: list[tuple[str, int]],
    rounds: int,
) -> None:
    moving = MovingList(keys_of(size), cap=cap, reverse=reverse)
    waiting = {f"b{number}" for number in unfinished if number < size}
    order = "new_to_old" if reverse else "old_to_new"
    cursor = cursor_of(complete(moving, limit), waiting, order=order)

    for _ in range(rounds):
        known = list(moving.keys)
        moving.gone.clear()
        for move in moves:
            moving.move(*move)
        at_start = list(moving.keys)
        imports = len(set(at_start) - set(known)) - _newest(known, at_start)
        gone = bool(moving.gone)
        moving.read.clear()
        moving.gone.clear()
        moving.script = list(script)
        first = moving.fetch(0, limit) if reverse else None
        listed = read_recent(moving.fetch, cursor, limit, first)
        moving.script = []
        if listed is None:
            event("given up")
            return
        event("recent")
        throughout = [key for key in at_start if key not in moving.gone]
        newest = throughout[len(throughout) - _newest(known, throughout) :]
        assert set(newest) <= set(listed.keys)
        assert waiting & set(throughout) <= moving.read
        if not (imports and (gone or moving.gone)):  # then counts may add up by coincidence
            assert set(throughout) - set(known) <= moving.read
        cursor = moved_cursor(cursor, listed, waiting, "")
        assert [key for key, _ in cursor.unfinished if key not in waiting] == []
        moves, script = moves[1:], script[1:]


def _newest(known: list[str], keys: list[str]) -> int:
    """How many keys at the new end of a list were not known."""
    return next((n for n, key in enumerate(reversed(keys)) if key in known), len(keys))


@pytest.mark.parametrize("reverse", [False, True], ids=["old to new", "new to old"])
@given(
    cap=caps,
    limit=limits,
    added=st.integers(0, 20),
    stuck=st.sets(st.integers(0, 99), max_size=4),
)
def test_a_steady_state_costs_what_is_new_and_what_is_unfinished(
    cap: int | None, limit: int, added: int, stuck: set[int], reverse: bool
) -> None:
    moving = MovingList(keys_of(100), cap=cap, reverse=reverse)
    waiting = {f"b{number}" for number in stuck}
    order = "new_to_old" if reverse else "old_to_new"
    cursor = cursor_of(complete(moving, limit), waiting, order=order)
    for _ in range(3):
        for _ in range(added):
            moving.move("append", 0)
        moving.asked = 0
        moving.read.clear()
        first = moving.fetch(0, limit) if reverse else None

        width = min(limit, cap or limit)
        listed = read_recent(moving.fetch, cursor, width, first)

        assert listed is not None
        assert set(moving.keys[len(moving.keys) - added :]) <= set(listed.keys)
        assert waiting <= moving.read
        pages = 3 * added + 3 if width == 1 else 2 + added // (width - 1)
        assert moving.asked <= pages + len(waiting) + 1
        cursor = moved_cursor(cursor, listed, waiting, "")
        assert cursor.count == len(moving.keys)
        assert {key for key, _ in cursor.unfinished} == waiting


def test_more_unfinished_backups_than_are_worth_single_requests_read_the_whole_list() -> None:
    moving = MovingList(keys_of(100))
    cursor = cursor_of(complete(moving, 5), set(keys_of(17)), order="old_to_new")

    assert read_recent(moving.fetch, cursor, 5, None) is None


@pytest.mark.parametrize("lost", [{"anchor": None}, {"order": None}], ids=["anchor", "order"])
def test_a_cursor_without_anchor_or_order_saves_nothing_and_asks_nothing(lost: Any) -> None:
    moving = MovingList(keys_of(20))
    cursor = replace(cursor_of(complete(moving, 5), set(), order="old_to_new"), **lost)
    asked = moving.asked

    assert read_recent(moving.fetch, cursor, 5, None) is None
    assert moving.asked == asked


def test_a_first_page_that_is_out_of_date_is_used_once() -> None:
    moving = MovingList(keys_of(20))
    old = Page(0, 20, [f"x{number}" for number in range(5)], None)

    listed = read_complete(moving.fetch, moving.fetch_many, 5, PATH, old)

    assert listed.keys == keys_of(20)
    assert listed.restarts == 1


@pytest.mark.parametrize("reverse", [False, True], ids=["old to new", "new to old"])
@pytest.mark.parametrize("gone", [0, 40, 99], ids=["oldest", "middle", "newest"])
def test_a_deleted_row_gives_the_cursor_up(gone: int, reverse: bool) -> None:
    moving = MovingList(keys_of(100), reverse=reverse)
    order = "new_to_old" if reverse else "old_to_new"
    cursor = cursor_of(complete(moving, 10), set(), order=order)
    moving.move("delete", gone)
    first = moving.fetch(0, 10) if reverse else None

    assert read_recent(moving.fetch, cursor, 10, first) is None


@pytest.mark.parametrize("reverse", [False, True], ids=["old to new", "new to old"])
def test_an_unfinished_backup_that_was_replaced_by_another_row_gives_the_cursor_up(
    reverse: bool,
) -> None:
    moving = MovingList(keys_of(100), reverse=reverse)
    order = "new_to_old" if reverse else "old_to_new"
    cursor = cursor_of(complete(moving, 10), {"b30"}, order=order)
    moving.move("delete", 30)
    moving.move("insert", 30)
    first = moving.fetch(0, 10) if reverse else None

    assert read_recent(moving.fetch, cursor, 10, first) is None


@pytest.mark.parametrize(
    ("starts", "order"),
    [
        ([], "old_to_new"),
        ([5], "old_to_new"),
        ([5, 5, 6], "old_to_new"),
        ([6, 5, 5], "new_to_old"),
        ([5, 6, 5], None),
        ([6, 5, 6], None),
    ],
)
def test_the_order_of_a_list_is_what_its_starts_show(starts: list[int], order: str | None) -> None:
    assert order_of(starts) == order


@given(
    st.builds(
        Cursor,
        count=st.integers(0, 9),
        order=st.sampled_from([None, "old_to_new", "new_to_old"]),
        anchor=st.none() | st.text(),
        unfinished=st.lists(st.tuples(st.text(), st.integers(0, 9))).map(tuple),
        digest=st.none() | st.text(min_size=1),
        completed_at=st.none() | st.floats(1, 9e9),
    )
)
def test_a_cursor_survives_dlts_state(cursor: Cursor) -> None:
    assert Cursor.from_json(cursor.to_json()) == cursor
