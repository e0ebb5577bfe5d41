"""What the tests of the command share: to run it, to kill a load at a point, to see what is left."""

import functools
import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import warm_python
from forked import started
from ges_emulator import Emulator
from harness import TOKEN, Warehouse

PROGRAM = str(Path(sys.executable).parent / "ges-backups")
SETTING = "SOURCES__GES_BACKUPS__"
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] * (not os.geteuid())
"""Root without what lets it into every folder; who is not root is without it already."""
STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def lines(self) -> list[str]:
        """What a load wrote into a log, without the time before each line."""
        stamped = [STAMPED.fullmatch(line) for line in self.out.splitlines()]
        assert all(stamped), self.out
        return [match[1] for match in stamped if match]


def environment(emulator: Emulator | None, home: Path, **more: str | None) -> dict[str, str]:
    """A clean environment that reaches the emulator; `more` are variables, None leaves one out."""
    values: dict[str, str | None] = {"PATH": os.environ["PATH"], "HOME": str(home)}
    values.update({name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")})
    if emulator is not None:
        values[f"{SETTING}ENDPOINT"] = emulator.endpoint
        values[f"{SETTING}PROJECT_ID"] = emulator.fleet.project_id
        values[f"{SETTING}CREDENTIALS__TOKEN"] = TOKEN
    values.update(more)
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Command:
    """The installed command, run in a folder against an emulator."""

    emulator: Emulator | None
    folder: Path

    def run(self, *words: str, **variables: str | None) -> Done:
        return _ended(self.start(*words, **variables))

    def start(self, *words: str, **variables: str | None) -> "subprocess.Popen[str]":
        return self._start([PROGRAM, *words], variables)

    def program(self, code: str, *words: str, **variables: str | None) -> Done:
        """What a program does that runs the command in its own way."""
        return _ended(self._start([sys.executable, "-c", code, *words], variables))

    def _start(
        self, command: list[str], variables: Mapping[str, str | None]
    ) -> "subprocess.Popen[str]":
        return warm_python.start(
            command,
            environment(self.emulator, self.folder, **variables),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_without_rights(self, *words: str, **variables: str | None) -> Done:
        """What a user may do who has a right only where the files give it."""
        return _ended(self._start([*WITHOUT_RIGHTS, PROGRAM, *words], variables))

    def load(self, *words: str, **variables: str | None) -> Done:
        return self.run("load", *words, **variables)


def _ended(process: "subprocess.Popen[str]") -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


@dataclass(frozen=True)
class Point:
    """A place in a load: before or after the nth call of a function."""

    function: str
    when: str
    nth: int = 1

    def __str__(self) -> str:
        name = self.function.rsplit(".", 1)[-1].strip("_")
        return f"{self.when} {name}" + (f" {self.nth}" if self.nth > 1 else "")


def before(function: str, nth: int = 1) -> Point:
    return Point(function, "before", nth)


def after(function: str, nth: int = 1) -> Point:
    return Point(function, "after", nth)


def interrupt_at(point: Point, act: Callable[[], None]) -> None:
    """Let this process do something when it comes to a point."""
    path, name = point.function.rsplit(".", 1)
    owner = _resolve(path)
    original = getattr(owner, name)
    calls = iter(range(1, sys.maxsize))
    lock = threading.Lock()

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        with lock:
            call = next(calls)
        if call == point.nth and point.when == "before":
            act()
        result = original(*args, **kwargs)
        if call == point.nth and point.when == "after":
            act()
        return result

    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(watched) if is_static else watched)


def _resolve(path: str) -> Any:
    """A module or a class in one, by its dotted name."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, name = path.rsplit(".", 1)
        return getattr(importlib.import_module(module), name)


def killed_load(warehouse: Warehouse, settings: Mapping[str, Any], point: Point) -> int | None:
    """Load in a process of its own that kills itself at a point; its exit code, -9 if it came there."""
    process = started(_load_until, warehouse.path, dict(settings), point)
    process.join(60)
    return process.exitcode


def load_killed_after(
    warehouse: Warehouse, settings: Mapping[str, Any], seconds: float
) -> int | None:
    """Load in a process of its own that is killed when it has loaded for so long."""
    process = started(_load_for, warehouse.path, dict(settings), seconds)
    process.join(60)
    return process.exitcode


def _load_until(path: Path, settings: dict[str, Any], point: Point) -> None:
    from ges_history.loading.projects import load  # noqa: PLC0415 - in the process that dies

    interrupt_at(point, kill_myself)
    load(path, **settings)


def _load_for(path: Path, settings: dict[str, Any], seconds: float) -> None:
    from ges_history.loading.projects import load  # noqa: PLC0415 - in the process that dies

    timer = threading.Timer(seconds, kill_myself)
    timer.daemon = True
    timer.start()
    load(path, **settings)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def folder_of(database: Path) -> Path:
    """The folder of packages beside a database."""
    return database.parent / f".{database.name}.dlt"


def working_folders(database: Path) -> list[Path]:
    """The folders of the pipelines that load into it, one a project."""
    return [
        path
        for path in folder_of(database).iterdir()
        if path.is_dir() and path.suffix != ".aside" and (path / "normalize").is_dir()
    ]


def pending_packages(database: Path) -> list[str]:
    """Packages that were extracted or normalized, but not loaded."""
    places = ("normalize/extracted", "load/normalized")
    return [
        package.name
        for working in working_folders(database)
        for place in places
        if (working / place).is_dir()
        for package in (working / place).iterdir()
    ]


def unfinished(database: Path) -> list[str]:
    """What no load will ever finish: extracts and normalizations that were cut short."""
    left = set()
    for working in working_folders(database):
        left |= {p.name for p in (working / "normalize").iterdir()} - {"extracted", ".version"}
        left |= {p.name for p in (working / "load").glob("new/*")}
    return sorted(left)


HOLD = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reader")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held(database: Path, role: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the database open as `reader` or `writer`, until it gets a line."""
    command = [sys.executable, "-c", HOLD, str(database), role]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def release(process: "subprocess.Popen[str]") -> None:
    """Let the holder of a database close it and end."""
    process.communicate("go\n", timeout=30)
