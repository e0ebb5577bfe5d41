"""Every kind of rule against an independent computation, on random fleets and at the edges."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ges_history.watching.evidence import Span, violations_between
from ges_history.watching.facts import LastLoad, read_facts
from ges_history.watching.findings import Check, Finding, check
from ges_history.watching.findings import judged as judged_facts
from ges_history.watching.policy import DEFAULT_POLICY, Policy, Rule, parse_policy
from harness import examples
from synthetic import OTHER_PROJECT, PROJECT
from watched import (
    DAY,
    HOUR,
    NOW,
    WHOLE,
    Backup,
    Life,
    Oracle,
    ProjectRow,
    Written,
    ms,
    write_history,
)

TARGETS = {
    "rpo_hours": st.integers(1, 60),
    "min_backups": st.integers(1, 6),
    "max_age_days": st.integers(1, 40),
    "max_duration_hours": st.integers(1, 60),
    "min_success_rate": st.sampled_from([0.1, 0.5, 2 / 3, 0.75, 1.0]),
    "max_size_change_pct": st.sampled_from([10, 50, 100, 400]),
    "must_be_encrypted": st.just(1),
    "stale_hours": st.sampled_from([3.3, 20.3]),
    "stuck": st.just(1),
    "overdue": st.just(1),
    "never_succeeded": st.just(1),
    "failed_listing": st.just(1),
    "rejected_records": st.just(1),
}
AGES = st.one_of(
    st.integers(0, 60).map(lambda hours: hours * HOUR),
    st.integers(0, 40).map(lambda days: days * DAY),
)
BACKUPS = st.builds(
    Backup,
    age=AGES,
    status=st.sampled_from(["success"] * 4 + ["failed", "failed", "backing_up", "paused"]),
    size=st.one_of(st.none(), st.sampled_from([0, 1, 2, 3, 4, 10])),
    duration=st.one_of(st.none(), st.integers(0, 40).map(lambda hours: hours * 3600)),
    encrypted=st.sampled_from([True, True, True, False, None]),
    deleted=st.sampled_from([False, False, False, True]),
)
SPANS = st.sampled_from([timedelta(), HOUR, 24 * HOUR, 25 * HOUR])


@st.composite
def lives(draw: st.DrawFn) -> Life:
    listed_ago = draw(st.one_of(st.none(), SPANS))
    earlier = draw(st.one_of(st.none(), SPANS))
    was_read = earlier is not None and draw(st.booleans())
    return Life(
        graph_id=draw(st.sampled_from(["g1", "g2", "g3", "g4"])),
        project_id=draw(st.sampled_from([PROJECT, OTHER_PROJECT])),
        backups=tuple(draw(st.lists(BACKUPS, max_size=12))),
        left_ago=draw(st.sampled_from([None, None, None, HOUR])),
        listed_ago=listed_ago,
        outcome=draw(st.sampled_from(["complete", "incremental", "failed", "forbidden"])),
        complete_ago=None if earlier is None else earlier + (listed_ago or timedelta()),
        read_ago=min(earlier, HOUR) + (listed_ago or timedelta()) if was_read else None,
        rejected=draw(st.sampled_from([0, 0, 2])),
    )


WHOLE_LISTINGS = st.builds(
    replace, lives(), graph_id=st.just(WHOLE), backups=st.just(()), rejected=st.just(0)
)
FLEETS = st.builds(
    lambda graphs, at_once: graphs + at_once,
    st.lists(
        lives(), min_size=1, max_size=5, unique_by=lambda life: (life.project_id, life.graph_id)
    ),
    st.lists(WHOLE_LISTINGS, max_size=2, unique_by=lambda life: life.project_id),
)
"""Graphs, and projects that were listed at once."""
PROJECTS = [ProjectRow(OTHER_PROJECT, "second", listed_ago=2 * HOUR)]


def policy_of(targets: dict[str, float]) -> Policy:
    return Policy("random", tuple(Rule(kind, float(target)) for kind, target in targets.items()))


def checked(written: Written, policy: Policy) -> Check:
    with written.reading() as read:
        return check(read, policy)


def found_by_graph(found: Check) -> dict[tuple[str, str, str], Finding]:
    return {(f.project_id, f.graph_id, f.rule): f for f in found.findings if f.graph_id}


@examples(10)
@given(FLEETS, st.fixed_dictionaries(TARGETS))
def test_every_kind_is_judged_as_its_definition_says(
    fleet: list[Life], targets: dict[str, float]
) -> None:
    with TemporaryDirectory() as folder:
        written = write_history(Path(folder) / "fleet.duckdb", fleet, PROJECTS)
        found = found_by_graph(checked(written, policy_of(targets)))
    graphs = [life for life in fleet if life.graph_id != WHOLE]
    assert len(found) == len(graphs) * len(targets)
    for life in graphs:
        oracle = Oracle(life, NOW, PROJECTS, fleet)
        for kind, target in targets.items():
            finding = found[life.project_id, life.graph_id, kind]
            expected = oracle.verdict(kind, target)
            assert (kind, finding.verdict) == (kind, expected.verdict), (life, target, finding)
            if expected.actual is not None:
                assert finding.actual is None or finding.actual == pytest.approx(
                    expected.actual, abs=0.2 if kind == "stale_hours" else 1e-6
                )


@examples(8)
@given(FLEETS, st.integers(1, 60), st.integers(0, 45), st.integers(1, 45))
def test_each_time_in_which_a_last_success_was_too_old_is_found(
    fleet: list[Life], hours: int, since_days: int, length_days: int
) -> None:
    policy = policy_of({"rpo_hours": hours})
    since = NOW - since_days * DAY
    until = since + length_days * DAY
    with TemporaryDirectory() as folder:
        written = write_history(Path(folder) / "fleet.duckdb", fleet, PROJECTS)
        with written.reading() as read:
            ever = violations_between(read, policy)
            within = violations_between(read, policy, since, until)
            days = read("FROM reports.adherence").to_pylist()
    graphs = [life for life in fleet if life.graph_id != WHOLE]
    expected = {
        (life.project_id, life.graph_id, *span)
        for life in graphs
        for span in Oracle(life, NOW, PROJECTS, fleet).spans(hours)
    }
    assert {key_of(span) for span in ever} == expected
    known = {life_key(life): Oracle(life, NOW, PROJECTS, fleet).known_until for life in graphs}
    assert [
        span
        for span in ever
        if (not span.ended_at and is_begun(span, until)) or overlaps(span, since, until, known)
    ] == within
    there = {life_key(life) for life in graphs if life.left_ago is None}
    for day in days:  # the calendar says the same, day by day
        if (graph := (day["project_id"], day["graph_id"])) in there and day["oldest_age_hours"]:
            begin = datetime.combine(day["day"], datetime.min.time(), UTC)
            of_graph = [span for span in ever if (span.project_id, span.graph_id) == graph]
            is_violated = any(overlaps(s, begin, begin + DAY, known) for s in of_graph)
            assert is_violated is (day["oldest_age_hours"] > hours + 1e-9), (day, of_graph)


def life_key(life: Life) -> tuple[str, str]:
    return life.project_id, life.graph_id


def key_of(span: Span) -> tuple[object, ...]:
    begin = None if span.began_at is None else ms(span.began_at)
    end = None if span.ended_at is None else ms(span.ended_at)
    return (span.project_id, span.graph_id, begin, end, span.backup_before, span.backup_after)


def is_begun(span: Span, until: datetime) -> bool:
    return span.began_at is None or span.began_at < until


def overlaps(
    span: Span, since: datetime, until: datetime, known: dict[tuple[str, str], int | None]
) -> bool:
    if span.began_at is None:
        until_ms = known[span.project_id, span.graph_id]
        return until_ms is None or until_ms > ms(since)
    end = ms(span.ended_at) if span.ended_at else known[span.project_id, span.graph_id]
    assert end is not None
    assert span.length_hours == pytest.approx((end - ms(span.began_at)) / 3_600_000)
    return is_begun(span, until) and end > ms(since)


class Edge(NamedTuple):
    """One graph, and what one rule finds of it."""

    kind: str
    target: float
    life: Life
    verdict: str
    actual: float | None


A_DAY = tuple(Backup(hours * HOUR) for hours in (24, 48))


EDGES = [
    Edge("rpo_hours", 24, Life("g", A_DAY), "met", 24),
    Edge("rpo_hours", 23.999, Life("g", A_DAY), "violated", 24),
    Edge("rpo_hours", 24, Life("g"), "violated", None),
    Edge("rpo_hours", 24, Life("g", (Backup(HOUR, "failed"),)), "violated", None),
    Edge("rpo_hours", 24, Life("g", A_DAY, left_ago=HOUR), "excluded", None),
    Edge("rpo_hours", 24, Life("g", A_DAY, listed_ago=24 * HOUR), "met", 0),
    Edge("rpo_hours", 24, Life("g", listed_ago=None), "unknown", None),
    Edge("min_backups", 2, Life("g", A_DAY), "met", 2),
    Edge("min_backups", 3, Life("g", A_DAY), "violated", 2),
    Edge("min_backups", 2, Life("g", (*A_DAY[:1], replace(A_DAY[1], deleted=True))), "violated", 1),
    Edge("max_age_days", 2, Life("g", A_DAY), "met", 2),
    Edge("max_age_days", 1.99, Life("g", A_DAY), "violated", 2),
    Edge("max_age_days", 1, Life("g"), "met", None),
    Edge("max_duration_hours", 1, Life("g", (Backup(HOUR, duration=3600),)), "met", 1),
    Edge(
        "max_duration_hours",
        1,
        Life("g", (Backup(HOUR, duration=3601),)),
        "violated",
        3601 / 3600,
    ),
    Edge("max_duration_hours", 2, Life("g", (Backup(3 * HOUR, "backing_up"),)), "violated", 3),
    Edge(
        "max_duration_hours",
        1,
        Life("g", (Backup(HOUR, duration=9 * 10**18),)),
        "violated",
        2.5e15,
    ),
    Edge("min_success_rate", 0.5, Life("g", (*A_DAY, Backup(HOUR, "failed"))), "met", 2 / 3),
    Edge("min_success_rate", 1, Life("g", (Backup(30 * DAY, "failed"), *A_DAY)), "met", 1),
    Edge("min_success_rate", 1, Life("g"), "unknown", None),
    Edge("must_be_encrypted", 1, Life("g", (Backup(HOUR, encrypted=False),)), "violated", 1),
    Edge("must_be_encrypted", 1, Life("g", (Backup(HOUR, encrypted=None),)), "unknown", None),
    Edge("must_be_encrypted", 1, Life("g"), "met", 0),
    Edge("overdue", 1, Life("g", tuple(Backup(n * DAY) for n in (2, 3, 4))), "met", 48),
    Edge("overdue", 1, Life("g", tuple(Backup(n * DAY + HOUR) for n in (2, 3, 4))), "violated", 49),
    Edge("overdue", 1, Life("g", (Backup(7 * DAY),)), "met", 168),
    Edge("overdue", 1, Life("g", (Backup(8 * DAY),)), "violated", 192),
    Edge("failed_listing", 1, Life("g", outcome="failed", error_code="GES.0001"), "violated", None),
]


def changed(sizes: list[int], target: float, verdict: str, actual: float | None) -> Edge:
    life = Life("g", tuple(Backup(n * DAY, size=size) for n, size in enumerate(sizes)))
    return Edge("max_size_change_pct", target, life, verdict, actual)


CHANGES = {
    "one of three": changed([200, *[1000] * 18], 79, "met", 0),
    "two of three": changed([200, 200, *[1000] * 17], 79, "violated", -80),
    "exactly": changed([200, 200, *[1000] * 17], 80, "met", -80),
    "grown": changed([2000] * 3 + [1000] * 3, 99, "violated", 100),
    "too few": changed([2000] * 3 + [1000] * 2, 99, "met", None),
    "from nothing": changed([5] * 3 + [0] * 3, 99, "violated", None),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[Edge, Finding]:
    """What is found of each: its graph is alone in a project, which has one rule of its own."""
    path = tmp_path_factory.mktemp("edges") / "edges.duckdb"
    edges = [*EDGES, *CHANGES.values()]
    lives = [replace(edge.life, project_id=f"p{n}") for n, edge in enumerate(edges)]
    rules = [Rule(edge.kind, edge.target, projects=(f"p{n}",)) for n, edge in enumerate(edges)]
    found = found_by_graph(checked(write_history(path, lives), Policy("edges", tuple(rules))))
    assert len(found) == len(edges)
    return {edge: found[f"p{n}", "g", edge.kind] for n, edge in enumerate(edges)}


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: f"{edge.kind} {edge.verdict}")
def test_the_edges_of_each_kind(edge: Edge, judged: dict[Edge, Finding]) -> None:
    finding = judged[edge]
    assert finding.verdict == edge.verdict
    assert finding.actual == (None if edge.actual is None else pytest.approx(edge.actual))


@pytest.mark.parametrize("edge", CHANGES.values(), ids=CHANGES)
def test_a_change_of_size_lasts_where_the_median_of_the_last_three_has_it(
    edge: Edge, judged: dict[Edge, Finding]
) -> None:
    assert (judged[edge].verdict, judged[edge].actual) == (edge.verdict, edge.actual)


FINE = Life("fine", tuple(Backup(n * DAY + HOUR) for n in range(40)))


def default(tmp_path: Path, *lives: Life, projects: tuple[ProjectRow, ...] = ()) -> list[Finding]:
    found = checked(write_history(tmp_path / "d.duckdb", lives, projects), DEFAULT_POLICY)
    return [finding for finding in found.findings if finding.rank < 3]


ALARMS = {
    "fine": (FINE, set()),
    "gone": (replace(FINE, left_ago=HOUR, outcome="missing"), set()),
    "never": (Life("never"), {("never_succeeded", "critical")}),
    "overdue": (
        replace(FINE, backups=tuple(Backup(n * DAY + 60 * HOUR) for n in range(9))),
        {("overdue", "critical")},
    ),
    "forbidden": (replace(FINE, outcome="forbidden"), {("failed_listing", "critical")}),
    "stuck": (
        replace(FINE, backups=(*FINE.backups, Backup(2 * HOUR, "backing_up"))),
        {("stuck", "critical")},
    ),
    "rejected": (replace(FINE, rejected=1), {("rejected_records", "warning")}),
    "odd": (
        replace(FINE, backups=(replace(FINE.backups[0], size=9000), *FINE.backups[1:])),
        {("anomalies", "warning")},
    ),
    "stale": (
        replace(FINE, listed_ago=49 * HOUR, complete_ago=49 * HOUR, backups=FINE.backups[3:]),
        {("stale_load", "critical")},
    ),
}
"""Graphs, and what the default policy finds of each: rules and severities."""


@pytest.fixture(scope="module")
def alarmed(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    """What is found of each, alone in a project that is called like its case."""
    lives = [replace(life, project_id=name) for name, (life, _) in ALARMS.items()]
    return default(tmp_path_factory.mktemp("alarms"), *lives)


@pytest.mark.parametrize("name", ALARMS)
def test_the_default_policy_alarms_what_wants_attention(name: str, alarmed: list[Finding]) -> None:
    found = [finding for finding in alarmed if finding.project_id == name]
    _, expected = ALARMS[name]
    assert {(f.rule, f.severity) for f in found if f.verdict == "violated"} == expected


def test_a_project_without_graphs_has_a_stale_load_too(tmp_path: Path) -> None:
    (finding,) = default(tmp_path, projects=(ProjectRow("p9", "empty", listed_ago=49 * HOUR),))
    assert (finding.project_id, finding.rule, finding.verdict) == ("p9", "stale_load", "violated")


REFUSED = Life(WHOLE, outcome="forbidden", error_code="GES.0016", complete_ago=None)
"""A project that was asked for all backups at once, and never told any."""


def of_empty_project(
    tmp_path: Path, listing: Life, project: ProjectRow, loads: dict[str, LastLoad] | None = None
) -> dict[str, Finding]:
    """What is found of a project of which no graph is known, by rule."""
    policy = policy_of({"stale_load": 1, "stale_hours": 3, "failed_listing": 1})
    with write_history(tmp_path / "e.duckdb", [listing], [project]).reading() as read:
        found = check(read, policy, loads=loads).findings
    assert {finding.graph_id for finding in found} == {""}
    return {finding.rule: finding for finding in found}


@pytest.mark.parametrize(
    ("listing", "verdicts"),
    {
        "refused from the first load on": (REFUSED, ("violated", "violated")),
        "refused since a while": (replace(REFUSED, read_ago=2.5 * HOUR), ("met", "violated")),
        "refused for long": (replace(REFUSED, read_ago=3.5 * HOUR), ("violated", "violated")),
        "empty": (Life(WHOLE), ("met", "met")),
    }.values(),
    ids=["refused from the first load on", "refused since a while", "refused for long", "empty"],
)
def test_a_project_without_graphs_is_judged_by_its_own_listing(
    tmp_path: Path, listing: Life, verdicts: tuple[str, str]
) -> None:
    found = of_empty_project(tmp_path, listing, ProjectRow(PROJECT, "new"))
    assert (found["stale_hours"].verdict, found["failed_listing"].verdict) == verdicts
    assert found["stale_load"].verdict == "met"  # it was listed, whatever came of it
    if listing.outcome == "forbidden":
        assert found["failed_listing"].reason == "its last listing: forbidden, GES.0016"


def test_a_refusal_counts_no_more_where_graphs_were_listed_one_by_one_since(
    tmp_path: Path,
) -> None:
    refused = replace(REFUSED, listed_ago=2 * HOUR)
    found = of_empty_project(tmp_path, refused, ProjectRow(PROJECT, "new", by_graphs_ago=HOUR))
    assert {rule: finding.verdict for rule, finding in found.items()} == {
        "stale_load": "met",
        "stale_hours": "met",
    }
    found = of_empty_project(tmp_path, refused, ProjectRow(PROJECT, "new", by_graphs_ago=3 * HOUR))
    assert found["failed_listing"].verdict == "violated"


def test_a_project_that_has_just_failed_whole_is_told_known_or_not(tmp_path: Path) -> None:
    policy = policy_of({"stale_load": 1, "stale_hours": 3, "failed_listing": 1})
    loads = {
        project_id: LastLoad(project_id, 1.0, 1, 1, "no such host")
        for project_id in (PROJECT, "never")
    }
    with write_history(tmp_path / "f.duckdb", [FINE]).reading() as read:
        found = check(read, policy, loads=loads)
    bad = [(f.project_id, f.graph_id, f.rule) for f in found.violations]
    assert sorted(bad) == [
        (PROJECT, "", "failed_listing"),
        ("never", "", "failed_listing"),
        ("never", "", "stale_hours"),
        ("never", "", "stale_load"),
    ]
    assert "no such host" in found.violations[-1].reason


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("stale_load = true\nstale_hours = 3\nfailed_listing = true\nrejected_records = true", 0),
        ("rpo_hours = 26", 3),
    ],
    ids=["of projects", "of graphs"],
)
def test_a_rule_for_a_project_without_graphs_is_a_mistake_where_it_judges_graphs_only(
    tmp_path: Path, rules: str, code: int
) -> None:
    empty = ProjectRow("p9", "empty", listed_ago=HOUR)
    read = write_history(tmp_path / "d.duckdb", [FINE], [empty])
    found = checked(read, parse_policy(f"[[rules]]\nprojects = 'empty'\n{rules}\n", "p.toml"))
    told = [finding.rule for finding in found.findings if "no graph" in finding.reason]
    assert (found.exit_code, told) == (code, ["rpo_hours"] if code else [])


def test_two_projects_are_judged_apart(tmp_path: Path) -> None:
    twin = replace(FINE, project_id=OTHER_PROJECT, backups=FINE.backups[9:])
    found = default(tmp_path, FINE, twin)
    assert [(f.project_id, f.rule) for f in found] == [(OTHER_PROJECT, "overdue")]


def test_a_load_that_stands_still_is_no_late_backup(tmp_path: Path) -> None:
    still = replace(FINE, listed_ago=5 * DAY, complete_ago=5 * DAY, backups=FINE.backups[5:])
    assert [f.rule for f in default(tmp_path, still)] == ["stale_load"]


@pytest.mark.parametrize("outcome", ["failed", "missing", "forbidden"])
def test_a_listing_that_fails_makes_no_load_stale_and_no_late_backup_young(
    tmp_path: Path, outcome: str
) -> None:
    late = replace(FINE, complete_ago=5 * DAY, read_ago=2 * HOUR, backups=FINE.backups[4:])
    found = default(tmp_path, replace(late, outcome=outcome))
    assert {f.rule for f in found} == {"failed_listing", "overdue"}


def test_a_stale_load_is_one_where_the_overview_says_so(tmp_path: Path) -> None:
    lives = [
        replace(FINE, project_id=f"p{n}", backups=tuple(Backup(k * n * HOUR) for k in range(1, 9)))
        for n in (1, 4, 30)
    ]
    written = write_history(tmp_path / "o.duckdb", lives)
    with written.reading() as read:
        rows = read("SELECT project_id, stale_after_hours FROM reports.overview").to_pylist()
        facts = read_facts(read, ())
    overview = {row["project_id"]: row["stale_after_hours"] for row in rows}
    assert {p.project_id: p.stale_after_hours for p in facts.projects} == overview
    assert sorted(overview.values()) == [6, 8, 48]


def test_a_graph_that_cannot_be_judged_is_unknown_and_leaves_the_others_judged(
    tmp_path: Path,
) -> None:
    with write_history(tmp_path / "s.duckdb", [FINE, replace(FINE, graph_id="odd")]).reading() as r:
        facts = read_facts(r)
    graphs = [replace(g, ended_s=10**400) if g.graph_id == "odd" else g for g in facts.graphs]
    found = judged_facts(replace(facts, graphs=graphs), policy_of({"max_duration_hours": 1}))
    by_graph = {finding.graph_id: finding for finding in found.findings}
    assert by_graph["fine"].verdict == "met"
    assert by_graph["odd"].verdict == "unknown"
    assert "OverflowError" in by_graph["odd"].reason


def test_a_rule_that_names_no_graph_is_unknown_with_its_line(tmp_path: Path) -> None:
    policy = parse_policy(
        "[[rules]]\ngraphs = 'fine'\nrpo_hours = 30\n[[rules]]\ngraphs = 'fin'\nrpo_hours = 3\n",
        "p.toml",
    )
    found = checked(write_history(tmp_path / "r.duckdb", [FINE]), policy)
    (lost,) = [finding for finding in found.findings if finding.verdict == "unknown"]
    assert "p.toml, line 6" in lost.reason
    assert found.exit_code == 3


def test_a_start_at_the_end_of_time_has_no_evidence(tmp_path: Path) -> None:
    last = Life("g", (Backup(NOW - datetime(9999, 12, 31, 23, tzinfo=UTC)),))
    with write_history(tmp_path / "l.duckdb", [last]).reading() as read:
        assert violations_between(read, policy_of({"rpo_hours": 2})) == []


def test_overdue_has_its_evidence_by_the_rhythm_of_today(tmp_path: Path) -> None:
    ages = [1, 25, 49, 97.5, 121, 145]  # a day each, but 48.5 hours once
    life = Life("g", tuple(Backup(hours * HOUR) for hours in ages))
    never = Life("never", (Backup(9 * DAY, "failed"),))
    written = write_history(tmp_path / "o.duckdb", [life, never, Life("nothing")])
    with written.reading() as read:
        late, only_failed, nothing = violations_between(read, DEFAULT_POLICY)
    assert (late.rule, late.target_hours, late.length_hours) == ("overdue", 48, 0.5)
    assert (only_failed.graph_id, only_failed.target_hours) == ("never", 168)
    assert only_failed.length_hours == 48
    assert (nothing.graph_id, nothing.began_at, nothing.length_hours) == ("nothing", None, None)
