"""Scenarios over histories that are there: each report as a process, in DuckDB, by Spark, in a lake."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tables
from measure import CORES, HERE, run, say
from scenarios import Options

SUPPORT = HERE.parent / "support"
WRITE = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from synthetic import write_database
write_database(Path(sys.argv[2]), graphs=int(sys.argv[3]), backups=1000 * int(sys.argv[3]))
"""
COPY = """
import os, sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ges_history.warehouses import warehouse_for
from lake_copy import copy_history
copy_history(Path(sys.argv[2]), warehouse_for("lake.duckdb", "filesystem"), Path("."))
"""
NAMES = "import ges_history.reports.catalogue as c; print(*c.report_names())"


@dataclass(frozen=True)
class Timed:
    """One command over a history."""

    command: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    written_mb: float = 0.0


def reports(options: Options) -> tuple[list[Timed], str]:
    """Each report into a Parquet file, screen, check, metrics and page; 1,000 backups a graph, 2 cores."""
    sizes = (20, 100) if options.quick else (1000, 10_000)
    costs: list[list[Timed]] = []
    with tempfile.TemporaryDirectory(prefix="ges-bench-") as place:
        folder = Path(place)
        for graphs in sizes:
            file = write(folder, graphs)
            timed = [_timed(line, folder, ["--database", file]) for line in commands()]
            costs.append([cost for cost in timed if cost])
            (folder / file).unlink()
    rows = [
        (
            line,
            *(f"{cost.seconds:.1f}" for cost in of),
            *(f"{cost.peak_mb:,.0f}" for cost in of),
        )
        for line, *of in zip(commands(), *costs, strict=True)
    ]
    counts = [f"{graphs * 1000:,}" for graphs in sizes]
    header = ["ges-backups", *(f"{n}, s" for n in counts), *(f"{n}, MB" for n in counts)]
    return [cost for of in costs for cost in of], tables.table(header, rows)


def lake(options: Options) -> tuple[list[Timed], str]:
    """Each report over a lake: by DuckDB, and by a Spark Connect server (Sail) that has 1 or 2 cores."""
    return _over_lake(20 if options.quick else 10_000, commands(), [1, 2])


def large_lake(options: Options) -> tuple[list[Timed], str]:
    """The cheapest reports over a lake of ten times the size, by DuckDB and by Sail on 2 cores."""
    names = (
        "duration_trend",
        "inventory",
        "load_health",
        "recovery_point",
        "reliability",
        "running",
    )
    lines = [line for line in commands() if line.split()[1:2] and line.split()[1] in names]
    return _over_lake(100 if options.quick else 100_000, lines, [2], new_server=True)


def _over_lake(
    graphs: int, lines: list[str], workers: list[int], *, new_server: bool = False
) -> tuple[list[Timed], str]:
    """`new_server`: one for each report, so that one that took all memory spoils no other."""
    where = ["--destination", "filesystem"]
    lines = [line for line in lines if line.startswith("report ") and "html" not in line]
    with tempfile.TemporaryDirectory(prefix="ges-bench-") as place:
        folder = Path(place)
        file = write(folder, graphs)
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", COPY, str(SUPPORT), file],
            cwd=folder,
            env=_environment(folder),
            check=True,
        )
        say(f"lake: {graphs * 1000:,} backups written in {time.monotonic() - start:.0f} s")
        (folder / file).unlink()
        costs: list[list[Timed | None]] = [[_timed(line, folder, where) for line in lines]]
        turns = [[line] for line in lines] if new_server else [lines]
        for count in workers:
            found: dict[str, Timed | None] = {}
            for turn in turns:
                with _sail(folder, CORES[-count:]) as (remote, pid):
                    spark = [*where, "--spark", remote]
                    found |= {line: _timed(line, folder, spark, pid) for line in turn}
            costs.append([found.get(line) for line in lines])
    rows = [
        (
            line.split()[1],
            *(f"{one.seconds:.1f}" if one else "-" for one in of),
            *(f"{one.peak_mb:,.0f}" if one else "-" for one in of),
        )
        for line, *of in zip(lines, *costs, strict=True)
    ]
    who = ["DuckDB", *(f"Sail on {count}" for count in workers)]
    header = ["report", *(f"{one}, s" for one in who), *(f"{one}, MB" for one in who)]
    return [cost for of in costs for cost in of if cost], (
        f"{graphs * 1000:,} backups; memory of Sail is its server's:\n\n{tables.table(header, rows)}"
    )


def commands() -> list[str]:
    """What is timed, as it is typed."""
    names = subprocess.check_output([sys.executable, "-c", NAMES], text=True).split()
    return [
        *(f"report {name} --format parquet --output rows.parquet" for name in names),
        "report",
        "check",
        "metrics",
        "report --html page.html",
    ]


def write(folder: Path, graphs: int) -> str:
    """A synthetic history; the file's name."""
    start = time.monotonic()
    name = f"history{graphs}.duckdb"
    subprocess.run(
        [sys.executable, "-c", WRITE, str(SUPPORT), str(folder / name), str(graphs)], check=True
    )
    say(f"{graphs * 1000:,} backups written in {time.monotonic() - start:.0f} s")
    return name


def _timed(
    line: str,
    folder: Path,
    where: Sequence[str],
    server: int | None = None,
) -> Timed | None:
    """One command; its memory, or that of the server that did the work. None: the server failed."""
    command = [str(Path(sys.executable).with_name("ges-backups")), *line.split(), *where]
    if server is not None:
        Path(f"/proc/{server}/clear_refs").write_text("5")  # its peak begins anew
    cost = run(command, folder, _environment(folder), CORES)
    is_check = line == "check"  # which ends with its verdict
    if cost.status and not is_check:
        log = (folder / "output.log").read_text(errors="replace")[-3000:]
        if server is not None:
            say(f"{line} ended with {cost.status} after {cost.seconds:.1f} s: {log[-300:]}")
            return None
        raise SystemExit(f"{line} ended with {cost.status}:\n{log}")
    peak_mb = cost.peak_mb if server is None else _peak_mb(server)
    say(f"{line} {' '.join(where)}: {cost.seconds:.1f} s, {peak_mb:,.0f} MB")
    output = folder / line.rpartition(" ")[2]
    written = output.stat().st_size / 2**20 if output.is_file() else 0.0
    return Timed(line, cost.seconds, cost.cpu_seconds, peak_mb, written)


def _peak_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DLT_DATA_DIR": str(folder / "dlt"),
        "DESTINATION__FILESYSTEM__BUCKET_URL": (folder / "lake").as_uri(),
    }


@contextmanager
def _sail(folder: Path, cores: Sequence[int]) -> Iterator[tuple[str, int]]:
    """A server in a process of its own, on some cores; its address and process id."""
    server = subprocess.Popen(
        [
            "taskset",
            "-c",
            ",".join(map(str, cores)),
            sys.executable,
            str(SUPPORT / "spark_server.py"),
        ],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    Path(f"/proc/{server.pid}/oom_score_adj").write_text("1000")  # if memory ends, it goes first
    try:
        yield f"sc://127.0.0.1:{int(server.stdout.readline())}", server.pid
    finally:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder / "lake" / "_ges_scratch", ignore_errors=True)
