"""Each way in which a server can be wrong, once passing (the load is exact) and once lasting."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beginnings import Beginnings
from ges_backups.errors import CredentialsError, GesError, SourceDown
from ges_emulator import Emulator, Fault, Request
from harness import Warehouse, assert_exact, examples, fill, fleet_of, the_graph
from ledger import Ledger

PASSING = [
    *Fault.transient(),
    Fault.http(408),
    Fault.http(504, html=True),
    Fault.slow_drip(500, 0.01),
    Fault.gzip(),
    Fault.huge_body(2**20),
    Fault.list_is({"a": 1}),
    Fault.list_is("rows"),
    Fault.count_is(1.5),
    Fault.count_is(True),
    Fault.count_is([]),
    Fault.count_off_by(2),
    Fault.count_off_by(-2),
    Fault.offset_ignored(),
    Fault.body(b"null", "null"),
    Fault.body(b"[" * 100_000, "deep"),
    Fault.body(b"\xff\xfe\x00", "no utf-8"),
    Fault.body(b"", "empty body"),
]
LASTING = [
    Fault.http(400),
    Fault.http(403),
    Fault.http(500),
    Fault.http(502, html=True),
    Fault.throttled(),
    Fault.throttled(3600),
    Fault.reset_before_answer(),
    Fault.reset_after_headers(),
    Fault.reset_within_body(),
    Fault.cut_body(),
    Fault.hang(),
    Fault.slow_drip(1, 0.2),
    Fault.broken_json(),
    Fault.html_page(),
    Fault.empty_object(),
    Fault.list_missing(),
    Fault.list_is(None),
    Fault.count_missing(),
    Fault.count_is(-1),
    Fault.count_off_by(-1),
    Fault.empty_page(),
    Fault.redirect("http://127.0.0.1:9/"),
    Fault.body(b"[" * 100_000, "deep"),
]
#: Lasting faults of which only lists of several pages can tell.
LIES = [Fault.count_off_by(1), Fault.count_off_by(-1)]
TRUTHFUL = [fault for fault in Fault.transient() if fault.name not in {lie.name for lie in LIES}]
"""A count that is wrong by as many as were deleted hides that for a load: docs/guarantees.md."""
OF_PAGES = [Fault.page_repeated(), Fault.offset_ignored(), Fault.count_off_by(1)]

each_in_one_order = pytest.mark.parametrize(
    ("fault", "order"),
    [
        pytest.param(fault, order, marks=[] if number % 2 == place else pytest.mark.soak)
        for number, fault in enumerate(PASSING)
        for place, order in enumerate(["old_to_new", "new_to_old"])
    ],
    ids=lambda value: getattr(value, "name", value),
)
"""Every passing fault, in the other order only in the soak."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Three graphs: two of several pages of four, one of a single page."""
    fleet = fleet_of(graphs=2, backups=11)
    fill(fleet.add_graph("g3"), 2)
    with Emulator(fleet) as emulator:
        yield emulator


@contextmanager
def shortest_waits() -> Iterator[None]:
    """How long to wait before the next try is drawn by lot: here always the shortest that can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenacity.wait.random.uniform", min)
        yield


@pytest.fixture
def soon_tried_again() -> Iterator[None]:
    """Where a fault passes, the next try comes as soon as it ever does."""
    with shortest_waits():
        yield


def let_pass(emulator: Emulator, fault: Fault, at: set[int]) -> None:
    """A fault in some answers; a wrong count in some of each list, all of which might else agree in it."""
    if not fault.name.startswith("count off by"):
        emulator.faults.add(fault, at=at)
        return
    for graph_id in ("g1", "g2"):
        emulator.faults.add(fault, at={1, 3}, graph_id=graph_id)


@pytest.mark.usefixtures("soon_tried_again")
@each_in_one_order
def test_a_fault_that_passes_is_not_seen_in_the_result(
    emulator: Emulator, ledger: Ledger, fault: Fault, order: str
) -> None:
    emulator.order = order
    let_pass(emulator, fault, at={2, 4, 5})
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)

    for graph in emulator.fleet.graphs:
        fill(graph, 2, first=100)
    let_pass(emulator, fault, at={2, 3})
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)
    assert {listing.error for listing in ledger.outcomes} == {None}


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.name)
def test_a_lasting_outage_ends_in_time_with_one_sentence_and_changes_nothing(
    emulator: Emulator, ledger: Ledger, fault: Fault
) -> None:
    ledger.load(emulator, page_size=4)
    listings, rows = dict(ledger.listings), dict(ledger.backups)
    emulator.faults.add(fault, times=None)
    started = time.monotonic()

    with pytest.raises(GesError) as down:
        ledger.load(emulator, page_size=4, request_seconds=0.5)

    assert time.monotonic() - started < 8
    assert "\n" not in str(down.value)
    assert (ledger.listings, ledger.backups) == (listings, rows)
    emulator.faults.clear()
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)


@pytest.mark.parametrize("fault", [*LASTING, *OF_PAGES], ids=lambda fault: fault.name)
def test_a_graph_whose_answers_stay_wrong_is_reported_and_the_others_are_loaded(
    emulator: Emulator, ledger: Ledger, fault: Fault
) -> None:
    ledger.load(emulator, page_size=4)
    for graph in emulator.fleet.graphs:
        fill(graph, 2, first=100)
        graph.delete_backup(graph.backups[0])
    emulator.faults.add(fault, times=None, graph_id="g2")
    started = time.monotonic()

    ledger.load(emulator, page_size=4, request_seconds=0.5, full=True)

    assert time.monotonic() - started < 8
    outcomes = ledger.last_outcomes
    assert outcomes.pop("g2") in ("failed", "forbidden")
    assert outcomes == {"g1": "complete", "g3": "complete"}
    assert ledger.deleted == {"g1-b0", "g3-b0"}
    emulator.faults.clear()
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)


@pytest.mark.usefixtures("soon_tried_again")
@each_in_one_order
def test_a_fault_that_passes_is_not_seen_where_a_project_is_listed(
    emulator: Emulator, ledger: Ledger, fault: Fault, order: str
) -> None:
    ledger.listing = "project"
    emulator.order = order
    emulator.faults.add(fault, at={1, 3, 4})
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)

    for graph in emulator.fleet.graphs:
        fill(graph, 2, first=100)
    emulator.faults.add(fault, at={2, 3})
    ledger.load(emulator, page_size=4)
    assert_exact(ledger, emulator.fleet)
    assert ledger.last_outcomes.keys() == {"*"}
    assert {listing.error for listing in ledger.outcomes} == {None}


@pytest.mark.parametrize("listing", ["graphs", "project"])
@pytest.mark.parametrize("fault", [*LASTING, *OF_PAGES], ids=lambda fault: fault.name)
def test_a_project_whose_listing_stays_wrong_marks_nothing_by_it(
    emulator: Emulator, ledger: Ledger, fault: Fault, listing: str
) -> None:
    fleet = emulator.fleet
    fleet.delete_graph("g2")
    ledger.listing = listing
    ledger.load(emulator, page_size=4)
    every = [*fleet.graphs, *fleet.deleted_graphs]
    assert ledger.listed == {backup.id for graph in every for backup in graph.backups}
    for graph in every:
        graph.delete_backup(graph.backups[0])
    emulator.faults.add(fault, times=None, path="all_backups")
    started = time.monotonic()

    ledger.load(emulator, page_size=4, request_seconds=0.5, full=True)

    assert time.monotonic() - started < 8
    if listing == "project":
        assert ledger.last_outcomes["*"] in ("failed", "forbidden")
        assert ledger.deleted == set()
    else:
        assert ledger.last_outcomes == {"g1": "complete", "g3": "complete"}
        assert ledger.deleted == {"g1-b0", "g3-b0"}
    emulator.faults.clear()
    ledger.load(emulator, page_size=4, full_listing_interval="0s")
    assert ledger.deleted == {"g1-b0", "g2-b0", "g3-b0"}
    assert ledger.listed == {backup.id for graph in every for backup in graph.backups}


def stop_answering_after_the_list_of_graphs(emulator: Emulator) -> None:
    emulator.faults.add(Fault.http(503), None, path="backups")
    emulator.faults.add(Fault.http(503), None, path="graphs", at=range(3, 999))


def lasting_outages() -> dict[str, tuple[Callable[[Emulator], None], type[GesError], str]]:
    """Outages, the error of a load, and its words."""
    return {
        "down": (lambda emulator: emulator.stop(), SourceDown, "does not answer"),
        "503": (
            lambda emulator: emulator.faults.add(Fault.http(503), None),
            SourceDown,
            "does not answer.*HTTP 503",
        ),
        "hangs": (
            lambda emulator: emulator.faults.add(Fault.hang(), None),
            SourceDown,
            "did not answer in time",
        ),
        "503 for each graph": (
            stop_answering_after_the_list_of_graphs,
            SourceDown,
            "does not answer",
        ),
        "401": (
            lambda emulator: emulator.revoke_tokens(),
            CredentialsError,
            "refused the credential .HTTP 401, APIGW.0301",
        ),
        "403": (
            lambda emulator: emulator.faults.add(Fault.http(403), None),
            GesError,
            "GES.0016",
        ),
        "redirect": (
            lambda emulator: emulator.faults.add(Fault.redirect("http://127.0.0.1:9/"), None),
            GesError,
            "check ENDPOINT",
        ),
    }


@pytest.mark.parametrize("kind", lasting_outages())
def test_under_a_lasting_outage_the_warehouse_is_as_before(
    emulator: Emulator, warehouse: Warehouse, beginnings: Beginnings, kind: str
) -> None:
    cause, error, words = lasting_outages()[kind]
    beginnings.load(warehouse, emulator, page_size=4)
    for graph in emulator.fleet.graphs:
        fill(graph, 2, first=100)
    before = warehouse.snapshot()
    cause(emulator)
    started = time.monotonic()

    with pytest.raises(error, match=words) as down:
        warehouse.load(emulator, page_size=4, request_seconds=0.5)

    assert time.monotonic() - started < 15
    assert "\n" not in str(down.value).strip()
    assert warehouse.snapshot() == before
    emulator.faults.clear()
    emulator.start()
    emulator.tokens.add("emulator-token", emulator.fleet.project_id)
    warehouse.load(emulator, page_size=4)
    assert_exact(warehouse, emulator.fleet)


@examples(4)
@given(seed=st.integers(0, 2**32), order=st.sampled_from(["old_to_new", "new_to_old", "shuffled"]))
def test_under_random_faults_a_load_is_still_exact(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: str
) -> None:
    fleet = fleet_of(graphs=4, backups=23)
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    with Emulator(fleet, order=order) as emulator, shortest_waits():
        for first, faults in ((100, Fault.transient()), (200, TRUTHFUL)):
            emulator.faults.random(rate=0.3, seed=seed, kinds=faults)
            ledger.load(emulator, page_size=6, concurrency=16)
            assert {listing.error for listing in ledger.outcomes} == {None}
            assert_exact(ledger, fleet)
            for graph in fleet.graphs:
                fill(graph, 3, first)
                graph.delete_backup(graph.backups[1])
        assert emulator.faults.met


def test_under_random_faults_and_drift_a_load_into_duckdb_is_still_exact(
    emulator: Emulator, warehouse: Warehouse
) -> None:
    graph = the_graph(emulator.fleet)
    moves: list[int] = []

    def move(request: Request) -> None:
        if request.graph_id == "g1" and len(moves) < 3:
            moves.append(1)
            fill(graph, 1, first=100 + len(moves))

    emulator.before_answer = move
    emulator.faults.random(rate=0.3, seed=7)
    outcome = warehouse.load(emulator, page_size=4, concurrency=8)
    assert outcome.exit_code == 0
    emulator.before_answer = None
    warehouse.load(emulator, page_size=4, concurrency=8)
    assert_exact(warehouse, emulator.fleet)
