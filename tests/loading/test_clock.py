"""A clock that is set back between two loads (a restored machine, NTP) loses nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ges_backups import graph
from ges_emulator import Emulator, Fleet
from harness import NOW, Warehouse, assert_exact, fill, the_graph

SetClock = Callable[[datetime], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets what dlt takes its load ids from, and the source the time of a listing."""

    def set_clock(at: datetime) -> None:
        ids = iter(f"{at.timestamp() + step}" for step in range(100))
        monkeypatch.setattr("dlt.extract.storage.create_load_id", lambda: next(ids))

        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return at

        monkeypatch.setattr(graph, "datetime", Clock)

    return set_clock


@pytest.mark.parametrize("page_size", [2, 100])
def test_a_backup_deleted_after_the_clock_was_set_back_is_marked(
    warehouse: Warehouse, emulator: Emulator, fleet: Fleet, set_clock: SetClock, page_size: int
) -> None:
    start = datetime.now(UTC)
    for number, days in enumerate((0, -3, -10, -2, -20)):
        set_clock(start + timedelta(days=days))
        fill(the_graph(fleet), 1, first=50 + number)
        if number:
            the_graph(fleet).delete_backup(f"g1-b{50 + number - 1}")
        warehouse.load(emulator, page_size=page_size)
        assert_exact(warehouse, fleet)
    assert warehouse.deleted == {f"g1-b{number}" for number in range(50, 54)}


def test_what_ends_while_the_clock_is_behind_is_read_again(
    warehouse: Warehouse, emulator: Emulator, fleet: Fleet, set_clock: SetClock
) -> None:
    running = the_graph(fleet).add_backup(NOW, id="running", status="backing_up")
    set_clock(datetime.now(UTC))
    warehouse.load(emulator, page_size=2)
    set_clock(datetime.now(UTC) - timedelta(days=5))
    running.finish(size=7)
    warehouse.load(emulator, page_size=2)
    assert warehouse.backups["running"]["size"] == 7
    assert_exact(warehouse, fleet)
