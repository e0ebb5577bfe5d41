"""The life of a graph's automatic backups: when they start, how they end, which are kept."""

import math
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ges_emulator.graph_life import Backup, Graph, Run
from ges_emulator.texts import random_id


@dataclass
class Schedule:
    """When a graph backs itself up and what comes of it. Fields may be changed at any time.

    A run is skipped while the one before still runs, as the service does (GES.7002).
    """

    at: datetime
    """The start of the first backup, or of the next one."""
    every: timedelta = timedelta(days=1)
    keep: int | None = None
    """Retention: how many ended automatic backups are kept; None keeps all."""
    size_mb: float = 100.0
    growth_per_day: float = 0.0
    """Relative growth of the size in a day: 0.01 is one per cent."""
    noise: float = 0.02
    """Relative deviation of sizes and durations."""
    mb_per_second: float = 4.0
    overhead_seconds: float = 20.0
    """A backup lasts this long, and its size by ``mb_per_second``."""
    failure_rate: float = 0.0
    stuck: bool = False
    """Backups that start now never end."""
    size_at: datetime | None = None
    """When the size was ``size_mb``; None: at the first backup."""
    stops_at: datetime | None = None
    """No backup starts from then on."""
    _run: int = field(default=0, repr=False)

    def advance(self, graph: Graph, now: datetime) -> None:
        """Bring ``graph`` to ``now``: every start, end and deletion in the order of time."""
        if self.size_at is None:
            self.size_at = self.at
        chance, start = self._next(graph)
        while start <= now:
            self._end_those_due(graph, start)
            if not (self.stops_at and start >= self.stops_at) and not _running(graph):
                self._start(graph, chance, start)
            self._run += 1
            self.at += self.every
            chance, start = self._next(graph)
        self._end_those_due(graph, now)

    def _next(self, graph: Graph) -> tuple[random.Random, datetime]:
        """What decides about the next run, and its start: seldom on the second."""
        chance = random.Random(f"{graph.fleet.seed}/{graph.id}/{self._run}")  # noqa: S311
        late_seconds = chance.randrange(max(1, min(90, int(self.every.total_seconds()))))
        return chance, self.at + timedelta(seconds=late_seconds)

    def _start(self, graph: Graph, chance: random.Random, start: datetime) -> None:
        days = (self.at - (self.size_at or self.at)) / timedelta(days=1)
        size_mb = self.size_mb * math.exp(math.log1p(self.growth_per_day) * days)
        size_mb *= 1 + chance.gauss(0, self.noise)
        seconds = self.overhead_seconds + size_mb / self.mb_per_second
        seconds = max(1, round(seconds * (1 + abs(chance.gauss(0, self.noise)))))
        failed = chance.random() < self.failure_rate
        # The stamps of the API's own example are a second further apart than its duration.
        ends_at = start + timedelta(seconds=seconds + chance.randrange(2))
        backup = graph.add_backup(start, status="backing_up", id=random_id(chance))
        backup.run = Run(
            datetime.max.replace(tzinfo=start.tzinfo) if self.stuck else ends_at,
            "failed" if failed else "success",
            seconds,
            0 if failed else max(1, round(size_mb)),
        )

    def _end_those_due(self, graph: Graph, now: datetime) -> None:
        for backup in _running(graph):
            run = backup.run
            if run and run.ends_at <= now:
                backup.finish(run.status, run.duration_seconds, run.size_mb, run.ends_at)
                self._retain(graph)

    def _retain(self, graph: Graph) -> None:
        if self.keep is None or len(graph.rows.natural) <= self.keep:
            return
        automatic = [row for row in graph.rows.natural if _is_ended_automatic(row)]
        for row in automatic[: max(len(automatic) - self.keep, 0)]:
            graph.delete_backup(row)


def _running(graph: Graph) -> list[Backup]:
    """Those whose end is planned; only the newest rows can be, which keeps this cheap."""
    return [row for row in graph.rows.natural[-20:] if row.run]


def _is_ended_automatic(backup: Backup) -> bool:
    record = backup.record
    if not isinstance(record, dict) or record.get("backup_method") != "auto":
        return False
    return record.get("status") != "backing_up"
