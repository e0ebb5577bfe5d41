"""What a policy finds in a history: a finding for each graph and kind of rule that names it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ges_history.reports.overview import Scope
from ges_history.warehouses.duckdb_obstacles import first_line
from ges_history.warehouses.seam import Read
from ges_history.watching.facts import Facts, Graph, LastLoad, Project, read_facts
from ges_history.watching.kinds import (
    KINDS,
    NEEDS,
    Judgement,
    Severity,
    Verdict,
    failed_listing,
    failed_load,
    rejected,
    stale,
    stale_load,
)
from ges_history.watching.policy import Policy, Rule

COLUMNS = (
    "project_id",
    "graph_id",
    "graph_name",
    "rule",
    "severity",
    "target",
    "actual",
    "verdict",
    "reason",
)
OF_PROJECTS = frozenset({"stale_load", "stale_hours", "failed_listing", "rejected_records"})
"""Kinds that are judged of a project, too, be it without graphs."""


@dataclass(frozen=True)
class Finding:
    """Whether a graph meets a rule; `graph_id` is empty where it is about a project or the policy."""

    project_id: str
    graph_id: str
    graph_name: str
    rule: str
    severity: Severity
    target: float | None
    actual: float | None
    verdict: Verdict
    reason: str

    @property
    def off_by(self) -> float:
        """How many times a target is missed, to put the worst first; infinite without a figure."""
        if self.actual is None or self.target is None:
            return float("inf")
        low, high = sorted((abs(self.target), abs(self.actual)))
        return high / low if low else float("inf") if high else 1.0

    @property
    def rank(self) -> int:
        """0 for a critical violation, 1 for a warning, 2 for what is unknown, 3 for the rest."""
        if self.verdict == "violated":
            return 0 if self.severity == "critical" else 1
        return 2 if self.verdict == "unknown" else 3


@dataclass(frozen=True)
class Check:
    """A policy held against a history; `findings` are ordered, the worst first."""

    policy: Policy
    facts: Facts
    findings: tuple[Finding, ...]

    @cached_property
    def violations(self) -> list[Finding]:
        """The findings that are violated, the worst first."""
        return [finding for finding in self.findings if finding.verdict == "violated"]

    @cached_property
    def verdicts(self) -> Counter[str]:
        """How many findings there are of each verdict."""
        return Counter(finding.verdict for finding in self.findings)

    def violated(self, severity: Severity) -> int:
        """How many rules of a severity are violated."""
        return sum(finding.severity == severity for finding in self.violations)

    @cached_property
    def told(self) -> list[Finding]:
        """What people are told: violations, and what is unknown of graphs without any."""
        bad = {(finding.project_id, finding.graph_id) for finding in self.violations}
        return [
            finding
            for finding in self.findings
            if finding.rank < 2
            or (finding.rank == 2 and (finding.project_id, finding.graph_id) not in bad)
        ]

    @property
    def exit_code(self) -> int:
        """As Nagios has them: 0 all met, 1 warning, 2 critical, 3 unknown."""
        worst = min((finding.rank for finding in self.findings), default=2)
        return {0: 2, 1: 1, 2: 3, 3: 0}[worst]


def check(
    read: Read,
    policy: Policy,
    scope: Scope | None = None,
    loads: Mapping[str, LastLoad] | None = None,
) -> Check:
    """Hold a policy against a history.

    Args:
        read: Of a warehouse's `reading()`.
        policy: What must hold.
        scope: Which projects to check; default: all.
        loads: {project_id: the load that has just ended}; one that failed whole wrote nothing into
            the history, so only this tells of it.
    """
    parts = {NEEDS[kind] for kind in policy.kinds if kind in NEEDS}
    return judged(read_facts(read, parts).after(loads or {}), policy, scope)


def judged(known: Facts, policy: Policy, scope: Scope | None = None) -> Check:
    """Hold a policy against facts that were read; those of a scope, default: all of them."""
    facts = known.only(scope or Scope())
    found = [*_of_graphs(facts, policy), *_of_projects(facts, policy), *_of_rules(known, policy)]
    found.sort(key=lambda f: (f.rank, -f.off_by, f.project_id, f.graph_name, f.graph_id))
    return Check(policy, facts, tuple(found))


def judge_graph(graph: Graph, policy: Policy, kind: str) -> Finding | None:
    """The finding of a kind for a graph; None where no rule names it, or it is about a project."""
    ruling, judge = policy.ruling(kind, graph), KINDS[kind].judge
    rule = ruling.rule or ruling.excluded_by
    if rule is None or judge is None:
        return None
    if ruling.rule is None:
        return _finding(graph, rule, _unjudged(rule, "excluded", f"excluded by {rule.place}"))
    if graph.left_at is not None:
        words = f"the graph has left its project, missed since {graph.left_at:%Y-%m-%d %H:%M} UTC"
        return _finding(graph, rule, _unjudged(rule, "excluded", words))
    try:
        judgement = judge(graph, rule.target)
    except Exception as error:  # one graph's surprise leaves the others judged
        words = f"it cannot be judged: {type(error).__name__}: {first_line(error)}"
        judgement = _unjudged(rule, "unknown", words)
    return _finding(graph, rule, judgement)


def _of_graphs(facts: Facts, policy: Policy) -> Iterator[Finding]:
    for kind in policy.kinds:
        for graph in facts.graphs:
            finding = judge_graph(graph, policy, kind)
            if finding is not None:
                yield finding


def _of_projects(facts: Facts, policy: Policy) -> Iterator[Finding]:
    """What no graph can tell of: the load itself, a project without graphs, stray records."""
    graphs_of: dict[str, list[Graph]] = defaultdict(list)
    for graph in facts.graphs:
        if graph.left_at is None:
            graphs_of[graph.project_id].append(graph)
    for project in facts.projects:
        graphs = graphs_of[project.project_id]
        if rule := _rule_for_any(policy, "stale_load", project, graphs):
            yield _finding(project, rule, stale_load(project))
        if not graphs and (rule := _rule_for(policy, "stale_hours", project)):
            yield _finding(project, rule, stale(project, rule.target))
        if rule := _rule_for_any(policy, "failed_listing", project, graphs):
            if project.load and project.load.error:
                yield _finding(project, rule, failed_load(project.load.error))
            elif project.outcome and not graphs:
                yield _finding(project, rule, failed_listing(project))
        if project.rejected_30d and (rule := _rule_for(policy, "rejected_records", project)):
            yield _finding(project, rule, rejected(project.rejected_30d))


def _rule_for(policy: Policy, kind: str, project: Project) -> Rule | None:
    """The first rule of a kind that names a project and all of its graphs; None if that is off."""
    for rule in policy.rules_of(kind):
        if _is_whole(rule, project):
            return rule if rule.target else None
    return None


def _is_whole(rule: Rule, project: Project) -> bool:
    """Whether a rule names a project and all of its graphs, though it may have none."""
    return rule.covers_project(project.project_id, project.name) and "*" in rule.graphs


def _rule_for_any(
    policy: Policy, kind: str, project: Project, graphs: Iterable[Graph]
) -> Rule | None:
    """The first rule of a kind that counts for a project as a whole, or for any of its graphs."""
    counting = [policy.ruling(kind, graph).rule for graph in graphs]
    whole = _rule_for(policy, kind, project)
    return next((rule for rule in policy.rules_of(kind) if rule in (whole, *counting)), None)


def _of_rules(facts: Facts, policy: Policy) -> Iterator[Finding]:
    """Rules that name no graph, which is a mistake more often than not."""
    for rule in policy.rules:
        if rule.graphs == rule.projects == ("*",) or any(map(rule.covers, facts.graphs)):
            continue
        if rule.kind in OF_PROJECTS and any(_is_whole(rule, one) for one in facts.projects):
            continue
        yield Finding(
            project_id="",
            graph_id="",
            graph_name="",
            rule=rule.kind,
            severity=rule.severity,
            target=None if KINDS[rule.kind].is_switch else rule.target,
            actual=None,
            verdict="unknown",
            reason=f"{policy.name}, {rule.place}: the history knows no graph that this rule names",
        )


def _unjudged(rule: Rule, verdict: Verdict, reason: str) -> Judgement:
    return Judgement(verdict, None if KINDS[rule.kind].is_switch else rule.target, None, reason)


def _finding(subject: Graph | Project, rule: Rule, judgement: Judgement) -> Finding:
    graph = subject if isinstance(subject, Graph) else None
    return Finding(
        project_id=subject.project_id,
        graph_id=graph.graph_id if graph else "",
        graph_name=graph.graph_name if graph else "",
        rule=rule.kind,
        severity=rule.severity,
        target=judgement.target,
        actual=judgement.actual,
        verdict=judgement.verdict,
        reason=judgement.reason,
    )


def violations_by_graph(findings: Iterable[Finding]) -> Counter[tuple[str, str, Severity]]:
    """{(project_id, graph_id, severity): violated rules}."""
    return Counter(
        (finding.project_id, finding.graph_id, finding.severity)
        for finding in findings
        if finding.verdict == "violated"
    )


def recovery_targets(facts: Facts, policy: Policy) -> dict[tuple[str, str], float]:
    """{(project_id, graph_id): hours} of the graphs that a rule `rpo_hours` names, for the page."""
    rulings = {
        (graph.project_id, graph.graph_id): policy.ruling("rpo_hours", graph).rule
        for graph in facts.graphs
    }
    return {graph: rule.target for graph, rule in rulings.items() if rule}
