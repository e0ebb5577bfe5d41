"""Fixtures of the tests that load: a fleet, the emulator in front of it, a warehouse."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ges_emulator import Emulator, Fleet
from harness import ORDERS, Warehouse, fleet_of
from ledger import Keeper, Ledger

pytest_plugins = ["postgres_server", "postgres_history", "torn_writes", "beginnings"]

settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("default")

# A shell that runs this in the background has it ignore Ctrl-C, and with it what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Python's collector leaves the tests and all that they import alone: it took a twentieth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own project must not be asked by a test."""
    for name in list(os.environ):
        if name.startswith(("SOURCES__", "CREDENTIALS__", "DESTINATION__")):
            monkeypatch.delenv(name)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "history.duckdb")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "pipelines")


@pytest.fixture
def learner(tmp_path: Path) -> Ledger:
    """A ledger that finds the size of pages, as a warehouse does where nothing is said of it."""
    return Ledger(tmp_path / "pipelines", page_size="auto")


@pytest.fixture(params=ORDERS)
def order(request: pytest.FixtureRequest) -> str:
    """In which the server lists."""
    return str(request.param)


@pytest.fixture
def kept(order: str, warehouse: Warehouse, learner: Ledger) -> Keeper:
    """A warehouse for one order, a ledger for the others, which decide what is read."""
    return warehouse if order == "old_to_new" else learner


@pytest.fixture
def fleet() -> Fleet:
    """Two graphs, g1 and g2, of three backups each."""
    return fleet_of(graphs=2, backups=3)


@pytest.fixture
def emulator(fleet: Fleet) -> Iterator[Emulator]:
    with Emulator(fleet) as emulator:
        yield emulator
