"""An id that two graphs list belongs to one of them, and is never marked while either lists it."""

import pytest

from ges_emulator import Emulator
from harness import FIRST_MS, Warehouse, fleet_of, project_called, the_graph


@pytest.mark.parametrize("order", ["old_to_new", "new_to_old"])
@pytest.mark.parametrize("page_size", [2, 100])
def test_an_id_that_two_graphs_list_stays_with_the_first_while_that_lists_it(
    warehouse: Warehouse, order: str, page_size: int
) -> None:
    fleet = fleet_of(graphs=2, backups=5)
    one, two = fleet.graphs
    one.add_backup(FIRST_MS + 1, id="twin", size=1)
    with Emulator(fleet, order) as emulator:
        warehouse.load(emulator, page_size=page_size)
        two.add_backup(FIRST_MS + 2, id="twin", size=2)
        assert warehouse.load(emulator, page_size=page_size).exit_code == 3
        for number in range(3):
            two.add_backup(FIRST_MS + 10**9 * (number + 1), id=f"later{number}")
            assert warehouse.load(emulator, page_size=page_size).exit_code == 0
            assert (warehouse.backups["twin"]["graph_id"], warehouse.deleted) == ("g1", set())
        one.delete_backup("twin")
        warehouse.load(emulator, page_size=page_size)
        row = warehouse.backups["twin"]
        assert (row["graph_id"], row["size"], row["deleted_at"]) == ("g2", 2, None)
        two.delete_backup("twin")
        warehouse.load(emulator, page_size=page_size)
        assert warehouse.deleted == {"twin"}


def test_a_twin_whose_first_graph_is_gone_is_the_others(warehouse: Warehouse) -> None:
    fleet = fleet_of(graphs=2, backups=3)
    the_graph(fleet).add_backup(FIRST_MS + 1, id="twin", size=1)
    with Emulator(fleet) as emulator:
        warehouse.load(emulator)
        the_graph(fleet).delete_backup("twin")
        warehouse.load(emulator)
        assert warehouse.deleted == {"twin"}
        the_graph(fleet, "g2").add_backup(FIRST_MS + 2, id="twin", size=2)
        outcome = warehouse.load(emulator)
        assert (outcome.exit_code, outcome.backups["returned"]) == (0, 1)
        assert warehouse.backups["twin"]["graph_id"] == "g2"


@pytest.mark.parametrize("listing", ["graphs", "project"])
@pytest.mark.parametrize("graph_id", ["same", "another"])
@pytest.mark.parametrize("page_size", [2, 100])
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
        for emulator in (one, two, one, two):
            assert warehouse.load(emulator, **options).exit_code == 0
            row = warehouse.backups["twin"]
            assert (row["project_id"], row["size"]) == (first.project_id, 1)
        assert warehouse.deleted == set()
        the_graph(first, "same").delete_backup("twin")
        warehouse.load(one, **options)
        assert warehouse.deleted == {"twin"}
        warehouse.load(two, **options)
        row = warehouse.backups["twin"]
        assert (row["project_id"], row["size"]) == (second.project_id, 2)
        assert warehouse.deleted == set()
        assert warehouse.load(one, **options).exit_code == 0
        assert len(warehouse.backups) == 7
