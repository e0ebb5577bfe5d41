"""An id that two graphs list belongs to one of them, and is never marked while either lists it."""

import pytest

from ges_emulator import Emulator
from harness import FIRST_MS, Warehouse, fleet_of, the_graph


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
