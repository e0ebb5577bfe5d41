"""What is wrong with each graph and with the whole, in words; the same for screen and page."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ges_history.reports.overview import HEALTHY, RECENT_DAYS, Fleet, Key, Row
from ges_history.reports.words import count, day, hours, percent, plain, seconds, size

AHEAD_HOURS = 1 / 60
"""Stamps that lie further ahead of the clock are told."""
LISTINGS = {
    "failed": "its listing failed",
    "forbidden": "its listing was forbidden",
    "missing": "the API does not know it",
}
KINDS = {"size_drop": "size dropped", "size_jump": "size jumped", "slow": "slow"}
LATE_HOURS = 2.0
"""What was known so long ago is told as of then."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a graph, how it reads, and how much it weighs."""

    label: str
    sentence: str
    weight: float
    alarm: bool = True
    """False: worth a look, but nothing to act on at once."""


@dataclass(frozen=True)
class Judged:
    """A graph's row of `recovery_point`, and what is wrong with it, the worst first."""

    recovery: Row
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
    def project(self) -> str:
        """The name of its project."""
        return str(self.recovery["project_name"])

    @property
    def deleted(self) -> bool:
        """Whether the graph itself has left its project."""
        return self.recovery["graph_deleted_at"] is not None

    @property
    def alarms(self) -> list[Problem]:
        """The problems to act on."""
        return [problem for problem in self.problems if problem.alarm]

    @property
    def badness(self) -> tuple[bool, bool, float, str, Key]:
        """Sorts the worst first, deleted graphs last."""
        weight = sum(problem.weight for problem in self.problems)
        return self.deleted, not self.alarms, -weight, self.name.casefold(), self.key


def judge(fleet: Fleet, failures: Mapping[Key, tuple[int, int]] | None = None) -> list[Judged]:
    """Every graph, the worst first.

    Args:
        fleet: The rows to judge by.
        failures: {graph: (failed, ended)} of the last days, where that is known.
    """
    growth, health = one_each(fleet.growth), one_each(fleet.health)
    running, unusual = many_each(fleet.running), many_each(fleet.recent_anomalies)
    graphs = []
    for recovery in fleet.recovery:
        key = key_of(recovery)
        problems = (
            []
            if recovery["graph_deleted_at"]
            else [
                *_recovery_problems(recovery, fleet.failed_ever.get(key, 0), fleet.as_of),
                *_running_problems(running[key]),
                *_listing_problems(health.get(key)),
                *_level_problems(growth.get(key)),
                *_failure_problems(*(failures or {}).get(key, (0, 0))),
                *_anomaly_problems(unusual[key], growth.get(key)),
            ]
        )
        graphs.append(Judged(recovery, sorted(problems, key=lambda problem: -problem.weight)))
    return sorted(graphs, key=lambda graph: graph.badness)


def verdict(graphs: Sequence[Judged]) -> str:
    """One sentence on the fleet, with the one count of graphs that need attention."""
    alarmed = sum(bool(graph.alarms) for graph in graphs)
    living = sum(not graph.deleted for graph in graphs)
    if not graphs:
        return "No graph is known yet."
    if not living:
        return "All graphs have been deleted."
    if not alarmed:
        return "All graphs are in order." if living > 1 else "The graph is in order."
    if living == 1:
        return "The graph needs attention."
    verb = "needs" if alarmed == 1 else "need"
    return f"{alarmed:,} of {count(living, 'graph')} {verb} attention."


def fleet_alarms(fleet: Fleet) -> list[str]:
    """What is wrong with the whole, before any graph: no load, no listing, clocks that do not agree."""
    return [*_stale(fleet), *_refused(fleet), *_ahead(fleet)]


def _stale(fleet: Fleet) -> Iterable[str]:
    never = [row for row in fleet.projects if row["loaded_at"] is None]
    late = [row for row in fleet.projects if row["stale"]]
    if late:
        whose = "" if len(late) == len(fleet.projects) else f" of {_names(late)}"
        newest = min(row["load_age_hours"] for row in late)
        least = "at least " if len(late) > 1 else ""
        yield f"No load{whose} for {least}{_days(newest)}; nothing newer is known."
    if never:
        yield f"No load of {_names(never)} yet."


def _refused(fleet: Fleet) -> Iterable[str]:
    for listing in fleet.refused:
        why = ", ".join(plain(listing[name]) for name in ("outcome", "error_code") if listing[name])
        yield f"{plain(listing['project_name'])} could not be listed: {why}."


def _ahead(fleet: Fleet) -> Iterable[str]:
    ages = [row["rpo_age_hours"] for row in fleet.recovery if row["rpo_age_hours"] is not None]
    ages += [row["elapsed_s"] / 3600 for row in fleet.running]
    ahead = -min(ages, default=0)
    if ahead > AHEAD_HOURS:
        yield (
            f"The source's clock is {hours(ahead)} ahead of this one:"
            " ages and what is overdue cannot be trusted."
        )


def _names(projects: list[Row], shown: int = 3) -> str:
    names = [plain(row["project_name"]) for row in projects[:shown]]
    more = len(projects) - len(names)
    return ", ".join(names) + (f" and {count(more, 'other project')}" if more else "")


def _days(age_hours: float) -> str:
    """An age as an alarm says it: whole days."""
    return count(int(age_hours // 24), "day") if age_hours >= 48 else hours(age_hours)


def _recovery_problems(recovery: Row, failed: int, as_of: datetime) -> Iterable[Problem]:
    if recovery["overdue"]:
        age, usual = recovery["age_when_known_hours"], recovery["usual_gap_hours"]
        known = (as_of - recovery["known_until"]).total_seconds() / 3600
        when = (
            f"{hours(age)} ago" if known < LATE_HOURS else f"{hours(age)} before its last listing"
        )
        given = recovery["overdue_after_hours"]
        rhythm = "no second one in a week" if usual is None else f"usually every {hours(usual)}"
        late = min(2 * age / given, 90) if given else 90
        yield Problem("overdue", f"last success {when}, {rhythm}", 200 + late)
    if not recovery["successes"] and recovery["known_until"]:
        sentence = f"{count(failed, 'backup')} failed, none succeeded"
        yield Problem(
            "never succeeded",
            sentence if failed else "no successful backup yet",
            320 if failed else 310,
        )


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


def _level_problems(growth: Row | None) -> Iterable[Problem]:
    """A lasting change, until it is the normal of the 30 backups before the newest."""
    if growth is None or not growth["is_new_level"]:
        return
    before, after = growth["level_before_mb"], growth["level_mb"]
    drop = after < before
    verb = "dropped" if drop else "grew"
    by = f" by {percent(abs(after / before - 1))}" if before else ""
    yield Problem(
        f"size {verb}",
        f"size {verb}{by} since {day(growth['level_since'])}: {size(after)}, before {size(before)}",
        90 if drop else 25,
        alarm=drop,
    )


def _failure_problems(failed: int, ended: int) -> Iterable[Problem]:
    if failed:
        yield Problem(
            f"{failed} failed",
            f"{failed:,} of {count(ended, 'backup')} failed in the last {RECENT_DAYS} days",
            5 + 40 * failed / ended,
            alarm=False,
        )


def _anomaly_problems(unusual: list[Row], growth: Row | None) -> Iterable[Problem]:
    lasting = growth is not None and growth["is_new_level"]
    for kind, words in KINDS.items():
        amount = sum(row["kind"] == kind for row in unusual)
        if amount and not (lasting and kind != "slow"):
            sentence = f"{words} in {count(amount, 'backup')} of the last {RECENT_DAYS} days"
            yield Problem(words, sentence, 20 + min(amount, 10), alarm=False)


def key_of(row: Row) -> Key:
    """The graph that a row is of."""
    return row["project_id"], row["graph_id"]


def one_each(rows: Iterable[Row]) -> dict[Key, Row]:
    """{graph: its row}."""
    return {key_of(row): row for row in rows}


def many_each(rows: Iterable[Row]) -> defaultdict[Key, list[Row]]:
    """{graph: its rows}, in their order."""
    found = defaultdict[Key, list[Row]](list)
    for row in rows:
        found[key_of(row)].append(row)
    return found
