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
SAIL = """
import sys
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
print(server.listening_address[1], flush=True)
sys.stdin.read()
"""
NAMES = "import ges_history.reports.catalogue as c; print(*c.report_names())"


@dataclass(frozen=True)
class Timed:
    """One command over a history."""

    command: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def reports(options: Options) -> tuple[list[Timed], str]:
    """Each report into a Parquet file, screen, check, metrics and page; 1,000 backups a graph, 2 cores."""
    sizes = (20, 100) if options.quick else (1000, 10_000)
    costs: list[list[Timed]] = []
    with tempfile.TemporaryDirectory(prefix="ges-bench-") as place:
        folder = Path(place)
        for graphs in sizes:
            file = write(folder, graphs)
            costs.append([_timed(line, folder, ["--database", file]) for line in commands()])
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
    graphs = 20 if options.quick else 10_000
    where = ["--destination", "filesystem"]
    lines = [line for line in commands() if line.startswith("report ") and "html" not in line]
    results: list[Timed] = []
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
        by_duckdb = [_timed(line, folder, where) for line in lines]
        by_spark = []
        for count in (1, 2):
            with _sail(folder, CORES[-count:]) as remote:
                spark = [*where, "--spark", remote]
                by_spark.append([_timed(line, folder, spark) for line in lines])
    for costs in (by_duckdb, *by_spark):
        results += costs
    rows = [
        (
            line.split()[1],
            f"{first.seconds:.1f}",
            f"{first.peak_mb:,.0f}",
            f"{one.seconds:.1f}",
            f"{two.seconds:.1f}",
            f"{one.seconds / two.seconds:.2f}",
        )
        for line, first, one, two in zip(lines, by_duckdb, *by_spark, strict=True)
    ]
    header = ["report", "DuckDB, s", "DuckDB, MB", "Sail on 1 core, s", "on 2, s", "1 by 2"]
    return results, f"{graphs * 1000:,} backups:\n\n{tables.table(header, rows)}"


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


def _timed(line: str, folder: Path, where: Sequence[str]) -> Timed:
    command = [str(Path(sys.executable).with_name("ges-backups")), *line.split(), *where]
    cost = run(command, folder, _environment(folder), CORES)
    is_check = line == "check"  # which ends with its verdict
    if cost.status and not is_check:
        log = (folder / "output.log").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{line} ended with {cost.status}:\n{log}")
    say(f"{line} {' '.join(where)}: {cost.seconds:.1f} s, {cost.peak_mb:,.0f} MB")
    return Timed(line, cost.seconds, cost.cpu_seconds, cost.peak_mb)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DLT_DATA_DIR": str(folder / "dlt"),
        "DESTINATION__FILESYSTEM__BUCKET_URL": (folder / "lake").as_uri(),
    }


@contextmanager
def _sail(folder: Path, cores: Sequence[int]) -> Iterator[str]:
    """A server in a process of its own, on some cores; its address."""
    server = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-c", SAIL],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield f"sc://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder / "lake" / "_ges_scratch", ignore_errors=True)
