"""How much is stored at the source, day by day: the largest graphs one by one, and the rest."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, chain

from ges_history.reports.overview import Fleet, Key, Row, Scope
from ges_history.warehouses.seam import Read

LARGEST = 6
"""Graphs that are shown one by one."""
PROJECTED_DAYS = (30, 90)


@dataclass(frozen=True)
class Part:
    """One layer of the chart; a graph's key, or None for the rest."""

    key: Key | None
    name: str
    stored_mb: list[int]


@dataclass(frozen=True)
class Stored:
    """MB of successes at the source at the end of each UTC day from `first_day` to today.

    `parts` are the largest first, the rest last. What was deleted before `complete_since` is not
    known: until then the true volume was at least as large. `ahead` is (day, MB): now, and where
    the growth of the last 30 days leads; empty where that is not known.
    """

    first_day: date
    parts: list[Part]
    complete_since: date | None
    ahead: list[tuple[date, float]]

    @property
    def total_mb(self) -> list[int]:
        """All parts together, day by day."""
        return [sum(day) for day in zip(*(part.stored_mb for part in self.parts), strict=True)]


def read_stored(read: Read, scope: Scope, fleet: Fleet, first_day: date) -> Stored:
    """Add up what each day brought and took, from the beginning of the history."""
    now = scope.query(read, _NOW)
    largest = [(row["project_id"], row["graph_id"]) for row in now[:LARGEST] if row["stored_mb"]]
    names = [str(row["graph_name"]) for row in now[: len(largest)]]
    cases = "".join(
        f" WHEN project_id = ? AND graph_id = ? THEN {part}" for part in range(len(largest))
    )
    part = f"CASE{cases} ELSE {LARGEST} END" if cases else str(LARGEST)
    changes = scope.query(read, _CHANGES.format(part=part, scope="{scope}"), *chain(*largest))
    today = fleet.as_of.date()
    if changes:
        first_day = max(first_day, changes[0]["day"])

    def daily(place: int) -> list[int]:
        return _daily((row for row in changes if row["part"] == place), first_day, today)

    parts = [
        Part(key, name, daily(n)) for n, (key, name) in enumerate(zip(largest, names, strict=True))
    ]
    if len(now) > len(largest) and changes:
        parts.append(Part(None, f"{len(now) - len(largest):,} others", daily(LARGEST)))
    since = fleet.totals["complete_since"]
    return Stored(
        first_day=first_day,
        parts=parts,
        complete_since=since.date() if since else None,
        ahead=_ahead(fleet, today, sum(part.stored_mb[-1] for part in parts if part.stored_mb)),
    )


def _ahead(fleet: Fleet, today: date, now_mb: int) -> list[tuple[date, float]]:
    """From where the curve ends: failed backups and stamps ahead of the clock are not in it."""
    totals = fleet.totals
    if not totals["stored_mb"]:
        return []
    grown = {days: totals[f"projected_{days}d_mb"] - totals["stored_mb"] for days in PROJECTED_DAYS}
    return [
        (today, now_mb),
        *((today + timedelta(days=days), max(now_mb + mb, 0)) for days, mb in grown.items()),
    ]


def _daily(changes: Iterable[Row], first_day: date, last_day: date) -> list[int]:
    """The sum up to the end of each day."""
    days = (last_day - first_day).days + 1
    steps = [0] * max(days, 0)
    for row in changes:
        place = max((row["day"] - first_day).days, 0)
        if place < days:  # a stamp ahead of the clock
            steps[place] += row["change_mb"]
    return list(accumulate(steps))


_NOW = """
SELECT project_id, graph_id, graph_name,
    CAST(GREATEST(LEAST(
        SUM(CAST(added_mb AS DECIMAL(28, 0))) - SUM(CAST(removed_mb AS DECIMAL(28, 0))),
        9223372036854775807
    ), -9223372036854775807) AS BIGINT) AS stored_mb
FROM reports.storage_trend
WHERE {scope}
GROUP BY project_id, graph_id, graph_name
ORDER BY stored_mb DESC, project_id, graph_id
"""
_CHANGES = """
SELECT part, day,
    CAST(GREATEST(LEAST(
        SUM(CAST(added_mb AS DECIMAL(28, 0))) - SUM(CAST(removed_mb AS DECIMAL(28, 0))),
        9223372036854775807
    ), -9223372036854775807) AS BIGINT) AS change_mb
FROM (
    SELECT {part} AS part, day, added_mb, removed_mb
    FROM reports.storage_trend
    WHERE {scope}
) AS parts
GROUP BY part, day
ORDER BY day, part
"""
