"""Compliance over time: each span in which the last success was older than a policy allows.

A span begins when a success (or, before the first one, the first attempt) has become too old, and
ends with the start of the next success, with the graph's leaving its project, or not yet; then its
length counts up to the time when the graph was last listed without an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ges_history.reports.overview import Scope
from ges_history.warehouses.seam import Read
from ges_history.watching.facts import Graph, read_facts
from ges_history.watching.kinds import KINDS, Severity
from ges_history.watching.policy import Policy, PolicyError, Rule

TIMED = ("rpo_hours", "overdue")
"""The kinds of rules that are about the time between successes."""
FIRST_WEEK = timedelta(days=7)
"""How long a graph may wait for its first success before it counts as overdue."""

GAPS = """
SELECT g.project_id, g.graph_id, g.began_at, g.ended_at, g.backup_before, g.backup_after
FROM reports.gaps AS g
JOIN reports.recovery_point AS r ON g.project_id = r.project_id AND g.graph_id = r.graph_id
WHERE g.ended_at IS NULL OR {condition}
"""

HOUR = timedelta(hours=1)

COLUMNS = (
    "project_id",
    "graph_id",
    "graph_name",
    "rule",
    "severity",
    "target_hours",
    "began_at",
    "ended_at",
    "length_hours",
    "backup_before",
    "backup_after",
    "reason",
)


@dataclass(frozen=True)
class Span:
    """A time in which a rule did not hold; `ended_at` is None while it goes on.

    `began_at` and `length_hours` are None for a graph that was never backed up at all.
    """

    project_id: str
    graph_id: str
    graph_name: str
    rule: str
    severity: Severity
    target_hours: float
    began_at: datetime | None
    ended_at: datetime | None
    length_hours: float | None
    backup_before: str | None
    backup_after: str | None
    reason: str


@dataclass(frozen=True)
class _Gap:
    """A time without a success; `end` is None while none has come."""

    start: datetime
    before: str | None
    end: datetime | None
    after: str | None


def violations_between(
    read: Read,
    policy: Policy,
    since: datetime | None = None,
    until: datetime | None = None,
    scope: Scope | None = None,
) -> list[Span]:
    """The spans of violation that overlap a window, by graph and time.

    Args:
        read: Of a warehouse's `reading()`.
        policy: Its rules of the kinds `TIMED` count; `overdue` goes by the rhythm of today.
        since: Begin of the window; default: the beginning.
        until: The instant before which it ends; default: now.
        scope: Which projects to look at; default: all.

    Raises:
        PolicyError: It has no rule about time, or none that names a graph.
    """
    graphs = read_facts(read, ()).only(scope or Scope()).graphs
    ruled = [
        (graph, rule, target)
        for kind in TIMED
        for graph in graphs
        for rule, target in _ruled(policy, kind, graph)
    ]
    if not ruled:
        if graphs or not any(map(policy.rules_of, TIMED)):
            raise PolicyError(
                f"By {policy.name} nothing can be told of the past: no rule of the kinds"
                f" {' and '.join(TIMED)} names any of these graphs."
            )
        return []
    gaps = _gaps(read, policy)
    spans = [
        span
        for graph, rule, target in ruled
        for gap in gaps.get((graph.project_id, graph.graph_id), [None])
        if (span := _span(graph, rule, target, gap)) and _overlaps(span, since, until)
    ]
    first = datetime.min.replace(tzinfo=UTC)
    spans.sort(key=lambda s: (s.project_id, s.graph_name, s.graph_id, s.rule, s.began_at or first))
    return spans


def _ruled(policy: Policy, kind: str, graph: Graph) -> Iterator[tuple[Rule, timedelta]]:
    """The rule of a kind that counts for a graph, with the time that it gives."""
    rule = policy.ruling(kind, graph).rule
    if rule is None:
        return
    if not KINDS[kind].is_switch:
        yield rule, timedelta(hours=rule.target)
    elif graph.overdue_after_hours is not None:
        yield rule, timedelta(hours=graph.overdue_after_hours)
    else:
        yield rule, FIRST_WEEK


def _gaps(read: Read, policy: Policy) -> dict[tuple[str, str], list[_Gap | None]]:
    """The times without a success of each graph, without most of those too short to matter.

    A gap of a graph that has left its project may be longer than the view says, which counts up
    to its last listing: so all of the open ones are taken.
    """
    conditions = []
    if rules := policy.rules_of("rpo_hours"):
        conditions.append(f"g.gap_hours >= {min(rule.target for rule in rules)!r}")
    if policy.rules_of("overdue"):
        conditions.append("g.gap_hours >= r.overdue_after_hours OR r.overdue_after_hours IS NULL")
    sql = GAPS.format(condition=" OR ".join(conditions))
    gaps: dict[tuple[str, str], list[_Gap | None]] = {}
    for row in read(sql).to_pylist():
        gap = _Gap(row["began_at"], row["backup_before"], row["ended_at"], row["backup_after"])
        gaps.setdefault((row["project_id"], row["graph_id"]), []).append(gap)
    return gaps


def _span(graph: Graph, rule: Rule, target: timedelta, gap: _Gap | None) -> Span | None:
    """The violation in a gap, if it is longer than the target; gap None: there is no backup."""
    if gap is None:
        is_unknown = graph.left_at or graph.known_until is None
        return None if is_unknown else _as_span(graph, rule, target, None, None, None, None)
    ended = gap.end or graph.left_at
    known = ended or graph.known_until
    if known is None or known - gap.start <= target:
        return None
    began = gap.start + target
    return _as_span(graph, rule, target, gap, began, ended, known - began)


def _as_span(
    graph: Graph,
    rule: Rule,
    target: timedelta,
    gap: _Gap | None,
    began: datetime | None,
    ended: datetime | None,
    length: timedelta | None,
) -> Span:
    return Span(
        project_id=graph.project_id,
        graph_id=graph.graph_id,
        graph_name=graph.graph_name,
        rule=rule.kind,
        severity=rule.severity,
        target_hours=target / HOUR,
        began_at=began,
        ended_at=ended,
        length_hours=None if length is None else length / HOUR,
        backup_before=gap.before if gap else None,
        backup_after=gap.after if gap else None,
        reason=_reason(graph, gap),
    )


def _reason(graph: Graph, gap: _Gap | None) -> str:
    if gap is None:
        return "never backed up"
    if gap.end:
        return "no success before" if gap.before is None else "the next success came late"
    if graph.left_at:
        return "the graph left its project without another success"
    return "no success so far" if gap.before is None else "no success since"


def _overlaps(span: Span, since: datetime | None, until: datetime | None) -> bool:
    """Whether a part of a span lies in a window; one without an end goes on, for all that is known."""
    is_begun = until is None or span.began_at is None or span.began_at < until
    return is_begun and (since is None or span.ended_at is None or span.ended_at > since)
