"""docs/monitoring.md and the files beside it name every kind of rule and every metric that there is."""

import re
from pathlib import Path

import pytest

from ges_history.watching.facts import Facts, Graph, LastLoad, Project
from ges_history.watching.findings import COLUMNS, judged
from ges_history.watching.gauges import PREFIX, as_text
from ges_history.watching.kinds import KINDS
from ges_history.watching.policy import DEFAULT_POLICY, parse_policy

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "monitoring.md").read_text()
FACTS = Facts((Graph("p", "p", "g", "g"),), (Project("p", "p", load=LastLoad("p", 1.0, 1, 0)),))
EVERY = as_text(judged(FACTS, DEFAULT_POLICY)).decode()
METRICS = sorted(re.findall(rf"^# TYPE {PREFIX}(\w+) gauge$", EVERY, re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_rule_has_its_line(kind: str) -> None:
    assert re.search(rf"^\| `{kind}` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_in_the_table(metric: str) -> None:
    assert re.search(rf"^\|.*`{metric}`.*\|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_named(column: str) -> None:
    assert f"`{column}`" in TEXT


def test_the_alerts_are_about_metrics_that_there_are() -> None:
    rules = (DOCS / "monitoring" / "ges_backups.rules.yml").read_text()
    used = set(re.findall(rf"{PREFIX}(\w+)", rules))
    assert used
    assert used <= set(METRICS)


def test_the_policy_of_the_document_is_one() -> None:
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    assert {rule.kind for rule in parse_policy(example[1], "p.toml").rules} == {
        "rpo_hours",
        "must_be_encrypted",
        "stale_load",
    }
