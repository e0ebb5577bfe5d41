"""Waiting for what another process holds, with a word about it; locks that their holder's death frees."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ges_history.errors import HistoryError
from ges_history.warehouses.seam import Say

POLL_SECONDS = 0.25


def wait_for(
    take: Callable[[], str | None],
    over: Callable[[str], HistoryError],
    wait: float,
    say: Say,
    rarest: float = POLL_SECONDS,
) -> None:
    """Try until it is taken or the time is over; says at once what is in the way.

    Args:
        take: Takes it, or tells what is in the way.
        over: Makes the error for when the time is over.
        wait: Seconds.
        say: Takes a line for a person.
        rarest: Seconds to which the pause between two tries grows.
    """
    deadline = time.monotonic() + wait
    pause = POLL_SECONDS
    told = False
    while (in_the_way := take()) is not None:
        if time.monotonic() >= deadline:
            raise over(
                f"{in_the_way}. Try again when it has ended, or wait longer with --wait SECONDS."
            )
        if not told:
            say(f"{in_the_way}; waiting up to {wait:g} s.")
            told = True
        time.sleep(min(pause, max(0.01, deadline - time.monotonic())))
        pause = min(2 * pause, rarest)


@contextmanager
def held_file(
    path: Path,
    what: Callable[[str], str],
    over: Callable[[str], HistoryError],
    wait: float,
    say: Say,
) -> Iterator[None]:
    """Hold a lock file: one holder among the threads and processes of this machine, freed by death.

    Args:
        path: The lock file.
        what: Says what is in the way, given the holder's process id.
        over: Makes the error for when the time is over.
        wait: Seconds.
        say: Takes a line for a person.
    """
    lock = FileLock(path, thread_local=False, mode=0o600)
    holder = path.with_suffix(".pid")

    def take() -> str | None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return what(_holder(holder))
        holder.write_text(str(os.getpid()))
        return None

    wait_for(take, over, wait, say)
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except OSError:
        return "unknown"
