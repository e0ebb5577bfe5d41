"""An id that two graphs list belongs to one of them, and is never marked while either lists it."""

import pytest

from beginnings import Beginnings
from ges_emulator import Emulator, Request
from harness import FIRST_MS, Warehouse, fill, fleet_of, project_called, the_graph
from ledger import Ledger


@pytest.mark.parametrize(
    ("order", "page_size"),
    [
        ("old_to_new", 2),
        ("new_to_old", 100),
        pytest.param("old_to_new", 100, marks=pytest.mark.soak),
        pytest.param("new_to_old", 2, marks=pytest.mark.soak),
    ],
)
def test_an_id_that_two_graphs_list_stays_with_the_first_while_that_lists_it(
    warehouse: Warehouse, beginnings: Beginnings, order: str, page_size: int
) -> None:
    fleet = fleet_of(graphs=2, backups=5)
    one, two = fleet.graphs
    one.add_backup(FIRST_MS + 1, id="twin", size=1)
    with Emulator(fleet, order) as emulator:
        beginnings.load(warehouse, emulator, page_size=page_size)
        two.add_backup(FIRST_MS + 2, id="twin", size=2)
        assert warehouse.load(emulator, page_size=page_size).exit_code == 3
        for number in range(2):
            two.add_backup(FIRST_MS + 10**9 * (number + 1), id=f"later{number}")
            assert warehouse.load(emulator, page_size=page_size).exit_code == 0
            kept = warehouse.backups
            assert (kept["twin"]["graph_id"], kept["twin"]["size"]) == ("g1", 1)
            assert {row["deleted_at"] for row in kept.values()} == {None}
        one.delete_backup("twin")
        warehouse.load(emulator, page_size=page_size)
        row = warehouse.backups["twin"]
        assert (row["graph_id"], row["size"], row["deleted_at"]) == ("g2", 2, None)
        two.delete_backup("twin")
        warehouse.load(emulator, page_size=page_size)
        assert warehouse.deleted == {"twin"}


def test_a_twin_whose_first_graph_is_gone_is_the_others(
    warehouse: Warehouse, beginnings: Beginnings
) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    the_graph(fleet).add_backup(FIRST_MS + 1, id="twin", size=1)
    with Emulator(fleet) as emulator:
        beginnings.load(warehouse, emulator)
        the_graph(fleet).delete_backup("twin")
        warehouse.load(emulator)
        assert warehouse.deleted == {"twin"}
        the_graph(fleet, "g2").add_backup(FIRST_MS + 2, id="twin", size=2)
        outcome = warehouse.load(emulator)
        assert (outcome.exit_code, outcome.backups["returned"]) == (0, 1)
        assert warehouse.backups["twin"]["graph_id"] == "g2"


@pytest.mark.parametrize(("first", "other"), [("g1", "g2"), ("g2", "g1")])
def test_a_twin_stays_with_its_first_graph_though_both_are_read_in_full(
    ledger: Ledger, first: str, other: str
) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    the_graph(fleet, first).add_backup(FIRST_MS + 1, id="twin")
    with Emulator(fleet) as emulator:
        ledger.load(emulator)
        the_graph(fleet, other).add_backup(FIRST_MS + 2, id="twin")
        for number in range(3):
            fill(the_graph(fleet, first), 1, first=10 + number)
            assert ledger.load(emulator, full=number > 0).exit_code == (0 if number else 3)
            assert ledger.backups["twin"]["graph_id"] == first
        assert ledger.deleted == set()
        the_graph(fleet, first).delete_backup("twin")
        ledger.load(emulator)
        assert (ledger.backups["twin"]["graph_id"], ledger.deleted) == (other, set())


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("first", "other"), [("g1", "g2"), ("g2", "g1")])
def test_a_twin_that_goes_while_the_other_list_is_read_is_not_marked(
    ledger: Ledger, first: str, other: str, is_known: bool
) -> None:
    fleet = fleet_of(graphs=2, backups=8)
    one, two = the_graph(fleet, first), the_graph(fleet, other)
    one.add_backup(FIRST_MS - 1, id="twin")
    asked: list[Request] = []

    def delete_behind_the_first_page(request: Request) -> None:
        if request.graph_id == other:
            asked.append(request)
            if len(asked) == 2:
                two.delete_backup("twin")

    with Emulator(fleet) as emulator:
        if is_known:
            ledger.load(emulator, page_size=4)
        two.add_backup(FIRST_MS - 1, id="twin")
        emulator.before_answer = delete_behind_the_first_page
        ledger.load(emulator, page_size=4, full=True)

    assert len(asked) > 2
    assert (ledger.backups["twin"]["graph_id"], ledger.deleted) == (first, set())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of ten backups fills one."""
    monkeypatch.setattr("ges_backups.batches.BATCH_ROWS", 10)


@pytest.mark.usefixtures("small_batches")
def test_a_twin_of_three_graphs_comes_once_where_its_first_one_loses_it(ledger: Ledger) -> None:
    """The second graph's row is held back in one batch, the third's comes with the next."""
    fleet = fleet_of(graphs=1, backups=10)
    fill(fleet.add_graph("g2"), 2)
    fill(fleet.add_graph("g3"), 2)
    the_graph(fleet, "g2").add_backup(FIRST_MS + 1, id="twin")
    with Emulator(fleet) as emulator:
        ledger.load(emulator, concurrency=1)
        the_graph(fleet, "g1").add_backup(FIRST_MS + 2, id="twin")
        the_graph(fleet, "g3").add_backup(FIRST_MS + 3, id="twin")
        the_graph(fleet, "g2").delete_backup("twin")
        ledger.load(emulator, concurrency=1, full=True)
    assert ledger.backups["twin"]["graph_id"] in ("g1", "g3")
    assert ledger.deleted == set()


@pytest.mark.usefixtures("small_batches")
def test_a_twin_that_a_deleted_graph_has_left_no_more_is_the_others(ledger: Ledger) -> None:
    fleet = fleet_of(graphs=2, backups=10)
    the_graph(fleet).add_backup(FIRST_MS + 1, id="twin")
    with Emulator(fleet) as emulator:
        ledger.load(emulator)
        fleet.delete_graph("g1")
        the_graph(fleet, "g2").add_backup(FIRST_MS + 2, id="twin")
        for _ in range(2):
            ledger.load(emulator, full=True)
            assert (ledger.backups["twin"]["graph_id"], ledger.deleted) == ("g1", set())
        fleet.deleted_graphs[0].delete_backup("twin")
        ledger.load(emulator, full=True)
    assert (ledger.backups["twin"]["graph_id"], ledger.deleted) == ("g2", set())


@pytest.mark.parametrize(
    ("listing", "graph_id", "page_size"),
    [
        ("graphs", "same", 2),
        ("graphs", "another", 100),
        ("project", "same", 100),
        ("project", "another", 2),
        pytest.param("graphs", "same", 100, marks=pytest.mark.soak),
        pytest.param("graphs", "another", 2, marks=pytest.mark.soak),
        pytest.param("project", "same", 2, marks=pytest.mark.soak),
        pytest.param("project", "another", 100, marks=pytest.mark.soak),
    ],
)
def test_an_id_that_two_projects_list_stays_with_the_first_while_that_lists_it(
    warehouse: Warehouse, listing: str, graph_id: str, page_size: int
) -> None:
    first, second = project_called("orders"), project_called("risk", graph_id)
    the_graph(first, "same").add_backup(FIRST_MS + 1, id="twin", size=1)
    the_graph(second, graph_id).add_backup(FIRST_MS + 2, id="twin", size=2)
    options = {"listing": listing, "page_size": page_size}
    with Emulator(first) as one, Emulator(second) as two:
        warehouse.load(one, **options)
        outcome = warehouse.load(two, **options)
        assert (outcome.exit_code, outcome.backups["new"], outcome.backups["rejected"]) == (3, 3, 1)
        assert [row["project_id"] for row in warehouse.rejected] == [second.project_id]
        for emulator in (one, two):
            assert warehouse.load(emulator, **options).exit_code == 0
            kept = warehouse.backups
            row = kept["twin"]
            assert (row["project_id"], row["size"]) == (first.project_id, 1)
            assert {row["deleted_at"] for row in kept.values()} == {None}
        the_graph(first, "same").delete_backup("twin")
        warehouse.load(one, **options)
        assert warehouse.deleted == {"twin"}
        warehouse.load(two, **options)
        assert warehouse.load(one, **options).exit_code == 0
        kept = warehouse.backups
        assert (kept["twin"]["project_id"], kept["twin"]["size"]) == (second.project_id, 2)
        assert {row["deleted_at"] for row in kept.values()} == {None}
        assert len(kept) == 7
