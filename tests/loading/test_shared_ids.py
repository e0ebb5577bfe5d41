"""An id that two graphs list belongs to one of them, and is never marked while either lists it."""

import pytest

from beginnings import Beginnings
from ges_emulator import Emulator
from harness import FIRST_MS, Warehouse, fleet_of, project_called, the_graph


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
