"""A policy file: what it may say, which rule counts, and where it says what it may not."""

from pathlib import Path

import pytest

from ges_history.watching.facts import Graph
from ges_history.watching.policy import (
    DEFAULT_POLICY,
    PolicyError,
    Ruling,
    find_policy,
    parse_policy,
)

GRAPH = Graph(project_id="p1", project_name="prod", graph_id="g-1", graph_name="orders-eu")

FULL = """
# what must hold
[[rules]]
graphs = ["orders*"]
exclude = [
    "orders-test",
    "g-9",
]
rpo_hours = 26
min_backups = 7
max_age_days = 45.5
max_duration_hours = 2
severity = "warning"

[[rules]]
projects = "prod*"
min_success_rate = 0.95
max_size_change_pct = 30
must_be_encrypted = true
stale_hours = 3
"""


def test_every_kind_of_rule_is_read_with_its_figure_severity_and_line() -> None:
    policy = parse_policy(FULL, "p.toml")
    assert [(r.kind, r.target, r.severity, r.place) for r in policy.rules] == [
        ("rpo_hours", 26, "warning", "line 9"),
        ("min_backups", 7, "warning", "line 10"),
        ("max_age_days", 45.5, "warning", "line 11"),
        ("max_duration_hours", 2, "warning", "line 12"),
        ("min_success_rate", 0.95, "critical", "line 17"),
        ("max_size_change_pct", 30, "critical", "line 18"),
        ("must_be_encrypted", 1, "critical", "line 19"),
        ("stale_hours", 3, "critical", "line 20"),
    ]
    assert policy.rules[0].exclude == ("orders-test", "g-9")
    assert policy.rules[4].projects == ("prod*",)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[[rules]]\nrpo_hour = 3\n", 2, "did you mean rpo_hours"),
        ("[[rules]]\n\nwhatever = 3\n", 3, "there are"),
        ("[[rule]]\nrpo_hours = 3\n", 1, "did you mean rules"),
        ("rules = 3\n", 1, "[[rules]]"),
        ("[[rules]]\nrpo_hours = 3\n[[rules]]\n# none\nseverity = 'critical'\n", 3, "no rule"),
        ("[[rules]]\nrpo_hours = 0\n", 2, "above 0"),
        ("[[rules]]\nrpo_hours = -1\n", 2, "above 0"),
        ("[[rules]]\nrpo_hours = 1e9\n", 2, "up to 876000"),
        ("[[rules]]\nrpo_hours = nan\n", 2, "a number"),
        ("[[rules]]\nrpo_hours = inf\n", 2, "a number"),
        ("[[rules]]\nrpo_hours = true\n", 2, "a number"),
        ("[[rules]]\nrpo_hours = '24'\n", 2, "a number"),
        ("[[rules]]\nmin_backups = 0\n", 2, "a whole number from 1"),
        ("[[rules]]\nmin_backups = 2.5\n", 2, "a whole number"),
        ("[[rules]]\nmin_success_rate = 95\n", 2, "up to 1"),
        ("[[rules]]\nmust_be_encrypted = 1\n", 2, "true or false"),
        ("[[rules]]\nseverity = 'high'\nrpo_hours = 2\n", 2, "warning"),
        ("[[rules]]\nrpo_hours = 2\ngraphs = [1]\n", 3, "names or ids"),
        ("[[rules]]\nrpo_hours = 2\ngraphs = []\n", 3, "names nothing"),
        ("[[rules]]\nrpo_hours = 1\n[[rules]]\nmin_backups = 1\nrpo_hours = 'x'\n", 5, "a number"),
        ("[[rules]]\nrpo_hours = 2\n[[rules]]\n  'rpo_hours' = -2\n", 4, "above 0"),
        ("[[rules]]\nrpo_hours = \n", 2, "no TOML"),
        pytest.param(f"[[rules]]\nrpo_hours = {'9' * 400}\n", 2, "up to 876000", id="400 digits"),
        pytest.param(f"[[rules]]\nmin_backups = {'9' * 400}\n", 2, "whole", id="400 of backups"),
        pytest.param(f"[[rules]]\n\nstuck = {'9' * 5000}\n\n", 3, "too long", id="5000 digits"),
        pytest.param(f"[[rules]]\ngraphs = {'[' * 3000}\n", 2, "too deep", id="3000 brackets"),
        ("with_defaults = 1\n[[rules]]\nrpo_hours = 2\n", 1, "true or false"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(PolicyError, match=r"p\.toml") as caught:
        parse_policy(text, "p.toml")
    assert f"line {line}" in str(caught.value)
    assert words in str(caught.value)


def test_an_empty_file_is_no_policy() -> None:
    with pytest.raises(PolicyError, match="holds no rule"):
        parse_policy("# to come\n", "p.toml")


@pytest.mark.parametrize("content", [None, b"\xff\xfe[["])
def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"p\.toml"):
        find_policy(path)


def test_the_usual_file_is_found_beside_the_database_and_the_default_holds_without(
    tmp_path: Path,
) -> None:
    assert find_policy(None, tmp_path) is DEFAULT_POLICY
    (tmp_path / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 5\n")
    assert find_policy(None, tmp_path).rules[0].target == 5


def test_of_several_folders_one_policy_counts_and_different_ones_are_refused(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / name for name in ("north", "south", "west")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 5\n")
    assert find_policy(None, *folders).rules[0].target == 5
    (folders[2] / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 5\n")
    assert find_policy(None, *folders).rules[0].target == 5
    (folders[2] / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 6\n")
    with pytest.raises(PolicyError, match=r"south.*west.*--policy"):
        find_policy(None, *folders)


def test_a_file_of_an_editor_that_marks_its_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xef\xbb\xbf[[rules]]\r\nrpo_hours = 26\r\n")
    assert find_policy(path).rules[0].target == 26


def test_a_usual_file_that_is_a_link_to_nowhere_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "ges_policy.toml").symlink_to(tmp_path / "elsewhere.toml")
    with pytest.raises(PolicyError, match=r"ges_policy\.toml cannot be read"):
        find_policy(None, tmp_path)


def ruling(text: str, kind: str, graph: Graph = GRAPH) -> Ruling:
    return parse_policy(text, "p.toml").ruling(kind, graph)


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ('graphs = "orders*"', True),
        ('graphs = "g-?"', True),
        ('graphs = ["x", "g-1"]', True),
        ('graphs = "orders"', False),
        ('graphs = "Orders*"', False),
        ('projects = "prod"', True),
        ('projects = "p[0-9]"', True),
        ('projects = "dev"', False),
        ('projects = "prod"\ngraphs = "other"', False),
        ('exclude = "*-eu"', False),
        ('exclude = "g-1"', False),
        ('exclude = "*-us"', True),
        ("exclude = []", True),
    ],
)
def test_a_rule_names_graphs_and_projects_by_globs_on_name_or_id(names: str, counts: bool) -> None:
    found = ruling(f"[[rules]]\n{names}\nrpo_hours = 4\n", "rpo_hours")
    assert (found.rule is not None) is counts


def test_the_first_rule_that_names_a_graph_counts_for_each_kind() -> None:
    text = """[[rules]]
graphs = "orders*"
rpo_hours = 1
[[rules]]
rpo_hours = 2
min_backups = 3
"""
    first, second = ruling(text, "rpo_hours"), ruling(text, "min_backups")
    assert first.rule is not None
    assert first.rule.target == 1
    assert second.rule is not None
    assert second.rule.place == "line 6"


def test_a_graph_that_is_excluded_falls_to_the_next_rule_or_to_none() -> None:
    one = "[[rules]]\nexclude = 'orders*'\nrpo_hours = 1\n"
    assert ruling(one, "rpo_hours").rule is None
    excluded_by = ruling(one, "rpo_hours").excluded_by
    assert excluded_by is not None
    assert excluded_by.place == "line 3"
    two = ruling(one + "[[rules]]\nrpo_hours = 2\n", "rpo_hours").rule
    assert two is not None
    assert two.target == 2


def test_a_switch_that_is_off_leaves_its_graphs_out_whatever_comes_later() -> None:
    text = "[[rules]]\ngraphs = 'orders*'\nmust_be_encrypted = false\n[[rules]]\nmust_be_encrypted = true\n"
    assert ruling(text, "must_be_encrypted").rule is None
    other = Graph(project_id="p1", project_name="prod", graph_id="g-2", graph_name="people")
    assert ruling(text, "must_be_encrypted", other).rule is not None


def test_a_stale_load_is_watched_though_the_file_does_not_ask_for_it() -> None:
    policy = parse_policy("[[rules]]\nrpo_hours = 4\n", "p.toml")
    assert policy.kinds == ["rpo_hours", "stale_load"]
    policy = parse_policy("[[rules]]\nstale_hours = 4\n", "p.toml")
    assert policy.kinds == ["stale_hours"]
    off = parse_policy("[[rules]]\nrpo_hours = 4\nstale_load = false\n", "p.toml")
    assert [rule.place for rule in off.rules] == ["line 2", "line 3"]


def test_the_default_rules_come_after_those_of_the_file_where_it_says_so() -> None:
    policy = parse_policy(
        "with_defaults = true\n[[rules]]\ngraphs = 'o*'\nanomalies = false\n", "p.toml"
    )
    assert set(policy.kinds) == set(DEFAULT_POLICY.kinds)
    assert policy.ruling("anomalies", GRAPH).rule is None
    assert policy.ruling("overdue", GRAPH).rule is not None
