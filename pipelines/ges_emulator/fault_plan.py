"""Which request meets which fault."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock

from ges_emulator.faults import Fault
from ges_emulator.request import Request


@dataclass
class _Rule:
    fault: Fault
    times: int | None
    graph_id: str | None
    path: str | None
    at: Collection[int] | None
    seen: int = 0
    fired: int = 0

    def meets(self, request: Request) -> bool:
        if self.graph_id is not None and request.graph_id != self.graph_id:
            return False
        if self.path is not None and request.endpoint != self.path:
            return False
        self.seen += 1
        if self.at is not None:
            return self.seen in self.at
        return self.times is None or self.fired < self.times


class Faults:
    """The faults to come; ``met`` tells the names of those that happened, in order."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self._lock = Lock()
        self._rules: list[_Rule] = []
        self._chance = random.Random(0)  # noqa: S311
        self._rate = 0.0
        self._kinds: Sequence[Fault] = ()

    def add(
        self,
        fault: Fault,
        times: int | None = 1,
        graph_id: str | None = None,
        path: str | None = None,
        at: int | Collection[int] | None = None,
    ) -> None:
        """Let requests meet ``fault``: the next ``times`` of them, or all (None).

        Only those for ``graph_id`` and for ``path``: ``backups`` (of one graph), ``graphs``,
        ``all_backups`` (of the project) or ``tokens``. ``at``: instead of the next ones, the nth
        matching ones, counted from 1 from now. Of several faults the one added first wins.
        """
        positions = {at} if isinstance(at, int) else at
        with self._lock:
            self._rules.append(_Rule(fault, times, graph_id, path, positions))

    def random(self, rate: float, seed: int = 1, kinds: Sequence[Fault] | None = None) -> None:
        """Let requests meet a random fault of ``kinds`` (``Fault.transient()``) at this rate."""
        with self._lock:
            self._chance = random.Random(seed)  # noqa: S311
            self._rate = rate
            self._kinds = Fault.transient() if kinds is None else kinds

    def clear(self) -> None:
        """Be a good server from now on."""
        with self._lock:
            self._rules.clear()
            self._rate = 0.0

    def take(self, request: Request) -> Fault | None:
        """The fault that ``request`` meets now, if any."""
        if not self._rules and not self._rate:
            return None
        with self._lock:
            matching = [rule for rule in self._rules if rule.meets(request)]
            fault = None
            if matching:
                matching[0].fired += 1
                fault = matching[0].fault
            elif self._rate and self._chance.random() < self._rate:
                fault = self._chance.choice(self._kinds)
            if fault is not None:
                self.met.append(fault.name)
            return fault
