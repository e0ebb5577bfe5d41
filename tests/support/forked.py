"""Processes that are forked from one that has imported what a load in it would import first."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["preloaded"])


def started(target: Callable[..., None], *arguments: Any) -> Any:
    """A process that runs a function; has `pid`, `join` and `exitcode`.

    The server that forks it looks for what to import by the environment alone, and where it finds
    nothing it says nothing.
    """
    process = _FORKS.Process(target=target, args=arguments)
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), known]))
    try:
        process.start()
    finally:
        if known is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = known
    return process


def exit_unless_imported(*names: str) -> None:
    """For a test of this module: end with 0 where all these modules are there already."""
    sys.exit(not set(names) <= set(sys.modules))
