"""The figures at the head of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ges_history.reports.overview import RECENT_DAYS, Fleet, Row
from ges_history.reports.page.adherence import MET, UNKNOWN
from ges_history.reports.page.arranged import EPOCH, Graph
from ges_history.reports.page.contents import Contents
from ges_history.reports.words import change, count, day, hours, moment, percent, size

RATE_DAYS = 30


@dataclass(frozen=True)
class Figure:
    """One headline figure: what it is, its value, and a line that explains it."""

    label: str
    value: str
    note: str
    tone: str = ""
    """`bad` and `fair` colour the value; empty: as it is."""


def loaded(totals: Row) -> str:
    """When the source was last read, and how long before the page that was."""
    if totals["loaded_at"] is None:
        return "never"
    return f"{moment(totals['loaded_at'])} UTC ({hours(totals['load_age_hours'])} before)"


def headline(contents: Contents, graphs: Sequence[Graph]) -> list[Figure]:
    """The figures, the most pressing first."""
    fleet, totals = contents.fleet, contents.fleet.totals
    return [
        _overdue(totals, graphs),
        _never(totals),
        _success(totals["success_rate_30d"]),
        _running(totals),
        _anomalies(fleet),
        _listings(fleet),
        _on_target(fleet, graphs),
        _rejected(totals),
        _graphs(totals, graphs),
        _kept(totals),
        _growth(fleet),
        _ahead(totals),
    ]


def _overdue(totals: Row, graphs: Sequence[Graph]) -> Figure:
    ages = [g.recovery["rpo_age_hours"] for g in graphs if not g.deleted]
    known = [age for age in ages if age is not None]
    note = f"oldest last success {hours(max(known))} ago" if known else "no success yet"
    return Figure("Overdue", f"{totals['overdue']:,}", note, "bad" if totals["overdue"] else "")


def _never(totals: Row) -> Figure:
    never = totals["never_succeeded"]
    note = f"of {count(totals['graphs_at_source'], 'graph')}"
    return Figure("Without any success", f"{never:,}", note, "bad" if never else "")


def _success(rate: float | None) -> Figure:
    tone = "bad" if rate is not None and rate < 0.9 else ""
    note = f"of the backups that ended in {RATE_DAYS} days"
    return Figure("Success rate", percent(rate), note, tone)


def _running(totals: Row) -> Figure:
    stuck = totals["stuck"]
    note = f"{stuck:,} stuck" if stuck else "none stuck"
    return Figure("Running", f"{totals['running']:,}", note, "bad" if stuck else "")


def _anomalies(fleet: Fleet) -> Figure:
    recent = fleet.recent_anomalies
    graphs = len({(row["project_id"], row["graph_id"]) for row in recent})
    where = f"in {count(graphs, 'graph')}, " if recent else "in "
    note = f"{where}the last {RECENT_DAYS} days"
    return Figure("Anomalies", f"{len(recent):,}", note, "fair" if recent else "")


def _listings(fleet: Fleet) -> Figure:
    failed = fleet.totals["failed_listings"]
    note = f"of {count(len(fleet.listed), 'graph')} asked for"
    return Figure("Listings failed", f"{failed:,}", note, "bad" if failed else "")


def _on_target(fleet: Fleet, graphs: Sequence[Graph]) -> Figure:
    first = (fleet.as_of.date() - timedelta(days=RATE_DAYS - 1) - EPOCH).days
    verdicts = [
        graph.adherence.verdict(place)
        for graph in graphs
        if graph.adherence
        for place in range(max(first - graph.adherence.first_day, 0), len(graph.adherence.ages))
    ]
    known = [verdict for verdict in verdicts if verdict != UNKNOWN]
    share = sum(verdict == MET for verdict in known) / len(known) if known else None
    tone = "" if share is None or share >= 0.9 else "bad"
    return Figure("Days on target", percent(share), f"of all graphs, in {RATE_DAYS} days", tone)


def _rejected(totals: Row) -> Figure:
    rejected = totals["rejected_30d"]
    note = f"first seen in the last {RATE_DAYS} days"
    return Figure("Records rejected", f"{rejected:,}", note, "fair" if rejected else "")


def _graphs(totals: Row, graphs: Sequence[Graph]) -> Figure:
    left = [graph.kept for graph in graphs if graph.deleted]
    note = "none deleted so far"
    if left:
        backups, mb, _ = map(sum, zip(*left, strict=True))
        still = f"{count(backups, 'backup')} at the source, {size(mb)}" if backups else "no backup"
        note = f"and {len(left):,} deleted since, which hold {still}"
    return Figure("Graphs", f"{totals['graphs_at_source']:,}", note)


def _kept(totals: Row) -> Figure:
    gone = totals["backups_kept"] - totals["backups_at_source"]
    note = f"{count(totals['backups_at_source'], 'backup')}; {gone:,} more only in this history"
    return Figure("Stored at the source", size(totals["stored_mb"]), note)


def _growth(fleet: Fleet) -> Figure:
    totals = fleet.totals
    note = (
        f"in {RATE_DAYS} days {change(totals['added_30d_mb'])} new,"
        f" {size(totals['removed_30d_mb'])} deleted"
    )
    since = totals["complete_since"]
    if since is not None and since > fleet.as_of - timedelta(days=RATE_DAYS):
        note += f"; deletions known since {day(since)}"
    return Figure("Growth a day", change(totals["growth_mb_per_day"]), note)


def _ahead(totals: Row) -> Figure:
    if not totals["stored_mb"]:
        return Figure("Stored in 90 days", "\N{EN DASH}", "nothing stored to go by")
    note = f"{size(totals['projected_30d_mb'])} in 30 days, at this growth"
    return Figure("Stored in 90 days", size(totals["projected_90d_mb"]), note)
