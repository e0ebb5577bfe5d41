"""Whether each graph met its recovery point objective, day by day.

A day is met where the last success was never older than the target on it. The target is the
policy's; without one, twice the graph's usual gap, as `overdue` has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from ges_history.reports.overview import Fleet, Key, Scope
from ges_history.reports.page.days import days_of
from ges_history.warehouses.seam import Read

SHARE_DAYS = (30, 90, 365)
MET, MISSED, UNKNOWN = "met", "missed", "unknown"


@dataclass(frozen=True)
class Adherence:
    """A graph's days.

    `ages` are, for each day from `first_day` on (in days since 1970-01-01), the highest age in
    hours that its last success reached; None where it never had a backup. `shares` are the parts,
    from 0 to 1, of the days met in the last 30, 90, 365; None without a target.
    """

    target_hours: float | None
    first_day: int
    ages: list[float | None]
    shares: tuple[float | None, float | None, float | None]

    def verdict(self, place: int) -> str:
        """`met`, `missed` or `unknown`."""
        return verdict(self.ages[place], self.target_hours)

    def since(self, day: int) -> tuple[int, list[float | None]]:
        """The first day and the ages of those days that are not before a day."""
        skipped = min(max(day - self.first_day, 0), len(self.ages))
        return self.first_day + skipped, self.ages[skipped:]

    @property
    def badness(self) -> tuple[float, float, float]:
        """Sorts the worst first, graphs without a target last."""
        a, b, c = (2.0 if share is None else share for share in self.shares)
        return a, b, c


def verdict(age_hours: float | None, target_hours: float | None) -> str:
    """What a day was whose last success grew so old."""
    if age_hours is None or target_hours is None:
        return UNKNOWN
    return MET if age_hours <= target_hours else MISSED


def read_adherence(
    read: Read, scope: Scope, fleet: Fleet, first_day: date, targets: Mapping[Key, float]
) -> dict[Key, Adherence]:
    """{graph: its days} of all graphs that have any; cells from `first_day`, shares of a year."""
    usual = {
        (row["project_id"], row["graph_id"]): 2 * row["usual_gap_hours"]
        for row in fleet.recovery
        if row["usual_gap_hours"] is not None and not row["graph_deleted_at"]
    }
    deleted = {
        (row["project_id"], row["graph_id"]) for row in fleet.recovery if row["graph_deleted_at"]
    }
    today = fleet.as_of.date()
    since = min(first_day, today - timedelta(days=SHARE_DAYS[-1] - 1))
    numbered = {
        row["number"]: (row["project_id"], row["graph_id"]) for row in scope.query(read, _NUMBERS)
    }
    table = scope.table(read, _DAYS, since)
    return {
        key: _adherence(days, ages, today, first_day, targets.get(key, usual.get(key)))
        for number, days, ages in _split(table)
        if (key := numbered.get(number)) is not None and key not in deleted
    }


def _split(table: Any) -> Any:
    """(number, days, ages) of each graph; numbers in place of ids keep millions of rows small."""
    import numpy as np  # noqa: PLC0415

    numbers = table.column("number").to_numpy()
    days, ages = days_of(table.column("day")), table.column("age_hours").to_pylist()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for first, end in pairwise([*starts, len(numbers)]):
        yield int(numbers[first]), days[first:end], ages[first:end]


def _adherence(
    days: list[int],
    ages: list[float | None],
    today: date,
    first_day: date,
    target: float | None,
) -> Adherence:
    number = (today - date(1970, 1, 1)).days
    first = (first_day - date(1970, 1, 1)).days
    verdicts = [verdict(age, target) for age in ages]

    def share(window: int) -> float | None:
        found = [v for d, v in zip(days, verdicts, strict=True) if number - window < d <= number]
        known = [v for v in found if v != UNKNOWN]
        return sum(v == MET for v in known) / len(known) if known else None

    shown = [n for n, day in enumerate(days) if day >= first]
    return Adherence(
        target_hours=target,
        first_day=days[shown[0]] if shown else first,
        ages=[ages[n] for n in shown],
        shares=(share(30), share(90), share(365)),
    )


_NUMBERS = """
SELECT project_id, graph_id, number
FROM (
    SELECT project_id, graph_id, ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS number
    FROM reports.graph_names
) AS numbered
WHERE {scope}
"""
_DAYS = """
SELECT CAST(n.number AS INTEGER) AS number, a.day, a.oldest_age_hours AS age_hours
FROM (
    SELECT project_id, graph_id, day, oldest_age_hours
    FROM reports.adherence
    WHERE day >= ? AND {scope}
) AS a
JOIN (
    SELECT project_id, graph_id, ROW_NUMBER() OVER (ORDER BY project_id, graph_id) AS number
    FROM reports.graph_names
) AS n ON a.project_id = n.project_id AND a.graph_id = n.graph_id
ORDER BY n.number, a.day
"""
