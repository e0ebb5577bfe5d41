"""Processes of Python that begin with what a command imports: a server forks itself for each.

An import of dlt costs most of a second of a processor, and the tests start hundreds of commands.
What runs is the same program, in a process, an environment and a folder of its own. Where the start
of an interpreter is the point, or its coverage, a process begins cold.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PRELOADED = (
    "ges_history.cli",
    "ges_history.commands.load",
    "ges_history.commands.report",
    "ges_history.loading.projects",
    "ges_history.warehouses.duckdb_destination",
    "ges_history.warehouses.lake_destination",
    "pandas",
    "pendulum",
    "psycopg2",
    "pyarrow.parquet",
    "rich.progress",
    "s3fs",
)
READ_AT_THE_START = ("PYTHON", "LANG", "LC_", "TZ")
"""Variables that an interpreter reads before any import."""
PRELOAD = "LD_PRELOAD"
"""What the loader reads before an interpreter; for each of its values there is a server."""
LARGEST_REQUEST = 1 << 17


def start(
    command: Sequence[str | Path], env: Mapping[str, str], **others: Any
) -> "subprocess.Popen[Any]":
    """As `subprocess.Popen`, for a script of this Python, -c or -m; whatever else begins cold."""
    is_ours = Path(command[0]).parent == Path(sys.executable).parent
    differs = any(
        name.startswith(READ_AT_THE_START) and value != os.environ.get(name)
        for name, value in env.items()
    )
    is_covered = any(name.startswith(("COVERAGE_", "COV_")) for name in env)
    is_warm = is_ours and not differs and not is_covered and hasattr(os, "pidfd_open")
    kind = WarmPopen if is_warm else subprocess.Popen
    return kind([os.fspath(word) for word in command], env=dict(env), **others)


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    timeout: float = 250,
    **others: Any,
) -> "subprocess.CompletedProcess[Any]":
    """As `subprocess.run` with what a command writes as text, whatever its exit code."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **others}
    with start(command, os.environ if env is None else env, **pipes) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class WarmPopen(subprocess.Popen[Any]):
    """A `Popen` whose process the server forks; the pipes, and what is done with them, are Popen's."""

    _status: int

    def _execute_child(self, args: Any, *others: Any) -> None:
        cwd, env, pipes, session = others[4], others[5], others[9:15], others[20]
        request = {
            "words": args[1:] if args[0] == sys.executable else args,
            "folder": os.fspath(cwd or Path.cwd()),
            "environment": env,
            "session": session,
        }
        self._status, told = os.pipe()
        streams = [
            own if one == -1 else one for own, one in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        try:
            server = _server(env.get(PRELOAD))
            socket.send_fds(server, [json.dumps(request).encode()], [*streams, told])
        finally:
            os.close(told)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self.pid = int(os.read(self._status, 16))
        self._child_created = True

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                if not select.select([self._status], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                said = os.read(self._status, 16)
                os.close(self._status)
                self.returncode = int(said or -9)
        return self.returncode


@functools.cache
def _server(preload: str | None) -> socket.socket:
    """Where to ask; it ends with this process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        server = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            pass_fds=[its.fileno()],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
            | ({} if preload is None else {PRELOAD: preload}),
            cwd="/",
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; returns the request in the child, None when nobody asks any more."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for one in select.select([asked, *running], [], [])[0]:
            if one is not asked:
                pid, told = running.pop(one)
                os.close(one)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):
                    os.write(told, b"%d" % code)
                os.close(told)
                continue
            message, passed, _, _ = socket.recv_fds(asked, LARGEST_REQUEST, 4)
            if not message:
                return None
            *streams, told = passed
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # no thread of Python runs here
                pid = os.fork()
            if pid == 0:
                others = [told, *running, *(told for _, told in running.values())]
                asked.close()
                request = dict(json.loads(message))
                _take(streams, others, eager="PYTHONUNBUFFERED" in request["environment"])
                return request
            os.write(told, b"%d" % pid)
            running[os.pidfd_open(pid)] = (pid, told)
            for stream in streams:
                os.close(stream)


def _take(streams: Sequence[int], others: Sequence[int], *, eager: bool) -> None:
    """Make these the standard streams, as a start of the interpreter does."""
    for own, stream in enumerate(streams):
        os.dup2(stream, own)
    for one in {*streams, *others} - {0, 1, 2}:
        os.close(one)
    names = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
    for own, (name, mode) in enumerate(names):
        errors = "backslashreplace" if own == 2 else "surrogateescape"
        buffering = 1 if eager or own == 2 or os.isatty(own) else -1
        stream = open(own, mode, buffering, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def become(request: Mapping[str, Any]) -> None:
    """Run what was asked for."""
    if request["session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first, *words = request["words"]
    if first == "-c":
        code, *words = words
        sys.argv, sys.path[0] = ["-c", *words], ""
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(code, "<string>", "exec"), main.__dict__)
    elif first == "-m":
        name, *words = words
        sys.argv, sys.path[0] = [name, *words], os.getcwd()  # noqa: PTH109
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *words], os.path.dirname(first)  # noqa: PTH120
        runpy.run_path(first, run_name="__main__")


def _preload() -> Iterator[str]:
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            yield name


if __name__ == "__main__":
    list(_preload())
    gc.freeze()  # what a child touches it would have to copy
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        wanted = serve(asking)
    if wanted is not None:
        become(wanted)
