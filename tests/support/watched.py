"""Small histories for the tests of watching, written row by row, and every verdict computed again.

Nothing here shares code with `ges_history.watching`: times are whole milliseconds, and each kind of
rule is judged from the backups themselves, straight from its definition in docs/monitoring.md.
"""

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from ges_backups.unlisted import Asked
from ges_history.warehouses.duckdb_file import DuckDbFile
from synthetic import PROJECT, insert_rows, write_empty

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0, second=7)  # never at midnight, a border of days
GOOD = ("complete", "incremental")
WHOLE = "*"


@dataclass(frozen=True)
class Backup:
    """A backup; `age` counts back from the time of the history."""

    age: timedelta
    status: str = "success"
    size: int | None = 100
    duration: int | None = 60
    encrypted: bool | None = True
    deleted: bool = False


@dataclass(frozen=True)
class Life:
    """A graph; `listed_ago` None: never asked for, `complete_ago` of its last complete listing.

    `read_ago` is of the last one without an error; None: an earlier release wrote the row. One
    called `WHOLE` is the listing of a whole project and no graph.
    """

    graph_id: str
    backups: tuple[Backup, ...] = ()
    project_id: str = PROJECT
    name: str | None = None
    left_ago: timedelta | None = None
    listed_ago: timedelta | None = timedelta()
    outcome: str = "complete"
    error_code: str | None = None
    complete_ago: timedelta | None = timedelta()
    read_ago: timedelta | None = None
    requests: int = 1
    rejected: int = 0

    @property
    def graph_name(self) -> str:
        return self.name or self.graph_id


@dataclass(frozen=True)
class ProjectRow:
    """A row of `ges.projects`; `by_graphs_ago` is when graphs were last listed one by one."""

    id: str
    name: str
    region: str = "eu-west-101"
    listed_ago: timedelta = timedelta()
    by_graphs_ago: timedelta | None = None


@dataclass
class Written:
    """A history that was written: its file, and when its ages count from."""

    path: Path
    lives: list[Life]
    projects: list[ProjectRow] = field(default_factory=list)
    now: datetime = NOW

    def reading(self) -> Any:
        return DuckDbFile(self.path).reading()


def backup_id(life: Life, place: int) -> str:
    return f"{life.project_id}/{life.graph_id}/{place:03}"


def write_history(
    path: Path,
    lives: Iterable[Life],
    projects: Iterable[ProjectRow] = (),
    now: datetime = NOW,
) -> Written:
    """Write a history's tables, whose views are made when it is read."""
    written = Written(path, list(lives), list(projects), now)
    rows = _rows(written)
    write_empty(path, views=False)
    with duckdb.connect(str(path)) as connection:
        for table, contents in rows.items():
            insert_rows(connection, f'"{path.stem}".ges.{table}', contents)
    return written


def _rows(written: Written) -> dict[str, list[dict[str, Any]]]:
    now = written.now
    ago = lambda span: None if span is None else now - span  # noqa: E731
    lives = written.lives
    return {
        "graphs": [
            {
                "id": life.graph_id,
                "project_id": life.project_id,
                "name": life.name,
                "deleted_at": ago(life.left_ago),
            }
            for life in lives
            if life.graph_id != WHOLE
        ],
        "listings": [
            {
                "project_id": life.project_id,
                "graph_id": life.graph_id,
                "listed_at": ago(life.listed_ago),
                "outcome": life.outcome,
                "error_code": life.error_code,
                "requests": life.requests,
                "last_complete_at": ago(life.complete_ago),
                "last_read_at": ago(life.listed_ago if life.outcome in GOOD else life.read_ago),
            }
            for life in lives
            if life.listed_ago is not None
        ],
        "backups": [
            _backup_row(life, place, backup, now)
            for life in lives
            for place, backup in enumerate(life.backups)
        ],
        "rejected_backups": [
            {
                "project_id": life.project_id,
                "graph_id": life.graph_id,
                "reason": "no id",
                "first_seen_at": now,
                "record_hash": f"{life.graph_id}/{place}",
            }
            for life in lives
            for place in range(life.rejected)
        ],
        "projects": [
            {
                "id": project.id,
                "name": project.name,
                "region": project.region,
                "first_listed_at": now - 100 * DAY,
                "last_listed_at": ago(project.listed_ago),
                "cursor": Asked(by_graphs.timestamp(), "complete").to_json() if by_graphs else None,
            }
            for project in written.projects
            for by_graphs in [ago(project.by_graphs_ago)]
        ],
    }


def _backup_row(life: Life, place: int, backup: Backup, now: datetime) -> dict[str, Any]:
    start = now - backup.age
    ended = backup.status in ("success", "failed")
    return {
        "id": backup_id(life, place),
        "project_id": life.project_id,
        "graph_id": life.graph_id,
        "graph_name": life.name,
        "status": backup.status,
        "start_timestamp": ms(start),
        "started_at": start,
        "size": backup.size if ended else None,
        "duration": backup.duration if ended else None,
        "encrypted": backup.encrypted,
        "deleted_at": now if backup.deleted else None,
    }


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


@dataclass(frozen=True)
class Expected:
    """What a rule must find; the figure is compared where it is not None."""

    verdict: str
    actual: float | None = None


def _read_ago(life: Life) -> timedelta | None:
    if life.outcome in GOOD:
        return life.listed_ago
    return life.complete_ago if life.read_ago is None else life.read_ago


class Oracle:
    """The verdicts of one graph, from its backups."""

    def __init__(
        self,
        life: Life,
        now: datetime = NOW,
        projects: Sequence[ProjectRow] = (),
        fleet: Sequence[Life] = (),
    ) -> None:
        self.life = life
        listed = [one.listed_ago for one in projects if one.id == life.project_id]
        others = [one.listed_ago for one in fleet if one.project_id == life.project_id]
        self.project_ago = min([*listed, *(ago for ago in others if ago is not None)], default=None)
        self.now = now
        self.listings = [
            one
            for one in (life, *fleet)
            if one.listed_ago is not None
            and (one is life or (one.project_id, one.graph_id) == (life.project_id, WHOLE))
        ]
        self.backups = sorted(
            (ms(now - backup.age), backup_id(life, place), backup)
            for place, backup in enumerate(life.backups)
        )
        self.starts = [start for start, _, backup in self.backups if backup.status == "success"]
        self.kept = [(start, b) for start, _, b in self.backups if not b.deleted]
        spans = [_read_ago(one) for one in self.listings]
        if not self.listings:  # it is known by the last one of another in its project
            spans = [self.project_ago]
        read = [ms(self.now - ago) for ago in spans if ago is not None]
        self.last_read = max(read, default=None)
        newest = [start for start, _, _ in self.backups[-1:]]
        self.known_until = max(read + newest, default=None)

    def verdict(self, kind: str, target: float) -> Expected:
        if self.life.left_ago is not None:
            return Expected("excluded")
        judged: Expected = getattr(self, f"_{kind}")(target)
        return judged

    def _compare(self, actual: float, met: bool) -> Expected:
        return Expected("met" if met else "violated", actual)

    def _rpo_hours(self, target: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        if not self.starts:
            return Expected("violated")
        age = self.known_until - self.starts[-1]
        return self._compare(age / 3_600_000, age <= target * 3_600_000)

    def _min_backups(self, target: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        count = sum(backup.status == "success" for _, backup in self.kept)
        return self._compare(count, count >= target)

    def _max_age_days(self, target: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        if not self.kept:
            return Expected("met")
        age = self.known_until - self.kept[0][0]
        return self._compare(age / 86_400_000, age <= target * 86_400_000)

    def _max_duration_hours(self, target: float) -> Expected:
        ended = [b for _, _, b in self.backups if b.status in ("success", "failed")]
        running = [start for start, b in self.kept if b.status == "backing_up"]
        newest = [b.duration for b in ended[-1:] if b.duration is not None]
        known = newest + [(self.known_until - start) / 1000 for start in running[:1]]
        if not known:
            return Expected("unknown")
        return self._compare(max(known) / 3600, max(known) <= target * 3600)

    def _min_success_rate(self, target: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        begin = self.known_until - 30 * 86_400_000
        ended = [b.status for start, _, b in self.backups if start > begin]
        good, bad = ended.count("success"), ended.count("failed")
        if not good + bad:
            return Expected("unknown")
        return self._compare(good / (good + bad), good / (good + bad) >= target)

    def _max_size_change_pct(self, target: float) -> Expected:
        sizes = [b.size for _, _, b in self.backups if b.status == "success" and b.size is not None]
        if len(sizes) < 6:
            return Expected("met")
        now, before = statistics.median(sizes[-3:]), statistics.median(sizes[-33:-3])
        if before == 0:
            return Expected("violated" if now else "met")
        change = 100 * (now - before) / before
        return self._compare(change, 100 * abs(now - before) <= target * before)

    def _must_be_encrypted(self, _: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        said = [b.encrypted for _, b in self.kept if b.status == "success"]
        if False in said:
            return Expected("violated", said.count(False))
        return Expected("unknown") if None in said else Expected("met", 0)

    def _never_succeeded(self, _: float) -> Expected:
        if self.known_until is None:
            return Expected("unknown")
        return self._compare(len(self.starts), bool(self.starts))

    def _failed_listing(self, _: float) -> Expected:
        if not self.listings:
            return Expected("unknown")
        latest = min(self.listings, key=lambda one: one.listed_ago or timedelta())
        return Expected("met" if latest.outcome in GOOD else "violated")

    def _stale_hours(self, target: float) -> Expected:
        if self.last_read is None:
            return Expected("violated")
        age = ms(datetime.now(UTC)) - self.last_read
        return self._compare(age / 3_600_000, age <= target * 3_600_000)

    def _stuck(self, _: float) -> Expected:
        durations = [
            b.duration
            for _, _, b in self.backups
            if b.status == "success" and b.duration is not None
        ]
        if not durations:
            return Expected("met", 0)
        usual = float(np.percentile(durations, 95))
        running = [
            (self.known_until or 0) - start for start, b in self.kept if b.status == "backing_up"
        ]
        stuck = sum(elapsed > 3000 * usual for elapsed in running)
        return self._compare(stuck, not stuck)

    def _overdue(self, _: float) -> Expected:
        if not self.starts or self.known_until is None:
            return Expected("unknown")
        last = self.starts[-30:]
        gaps = [after - before for before, after in itertools.pairwise(last)]
        given = 2 * statistics.median(gaps) if gaps else 7 * 86_400_000
        age = self.known_until - self.starts[-1]
        return self._compare(age / 3_600_000, age <= given)

    def _rejected_records(self, _: float) -> Expected:
        return self._compare(self.life.rejected, not self.life.rejected)

    def spans(self, target: float) -> list[tuple[int | None, int | None, str | None, str | None]]:
        """(begin, end, id before, id after) of each time in which the last success was too old."""
        given = int(target * 3_600_000)
        end_of_all = ms(self.now - self.life.left_ago) if self.life.left_ago is not None else None
        if not self.backups:
            is_known = end_of_all is None and self.known_until is not None
            return [(None, None, None, None)] if is_known else []
        marks: list[tuple[int, str | None]] = [
            (start, key) for start, key, b in self.backups if b.status == "success"
        ]
        first = self.backups[0][0]
        if not marks or first < marks[0][0]:
            marks.insert(0, (first, None))
        found: list[tuple[int | None, int | None, str | None, str | None]] = []
        for (start, before), after in zip(marks, [*marks[1:], None], strict=True):
            end, key = after or (end_of_all, None)
            known = end if end is not None else self.known_until
            if known is not None and known > start + given:
                found.append((start + given, end, before, key))
        return found
