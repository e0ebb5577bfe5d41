"""Where the time of one load goes: `ges-backups load` in this process, with a clock at each stage.

Prints one JSON object on the last line: for each stage its wall seconds, its CPU seconds (of the
thread that does it) and the process's memory when it ended. Stages of threads overlap the others.
"""

import time

STARTED = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

LOCK = threading.Lock()
WALL: dict[str, float] = defaultdict(float)
CPU: dict[str, float] = defaultdict(float)
RESIDENT_MB: dict[str, float] = {}


def note(stage: str, wall: float, cpu: float) -> None:
    with LOCK:
        WALL[stage] += wall
        CPU[stage] += cpu
        RESIDENT_MB[stage] = memory_mb("VmRSS")


def memory_mb(field: str) -> float:
    text = Path("/proc/self/status").read_text().partition(f"{field}:")[2]
    return int(text.split()[0]) / 1024


def timed(owner: Any, name: str, stage: str) -> None:
    """Put a clock around a function."""
    inner = getattr(owner, name)

    def wrapper(*args: Any, **named: Any) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return inner(*args, **named)
        finally:
            note(stage, time.perf_counter() - wall, time.thread_time() - cpu)

    setattr(owner, name, wrapper)


def timed_steps(owner: Any, name: str, stage: str) -> None:
    """Put a clock around each step of a generator function."""
    inner: Callable[..., Iterator[Any]] = getattr(owner, name)

    def wrapper(*args: Any, **named: Any) -> Iterator[Any]:
        steps = iter(inner(*args, **named))
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                item = next(steps)
            except StopIteration:
                return
            finally:
                note(stage, time.perf_counter() - wall, time.thread_time() - cpu)
            yield item

    setattr(owner, name, wrapper)


def main() -> None:
    """Import what the command imports, put the clocks in, run the command."""
    from ges_history.cli import cli  # noqa: PLC0415
    from ges_history.commands.no_frames import hide_pandas_from_pyarrow  # noqa: PLC0415

    hide_pandas_from_pyarrow()
    from dlt.pipeline.pipeline import Pipeline  # noqa: PLC0415

    import ges_backups.graph  # noqa: PLC0415
    from ges_backups.batches import ProjectLoad  # noqa: PLC0415
    from ges_backups.client import GesClient  # noqa: PLC0415
    from ges_backups.pool import GraphPool  # noqa: PLC0415
    from ges_history.loading import projects  # noqa: PLC0415
    from ges_history.loading.run import _ProjectRun  # noqa: PLC0415

    import_cpu = time.process_time()
    note("import", time.perf_counter() - STARTED, import_cpu)
    timed(GesClient, "_send", "in threads: send and wait")
    timed(ges_backups.graph, "parse_backups", "in threads: parse")
    timed_steps(GraphPool, "iter_listings", "extract: wait for listings")
    timed_steps(ProjectLoad, "iter_batches", "extract: wait and make batches")
    timed(Pipeline, "extract", "extract")
    timed(Pipeline, "normalize", "normalize")
    timed(Pipeline, "load", "load")
    timed(_ProjectRun, "_settle", "settle")
    timed(projects, "load", "all but the import")
    start = time.perf_counter()
    try:
        cli.main(standalone_mode=False)  # not `main`, which ends the process at once
    finally:
        note("all", time.perf_counter() - start + WALL["import"], time.process_time())
        stages = {
            name: {
                "seconds": round(WALL[name], 3),
                "cpu_seconds": round(CPU[name], 3),
                "resident_mb": round(RESIDENT_MB[name]),
            }
            for name in WALL
        }
        print(json.dumps({"stages": stages, "peak_mb": round(memory_mb("VmHWM"))}), flush=True)


if __name__ == "__main__":
    sys.argv[0] = "ges-backups"
    main()
