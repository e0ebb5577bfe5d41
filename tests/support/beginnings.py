"""First loads that tests begin with: each is made once in a run, by a load, and copied.

What many tests do alike before they come to their point is a load into an empty place, the dearest of
all loads. Files of a history may be moved with the folder beside them, so a copy of them is what the
load would have left there.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ges_emulator import Emulator
from harness import Warehouse


class Beginnings:
    """Fills warehouses that are empty; whatever can be told apart in a load is told apart here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, warehouse: Warehouse, emulator: Emulator, **settings: Any) -> None:
        """The first load of an emulator at rest, of its graphs as they are now."""
        assert not callable(emulator.order)
        assert not callable(emulator.page_cap)
        assert (emulator.before_answer, emulator.requests) == (None, [])
        self.make(
            warehouse,
            lambda empty: empty.load(emulator, **settings),
            *(emulator.order, emulator.page_cap, contents(emulator), sorted(settings.items())),
        )

    def make(
        self, warehouse: Warehouse, fill: Callable[[Warehouse], object], *known_by: object
    ) -> None:
        """What `fill` does to an empty warehouse; `known_by` is all that this depends on."""
        name = warehouse.path.name
        assert type(warehouse) is Warehouse
        assert not warehouse.settings
        assert not warehouse.path.exists()
        self.copy(
            warehouse.path.parent, lambda folder: fill(Warehouse(folder / name)), name, known_by
        )

    def copy(self, to: Path, fill: Callable[[Path], object], *known_by: object) -> None:
        """Copy into a folder what `fill` leaves in an empty one."""
        digest = hashlib.sha256(repr(known_by).encode()).hexdigest()
        made = self._folder / digest
        with FileLock(self._folder / f"{digest}.lock"):
            if not made.exists():
                making = self._folder / f"{digest}.new"
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                fill(making)
                making.rename(made)
        shutil.copytree(made, to, dirs_exist_ok=True)


def contents(emulator: Emulator) -> list[Any]:
    """All that a fleet can answer."""
    fleet = emulator.fleet
    graphs = [
        (graph.record, graph.deleted, graph.shuffle_key, graph.backups)
        for graph in (*fleet.graphs, *fleet.deleted_graphs)
    ]
    return [
        fleet.project_id,
        *(
            (*graph, [(row.record, row.start_ms, row.shuffle_key) for row in rows])
            for *graph, rows in graphs
        ),
    ]


@pytest.fixture(scope="session")
def beginnings(tmp_path_factory: pytest.TempPathFactory) -> Beginnings:
    """Those of this run, of all its processes."""
    base = tmp_path_factory.getbasetemp()
    of_the_run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = of_the_run / "beginnings"
    folder.mkdir(exist_ok=True)
    return Beginnings(folder)


@pytest.fixture
def loaded(warehouse: Warehouse, emulator: Emulator, beginnings: Beginnings) -> Warehouse:
    """A warehouse into which the emulator's fleet was loaded once."""
    beginnings.load(warehouse, emulator)
    return warehouse
