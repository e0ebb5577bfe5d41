"""The pace is near the best possible, on a clock of its own: see `Replay`."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ges_backups.pace import Rate
from ges_emulator.throttle import Throttle

Server = Callable[[float], float | None]
"""From the time of a request to None where it is taken, or the seconds that it is told to wait."""
STARTED_AT = 8.0


@dataclass
class Replay:
    """So many workers that send requests after each other, each waiting as the client does.

    Nothing sleeps: the events happen in the order of a virtual clock that begins at `STARTED_AT`.
    """

    server: Server
    requests: int
    workers: int = 8
    seconds_each: float = 0.05
    refused: int = 0
    seconds: float = 0.0

    def run(self) -> "Replay":
        rate, chance = Rate(), random.Random(1)
        events = [(STARTED_AT, number, "idle", 0) for number in range(self.workers)]
        left, counted = self.requests, self.workers
        while events:
            now, _, kind, tries = heapq.heappop(events)
            match kind:
                case "idle" if left:
                    left -= 1
                    following = (now, "turn", 0)
                case "idle":
                    continue
                case "turn":
                    following = (rate.reserve(now) + self.seconds_each / 2, "asked", tries)
                case "asked":
                    wait = self.server(now)
                    now += self.seconds_each / 2
                    if wait is None:
                        rate.accepted()
                        self.seconds = now - STARTED_AT
                        following = (now, "idle", 0)
                    else:
                        rate.throttled(now, wait)
                        self.refused += 1
                        backoff = chance.uniform(0, min(8, 0.5 * 2**tries))
                        following = (now + max(wait, backoff / 8), "turn", tries + 1)
            counted += 1
            heapq.heappush(events, (following[0], counted, *following[1:]))
        return self


def refusing(numbers: set[int], wait: float) -> Server:
    """A fast server that refuses the requests with these numbers, counted from 1."""
    seen = iter(range(1, 10**6))
    return lambda _: wait if next(seen) in numbers else None


def bucket(per_second: float) -> Server:
    """The emulator's own limit, on the virtual clock."""
    now = [STARTED_AT]
    throttle = Throttle(per_second, lambda: now[0])

    def take(at: float) -> float | None:
        now[0] = at
        return throttle.take()

    return take


@pytest.mark.parametrize("wait", [0.0, 0.5], ids=["no wait", "half a second"])
@pytest.mark.parametrize("number", [1, 2, 8, 9, 40, 150, 290])
def test_one_refusal_slows_a_fast_server_down_by_little(number: int, wait: float) -> None:
    undisturbed = Replay(refusing(set(), 0), 300).run().seconds
    replay = Replay(refusing({number}, wait), 300).run()
    assert replay.refused == 1
    assert replay.seconds <= 1.3 * undisturbed


@pytest.mark.parametrize("numbers", [{1, 2}, {5, 40}, {1, 30, 60}, {10, 20, 30}], ids=str)
def test_a_few_refusals_do_not_cripple_a_load(numbers: set[int]) -> None:
    undisturbed = Replay(refusing(set(), 0), 600).run().seconds
    assert Replay(refusing(numbers, 1), 600).run().seconds <= 1.5 * undisturbed


@pytest.mark.parametrize("workers", [8, 32])
@pytest.mark.parametrize("per_second", [5, 20, 50, 200])
def test_a_server_that_throttles_is_used_to_what_it_gives(per_second: int, workers: int) -> None:
    requests = 31 * per_second
    seconds_each = 0.03
    best = max((requests - per_second) / per_second, requests * seconds_each / workers)

    replay = Replay(bucket(per_second), requests, workers, seconds_each).run()

    assert best / replay.seconds >= 0.9
    assert replay.refused <= 3 * workers + 0.1 * requests


def test_a_server_that_recovers_is_soon_used_in_full() -> None:
    """Throttled to 5 a second for ten seconds, then no more."""
    slow = bucket(5)
    replay = Replay(lambda at: slow(at) if at < STARTED_AT + 10 else None, 1500).run()
    at_full_speed = (1500 - 50) * 0.05 / 8
    assert replay.seconds <= 10 + at_full_speed + 10


def test_a_wait_is_kept_by_all_where_a_server_really_throttles() -> None:
    rate = Rate()
    for now in (100.0, 102.0):
        rate.accepted()
        rate.throttled(now, 30.0)
    assert rate.reserve(102.1) == 132.0
    assert Rate().reserve(5.0) == 5.0
