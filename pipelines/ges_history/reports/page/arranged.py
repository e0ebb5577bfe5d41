"""The views' rows arranged graph by graph, the worst graph first."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

from ges_history.reports.page.contents import Contents, Key, Row
from ges_history.reports.page.words import count, hours, seconds

EPOCH = date(1970, 1, 1)
HEALTHY = {"complete", "incremental"}
RECENT_DAYS = 7
LISTINGS = {
    "failed": "its listing failed",
    "forbidden": "its listing was forbidden",
    "missing": "the API does not know it",
}
KINDS = {"size_drop": "size dropped", "size_jump": "size jumped", "slow": "slow"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a graph, how it reads, and how much it weighs."""

    label: str
    sentence: str
    weight: float
    alarm: bool = True
    """False: worth a look, but nothing to act on at once."""


@dataclass(frozen=True)
class Graph:
    """All that the views say about one graph."""

    place: int
    """Its number on the page, from 0, the worst first."""
    recovery: Row
    growth: Row | None
    inventory: list[Row]
    months: list[Row]
    running: list[Row]
    health: Row | None
    anomalies: list[Row]
    sizes: Row | None
    durations: Row | None
    outcomes: Row | None
    problems: list[Problem]

    @property
    def key(self) -> Key:
        """Its project and its id."""
        return self.recovery["project_id"], self.recovery["graph_id"]

    @property
    def name(self) -> str:
        """Its newest name."""
        return str(self.recovery["graph_name"])

    @property
    def deleted(self) -> bool:
        """Whether the graph itself has left its project."""
        return self.recovery["graph_deleted_at"] is not None

    @property
    def alarms(self) -> list[Problem]:
        """The problems to act on."""
        return [problem for problem in self.problems if problem.alarm]

    @cached_property
    def kept(self) -> tuple[int, int, int]:
        """Backups at the source, their MB, and the backups that have left it."""
        return (
            sum(row["backups"] for row in self.inventory),
            sum(row["size_mb"] for row in self.inventory),
            sum(row["deleted"] for row in self.inventory),
        )


def arrange(contents: Contents) -> list[Graph]:
    """One `Graph` for each that the history knows, the worst first, deleted ones last."""
    today = (contents.as_of.date() - EPOCH).days
    recent = contents.as_of - timedelta(days=RECENT_DAYS)
    growth, health = _one_each(contents.growth), _one_each(contents.health)
    inventory, months = _many_each(contents.inventory), _many_each(contents.reliability)
    running, anomalies = _many_each(contents.running), _many_each(contents.anomalies)
    graphs = []
    for recovery in contents.recovery:
        key = _key(recovery)
        outcomes = contents.outcomes.get(key)
        unusual = [row for row in anomalies[key] if row["started_at"] >= recent]
        failed, ended = _recent_failures(outcomes, today - RECENT_DAYS)
        problems = (
            []
            if recovery["graph_deleted_at"]
            else [
                *_recovery_problems(recovery, months[key]),
                *_running_problems(running[key]),
                *_listing_problems(health.get(key)),
                *_failure_problems(failed, ended),
                *_anomaly_problems(unusual),
            ]
        )
        graphs.append(
            Graph(
                place=0,
                recovery=recovery,
                growth=growth.get(key),
                inventory=inventory[key],
                months=months[key],
                running=running[key],
                health=health.get(key),
                anomalies=anomalies[key],
                sizes=contents.sizes.get(key),
                durations=contents.durations.get(key),
                outcomes=outcomes,
                problems=sorted(problems, key=lambda problem: -problem.weight),
            )
        )
    graphs.sort(key=_badness)
    return [Graph(**{**vars(graph), "place": place}) for place, graph in enumerate(graphs)]


def _badness(graph: Graph) -> tuple[bool, float, str, Key]:
    weight = sum(problem.weight for problem in graph.problems)
    return graph.deleted, -weight, graph.name.casefold(), graph.key


def _recovery_problems(recovery: Row, months: list[Row]) -> Iterable[Problem]:
    if recovery["overdue"]:
        age, usual = recovery["rpo_age_hours"], recovery["usual_gap_hours"]
        late = min(age / usual, 100) if usual else 100
        yield Problem(
            "overdue", f"last success {hours(age)} ago, usually every {hours(usual)}", 200 + late
        )
    if not recovery["successes"]:
        failed = sum(row["failed"] for row in months)
        if failed:
            sentence = f"{count(failed, 'backup')} failed, none succeeded"
            yield Problem("never succeeded", sentence, 310)
        else:
            yield Problem("never succeeded", "no successful backup yet", 120)


def _running_problems(running: list[Row]) -> Iterable[Problem]:
    for row in running:
        if row["stuck"]:
            usual = seconds(row["p95_duration_s"])
            yield Problem(
                "stuck",
                f"running for {seconds(row['elapsed_s'])}, 95 % take at most {usual}",
                150,
            )


def _listing_problems(health: Row | None) -> Iterable[Problem]:
    if health is not None and health["outcome"] not in HEALTHY:
        code = f" ({health['error_code']})" if health["error_code"] else ""
        words = LISTINGS.get(health["outcome"], f"its listing was {health['outcome']}")
        yield Problem(f"listing {health['outcome']}", words + code, 100)


def _failure_problems(failed: int, ended: int) -> Iterable[Problem]:
    if failed:
        yield Problem(
            f"{failed} failed",
            f"{failed:,} of {count(ended, 'backup')} failed in the last {RECENT_DAYS} days",
            5 + 40 * failed / ended,
            alarm=False,
        )


def _anomaly_problems(unusual: list[Row]) -> Iterable[Problem]:
    for kind, words in KINDS.items():
        amount = sum(row["kind"] == kind for row in unusual)
        if amount:
            sentence = f"{words} in {count(amount, 'backup')} of the last {RECENT_DAYS} days"
            yield Problem(words, sentence, 20 + min(amount, 10), alarm=False)


def _recent_failures(outcomes: Row | None, since: int) -> tuple[int, int]:
    """Failed and ended backups after the day `since`."""
    if outcomes is None:
        return 0, 0
    days = zip(outcomes["day"], outcomes["failed"], outcomes["succeeded"], strict=True)
    recent = [(failed, failed + succeeded) for day, failed, succeeded in days if day > since]
    return sum(failed for failed, _ in recent), sum(ended for _, ended in recent)


def _key(row: Row) -> Key:
    return row["project_id"], row["graph_id"]


def _one_each(rows: list[Row]) -> dict[Key, Row]:
    return {_key(row): row for row in rows}


def _many_each(rows: list[Row]) -> defaultdict[Key, list[Row]]:
    found = defaultdict[Key, list[Row]](list)
    for row in rows:
        found[_key(row)].append(row)
    return found
