"""Metrics: the figures, the file, and a Prometheus that really scrapes them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from ges_history.cli import cli
from prometheus_server import Prometheus, needs_prometheus, scraping
from watched import DAY, HOUR, NOW, WHOLE, Backup, Life, ProjectRow, Written, write_history

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
MIB = 1_048_576
P, Q, R = "p1", "p2", "p3"

Series = dict[tuple[str, ...], float]


def daily(count: int, first: float = 5, **more: object) -> tuple[Backup, ...]:
    """Successes a day apart, the newest some hours old."""
    return tuple(Backup(first * HOUR + n * DAY, size=100 + n, **more) for n in range(count))  # type: ignore[arg-type]


LIVES = [
    Life("g-ok", daily(10), P, "orders"),
    Life("g-late", daily(10, first=60), P, 'quoted "name" \\ \n line'),
    Life("g-never", (), P, "never"),
    Life(
        "g-failed",
        (*daily(3, first=30), Backup(HOUR, "failed", None, 9), Backup(0.5 * HOUR, "backing_up")),
        P,
        "people",
        rejected=2,
    ),
    Life("g-gone", daily(4), P, "gone", left_ago=HOUR),
    Life("g-ok", daily(1), Q, "twin", listed_ago=2 * HOUR, outcome="failed", complete_ago=2 * DAY),
    Life(WHOLE, (), Q, listed_ago=None, rejected=3),  # records of no graph that is known
    Life(WHOLE, (), R, outcome="forbidden", complete_ago=None),  # refused from its first load on
]
PROJECTS = [
    ProjectRow(P, "production"),
    ProjectRow(Q, "second", listed_ago=2 * HOUR),
    ProjectRow(R, "refused"),
]
GRAPHS = {life.graph_name for life in LIVES if life.left_ago is None and life.graph_id != WHOLE}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_history(tmp_path_factory.mktemp("metrics") / "fleet.duckdb", LIVES, PROJECTS)


Run = Callable[..., Result]


@pytest.fixture
def run(written: Written) -> Run:
    def run(*words: str | Path) -> Result:
        arguments = ["metrics", "--database", str(written.path), *map(str, words)]
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    return run


def series(text: str) -> dict[str, Series]:
    """{metric: {(project, graph, severity...): value}}, every one of them a gauge."""
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        for sample in family.samples:
            labels = sample.labels
            key = tuple(
                labels[name] for name in ("project_id", "graph_id", "severity") if name in labels
            )
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def test_every_figure_is_that_of_the_history(run: Run) -> None:
    found = series(run().stdout)
    at = lambda span: (NOW - span).timestamp()  # noqa: E731
    assert found.pop("ges_backup_last_success_timestamp_seconds") == {
        (P, "g-ok"): at(5 * HOUR),
        (P, "g-late"): at(60 * HOUR),
        (P, "g-failed"): at(30 * HOUR),
        (Q, "g-ok"): at(5 * HOUR),
    }
    statuses = {(P, "g-ok"): 1, (P, "g-late"): 1, (P, "g-failed"): 0, (Q, "g-ok"): 1}
    assert found.pop("ges_backup_last_status") == statuses
    assert found.pop("ges_backup_last_size_bytes") == dict.fromkeys(statuses, 100 * MIB)
    assert found.pop("ges_backup_last_duration_seconds") == dict.fromkeys(statuses, 60)
    rhythm = dict.fromkeys([(P, "g-ok"), (P, "g-late"), (P, "g-failed")], 86_400)
    assert found.pop("ges_backup_expected_interval_seconds") == rhythm
    graphs = [*statuses, (P, "g-never")]
    none = dict.fromkeys(graphs, 0)
    backups = {(P, "g-ok"): 10, (P, "g-late"): 10, (P, "g-failed"): 5, (Q, "g-ok"): 1}
    assert found.pop("ges_backup_source_backups") == none | backups
    sizes = {(P, "g-ok"): 1045, (P, "g-late"): 1045, (P, "g-failed"): 303, (Q, "g-ok"): 100}
    assert found.pop("ges_backup_source_bytes") == none | {k: v * MIB for k, v in sizes.items()}
    assert found.pop("ges_backup_running") == none | {(P, "g-failed"): 1}
    assert found.pop("ges_backup_stuck") == none | {(P, "g-failed"): 1}
    assert found.pop("ges_backup_failures_30d") == none | {(P, "g-failed"): 1}
    projects = dict.fromkeys([(P, ""), (Q, ""), (R, "")], 0)
    rejected = {(P, "g-failed"): 2, (Q, ""): 3}
    assert found.pop("ges_backup_rejected_records_30d") == none | projects | rejected
    known = found.pop("ges_backup_known_until_timestamp_seconds")
    assert known[P, "g-ok"] == at(0 * HOUR)
    violations = {
        (*one, severity): 0 for one in (*graphs, *projects) for severity in ("critical", "warning")
    }
    violations |= {
        (P, "g-late", "critical"): 1,  # overdue
        (P, "g-never", "critical"): 1,  # never succeeded
        (P, "g-failed", "critical"): 1,  # stuck
        (P, "g-failed", "warning"): 1,  # rejected
        (Q, "", "warning"): 1,  # rejected
        (R, "", "critical"): 1,  # its listing failed
        (Q, "g-ok", "critical"): found["ges_backup_policy_violations"][Q, "g-ok", "critical"],
    }
    assert found.pop("ges_backup_policy_violations") == violations
    assert violations[Q, "g-ok", "critical"] >= 1  # the listing that failed
    assert found.pop("ges_backup_project_info") == {(P,): 1, (Q,): 1, (R,): 1}
    assert found.pop("ges_backup_graphs") == {(P,): 4, (Q,): 1, (R,): 0}
    loads = found.pop("ges_backup_last_load_timestamp_seconds")
    assert loads == {(P,): at(0 * HOUR), (Q,): at(2 * HOUR), (R,): at(0 * HOUR)}
    assert found.pop("ges_backup_last_load_failed_graphs") == {(P,): 0, (Q,): 1, (R,): 1}
    assert found.pop("ges_backup_last_load_requests") == {(P,): 4, (Q,): 1, (R,): 1}
    assert found.pop("ges_backup_last_load_outcome") == {(P,): 0, (Q,): 3, (R,): 3}
    assert found == {}


def test_a_file_is_put_in_place_whole_and_can_be_read_by_the_collector(
    run: Run, tmp_path: Path
) -> None:
    target = tmp_path / "ges.prom"
    target.write_text("old")
    with target.open() as kept:
        assert run("--output", target).exit_code == 0
        assert kept.read() == "old"  # whoever reads it goes on reading the old one
    assert series(target.read_text())["ges_backup_graphs"] == {(P,): 4, (Q,): 1, (R,): 0}
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["ges.prom"]


def test_a_run_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "ges.prom"
    target.write_text("old")
    words = ["metrics", "--database", str(tmp_path / "none.duckdb"), "--output", str(target)]
    assert CliRunner().invoke(cli, words).exit_code != 0
    assert target.read_text() == "old"


@needs_prometheus
def test_promtool_finds_nothing_to_say(run: Run) -> None:
    text = run().stdout
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_prometheus
def test_the_alert_rules_hold_what_their_own_tests_say() -> None:
    for words in (
        ("check", "rules", "ges_backups.rules.yml"),
        ("test", "rules", "ges_backups.rules_test.yml"),
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=MONITORING, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    textfiles = folder / "textfiles"
    textfiles.mkdir()
    words = ["metrics", "--database", str(written.path), "--output", str(textfiles / "ges.prom")]
    assert CliRunner().invoke(cli, words).exit_code == 0
    with scraping(textfiles, MONITORING / "ges_backups.rules.yml", folder) as prometheus:
        prometheus.wait_for("ges_backup_graphs")
        prometheus.wait_for('ALERTS{alertname="GesBackupRecordsRejected"}')  # the last of the rules
        yield prometheus


@needs_prometheus
def test_what_the_collector_exports_is_what_was_written(prometheus: Prometheus) -> None:
    assert prometheus.query("node_textfile_scrape_error")[0][1] == 0
    names = {labels["graph_name"] for labels, _ in prometheus.query("ges_backup_source_backups")}
    assert names == GRAPHS
    (age,) = prometheus.query(
        'time() - ges_backup_last_success_timestamp_seconds{graph_id="g-late"}'
    )
    assert 60 <= age[1] / 3600 < 61


@needs_prometheus
def test_the_alerts_fire_for_the_graphs_that_they_are_about(prometheus: Prometheus) -> None:
    fired = prometheus.alerts()
    assert ("GesBackupOverdue", "g-late") in fired
    assert ("GesBackupNeverSucceeded", "g-never") in fired
    assert ("GesBackupStuck", "g-failed") in fired
    assert ("GesBackupFailed", "g-failed") in fired
    assert ("GesBackupRecordsRejected", "g-failed") in fired
    assert ("GesBackupListingFailed", "") in fired
    assert ("GesBackupRecordsRejected", "") in fired
    assert ("GesBackupPolicyWarning", "") in fired
    assert ("GesBackupPolicyViolated", "") in fired
    assert "g-gone" not in {graph for _, graph in fired}
    assert not {alert for alert, graph in fired if graph == "g-ok"} - {
        "GesBackupPolicyViolated",  # of the twin in the other project
    }


DASHBOARD = json.loads((MONITORING / "grafana_dashboard.json").read_text())
QUERIES = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]


@needs_prometheus
@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_query_of_the_dashboard_answers(
    prometheus: Prometheus, title: str, query: str
) -> None:
    assert prometheus.query(query.replace("$project", ".*").replace("$graph", ".*"))


@needs_prometheus
def test_the_choices_of_the_dashboard_are_the_projects_and_graphs(prometheus: Prometheus) -> None:
    choices = {}
    for variable in DASHBOARD["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            matching = found[1].replace("$project", ".*")
            choices[variable["name"]] = set(prometheus.label_values(found[2], matching))
    assert choices["project"] == {P, Q, R}
    assert choices["graph"] == GRAPHS


@needs_prometheus
def test_the_dashboard_tells_graphs_of_one_name_apart(prometheus: Prometheus) -> None:
    (violated,) = [query for title, query in QUERIES if title == "Violated rules"]
    rows = prometheus.query(violated.replace("$project", ".*").replace("$graph", ".*"))
    series = prometheus.query('ges_backup_policy_violations{graph_name=~".*"} > 0')
    keys = ("project_id", "graph_id", "severity")
    found, expected = (
        sorted(tuple(labels.get(key, "") for key in keys) for labels, _ in one)
        for one in (rows, series)
    )
    assert found == expected


def test_the_dashboard_shows_nothing_that_is_not_measured(run: Run) -> None:
    measured = set(series(run().stdout))
    for _, query in QUERIES:
        assert set(re.findall(r"ges_backup_\w+", query)) <= measured
