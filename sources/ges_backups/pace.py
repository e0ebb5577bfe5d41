"""How many requests at once and how fast: a bound in flight, and a rate found from 429 answers."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from dlt.common.exceptions import TerminalException

from ges_backups.errors import GesError


class Cancelled(GesError, TerminalException):
    """The load was stopped; nothing more is asked."""


class Pace:
    """Lets requests go, at most `concurrency` at once and no faster than the server was seen to take.

    Without a 429 there is no rate. The first 429 sets one from what was accepted lately; from
    then on the rate creeps up with each accepted request and steps down with each 429.
    """

    def __init__(self, concurrency: int) -> None:
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._interval = 0.0
        self._next_at = 0.0
        self._accepted: deque[float] = deque(maxlen=512)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """One request's place; waits for it, and for its time."""
        with self._slots:
            if self._cancelled.is_set():
                raise Cancelled("The load was stopped.")
            with self._lock:
                at = max(time.monotonic(), self._next_at)
                self._next_at = at + self._interval
            self.sleep(at - time.monotonic())
            yield

    def sleep(self, seconds: float) -> None:
        """Wait, or end at once with `Cancelled`."""
        if seconds > 0 and self._cancelled.wait(seconds):
            raise Cancelled("The load was stopped.")

    def accepted(self) -> None:
        """A request was taken: the rate may creep up."""
        with self._lock:
            self._accepted.append(time.monotonic())
            self._interval *= 0.998

    def throttled(self, retry_after: float | None) -> None:
        """A request was throttled: pause as long as asked, then go slower."""
        with self._lock:
            now = time.monotonic()
            pause = min(retry_after if retry_after is not None else 0.2, 60.0)
            if self._next_at > now + pause / 2 and self._interval:
                return  # answers to requests sent before the pause began
            self._interval = self._slower(now)
            self._next_at = max(self._next_at, now + pause)

    def _slower(self, now: float) -> float:
        lately = [at for at in self._accepted if at > now - 2.0]
        if self._interval:
            return min(self._interval * 1.15, 5.0)
        if len(lately) < 2:
            return 0.2
        return max((now - lately[0]) / len(lately), 0.001)

    def cancel(self) -> None:
        """End all waiting, now and later."""
        self._cancelled.set()
