"""Killed at any write, the next single load brings every table right."""

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from beginnings import Beginnings, contents
from ges_emulator import Emulator, Fleet
from harness import NOW, differences, fleet_of, the_graph
from lake_life import LakeLife
from lake_place import Place, begin
from s3_proxy import Moment, Proxy, running_proxy
from s3_server import S3Server
from torn_writes import torn

WRITES_OF_A_LOAD = 34
"""At least as many as any load here makes: tables, rows, log entries, dlt's files, the lease."""
MOMENTS: tuple[Moment, ...] = get_args(Moment)


@pytest.fixture
def fleet() -> Fleet:
    fleet = fleet_of(graphs=3, backups=9)
    the_graph(fleet).add_backup(NOW, id="running", status="backing_up")
    return fleet


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    with running_proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bucket_life(bucket_lake: Place, fleet: Fleet, emulator: Emulator) -> LakeLife:
    return LakeLife(bucket_lake, fleet, emulator)


@pytest.fixture
def folder_life(folder_lake: Place, fleet: Fleet, emulator: Emulator) -> LakeLife:
    return LakeLife(folder_lake, fleet, emulator)


@pytest.fixture
def begun(folder_life: LakeLife, beginnings: Beginnings) -> LakeLife:
    """A lake in a folder that was loaded into once."""
    life = folder_life
    begin(
        beginnings,
        life.place,
        lambda place: LakeLife(place, life.fleet, life.emulator).load(),
        contents(life.emulator),
    )
    return life


def assert_whole(life: LakeLife) -> None:
    """All tables hold what the fleet has, each key once."""
    broken = {f"broken{number}": "is missing" for number in range(1, life.moves + 1)}
    graphs = sorted((graph.id,) for graph in life.fleet.graphs)
    with life.reading() as rows:
        assert differences(rows, life.fleet) == broken
        assert rows.keys("graphs", "id") == graphs
        assert rows.keys("listings", "graph_id") == graphs
        assert rows.keys("projects", "id") == [(life.fleet.project_id,)]
        assert len(rows.keys("rejected_backups", "record_hash")) == life.moves


def killed_load(life: LakeLife, proxy: Proxy, at: int, moment: Moment) -> bool:
    """A load in a process that is killed at a write; whether it got that far."""
    proxy.aim(at, moment)
    with life.start_load(**S3Server(proxy.endpoint).settings(life.lake.storage.bucket)) as process:
        proxy.victim = process.pid
        status = process.wait(280)
    proxy.aim(None)
    assert status in (-9, 0)
    return status == -9


def points(count: int) -> list[tuple[int, Moment]]:
    """Some of the writes, all of them in a soak; as many before them as after."""
    if "GES_SOAK" in os.environ:
        return [(at, moment) for at in range(WRITES_OF_A_LOAD) for moment in MOMENTS]
    some = sorted(random.Random(4).sample(range(WRITES_OF_A_LOAD), count))
    return list(zip(some, itertools.cycle(MOMENTS)))


@pytest.mark.parametrize(("at", "moment"), points(2))
def test_a_first_load_is_killed_at_a_write(
    bucket_life: LakeLife, proxy: Proxy, at: int, moment: Moment
) -> None:
    killed_load(bucket_life, proxy, at, moment)
    bucket_life.load()
    assert_whole(bucket_life)


def test_a_load_is_killed_at_a_write(bucket_life: LakeLife, proxy: Proxy) -> None:
    bucket_life.load()
    killed = []
    for at, moment in points(2):
        bucket_life.move_on()
        if killed_load(bucket_life, proxy, at, moment):
            killed.append((at, moment))
        bucket_life.load()
        assert_whole(bucket_life)
        assert bucket_life.load().backups["changed"] == 0
    assert killed


def test_a_load_is_killed_at_a_write_and_its_host_is_lost(
    bucket_life: LakeLife, proxy: Proxy
) -> None:
    bucket_life.load()
    for number, (at, moment) in enumerate(points(1)):
        bucket_life.move_on()
        killed_load(bucket_life, proxy, at, moment)
        bucket_life.host = f"host{number}"
        bucket_life.load()
        assert_whole(bucket_life)


def test_loads_into_a_folder_are_killed_at_any_time(begun: LakeLife) -> None:
    life = begun
    chance = random.Random(1)
    log = Path(life.lake.storage.location("backups"), "_delta_log")
    for _ in range(2 * int(os.environ.get("GES_SOAK", "1"))):
        life.move_on()
        entries = len(list(log.iterdir()))
        with life.start_load() as process:
            while len(list(log.iterdir())) == entries and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.3)
            process.kill()
        life.load()
        assert_whole(life)


TORN = [("", 0), ("_dlt_version/", 50), ("_dlt_pipeline_state/", 0), ("_dlt_loads/", 50)]
MORE_TORN = [(folder, 50 - percent) for folder, percent in TORN]


@pytest.mark.parametrize(
    ("folder", "percent"),
    [*TORN, *(pytest.param(*each, marks=pytest.mark.soak) for each in MORE_TORN)],
)
def test_a_first_load_into_a_folder_is_killed_in_a_write_of_dlts(
    folder_life: LakeLife, torn_write: Path, folder: str, percent: int
) -> None:
    with folder_life.start_load(**torn(torn_write, 1, percent, place=f"/ges/{folder}")) as process:
        assert process.wait(280) == -signal.SIGKILL
    for folder_life.host in "elsewhere", "here":
        folder_life.load()
        assert_whole(folder_life)


@pytest.mark.parametrize(
    ("empty_on", "half_on"),
    [("here", "elsewhere"), pytest.param("there", "here", marks=pytest.mark.soak)],
)
@pytest.mark.parametrize("name", ["init", "_dlt_version", "_dlt_pipeline_state", "_dlt_loads"])
def test_what_an_earlier_version_left_half_of_dlts_files_is_passed_over(
    begun: LakeLife, name: str, empty_on: str, half_on: str
) -> None:
    life = begun
    for part, host in (0, empty_on), (0.5, half_on):
        found = Path(life.lake.storage.location(name))
        file = max(found.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns, default=found)
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * part)])
        assert_whole(life)
        with life.reading() as rows:
            assert len(rows.keys("_dlt_loads", "load_id")) == life.moves + 1
            assert len(rows.keys("_dlt_version", "version_hash")) <= life.moves + 1
        life.host = host
        life.move_on()
        the_graph(life.fleet).backups[-1].record[f"new_{life.moves}"] = "a column"
        life.load()
        assert_whole(life)


def spilled(below: Path) -> list[str]:
    """Folders for what did not fit into memory; `rglob` fails where folders go meanwhile."""
    return [name for _, names, _ in os.walk(below) for name in names if name.startswith("spill-")]


def test_what_a_killed_load_spilled_is_removed_by_the_next(begun: LakeLife, tmp_path: Path) -> None:
    life = begun
    for _ in range(10):
        life.move_on()
        with life.start_load() as process:
            while not spilled(tmp_path) and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        if left := spilled(tmp_path):
            break
    assert left
    life.load()
    assert not spilled(tmp_path)
    assert_whole(life)
