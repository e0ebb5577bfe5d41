"""How many requests at once and how fast: a bound in flight, and a rate found from 429 answers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dlt.common.exceptions import TerminalException

from .errors import GesError

DEFAULT_PAUSE_SECONDS = 0.2
MAX_INTERVAL_SECONDS = 5.0


class Cancelled(GesError, TerminalException):
    """The load was stopped; nothing more is asked."""


class Pace:
    """Lets requests go, at most `concurrency` at once and no faster than the server was seen to take.

    Without a 429 there is no rate. Each 429 sets it to what was taken since the one before; from
    then on it creeps up with each request that is taken.
    """

    def __init__(self, concurrency: int) -> None:
        self._slots = threading.BoundedSemaphore(concurrency)
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._interval = 0.0
        self._next_at = 0.0
        self._paused_until = 0.0
        self._since = time.monotonic()
        self._taken = 0

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
            self._taken += 1
            self._interval *= 0.9995

    def throttled(self, retry_after: float | None) -> None:
        """A request was throttled: pause as long as asked, then keep to what was taken lately.

        What a server took between two throttlings, the pause included, is what it lets through on
        average, however large the burst that it allows at first.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._paused_until:
                return  # an answer to a request that was sent before the pause began
            lately = (now - self._since) / max(self._taken, 1)
            self._interval = min(max(lately * 1.03, 0.001), MAX_INTERVAL_SECONDS)
            self._since, self._taken = now, 0
            pause = min(DEFAULT_PAUSE_SECONDS if retry_after is None else retry_after, 60.0)
            self._paused_until = now + pause
            self._next_at = max(self._next_at, self._paused_until)

    def cancel(self) -> None:
        """End all waiting, now and later."""
        self._cancelled.set()
