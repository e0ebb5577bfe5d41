"""The figures at the head of the page, and the sentence that sums it up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ges_history.reports.page.arranged import HEALTHY, RECENT_DAYS, Graph
from ges_history.reports.page.contents import Contents, Row
from ges_history.reports.page.words import change, count, hours, moment, percent, size

RATE_DAYS = 30


@dataclass(frozen=True)
class Figure:
    """One headline figure: what it is, its value, and a line that explains it."""

    label: str
    value: str
    note: str
    tone: str = ""
    """`bad` and `fair` colour the value; empty: as it is."""


def verdict(graphs: Sequence[Graph]) -> str:
    """One sentence on the fleet."""
    alarmed = sum(bool(graph.alarms) for graph in graphs)
    living = sum(not graph.deleted for graph in graphs)
    if not graphs:
        return "No graph is known yet."
    if not alarmed:
        return "All graphs are in order." if living > 1 else "The graph is in order."
    if living == 1:
        return "The graph needs attention."
    return (
        f"{alarmed:,} of {count(living, 'graph')} {'needs' if alarmed == 1 else 'need'} attention."
    )


def loaded(contents: Contents) -> str:
    """When the source was last read, and how long before the page that was."""
    fleet = contents.fleet
    if fleet["loaded_at"] is None:
        return "never"
    return f"{moment(fleet['loaded_at'])} UTC ({hours(fleet['load_age_hours'])} before)"


def headline(contents: Contents, graphs: Sequence[Graph]) -> list[Figure]:
    """The figures, the most pressing first."""
    return [
        _overdue(graphs),
        _success(contents.fleet["success_rate_30d"]),
        _running(contents),
        _anomalies(contents),
        _listings(contents),
        _graphs(contents.fleet),
        _kept(contents.fleet),
        _growth(contents.fleet, graphs),
    ]


def _overdue(graphs: Sequence[Graph]) -> Figure:
    living = [graph for graph in graphs if not graph.deleted]
    overdue = sum(bool(graph.recovery["overdue"]) for graph in living)
    never = sum(not graph.recovery["successes"] for graph in living)
    ages = [g.recovery["rpo_age_hours"] for g in living if g.recovery["rpo_age_hours"] is not None]
    note = f"oldest last success {hours(max(ages))} ago" if ages else "no success yet"
    if never:
        note = f"and {count(never, 'graph')} without any success"
    return Figure("Overdue", f"{overdue:,}", note, "bad" if overdue or never else "")


def _success(rate: float | None) -> Figure:
    tone = "bad" if rate is not None and rate < 0.9 else ""
    note = f"of the backups that ended in {RATE_DAYS} days"
    return Figure("Success rate", percent(rate), note, tone)


def _running(contents: Contents) -> Figure:
    running = len(contents.running)
    stuck = sum(bool(row["stuck"]) for row in contents.running)
    note = f"{stuck:,} stuck" if stuck else "none stuck"
    return Figure("Running", f"{running:,}", note, "bad" if stuck else "")


def _anomalies(contents: Contents) -> Figure:
    since = contents.as_of - timedelta(days=RECENT_DAYS)
    recent = [row for row in contents.anomalies if row["started_at"] > since]
    graphs = len({(row["project_id"], row["graph_id"]) for row in recent})
    where = f"in {count(graphs, 'graph')}, " if recent else "in "
    note = f"{where}the last {RECENT_DAYS} days"
    return Figure("Anomalies", f"{len(recent):,}", note, "fair" if recent else "")


def _listings(contents: Contents) -> Figure:
    failed = sum(row["outcome"] not in HEALTHY for row in contents.health)
    note = f"of {count(len(contents.health), 'graph')} asked for"
    return Figure("Listings failed", f"{failed:,}", note, "bad" if failed else "")


def _graphs(fleet: Row) -> Figure:
    deleted = fleet["graphs"] - fleet["graphs_at_source"]
    note = f"and {deleted:,} deleted since" if deleted else "none deleted so far"
    return Figure("Graphs", f"{fleet['graphs_at_source']:,}", note)


def _kept(fleet: Row) -> Figure:
    gone = fleet["backups_kept"] - fleet["backups_at_source"]
    note = f"{count(fleet['backups_at_source'], 'backup')}; {gone:,} more only in this history"
    return Figure("Stored at the source", size(fleet["stored_mb"]), note)


def _growth(fleet: Row, graphs: Sequence[Graph]) -> Figure:
    newest = sum(g.growth["last_size_mb"] for g in graphs if g.growth and not g.deleted)
    note = f"newest backups together {size(newest)}"
    return Figure("Growth a day", change(fleet["growth_mb_per_day"]), note)
