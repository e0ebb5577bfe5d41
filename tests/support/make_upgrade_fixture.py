"""Writes tests/fixtures/history_v*.duckdb.gz: a history as this version leaves it, for later ones.

    python tests/support/make_upgrade_fixture.py

Run once for a release whose layout differs from the last fixture's, and never over an old one.
"""

import gzip
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from ges_emulator import Emulator, Fleet
from harness import NOW, Warehouse, fleet_of, the_graph

FIXTURES = Path(__file__).parents[1] / "fixtures"
PAGE_SIZE = 4


def first_fleet() -> Fleet:
    """Three graphs with all that a history can hold: running, unknown fields, and a bad record."""
    fleet = fleet_of(graphs=3, backups=9)
    graph = the_graph(fleet)
    graph.add_backup(NOW, id="running", status="backing_up")
    graph.backups[2].record["region_of_copy"] = {"name": "eu-west-101", "copies": [1, 2]}
    graph.add_record({"id": "bad", "graph_id": "g1", "size": "much"}, index=0)
    return fleet


def second_fleet() -> Fleet:
    """The same a day later, one backup deleted."""
    fleet = first_fleet()
    the_graph(fleet, "g2").delete_backup("g2-b3")
    return fleet


def main() -> None:
    target = FIXTURES / f"history_v{version('ges-backup-history').replace('.', '_')}.duckdb.gz"
    if target.exists():
        sys.exit(f"{target.name} is there: it is what a release has left, so it stays.")
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "history.duckdb")
        for fleet in (first_fleet(), second_fleet()):
            with Emulator(fleet) as emulator:
                warehouse.load(emulator, page_size=PAGE_SIZE)
        packed = gzip.compress(warehouse.path.read_bytes(), 9, mtime=0)
    target.write_bytes(packed)
    print(f"{target.name}: {len(packed):,} bytes")


if __name__ == "__main__":
    main()
