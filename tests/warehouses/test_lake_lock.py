"""One load of a project at a time, on every host; and what holds when that fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import CommitFailedError
from obstore.store import MemoryStore

import lake_holder
import warm_python
from ges_history.errors import DatabaseError, LoadInProgress
from ges_history.warehouses import lake_lock
from ges_history.warehouses.lake_lock import Fence, Lease, LeaseLost, _store
from ges_history.warehouses.lake_upsert import upsert
from ges_history.warehouses.seam import quiet
from ges_history.warehouses.waiting import wait_for
from lake_place import Place, backup, load_rows, rows_of, staged


@contextmanager
def held_by_another_process(place: Place, project: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock; killed at the end."""
    program = [sys.executable, lake_holder.__file__, str(place.folder), project]
    with warm_python.start(
        program, os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_load_waits_and_then_says_who_works(place: Place) -> None:
    lake = place.warehouse()
    said: list[str] = []
    with held_by_another_process(place, "p1") as other:
        with pytest.raises(LoadInProgress, match=str(other.pid)), lake.lock("p1", 0.6, said.append):
            pass
        assert len(said) == 1
        with lake.lock("p2", 0.0):  # another project is free
            pass


def test_death_frees_a_lock_at_once(place: Place) -> None:
    with held_by_another_process(place, "p1") as other:
        other.kill()
        other.wait()
        started = time.monotonic()
        with place.warehouse().lock("p1", 10.0):
            assert time.monotonic() - started < lake_lock.LEASE_SECONDS / 4


def test_a_lock_that_was_given_back_is_free(place: Place) -> None:
    lake = place.warehouse()
    for _ in range(2):
        with lake.lock("p1", 0.0):
            pass


def lease(place: Place) -> Lease:
    return Lease(_store(place.warehouse().storage), "locks/p1.json", "is loading")


def on_another_machine(monkeypatch: pytest.MonkeyPatch, seconds: float = 1.0) -> None:
    """Let no lease look like one of this machine, and let it end soon."""
    monkeypatch.setattr(lake_lock, "_is_gone", lambda holder: False)
    monkeypatch.setattr(lake_lock, "LEASE_SECONDS", seconds)


def test_a_lease_whose_holder_is_silent_is_taken_over_after_its_time(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_machine(monkeypatch)
    silent, waiting = lease(bucket_lake), lease(bucket_lake)
    assert silent.take() is None
    started = time.monotonic()
    while waiting.take() is not None:
        time.sleep(0.05)
    assert 1.0 < time.monotonic() - started < 5.0
    with pytest.raises(LeaseLost):
        silent.renew()
    waiting.renew()


def test_a_lease_that_is_renewed_is_not_taken_over(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_machine(monkeypatch)
    monkeypatch.setattr(lake_lock, "RENEW_SECONDS", 0.2)
    holder, waiting = lease(bucket_lake), lease(bucket_lake)
    assert holder.take() is None
    with holder.renewed():
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            assert waiting.take() is not None
            time.sleep(0.1)
    assert waiting.take() is None


def test_a_put_whose_answer_was_lost_is_no_lost_lease(bucket_lake: Place) -> None:
    holder = lease(bucket_lake)
    assert holder.take() is None
    before = holder._tag
    holder.renew()
    holder._tag = before  # as if the answer had never come
    holder.renew()
    holder.renew()


def test_options_that_are_for_delta_alone_do_not_reach_the_lease(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"timeout": "120s", "AWS_ALLOW_HTTP": "true", "AWS_S3_LOCKING_PROVIDER": "dynamodb"}
    name = "DESTINATION__FILESYSTEM__DELTALAKE_STORAGE_OPTIONS"
    monkeypatch.setenv(name, json.dumps(options))
    assert lease(bucket_lake).take() is None


def test_one_of_many_takes_a_new_lease(bucket_lake: Place) -> None:
    leases = [lease(bucket_lake) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        taken = list(threads.map(lambda one: one.take() is None, leases))
    assert taken.count(True) == 1


@pytest.mark.parametrize("honoured", [(), ("create",)])
def test_a_bucket_that_overwrites_is_refused_each_time(
    monkeypatch: pytest.MonkeyPatch, honoured: tuple[str, ...]
) -> None:
    class Overwrites:
        def __init__(self) -> None:
            self.store = MemoryStore()

        def get(self, path: str) -> Any:
            return self.store.get(path)

        def put(self, path: str, content: bytes, mode: Any) -> Any:
            return self.store.put(path, content, mode=mode if mode in honoured else "overwrite")

    on_another_machine(monkeypatch, 0.1)
    store: Any = Overwrites()
    for _ in range(3):
        take = Lease(store, "lock", "is loading").take
        with pytest.raises(DatabaseError, match="If-None-Match and If-Match"):
            wait_for(take, LoadInProgress, 5.0, quiet)


def test_who_waits_for_less_than_a_lease_takes_over_from_the_dead_alone(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_machine(monkeypatch, 3.0)
    monkeypatch.setattr(lake_lock, "RENEW_SECONDS", 0.5)
    dead = Lease(_store(bucket_lake.warehouse().storage), "_ges_locks/p1.json", "is loading")
    assert dead.take() is None
    with bucket_lake.warehouse().lock("p1", 0.0):
        started = time.monotonic()
        with pytest.raises(LoadInProgress), bucket_lake.warehouse().lock("p1", 0.0):
            pass
        assert time.monotonic() - started < 3.0


def test_a_process_that_proc_hides_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(pid: int) -> str:
        raise FileNotFoundError(pid)

    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    monkeypatch.setattr(lake_lock, "_started", hidden)
    holder = {"machine": lake_lock._machine(), "started": "1"}
    assert not lake_lock._is_gone({**holder, "pid": os.getppid()})
    assert lake_lock._is_gone({**holder, "pid": ended.pid})


def test_a_load_that_was_stopped_for_too_long_changes_nothing(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = bucket_lake.warehouse()
    load_rows(lake, [backup("a", size=1)])
    on_another_machine(monkeypatch, 0.3)
    stopped, other = lease(bucket_lake), lease(bucket_lake)
    assert stopped.take() is None
    while other.take() is not None:
        time.sleep(0.1)
    old = staged(bucket_lake.folder, "old", backup("a", size=0), backup("b"))
    with pytest.raises(LeaseLost):
        upsert(lake.storage, old, Fence("p1", stopped.renew), bucket_lake.folder)
    assert [(row["id"], row["size"]) for row in rows_of(lake)] == [("a", 1)]


def test_a_commit_between_reading_and_writing_makes_the_write_fail(folder_lake: Place) -> None:
    lake = folder_lake.warehouse()
    load_rows(lake, [backup("a", size=1)])
    new = staged(folder_lake.folder, "new", backup("a", size=2), backup("b"))
    old = staged(folder_lake.folder, "old", backup("a", size=0), backup("b"))

    def meanwhile() -> None:
        upsert(lake.storage, new, Fence("p1"), folder_lake.folder)

    for only in ("changed", "new"):
        with pytest.raises(CommitFailedError):
            upsert(lake.storage, old, Fence("p1", meanwhile), folder_lake.folder)
        new = staged(folder_lake.folder, f"{only}2", backup("c"), backup("a", size=2))
        old = staged(folder_lake.folder, f"{only}1", backup("a", size=2), backup("c", size=7))
    assert [(row["id"], row["size"]) for row in rows_of(lake)] == [
        ("a", 2),
        ("b", None),
        ("c", None),
    ]


def test_first_loads_of_two_projects_side_by_side_are_exact(place: Place) -> None:
    for host in ("one", "two"):
        place.warehouse(host)
    for size in (1, 2):
        children = [
            warm_python.start(
                [sys.executable, "-c", LOAD, str(place.folder / host), project, str(size)],
                os.environ,
            )
            for host, project in (("one", "p1"), ("two", "p2"))
        ]
        assert [child.wait(120) for child in children] == [0, 0]
        held = [(row["id"], row["size"]) for row in rows_of(place.warehouse())]
        assert sorted(held) == sorted((f"{p}-{n}", size) for p in ("p1", "p2") for n in range(200))


@pytest.mark.parametrize("others", ["ges", "ges/_dlt_version", "ges/backups/_delta_log"])
def test_folders_that_another_first_load_has_just_made_are_taken_as_they_are(
    folder_lake: Place, others: str
) -> None:
    lake = folder_lake.warehouse()
    Path(lake.storage.bucket, others).mkdir(parents=True)
    load_rows(lake, [backup("a")])
    assert [row["id"] for row in rows_of(lake)] == ["a"]


def test_two_first_loads_of_one_project_at_once_are_exact(place: Place) -> None:
    for host in ("one", "two"):
        place.warehouse(host)
    children = [
        warm_python.start(
            [sys.executable, "-c", LOAD, str(place.folder / host), "p1", "1"], os.environ
        )
        for host in ("one", "two")
    ]
    assert [child.wait(120) for child in children] == [0, 0]
    assert [row["id"] for row in rows_of(place.warehouse())] == sorted(
        f"p1-{n}" for n in range(200)
    )


LOAD = f"""
import sys
sys.path.insert(0, {str(Path(lake_holder.__file__).parent)!r})
from lake_place import backup, load_rows
from ges_history.warehouses.lake import LakeWarehouse
beside, project, size = sys.argv[1:]
rows = [backup(f"{{project}}-{{n}}", project_id=project, size=int(size)) for n in range(200)]
load_rows(LakeWarehouse(beside), rows, project=project)
"""


def test_a_stopped_process_finds_out_when_it_goes_on(
    bucket_lake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_lock, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lake_lock, "RENEW_SECONDS", 0.2)
    with held_by_another_process(bucket_lake, "p1") as other:
        other.send_signal(signal.SIGSTOP)
        with bucket_lake.warehouse().lock("p1", 20.0):
            other.send_signal(signal.SIGCONT)
            assert other.stdin is not None
            other.stdin.close()
            assert other.wait(30) == 0  # it had nothing to commit
            with pytest.raises(LoadInProgress), bucket_lake.warehouse().lock("p1", 0.0):
                pass
