"""The kinds of rules: which figure each takes, and whether a graph meets it.

A judgement is of the time when the graph was last listed without an error, so that a load which
stands still says nothing about backups; that it stands still is `stale_hours`' to say. Whatever is
exactly at its target meets it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ges_history.reports.overview import HEALTHY
from ges_history.watching.facts import RECENT_SIZES, Graph, Project

Severity = Literal["critical", "warning"]
Verdict = Literal["met", "violated", "unknown", "excluded"]

MOST_HOURS = 876_000.0
"""A hundred years."""
FEWEST_SIZES = 2 * RECENT_SIZES
RUNNING_FACTOR = 3
"""`reports.running` calls a backup stuck beyond so many times its graph's 95th percentile."""


@dataclass(frozen=True)
class Judgement:
    """Whether a graph meets a target, by which figure, and why; figures in the kind's unit."""

    verdict: Verdict
    target: float | None
    actual: float | None
    reason: str


@dataclass(frozen=True)
class Kind:
    """A kind of rule.

    Attributes:
        name: As a policy writes it.
        unit: Of its target and of what is measured; empty where its reason says it all.
        low, high: Between which a target lies, `low` itself left out; None: it is on or off.
        is_whole: Whether a target is a whole number.
        at_least: Whether a target is the least that must be, not the most that may be.
        judge: Of a graph and a target; None where it is about a project.
    """

    name: str
    unit: str
    judge: Callable[[Graph, float], Judgement] | None
    low: float = 0.0
    high: float | None = MOST_HOURS
    is_whole: bool = False
    at_least: bool = False

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, without a figure."""
        return self.high is None


def _hours(span: timedelta) -> float:
    return span / timedelta(hours=1)


def _compared(target: float, actual: float, within: bool, reason: str) -> Judgement:
    return Judgement("met" if within else "violated", target, actual, reason)


def _at(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC" if instant else "never"


def _unlisted(target: float | None) -> Judgement:
    return Judgement("unknown", target, None, "never listed without an error")


def _rpo(graph: Graph, hours: float) -> Judgement:
    if graph.known_until is None:
        return _unlisted(hours)
    if graph.age_hours is None:
        return Judgement("violated", hours, None, "never backed up with success")
    return _compared(
        hours,
        graph.age_hours,
        graph.age_hours <= hours,
        f"last success {_at(graph.last_success_at)}, known until {_at(graph.known_until)}",
    )


def _min_backups(graph: Graph, fewest: float) -> Judgement:
    if graph.known_until is None:
        return _unlisted(fewest)
    count = graph.source_successes
    return _compared(fewest, count, count >= fewest, "successful backups at the source")


def _max_age(graph: Graph, days: float) -> Judgement:
    if graph.known_until is None:
        return _unlisted(days)
    if graph.source_oldest_at is None:
        return Judgement("met", days, None, "no backup at the source")
    age = graph.known_until - graph.source_oldest_at
    return _compared(
        days,
        age / timedelta(days=1),
        age <= timedelta(days=days),
        f"oldest at the source from {_at(graph.source_oldest_at)}",
    )


def _max_duration(graph: Graph, hours: float) -> Judgement:
    known: dict[str, float] = {}
    if graph.ended_s is not None:
        known["the newest that has ended"] = graph.ended_s / 3600
    if graph.running_since is not None and graph.known_until is not None:
        known["in progress"] = _hours(graph.known_until - graph.running_since)
    if not known:
        return Judgement("unknown", hours, None, "no duration is known")
    words = max(known, key=lambda words: known[words])
    return _compared(hours, known[words], known[words] <= hours, words)


def _success_rate(graph: Graph, rate: float) -> Judgement:
    ended = graph.succeeded_30d + graph.failed_30d
    if graph.known_until is None:
        return _unlisted(rate)
    if not ended:
        return Judgement("unknown", rate, None, "no backup has ended in 30 days")
    actual = graph.succeeded_30d / ended
    words = f"{graph.failed_30d:,} of {ended:,} failed in 30 days"
    return _compared(rate, actual, actual >= rate, words)


def _size_change(graph: Graph, percent: float) -> Judgement:
    if graph.sizes < FEWEST_SIZES or graph.recent_mb is None or graph.earlier_mb is None:
        words = f"fewer than {FEWEST_SIZES} sizes are known: no lasting change can be seen"
        return Judgement("met", percent, None, words)
    words = f"median of the last {RECENT_SIZES} sizes {graph.recent_mb:,.0f} MB,"
    words += f" of those before {graph.earlier_mb:,.0f} MB"
    difference = abs(graph.recent_mb - graph.earlier_mb)
    if graph.earlier_mb == 0:
        return Judgement("violated" if difference else "met", percent, None, words)
    change = 100.0 * difference / graph.earlier_mb
    signed = change if graph.recent_mb > graph.earlier_mb else -change
    within = 100.0 * difference <= percent * graph.earlier_mb
    return _compared(percent, signed, within, words)


def _encrypted(graph: Graph, _: float) -> Judgement:
    if graph.known_until is None:
        return _unlisted(0)
    if graph.source_plain:
        words = f"{graph.source_plain:,} backups at the source are not encrypted"
        return Judgement("violated", 0, graph.source_plain, words)
    if graph.source_unsaid:
        words = f"the API does not say it of {graph.source_unsaid:,} backups at the source"
        return Judgement("unknown", 0, None, words)
    return Judgement("met", 0, 0, "all backups at the source are encrypted")


def stale(listed: Graph | Project, hours: float) -> Judgement:
    """Whether the last listing without an error, of a graph or of a project, is too old."""
    if listed.stale_hours is None:
        return Judgement("violated", hours, None, "never listed without an error")
    words = f"nothing newer is known than of {_at(listed.known_until)}"
    return _compared(hours, listed.stale_hours, listed.stale_hours <= hours, words)


def stale_load(project: Project) -> Judgement:
    """Whether a project's last load is too old, by the rhythm of its backups."""
    hours = project.stale_after_hours
    if project.load_age_hours is None:
        return Judgement("violated", hours, None, "never listed")
    words = f"last load {_at(project.loaded_at)}, nothing newer is known"
    return _compared(hours, project.load_age_hours, project.load_age_hours <= hours, words)


def _overdue(graph: Graph, _: float) -> Judgement:
    if graph.age_hours is None or graph.overdue_after_hours is None:
        return Judgement("unknown", None, None, "there is no success to count from")
    words = "no rhythm yet, a week is given to a second success"
    if graph.usual_gap_hours is not None:
        words = f"last success {_at(graph.last_success_at)}, twice its usual gap is given"
    return _compared(graph.overdue_after_hours, graph.age_hours, not graph.overdue, words)


def _stuck(graph: Graph, _: float) -> Judgement:
    words = (
        f"{graph.stuck:,} of {graph.running:,} in progress, {RUNNING_FACTOR} times as long as usual"
    )
    return _compared(0, graph.stuck, graph.stuck == 0, words)


def _never_succeeded(graph: Graph, _: float) -> Judgement:
    if graph.known_until is None:
        return _unlisted(1)
    words = f"{graph.successes:,} of {graph.backups_kept:,} backups succeeded, ever"
    return _compared(1, graph.successes, graph.successes > 0, words)


def failed_listing(listed: Graph | Project, _: float = 1) -> Judgement:
    """Whether the latest listing, of a graph or of a project at once, ended with an error."""
    if listed.outcome is None:
        return Judgement("unknown", None, None, "it was never asked for")
    words = listed.outcome + (f", {listed.error_code}" if listed.error_code else "")
    is_good = listed.outcome in HEALTHY
    return Judgement("met" if is_good else "violated", None, None, f"its last listing: {words}")


def failed_load(error: str) -> Judgement:
    """A load that could list nothing of its project."""
    return Judgement("violated", None, None, f"its last load failed: {error}")


def _anomalies(graph: Graph, _: float) -> Judgement:
    words = f"{graph.anomalies:,} unusual sizes or durations in 7 days"
    return _compared(0, graph.anomalies, graph.anomalies == 0, words)


def _rejected(graph: Graph, _: float) -> Judgement:
    return rejected(graph.rejected_30d)


def rejected(count: int) -> Judgement:
    """Whether records were rejected, of a graph or of no graph that is known."""
    return _compared(0, count, count == 0, f"{count:,} records of 30 days do not fit, kept aside")


KINDS = {
    kind.name: kind
    for kind in (
        Kind("rpo_hours", "h", _rpo),
        Kind("min_backups", "backups", _min_backups, high=1e6, is_whole=True, at_least=True),
        Kind("max_age_days", "days", _max_age, high=36_500),
        Kind("max_duration_hours", "h", _max_duration),
        Kind("min_success_rate", "share", _success_rate, high=1, at_least=True),
        Kind("max_size_change_pct", "%", _size_change, high=1e6),
        Kind("must_be_encrypted", "", _encrypted, high=None),
        Kind("stale_hours", "h", stale),
        Kind("stale_load", "h", None, high=None),
        Kind("overdue", "h", _overdue, high=None),
        Kind("stuck", "", _stuck, high=None),
        Kind("never_succeeded", "", _never_succeeded, high=None),
        Kind("failed_listing", "", failed_listing, high=None),
        Kind("anomalies", "", _anomalies, high=None),
        Kind("rejected_records", "", _rejected, high=None),
    )
}
"""By name, in the order in which they are told."""

NEEDS = {"max_size_change_pct": "sizes", "anomalies": "anomalies"}
"""The costly parts of the facts that a kind looks at."""
