"""One process run and measured: wall time, CPU, peak memory. Standard library only.

A child inherits the memory mark of whoever starts it, so the process that measures stays small.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


@dataclass(frozen=True)
class Cost:
    """What a process cost: seconds of wall time and of CPU, MB at its peak."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    status: int


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    cores: Collection[int] = (CLIENT_CORE,),
) -> Cost:
    """Run a command to its end, on the client's core or on others."""
    with (folder / "output.log").open("ab") as log:
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        os.sched_setaffinity(process.pid, cores)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return Cost(seconds, cpu, used.ru_maxrss / 1024, process.returncode)


class Server:
    """The benchmark's server in a process and on a core of its own."""

    def __init__(
        self, graphs: int, backups: int, order: str = "old_to_new", spare: int = 4
    ) -> None:
        self.graphs = graphs
        self.backups = backups
        arguments = f"--graphs {graphs} --backups {backups} --order {order} --spare {spare}"
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(HERE / "server.py"),
                *arguments.split(),
                "--core",
                str(SERVER_CORE),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.port = int(told["port"])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.project = str(told["project"])

    def control(self, **settings: float) -> dict[str, float]:
        """Change settings; what was asked since the last change."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        with urllib.request.urlopen(f"{self.endpoint}/control?{query}") as answer:
            told: dict[str, float] = json.load(answer)
        return told

    def alone(self, page_size: int, connections: int = 8) -> dict[str, float]:
        """Pages a second that the server gives to raw sockets."""
        numbers = (self.port, page_size, self.graphs, self.backups, connections)
        command = ["taskset", "-c", str(CLIENT_CORE), sys.executable, str(HERE / "wire.py")]
        told: dict[str, float] = json.loads(subprocess.check_output([*command, *map(str, numbers)]))
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def count_rows(database: Path, table: str) -> int:
    """Rows of a table, counted by another process: duckdb would make this one large."""
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "c.execute('SET enable_progress_bar = false');"  # DuckDB takes `python -c` for a person
        "print(c.execute(f'SELECT COUNT(DISTINCT id) FROM {sys.argv[2]}').fetchone()[0])"
    )
    found = subprocess.check_output([sys.executable, "-c", script, str(database), table])
    return int(found)


def say(line: str) -> None:
    """Progress, for a person."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def machine() -> dict[str, Any]:
    """What the numbers were measured on, without names."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": memory, "load": os.getloadavg()[0]}
