"""What the charts draw: rows for a still picture, or packed into a few numbers for the script.

Packed, a series of days is [first day, steps between the days or 0 where all are `step`, columns];
each column is its first value and then differences, in tenths. The script in `assets/page.js`
unpacks it again. Days count from 1970-01-01.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from ges_history.reports.overview import Row
from ges_history.reports.page.arranged import EPOCH, Graph
from ges_history.reports.page.stored import Stored
from ges_history.reports.words import plain, size_unit, time_unit

DAY_MS = 86_400_000
CALENDAR_WEEKS = 26
FLEET_CALENDAR_WEEKS = 52
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Packed = list[Any]
Datasets = dict[str, list[Row]]


def packed_graph(graph: Graph, today: int, strip_from: int = 0) -> Row:
    """All series of one graph, as the script takes them; its strip begins with a day."""
    size_name, duration_name = units(graph)
    adherence = graph.adherence
    return {
        "s": _packed(graph.sizes, 1, "size_mb", "avg_7d_mb"),
        "d": _packed(graph.durations, 7, "p50_duration_s", "p95_duration_s"),
        "p": int(bool(graph.durations and graph.durations["is_partial"][-1])),
        "o": _packed(
            calendar_rows(graph.outcomes, today, CALENDAR_WEEKS), 1, "succeeded", "failed"
        ),
        "f": forecast(graph, today),
        "a": marks(graph),
        "u": [size_name[1], duration_name[1]],
        "h": packed_ages(*adherence.since(strip_from)) if adherence else 0,
        "t": adherence.target_hours if adherence else None,
    }


def packed_ages(first_day: int, ages: Sequence[float | None]) -> Packed:
    """Ages in hours: the first day, then differences in tenths; null where there is none."""
    steps, before = list[int | None](), 0
    for age in ages:
        tenths = None if age is None else round(10 * age)
        steps.append(None if tenths is None else tenths - before)
        before = before if tenths is None else tenths
    return [first_day, steps]


def packed_stored(stored: Stored) -> Row:
    """The chart of stored volume, as the script takes it."""
    return {
        "first": day_number(stored.first_day),
        "names": [plain(part.name) for part in stored.parts],
        "parts": [_differences(part.stored_mb) for part in stored.parts],
        "since": day_number(stored.complete_since) if stored.complete_since else None,
        "ahead": [(day_number(day), round(mb)) for day, mb in stored.ahead],
        "unit": stored_unit(stored)[1],
    }


def stored_datasets(stored: Stored) -> Datasets:
    """Rows of the chart of stored volume, in its unit."""
    factor = stored_unit(stored)[1]
    first = day_number(stored.first_day)
    since = stored.complete_since
    return {
        "parts": [
            {"day": (first + n) * DAY_MS, "part": place, "size": mb / factor}
            for place, part in enumerate(stored.parts)
            for n, mb in enumerate(part.stored_mb)
        ],
        "ahead": [
            {"day": day_number(day) * DAY_MS, "total": mb / factor} for day, mb in stored.ahead
        ],
        "first": [{"day": day_number(since) * DAY_MS}] if since else [],
        "pointers": [],
    }


def stored_unit(stored: Stored) -> tuple[str, float]:
    """The unit of the chart of stored volume."""
    return size_unit(max([*stored.total_mb, *(mb for _, mb in stored.ahead), 0]))


def size_datasets(graph: Graph, today: int) -> Datasets:
    """Rows of the size chart, in the graph's unit."""
    factor = units(graph)[0][1]
    sizes = _scaled(graph.sizes, factor, size="size_mb", mean="avg_7d_mb")
    for row in sizes[-1:]:
        row["partial"] = row["day"] == today * DAY_MS
    return {
        "sizes": sizes,
        "forecast": [
            {"day": d * DAY_MS, "size": v / factor, "low": low / factor, "high": high / factor}
            for d, v, low, high in forecast(graph, today)
        ],
        "marks": [_mark(mark, factor) for mark in marks(graph) if mark[1] != "slow"],
        "pointers": [],
    }


def duration_datasets(graph: Graph) -> Datasets:
    """Rows of the duration chart, in the graph's unit."""
    factor = units(graph)[1][1]
    weeks = _scaled(graph.durations, factor, p50="p50_duration_s", p95="p95_duration_s")
    for row in weeks[-1:]:
        row["partial"] = bool(graph.durations and graph.durations["is_partial"][-1])
    return {
        "weeks": weeks,
        "marks": [_mark(mark, factor) for mark in marks(graph) if mark[1] == "slow"],
        "pointers": [],
    }


def calendar_datasets(outcomes: Row | None, today: int, weeks: int) -> Datasets:
    """Rows of the calendar: each day of the last weeks, this one included."""
    row = outcomes or {"day": [], "succeeded": [], "failed": []}
    known = {
        day: (succeeded, failed)
        for day, succeeded, failed in zip(row["day"], row["succeeded"], row["failed"], strict=True)
    }
    days = range(first_monday(today, weeks), today + 1)
    return {"days": [_calendar_day(day, today, *known.get(day, (0, 0))) for day in days]}


def first_monday(today: int, weeks: int) -> int:
    """The Monday on which a calendar of so many weeks begins."""
    return today - (today + 3) % 7 - 7 * (weeks - 1)


def level(succeeded: int, failed: int) -> str:
    """How large a part of a day's backups failed."""
    if not failed:
        return "ok" if succeeded else "none"
    share = failed / (succeeded + failed)
    return "few" if share <= 0.1 else "some" if share < 0.5 else "most"


def _calendar_day(day: int, today: int, succeeded: int, failed: int) -> Row:
    weekday = (day + 3) % 7
    return {
        "week": (day - weekday) * DAY_MS,
        "until": (day - weekday + 7) * DAY_MS,
        "weekday": WEEKDAYS[weekday],
        "level": level(succeeded, failed),
        "partial": day == today,
    }


def calendar_rows(outcomes: Row | None, today: int, weeks: int) -> Row | None:
    """The days of the last weeks, this one included."""
    if outcomes is None:
        return None
    monday = first_monday(today, weeks)
    kept = [place for place, day in enumerate(outcomes["day"]) if day >= monday]
    columns = {name: [outcomes[name][p] for p in kept] for name in ("day", "succeeded", "failed")}
    return columns if kept else None


def fleet_outcomes(graphs: Sequence[Graph]) -> Row | None:
    """The outcomes of all graphs together, day by day."""
    totals: dict[int, list[int]] = {}
    for graph in graphs:
        row = graph.outcomes or {"day": [], "succeeded": [], "failed": []}
        for day, succeeded, failed in zip(row["day"], row["succeeded"], row["failed"], strict=True):
            total = totals.setdefault(day, [0, 0])
            total[0] += succeeded
            total[1] += failed
    days = sorted(totals)
    return {
        "day": days,
        "succeeded": [totals[day][0] for day in days],
        "failed": [totals[day][1] for day in days],
    }


def packed_calendar(outcomes: Row | None) -> Packed | int:
    """A calendar as the script takes it."""
    return _packed(outcomes, 1, "succeeded", "failed")


def units(graph: Graph) -> tuple[tuple[str, float], tuple[str, float]]:
    """The units of a graph's size chart and of its duration chart."""
    sizes = graph.sizes["size_mb"] if graph.sizes else [0]
    durations = graph.durations["p95_duration_s"] if graph.durations else [0]
    return size_unit(max(sizes)), time_unit(max(durations))


def forecast(graph: Graph, today: int) -> list[tuple[int, float, float, float]]:
    """The line of `growth` today, 30 and 90 days later, and the interval around it.

    (day, MB, lowest, highest). The line counts from today, though the newest backup may be older;
    the interval's half width is on the straight line through those that `growth` has.
    """
    row = graph.forecast
    if row is None or graph.sizes is None:
        return []
    last = day_number(row["last_day"])
    narrow = row["high_30d_mb"] - row["projected_30d_mb"]
    wider = (row["high_90d_mb"] - row["projected_90d_mb"] - narrow) / 60
    points = []
    for ahead in (0, 30, 90):
        distance = max(today - last, 0) + ahead
        middle = row["projected_30d_mb"] + (distance - 30) * row["mb_per_day"]
        half = max(narrow + (distance - 30) * wider, 0)
        low, at, high = (round(max(mb, 0), 1) for mb in (middle - half, middle, middle + half))
        points.append((today + ahead, at, low, high))
    return points


def marks(graph: Graph) -> list[tuple[int, str, float]]:
    """The graph's anomalies: (milliseconds since 1970, kind, MB or seconds)."""
    return [
        (int(row["started_at"].timestamp() * 1000), row["kind"], round(row["value"], 1))
        for row in graph.anomalies
    ]


def day_number(day: date) -> int:
    """A date as days since 1970-01-01."""
    return (day - EPOCH) // timedelta(days=1)


def _mark(mark: tuple[int, str, float], factor: float) -> Row:
    return {"day": mark[0], "value": mark[2] / factor}


def _scaled(row: Row | None, factor: float, **columns: str) -> list[Row]:
    if row is None:
        return []
    return [
        {
            "day": day * DAY_MS,
            "partial": False,
            **{new: row[old][n] / factor for new, old in columns.items()},
        }
        for n, day in enumerate(row["day"])
    ]


def _packed(row: Row | None, step: int, *columns: str) -> Packed | int:
    if row is None:
        return 0
    days = row["day"]
    steps = [later - earlier for earlier, later in pairwise(days)]
    regular = all(gap == step for gap in steps)
    return [days[0], 0 if regular else steps, *(_differences(row[name]) for name in columns)]


def _differences(values: Sequence[float]) -> list[int]:
    tenths = [round(10 * value) for value in values]
    return tenths[:1] + [b - a for a, b in pairwise(tenths)]
