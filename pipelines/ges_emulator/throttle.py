"""A limit of requests per second."""

import math
import time
from collections.abc import Callable


class Throttle:
    """A token bucket that holds the tokens of one second."""

    def __init__(
        self, per_second: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_second = per_second
        self._clock = clock
        self._tokens = per_second or 0.0
        self._at = clock()

    def take(self) -> int | None:
        """None if the request may pass, else how many whole seconds to wait."""
        if self.per_second is None:
            return None
        now = self._clock()
        self._tokens += (now - self._at) * self.per_second
        self._tokens = min(self._tokens, max(self.per_second, 1.0))
        self._at = now
        if self._tokens < 1:
            return math.ceil((1 - self._tokens) / self.per_second)
        self._tokens -= 1
        return None
