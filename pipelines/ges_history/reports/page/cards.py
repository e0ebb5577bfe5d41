"""The figures of one graph, as label and text."""

from ges_history.reports.overview import HEALTHY, Row
from ges_history.reports.page.arranged import Graph
from ges_history.reports.page.series import day_number, forecast
from ges_history.reports.page.stored import Stored
from ges_history.reports.words import (
    change,
    count,
    day,
    hours,
    moment,
    number,
    percent,
    plain,
    seconds,
    size,
)

Pairs = list[tuple[str, str]]

OLD_DAYS = 7
"""A forecast from an older backup says so."""


def figures(graph: Graph, today: int) -> Pairs:
    """What the views say about a graph, for the list beside its charts."""
    return [
        *_recovery(graph.recovery),
        *_target(graph),
        *_growth(graph, today),
        *_speed(graph.durations),
        *_month(graph.months),
        *_inventory(graph.inventory),
        *_running(graph.running),
        *_listing(graph.health),
    ]


def size_summary(graph: Graph, today: int) -> str:
    """The size chart in words, for those who do not see it."""
    if graph.sizes is None:
        return "No successful backup in this window."
    values = graph.sizes["size_mb"]
    text = (
        f"Size of successful backups: {size(values[-1])} at the end,"
        f" between {size(min(values))} and {size(max(values))}"
    )
    ahead = forecast(graph, today)
    if not ahead:
        return text + "."
    _, at, low, high = ahead[-1]
    return f"{text}; {size(at)} forecast in 90 days, between {size(low)} and {size(high)}."


def stored_summary(stored: Stored) -> str:
    """The chart of stored volume in words."""
    total = stored.total_mb
    if not total:
        return "Nothing is stored yet."
    parts = ", ".join(f"{plain(part.name)} {size(part.stored_mb[-1])}" for part in stored.parts)
    return f"{size(total[-1])} now, {size(total[0])} on {day(stored.first_day)}: {parts}."


def duration_summary(graph: Graph) -> str:
    """The duration chart in words."""
    if graph.durations is None:
        return "No successful backup in this window."
    row = graph.durations
    return (
        f"Duration of the newest week's successes: half within {seconds(row['p50_duration_s'][-1])},"
        f" 95 % within {seconds(row['p95_duration_s'][-1])}."
    )


def calendar_summary(outcomes: Row | None) -> str:
    """A calendar in words."""
    if outcomes is None or not outcomes["day"]:
        return "No backup ended in this window."
    failed, bad_days = sum(outcomes["failed"]), sum(bool(n) for n in outcomes["failed"])
    ended = failed + sum(outcomes["succeeded"])
    if not failed:
        return f"None of {count(ended, 'backup')} failed."
    return f"{failed:,} of {count(ended, 'backup')} failed, on {count(bad_days, 'day')}."


def _recovery(row: Row) -> Pairs:
    if row["last_success_at"] is None:
        return [("Last success", "none")]
    ago = hours(row["rpo_age_hours"])
    pairs = [("Last success", f"{moment(row['last_success_at'])} UTC, {ago} ago")]
    if row["usual_gap_hours"] is not None:
        longest = row["longest_gap_hours"]
        text = f"every {hours(row['usual_gap_hours'])}"
        text += f", longest gap {hours(longest)} in 90 days" if longest is not None else ""
        pairs.append(("Rhythm", text))
    return pairs


def _target(graph: Graph) -> Pairs:
    found = graph.adherence
    if found is None or found.target_hours is None:
        return []
    shares = " / ".join(map(percent, found.shares))
    return [
        ("Target", f"last success at most {hours(found.target_hours)} old"),
        ("Days on target", f"{shares} of 30 / 90 / 365 days"),
    ]


def _growth(graph: Graph, today: int) -> Pairs:
    row = graph.growth
    if row is None:
        return []
    pairs = [("Newest size", f"{size(row['last_size_mb'])}, on {day(row['last_day'])}")]
    if row["level_since"] is not None:
        text = f"{day(row['level_since'])}: {size(row['level_mb'])}"
        pairs.append(("Level since", f"{text}, before {size(row['level_before_mb'])}"))
    ahead = forecast(graph, today)
    if not ahead:
        return pairs
    pairs.append(("Growth", f"{change(row['mb_per_day'])} a day (r² {number(row['r2'], 2)})"))
    for days, (_, at, low, high) in zip((30, 90), ahead[1:], strict=True):
        pairs.append((f"In {days} days", f"{size(at)} ({size(low)} to {size(high)})"))
    age = today - day_number(row["last_day"])
    if age > OLD_DAYS:
        pairs.append(("Forecast", f"from today, though the newest backup is {age:,} days old"))
    return pairs


def _speed(row: Row | None) -> Pairs:
    if row is None or row["mb_per_s"][-1] is None:
        return []
    return [("Speed", f"{number(row['mb_per_s'][-1], 1)} MB/s in the newest week")]


def _month(months: list[Row]) -> Pairs:
    if not months:
        return []
    row = months[-1]
    ended = row["succeeded"] + row["failed"]
    text = f"{row['succeeded']:,} of {ended:,} succeeded ({percent(row['success_rate'])})"
    streak = row["longest_failure_streak"]
    text += f", {streak:,} failures in a row" if streak > 1 else ""
    so_far = " so far" if row["is_partial"] else ""
    return [(f"{row['month']:%b %Y}{so_far}", text)]


def _inventory(rows: list[Row]) -> Pairs:
    pairs = []
    for row in rows:
        text = f"{count(row['backups'], 'backup')}, {size(row['size_mb'])}"
        if row["deleted"]:
            text += f"; {row['deleted']:,} gone"
            if row["median_lifetime_days"] is not None:
                text += f" after {number(row['median_lifetime_days'], 1)} days"
        method = plain(row["backup_method"]) if row["backup_method"] else "method unknown"
        pairs.append((f"At the source, {method}", text))
    return pairs


def _running(rows: list[Row]) -> Pairs:
    return [
        ("Running", f"for {seconds(row['elapsed_s'])}{', stuck' if row['stuck'] else ''}")
        for row in rows
    ]


def _listing(row: Row | None) -> Pairs:
    if row is None:
        return []
    text = f"{row['outcome']}, {moment(row['listed_at'])} UTC"
    if row["outcome"] not in HEALTHY:
        text += f", last complete {moment(row['last_complete_at'])}"
    return [("Listing", plain(text))]
