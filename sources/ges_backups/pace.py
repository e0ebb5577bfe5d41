"""How many requests at once and how fast: a bound in flight, and a rate found from 429 answers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from dlt.common.exceptions import TerminalException

from .errors import GesError

DEFAULT_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 60.0
MEASURED_SECONDS = 1.0
"""The shortest time from which a rate is measured."""
LONELY_SECONDS = 10.0
"""A 429 that comes this long after the one before says nothing of a rate."""
CREDIT_SECONDS = 1.0


class Cancelled(GesError, TerminalException):
    """The load was stopped; nothing more is asked."""


class Rate:
    """When the next request may go, after the 429 answers seen; it knows time only from its callers.

    One 429 alone is an accident: everyone waits a moment, and no rate follows. What a server took
    between two of them, the pause included, is what it lets through on average, however large the
    burst that it allows at first: that is the rate. It is undercut a little and then rises, slowly
    at first and faster the longer no 429 comes, so that nothing that was measured wrongly lasts.
    """

    def __init__(self) -> None:
        self._measured: float | None = None
        self._measured_at = 0.0
        self._next_at = -inf
        self._paused_until = -inf
        self._throttled_at = -inf
        self._taken = 0

    def per_second(self, now: float) -> float | None:
        """Requests a second at this time; None where no bound is known."""
        if self._measured is None:
            return None
        seconds = max(0.0, now - self._measured_at)
        return self._measured * (0.95 + 0.05 * seconds + 0.02 * seconds**3)

    def reserve(self, now: float) -> float:
        """Take the next turn: the time at which the request may go.

        Turns that a pause has cost are made up for: the server has not counted in that time.
        """
        at = max(now, self._next_at, self._paused_until)
        if rate := self.per_second(now):
            self._next_at = max(self._next_at, at - CREDIT_SECONDS) + 1 / rate
        return at

    def accepted(self) -> None:
        """A request was taken."""
        self._taken += 1

    def throttled(self, now: float, retry_after: float | None) -> None:
        """A request was refused: pause, and measure the rate where it is not the only one."""
        if now < self._paused_until:
            return  # an answer to a request that was sent before the pause began
        pause = DEFAULT_PAUSE_SECONDS
        seconds = now - self._throttled_at
        if self._measured is None and seconds > LONELY_SECONDS:
            self._throttled_at, self._taken = now, 0
        elif seconds >= MEASURED_SECONDS:
            pause = min(pause if retry_after is None else retry_after, LONGEST_PAUSE_SECONDS)
            self._measured = max(max(self._taken, 1) / seconds, (self._measured or 0) / 2)
            self._measured_at = now + pause
            self._throttled_at, self._taken = now, 0
        self._paused_until = now + pause
        self._next_at = max(self._next_at, now)


class Gate:
    """What all clients of one endpoint share: places in flight, and the rate that it takes."""

    def __init__(self, concurrency: int) -> None:
        self.slots = threading.BoundedSemaphore(concurrency)
        self.lock = threading.Lock()
        self.rate = Rate()
        self.refusing_since: float | None = None


class Sent:
    """How many requests were sent, by any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self._count += 1

    def __int__(self) -> int:
        return self._count


class Pace:
    """Lets the requests of one client through a gate, until it is cancelled."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._cancelled = threading.Event()

    @contextmanager
    def slot(self) -> Iterator[float]:
        """One request's place; waits for it, and for its time, and tells the seconds of that."""
        asked_at = time.monotonic()
        with self._gate.slots:
            if self._cancelled.is_set():
                raise Cancelled("The load was stopped.")
            now = time.monotonic()
            with self._gate.lock:
                at = self._gate.rate.reserve(now)
            self.sleep(at - now)
            yield time.monotonic() - asked_at

    def sleep(self, seconds: float) -> None:
        """Wait, or end at once with `Cancelled`."""
        if seconds > 0 and self._cancelled.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise Cancelled("The load was stopped.")

    def accepted(self) -> None:
        """A request was taken."""
        with self._gate.lock:
            self._gate.refusing_since = None
            self._gate.rate.accepted()

    def throttled(self, retry_after: float | None) -> None:
        """A request was answered 429, with so many seconds to wait or None."""
        now = time.monotonic()
        with self._gate.lock:
            if self._gate.refusing_since is None:
                self._gate.refusing_since = now
            self._gate.rate.throttled(now, retry_after)

    @property
    def refused_seconds(self) -> float | None:
        """For how long the gate has let nothing through but 429; None where it does not throttle."""
        since = self._gate.refusing_since
        return None if since is None else time.monotonic() - since

    def cancel(self) -> None:
        """End all waiting, now and later."""
        self._cancelled.set()
