"""A check told to people, to Nagios, and as rows for programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ges_history.reports import words
from ges_history.reports.words import harmless
from ges_history.watching.evidence import COLUMNS as SPAN_COLUMNS
from ges_history.watching.evidence import Span
from ges_history.watching.facts import Graph
from ges_history.watching.findings import COLUMNS, Check, Finding, judge_graph
from ges_history.watching.kinds import KINDS
from ges_history.watching.policy import Policy, Rule

if TYPE_CHECKING:
    import pyarrow as pa

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
"""By exit code."""

BYTES_PER_MB = 1_048_576
"""The API's documents say MB and no more: a choice that never understates what is stored."""

NAGIOS_BYTES = 7_000
"""Nagios keeps 8 KB of a plugin's output."""

NAGIOS_SIGNS = 600
"""Of a longer line the middle is left out, so that the figures in the first one are kept."""

_TAGS = ("CRITICAL", "WARNING", "UNKNOWN", "")
ALIKE = 4
"""So many findings of one kind that differ in the graph only are told as one."""


def as_lines(check: Check) -> list[str]:
    """A line for each finding that is not met, the worst first, and one for the sum."""
    return [*_lines(check.told), summary(check)]


def summary(check: Check) -> str:
    """The sum of a check in a line."""
    graphs = sum(graph.left_at is None for graph in check.facts.graphs)
    critical, warning = check.violated("critical"), check.violated("warning")
    verdicts = check.verdicts
    parts = [f"{verdicts['met']:,} met"]
    if critical or warning:
        parts.insert(0, f"{critical:,} critical, {warning:,} warning")
    parts += [f"{verdicts[kind]:,} {kind}" for kind in ("unknown", "excluded") if verdicts[kind]]
    return f"{graphs:,} graphs, {harmless(check.policy.name)}: {', '.join(parts)}"


def as_nagios(check: Check) -> str:
    """A status line with figures, then the findings; for Nagios and what is like it.

    The figures are in seconds, bytes and counts.
    """
    head = f"GES BACKUPS {STATES[check.exit_code]}: {_short(_plain(summary(check)))}"
    found = [_short(_plain(line)) for line in _lines(check.told)]
    if found:
        head += f"; {found[0]}"
    head += " | " + " ".join(_figures(check))
    lines, size = [head], len(head.encode())
    for place, line in enumerate(found):
        size += len(line.encode()) + 1
        if size > NAGIOS_BYTES:
            lines.append(f"... and {len(found) - place:,} more")
            break
        lines.append(line)
    return "\n".join(lines)


def as_table(findings: Iterable[Finding]) -> "pa.Table":
    """The findings as rows of the columns `COLUMNS`."""
    return _table(findings, COLUMNS)


def spans_table(spans: Iterable[Span]) -> "pa.Table":
    """Spans of violation as rows."""
    return _table(spans, SPAN_COLUMNS)


def spans_lines(spans: Sequence[Span]) -> list[str]:
    """Spans of violation for people, a line each."""
    lines = []
    for span in spans:
        began = f"{span.began_at:%Y-%m-%d %H:%M}" if span.began_at else "always"
        ended = f"{span.ended_at:%Y-%m-%d %H:%M}" if span.ended_at else "now"
        length = "" if span.length_hours is None else f", {words.hours(span.length_hours)}"
        lines.append(
            f"{span.severity.upper():8}  {harmless(span.graph_name)}  {span.rule}"
            f" {words.hours(span.target_hours)}: from {began} to {ended} UTC{length}; {span.reason}"
        )
    return [*lines, f"{len(spans):,} violations"]


def explain(graph: Graph, policy: Policy) -> Iterator[str]:
    """Which rules apply to a graph, and why; and which do not."""
    yield (
        f"graph {harmless(graph.graph_name)} ({graph.graph_id})"
        f" of project {harmless(graph.project_name)}, by {harmless(policy.name)}"
    )
    for kind in policy.kinds:
        ruling = policy.ruling(kind, graph)
        is_own = KINDS[kind].judge is not None
        outcome = _outcome(judge_graph(graph, policy, kind)) if is_own else "of its project"
        yield f"{kind}: {outcome}"
        for rule in policy.rules_of(kind):
            yield f"  {rule.place}: {_place_of(rule, graph, ruling.rule)}"
    missing = [kind for kind in KINDS if not policy.rules_of(kind)]
    if missing:
        yield f"no rule at all: {', '.join(missing)}"


def _outcome(finding: Finding | None) -> str:
    if finding is None:
        return "no rule names this graph"
    figures = _compared(finding)
    severity = f" ({finding.severity})" if finding.verdict == "violated" else ""
    return f"{finding.verdict}{severity}{': ' if figures else ''}{figures}; {finding.reason}"


def _place_of(rule: Rule, graph: Graph, counted: Rule | None) -> str:
    if rule is counted:
        return "counts, it is the first that names this graph"
    if not rule.covers_project(graph.project_id, graph.project_name):
        return f"does not name its project: projects = {list(rule.projects)}"
    if not rule.covers(graph):
        return f"does not name it: graphs = {list(rule.graphs)}"
    if KINDS[rule.kind].is_switch and not rule.target:
        return "switches it off"
    if rule.excludes(graph):
        return f"excludes it: exclude = {list(rule.exclude)}"
    return "names it, too, but comes later"


def _lines(findings: Sequence[Finding]) -> list[str]:
    """A line each; many of one kind and verdict that are about the load are told as one."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        alike = (finding.rank, finding.rule, finding.project_id, finding.target)
        own = () if finding.rule == "stale_hours" else (finding.graph_id,)
        groups.setdefault((*alike, *own), []).append(finding)
    lines = []
    for group in groups.values():
        if len(group) < ALIKE:
            lines += [_line(finding, harmless(finding.graph_name)) for finding in group]
        else:
            lines.append(_line(group[0], f"{len(group):,} graphs"))
    return lines


def _line(finding: Finding, subject: str) -> str:
    where = subject or (f"project {finding.project_id}" if finding.project_id else "policy")
    text = "; ".join(filter(None, (_compared(finding), harmless(finding.reason))))
    return f"{_TAGS[finding.rank]:8}  {where}  {finding.rule}: {text}"


def _compared(finding: Finding) -> str:
    """`2 days 12 h, at most 26 h`; nothing where the reason says all.

    What reads like its target and misses it: `at most 26 h, missed by 20 s`.
    """
    kind = KINDS[finding.rule]
    if finding.target is None or finding.verdict == "excluded" or kind.unit not in _SHOWN:
        return ""
    shown = _SHOWN[kind.unit]
    target = f"at {'least' if kind.at_least else 'most'} {shown(finding.target)}"
    if finding.actual is None:
        return target
    if finding.verdict == "violated" and shown(finding.actual) == shown(finding.target):
        return f"{target}, missed by {_missed(kind.unit, abs(finding.actual - finding.target))}"
    return f"{shown(finding.actual)}, {target}"


def _missed(unit: str, difference: float) -> str:
    """A difference too small for how figures of its unit read."""
    if unit in ("share", "%"):
        return f"{100 * difference if unit == 'share' else difference:.2g} %"
    text = _SHOWN[unit](difference)
    return "less than 1 s" if text == "0 s" else text


_SHOWN: dict[str, Callable[[float], str]] = {
    "h": words.hours,
    "days": lambda days: words.hours(24 * days),
    "share": words.percent,
    "%": lambda percent: f"{words.number(percent, 1)} %",
    "backups": words.number,
}
"""How figures of each unit read; those of others are in the reason."""


def _figures(check: Check) -> Iterator[str]:
    """Nagios' performance data: label=value, with its unit where it has one."""
    graphs = [graph for graph in check.facts.graphs if graph.left_at is None]
    ages = [
        (graph.known_until - graph.last_success_at).total_seconds()
        for graph in graphs
        if graph.known_until and graph.last_success_at
    ]
    stale = [project.load_age_hours for project in check.facts.projects]
    known_stale = [hours for hours in stale if hours is not None]
    yield f"graphs={len(graphs)};;;0"
    yield f"critical={check.violated('critical')};;0;0"
    yield f"warning={check.violated('warning')};0;;0"
    yield f"unknown={check.verdicts['unknown']};;;0"
    if ages:
        yield f"oldest_success={max(ages):.0f}s;;;0"
    if known_stale:
        yield f"load_age={3600 * max(known_stale):.0f}s;;;0"
    known = check.facts.graphs  # a deleted graph's backups may still be at the source
    yield f"stored={BYTES_PER_MB * sum(graph.source_mb for graph in known)}B;;;0"
    yield f"backups={sum(graph.source_backups for graph in known)};;;0"
    yield f"running={sum(graph.running for graph in graphs)};;;0"
    yield f"stuck={sum(graph.stuck for graph in graphs)};;;0"
    yield f"failures_30d={sum(graph.failed_30d for graph in graphs)};;;0"


def _plain(text: str) -> str:
    """Text without what Nagios reads as the begin of figures, or of another line."""
    return " ".join(harmless(text).replace("|", "/").split())


def _short(text: str) -> str:
    half = NAGIOS_SIGNS // 2
    return text if len(text) <= NAGIOS_SIGNS else f"{text[:half]} ... {text[-half:]}"


def _table(rows: Iterable[Finding] | Iterable[Span], columns: Sequence[str]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - importing ges_history stays cheap

    content: list[dict[str, Any]] = [asdict(row) for row in rows]
    types = {"target": pa.float64(), "actual": pa.float64()}
    types |= {"target_hours": pa.float64(), "length_hours": pa.float64()}
    types |= dict.fromkeys(("began_at", "ended_at"), pa.timestamp("us", "UTC"))
    schema = pa.schema([(name, types.get(name, pa.string())) for name in columns])
    return pa.Table.from_pylist(content, schema=schema)
