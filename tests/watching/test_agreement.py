"""The same figure in the screen, the page, `overview`, `check` and the metrics of one history."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ges_history.reports.attention import judge
from ges_history.reports.overview import read_fleet
from ges_history.reports.page.contents import read_contents
from ges_history.reports.page.document import render
from ges_history.watching.findings import check, recovery_targets
from ges_history.watching.gauges import as_text
from ges_history.watching.policy import DEFAULT_POLICY, parse_policy
from ges_history.watching.tell import as_nagios
from watched import DAY, HOUR, NOW, Backup, Life, write_history


class Told:
    """What each of them says of a history."""

    def __init__(self, path: Path, lives: list[Life], policy: str = "") -> None:
        rules = parse_policy(policy, "policy") if policy else DEFAULT_POLICY
        with write_history(path, lives).reading() as read:
            self.fleet = read_fleet(read)
            self.check = check(read, rules)
            targets = recovery_targets(self.check.facts, rules) if policy else {}
            self.adherence = read("SELECT * FROM reports.adherence ORDER BY day").to_pylist()
            self.storage = read("SELECT * FROM reports.storage_trend ORDER BY day").to_pylist()
            self.contents = read_contents(read, targets=targets)
        self.page = render(self.contents)
        self.totals = self.fleet.totals
        self.graphs = judge(self.fleet)

    def verdicts(self, rule: str) -> dict[str, str]:
        return {f.graph_id: f.verdict for f in self.check.findings if f.rule == rule and f.graph_id}

    def problems(self, graph: str) -> list[str]:
        return [p.label for one in self.graphs if one.key[1] == graph for p in one.problems]

    def metric(self, name: str, graph: str = "") -> float | None:
        found = [
            sample.value
            for family in text_string_to_metric_families(as_text(self.check).decode())
            for sample in family.samples
            if sample.name == f"ges_backup_{name}" and sample.labels.get("graph_id", "") == graph
        ]
        return found[0] if found else None


Tell = Callable[..., Told]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    return lambda lives, policy="": Told(tmp_path / "h.duckdb", lives, policy)


def nightly(count: int = 9, first: timedelta = 2 * HOUR, **more: Any) -> tuple[Backup, ...]:
    return tuple(Backup(first + n * DAY, **more) for n in range(count))


def test_the_listing_of_a_deleted_graph_is_none_that_fails(tell: Tell) -> None:
    told = tell(
        [
            Life("g", nightly()),
            Life("gone", nightly(), left_ago=HOUR, outcome="missing"),
            Life("shut", nightly(), outcome="forbidden"),
        ]
    )
    assert told.totals["failed_listings"] == 1
    assert told.metric("last_load_failed_graphs") == 1
    assert told.verdicts("failed_listing") == {"g": "met", "gone": "excluded", "shut": "violated"}
    broken = told.page.split("Listings that failed</h2>")[1].split("</section>")[0]
    assert (broken.count("shut"), broken.count("gone")) == (1, 0)
    assert "of 2 graphs asked for" in told.page


def test_a_single_success_is_overdue_after_a_week(tell: Tell) -> None:
    told = tell([Life("late", nightly(1, 10 * DAY)), Life("new", nightly(1, 6 * DAY))])
    assert told.verdicts("overdue") == {"late": "violated", "new": "met"}
    assert (told.totals["overdue"], told.totals["attention"]) == (1, 1)
    assert (told.problems("late"), told.problems("new")) == (["overdue"], [])
    assert told.metric("expected_interval_seconds", "late") is None
    assert "last success 10 days ago, no second one in a week" in told.page


def test_a_graph_that_could_never_be_listed_is_unknown_and_not_without_success(tell: Tell) -> None:
    shut = Life("shut", outcome="forbidden", error_code="GES.0016", complete_ago=None)
    told = tell([shut, Life("bare")])
    assert told.verdicts("never_succeeded") == {"shut": "unknown", "bare": "violated"}
    assert told.totals["never_succeeded"] == 1
    assert told.problems("shut") == ["listing forbidden"]
    counts = ("source_backups", "source_bytes", "running", "stuck", "failures_30d")
    assert {told.metric(name, "shut") for name in counts} == {None}
    assert {told.metric(name, "bare") for name in counts} == {0}


def test_a_listing_is_as_old_as_the_last_one_without_an_error(tell: Tell) -> None:
    """Newer backups may be known of a list whose end could not be read."""
    old = 10 * DAY
    told = tell(
        [Life("g", nightly(), outcome="failed", complete_ago=old, read_ago=old)],
        "[[rules]]\nstale_hours = 26\n",
    )
    assert told.verdicts("stale_hours") == {"g": "violated"}
    (health,) = told.fleet.health
    (finding,) = (f for f in told.check.findings if f.rule == "stale_hours")
    assert finding.actual == pytest.approx(health["stale_hours"])


def test_what_is_exactly_at_its_target_meets_it(tell: Tell) -> None:
    """24.1 hours are neither a 32-bit float nor a difference of hours since 1970."""
    age = timedelta(hours=24, minutes=6)
    told = tell(
        [Life("g", tuple(Backup(n * age) for n in (1, 2, 3)))], "[[rules]]\nrpo_hours = 24.1\n"
    )
    assert told.verdicts("rpo_hours") == {"g": "met"}
    assert 'Days on target</dt><dd class="value">100 %' in told.page


def test_a_time_without_a_success_that_ends_at_midnight_is_none_of_the_next_day(
    tell: Tell,
) -> None:
    since_midnight = timedelta(hours=NOW.hour, minutes=NOW.minute, seconds=NOW.second)
    backups = tuple(Backup(since_midnight + n * DAY) for n in (0, 1, 2, 4, 5, 6))
    told = tell([Life("g", backups)], "[[rules]]\nrpo_hours = 26\n")
    assert [row["oldest_age_hours"] > 26 for row in told.adherence] == 3 * [False] + [True] + 3 * [
        False
    ]
    assert told.adherence[4]["longest_gap_hours"] == 24


def test_what_is_stored_is_that_of_deleted_graphs_too(tell: Tell) -> None:
    told = tell([Life("g", nightly(size=1024)), Life("gone", nightly(size=1024), left_ago=HOUR)])
    assert told.totals["stored_mb"] == 18 * 1024
    assert f"stored={18 * 2**30}B;;;0 backups=18;;;0" in as_nagios(told.check)


def test_the_forecast_of_what_is_stored_begins_where_its_curve_ends(tell: Tell) -> None:
    told = tell([Life("g", (Backup(2 * HOUR), Backup(DAY, "failed", 3000)))])
    assert told.contents.stored.ahead[0][1] == told.contents.stored.total_mb[-1] == 100


def test_a_backup_that_was_deleted_before_its_stamp_was_never_stored(tell: Tell) -> None:
    told = tell([Life("g", (Backup(-2 * DAY, size=500, deleted=True), Backup(5 * DAY)))])
    assert [(row["backups"], row["stored_mb"]) for row in told.storage] == [(1, 100), (1, 100)]
