"""Many graphs side by side: a surprise in one is told and stops no other, and no thread stays behind."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dlt.common.schema import Schema

from ges_backups import graph as graph_module
from ges_backups.batches import Project, ProjectLoad
from ges_backups.client import Cancelled, GesClient
from ges_backups.credentials import GesCredentials
from ges_backups.errors import (
    CredentialsError,
    GesError,
    SourceDown,
    Unforeseen,
    describe,
)
from ges_backups.graph import GraphListing, GraphReader, ListingOptions
from ges_backups.known import Known
from ges_backups.listing import MAX_RESTARTS
from ges_backups.pool import GraphPool, fetch_graphs
from ges_emulator import Emulator, Fault
from ges_history.loading.progress import LineCollector
from harness import TOKEN, Asked, Warehouse, assert_exact, fill, fleet_of, the_graph
from ledger import Ledger

OPTIONS = ListingOptions(page_size=5, full=False, window=False, full_listing_seconds=86_400)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(fleet_of(graphs=4, backups=12)) as emulator:
        yield emulator


def client_of(emulator: Emulator, request_seconds: float = 5.0) -> GesClient:
    client = GesClient(emulator.endpoint, concurrency=4, request_seconds=request_seconds)
    client.authorize(GesCredentials(token=TOKEN), emulator.fleet.project_id, None)
    return client


def list_all(emulator: Emulator, **client: Any) -> dict[str, GraphListing]:
    pool = GraphPool(client_of(emulator, **client), emulator.fleet.project_id, OPTIONS, 4)
    ids = [graph.id for graph in emulator.fleet.graphs]
    return {listing.graph_id: listing for listing in pool.iter_listings(ids, {})}


class Mute(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def every_exception() -> Iterator[type[Exception]]:
    """All classes of exceptions that are known when the source has been imported."""
    waiting: list[type[Exception]] = [Exception]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += [sub for sub in kind.__subclasses__() if sub.__module__ != "pytest"]


ENDS = (CredentialsError, SourceDown, Cancelled)
KINDS = [
    *(KeyError, IndexError, AttributeError, OverflowError, ValueError, StopIteration, MemoryError),
    *(RecursionError, ZeroDivisionError, UnicodeError, OSError, TimeoutError, AssertionError, Mute),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("words", [(), ("",), ("what\nhappened",)], ids=["mute", "empty", "words"])
def test_what_nobody_foresaw_is_the_outcome_of_its_graph_with_words(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], words: Any
) -> None:
    parse = graph_module.parse_backups

    def parse_or_fail(body: bytes, path: str, *rest: Any, **options: Any) -> Any:
        if "/g2/" in path:
            raise kind(*words)
        return parse(body, path, *rest, **options)

    monkeypatch.setattr(graph_module, "parse_backups", parse_or_fail)
    listings = list_all(emulator)

    failed = listings.pop("g2")
    assert {listing.outcome for listing in listings.values()} == {"complete"}
    assert (failed.outcome, failed.cursor, failed.requests) == ("failed", None, 1)
    assert isinstance(failed.error, Unforeseen)
    assert kind.__name__ in failed.error.problem
    assert "\n" not in str(failed.error)


def test_every_class_of_exception_is_told_in_one_line_that_is_not_empty() -> None:
    told = 0
    for kind in every_exception():
        try:
            error = kind.__new__(kind)
        except TypeError:
            continue
        told += 1
        text = describe(error)
        assert text.startswith(kind.__name__)
        assert text.isprintable()
    assert told > 200


def test_each_error_of_this_source_says_what_happened() -> None:
    for kind in every_exception():
        if issubclass(kind, GesError) and kind is not GesError:
            assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize("kind", ENDS, ids=lambda kind: kind.__name__)
def test_a_credential_a_dead_source_or_a_stop_ends_all(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(reader: GraphReader) -> GraphListing:
        raise kind("it ends here")

    monkeypatch.setattr(GraphReader, "read", fail)
    with pytest.raises(kind, match="it ends here"):
        list_all(emulator)


@pytest.mark.parametrize("page_size", [2, 3, 100])
def test_a_graph_that_the_list_names_twice_is_listed_once(
    emulator: Emulator, ledger: Ledger, page_size: int
) -> None:
    with emulator.fleet.lock:
        twin = emulator.fleet.add_graph("twin", name="later")
        fill(twin, 3)
        twin.record = {**the_graph(emulator.fleet).record, "name": "first again"}
    records, rejected = fetch_graphs(
        client_of(emulator), emulator.fleet.project_id, page_size=page_size
    )
    assert [record["id"] for record in records] == ["g1", "g2", "g3", "g4"]
    assert rejected == []
    emulator.fleet.forget_graph("twin")
    asked = Asked(emulator)
    assert ledger.load(emulator, page_size=page_size).exit_code == 0
    assert asked.count("backups", "g1") == Asked.of(emulator).count("backups", "g1")
    assert_exact(ledger, emulator.fleet)


NUMBERS = ["0e99999999999999999999", "1e-99999999999999999999", "1e99999999999999999999"]


def test_numbers_that_no_library_can_read_stop_nothing(
    emulator: Emulator, warehouse: Warehouse
) -> None:
    for place, backup in enumerate(the_graph(emulator.fleet, "g2").backups[: len(NUMBERS)]):
        backup.record["new_field"] = f"HERE {place}"
    emulator.faults.add(_with_literals(NUMBERS), times=None, graph_id="g2")

    outcome = warehouse.load(emulator)

    assert outcome.exit_code == 0
    rows = warehouse.backups
    assert [rows[f"g2-b{place}"]["new_field"] for place in range(len(NUMBERS))] == NUMBERS
    assert len(rows) == 48


def _with_literals(literals: list[str]) -> Fault:
    from dataclasses import replace  # noqa: PLC0415

    def change(answer: Any) -> Any:
        body = answer.encoded().body or b""
        for place, literal in enumerate(literals):
            body = body.replace(b'"HERE %d"' % place, literal.encode())
        return replace(answer, body=body)

    return Fault("literals", change=change)


def test_a_server_that_throttles_makes_a_load_slow_and_not_wrong(ledger: Ledger) -> None:
    """Each request's turn, and what it is told to wait, are longer than it may be tried."""
    fleet = fleet_of(graphs=30, backups=1)
    with Emulator(fleet, rate_limit_per_second=15) as emulator:
        assert ledger.load(emulator, concurrency=16, request_seconds=0.6).exit_code == 0
    assert_exact(ledger, fleet)


def test_who_waits_for_a_server_that_throttles_is_told(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ges_backups.pool.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("ges_history.loading.progress.LINE_SECONDS", 0.0)
    emulator.faults.add(Fault.throttled(1), path="backups")
    project = Project(emulator.fleet.project_id)
    client, lines = client_of(emulator), LineCollector()
    load = ProjectLoad(client, project, OPTIONS, 1, Known(), collector=lines)
    assert list(load.iter_batches(lambda: Schema("ges_backups")))
    told = capsys.readouterr().err.splitlines()
    assert "listed 0 of 4 graphs; waiting, as the API throttles" in told[0]
    assert told[-1].endswith("listed 4 of 4 graphs")


def test_a_page_that_says_when_to_come_back_in_an_impossible_year_is_asked_again(
    emulator: Emulator, ledger: Ledger
) -> None:
    emulator.faults.add(Fault.throttled("Fri, 31 Dec 9999 23:59:59 -2359"), graph_id="g2")
    outcome = ledger.load(emulator, request_seconds=2)
    assert outcome.graphs["failed"] <= 1
    assert len(ledger.backups) >= 36


def ends_with(emulator: Emulator, kind: str) -> None:
    """Let a load fail while it lists: the others are in the middle of their requests."""
    if kind == "credential":
        emulator.before_answer = lambda request: (
            request.graph_id == "g3" and emulator.revoke_tokens()
        )
    elif kind == "hangs":
        emulator.faults.add(Fault.hang(), times=None, path="backups")
        emulator.before_answer = lambda request: (
            request.graph_id == "g3" and emulator.revoke_tokens()
        )
    else:
        emulator.faults.add(Fault.http(503), times=None)


@pytest.mark.parametrize("kind", ["credential", "down"])
def test_no_thread_is_left_by_a_load_that_fails(emulator: Emulator, kind: str) -> None:
    before = set(threading.enumerate())
    ends_with(emulator, kind)
    with pytest.raises((CredentialsError, SourceDown)):
        list_all(emulator, request_seconds=1.0)
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def test_no_thread_is_left_by_a_load_that_is_stopped_while_the_server_hangs(
    emulator: Emulator,
) -> None:
    before = set(threading.enumerate())
    emulator.faults.add(Fault.hang(), times=None, at=range(3, 999))
    pool = GraphPool(client_of(emulator, 60.0), emulator.fleet.project_id, OPTIONS, 4)
    ids = [graph.id for graph in emulator.fleet.graphs]
    emulator.faults.clear()
    for graph_id in ids[1:]:
        emulator.faults.add(Fault.hang(), times=None, graph_id=graph_id)
    listings = pool.iter_listings(ids, {})
    assert next(listings).graph_id == "g1"
    started = time.monotonic()
    listings.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 3
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def test_a_listing_that_does_not_settle_keeps_the_last_answer_of_each_row_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[int] = []
    collect = graph_module.collect

    def counted(pages: Any) -> Any:
        kept.append(sum(len(page.keys) for page in pages))
        return collect(pages)

    monkeypatch.setattr(graph_module, "collect", counted)
    fleet = fleet_of(backups=1000)
    graph = the_graph(fleet)
    for backup in reversed(graph.backups):  # the same from both ends: no reading proves anything
        graph.add_record(backup.record)
    with Emulator(fleet) as emulator:
        options = ListingOptions(200, full=False, window=False, full_listing_seconds=1)
        pool = GraphPool(client_of(emulator), fleet.project_id, options, 4)
        (listing,) = pool.iter_listings(["g1"], {})
    assert (listing.outcome, listing.error and listing.error.error_code) == ("failed", "UNSETTLED")
    assert listing.restarts == MAX_RESTARTS
    assert listing.requests > 6 * 10
    assert listing.rows is not None
    assert len(listing.rows) == len(set(listing.rows.column("id").to_pylist())) == 1000
    assert max(kept) <= 1000 + 2200


AGAIN = """
import sys, threading
from ges_history.loading.projects import load
from ges_backups.errors import GesError
settings = dict(project_id={project!r}, endpoint={endpoint!r}, request_seconds=1.0)
for path in {paths!r}:
    try:
        load(path, credentials="wrong", graph_ids=["g1", "g2", "g3", "g4"], **settings)
    except GesError as error:
        print("failed:", type(error).__name__)
    print("left:", [t.name for t in threading.enumerate() if t.name.startswith("ges")])
    print("then:", load(path, credentials={token!r}, **settings).exit_code)
"""


def test_a_load_after_one_that_failed_is_as_good_as_in_a_fresh_process(
    emulator: Emulator, tmp_path: Path
) -> None:
    program = AGAIN.format(
        project=emulator.fleet.project_id,
        endpoint=emulator.endpoint,
        paths=[str(tmp_path / f"history{number}.duckdb") for number in range(3)],
        token=TOKEN,
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.splitlines() == 3 * ["failed: CredentialsError", "left: []", "then: 0"], (
        done.stderr[-2000:]
    )
