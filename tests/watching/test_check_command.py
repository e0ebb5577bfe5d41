"""`ges-backups check` as a person, a monitoring system and an auditor read it."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

import warm_python
from cli_harness import PROGRAM, environment
from ges_history.cli import cli
from ges_history.watching.findings import COLUMNS
from ges_history.watching.policy import read_policy
from synthetic import PROJECT
from watched import DAY, HOUR, NOW, Backup, Life, ProjectRow, backup_id, write_history

FINE = Life("g-fine", tuple(Backup(n * DAY + HOUR) for n in range(40)), name="fine")
LATE = Life("g-late", tuple(Backup(n * DAY + 60 * HOUR) for n in range(10)), name="late|x\n=1+1")
ODD = replace(FINE, graph_id="g-odd", name="odd", rejected=1)
GONE = replace(FINE, graph_id="g-gone", name="gone", left_ago=DAY)
MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"

Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check a history of some graphs, by a policy's text or the default one."""

    def check(
        *words: str, lives: tuple[Life, ...] = (FINE, LATE, ODD, GONE), policy: str = ""
    ) -> Result:
        database = tmp_path / "fleet.duckdb"
        if not database.exists():
            write_history(database, lives)
        if policy:
            (tmp_path / "ges_policy.toml").write_text(policy)
        arguments = ["check", "--database", str(database), *words]
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    return check


@pytest.mark.parametrize(
    ("lives", "code"),
    [((FINE, GONE), 0), ((FINE, ODD), 1), ((FINE, ODD, LATE), 2)],
    ids=["all met", "warning", "critical"],
)
def test_the_exit_code_is_that_of_the_worst(
    check: Check, lives: tuple[Life, ...], code: int
) -> None:
    assert check(lives=lives).exit_code == code


def test_what_cannot_be_judged_is_unknown_unless_something_is_worse(check: Check) -> None:
    policy = "[[rules]]\nmust_be_encrypted = true\n"
    unsaid = replace(FINE, backups=(replace(FINE.backups[0], encrypted=None),))
    assert check(lives=(unsaid,), policy=policy).exit_code == 3
    late = policy + "[[rules]]\nseverity = 'warning'\nrpo_hours = 0.5\n"
    assert check(policy=late).exit_code == 1


STALE = replace(
    FINE,
    backups=tuple(replace(one, age=one.age + 9 * DAY) for one in FINE.backups),
    listed_ago=9 * DAY,
    complete_ago=9 * DAY,
)
SCOPED = "[[rules]]\ngraphs = ['{}']\nstale_load = {}\n"


@pytest.mark.parametrize(
    ("policy", "tag"),
    [
        (SCOPED.format("fi*", "true"), "CRITICAL"),
        (SCOPED.format("fi*", "false"), None),
        (SCOPED.format("fi*", "false") + SCOPED.format("o*", "true"), "CRITICAL"),
        (SCOPED.format("fi*", "true") + "exclude = 'fine'\n", None),
        (SCOPED.format("other*", "true"), "UNKNOWN"),
    ],
)
def test_a_stale_load_is_told_where_a_rule_names_any_graph_of_the_project(
    check: Check, policy: str, tag: str | None
) -> None:
    result = check(lives=(STALE, replace(STALE, graph_id="o", name="odd")), policy=policy)
    told = [line.split()[0] for line in result.stdout.splitlines() if "  stale_load: " in line]
    assert told == ([tag] if tag else []), result.output


def test_people_read_a_line_a_finding_the_worst_first(check: Check) -> None:
    lines = check().stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["CRITICAL", "WARNING", "3"]
    assert re.search(
        r"overdue: 2 days 12 h, at most 2 days; last success \d{4}-\d\d-\d\d", lines[0]
    )
    assert "rejected_records: 1 records" in lines[1]
    assert lines[2] == "3 graphs, default policy: 1 critical, 1 warning, 17 met, 6 excluded"


def test_a_figure_that_reads_like_its_target_is_told_by_what_it_misses(check: Check) -> None:
    ages = [26 * HOUR + timedelta(seconds=20), 30 * DAY + 5 * HOUR]
    late = Life("g", tuple(map(Backup, ages)), name="orders")
    failing = Life("h", (Backup(HOUR, "failed"), *[Backup(HOUR)] * 2000), name="logs")
    policy = "[[rules]]\nrpo_hours = 26\nmax_age_days = 30\nmin_success_rate = 0.99951\n"
    text = check(lives=(late, failing), policy=policy).stdout
    assert "orders  rpo_hours: at most 26 h, missed by 20 s;" in text
    assert "orders  max_age_days: at most 30 days, missed by 5 h;" in text
    assert "logs  min_success_rate: at least 99.9 %, missed by 0.00098 %;" in text


def test_many_graphs_of_a_stale_load_are_one_line(check: Check) -> None:
    still = [
        replace(
            FINE,
            graph_id=f"g{n}",
            name=None,
            backups=FINE.backups[4:],
            listed_ago=4 * DAY,
            complete_ago=4 * DAY,
        )
        for n in range(50)
    ]
    result = check(lives=tuple(still), policy="[[rules]]\nstale_hours = 24\n")
    first, total = result.stdout.splitlines()
    assert first.startswith("CRITICAL  50 graphs  stale_hours: 4 days, at most 24 h")
    assert "50 critical" in total


NAGIOS = re.compile(
    r"GES BACKUPS (?P<state>OK|WARNING|CRITICAL|UNKNOWN): (?P<text>[^|\n]*)(?: \| (?P<figures>[^|\n]*))?"
    r"(?P<long>(?:\n[^|\n]*)*)\n"
)
FIGURE = re.compile(r"(\w+)=(\d+)(s|B|)((?:;\d*){3})")


def test_nagios_reads_a_line_with_figures_then_long_text(check: Check) -> None:
    result = check("--format", "nagios")
    found = NAGIOS.fullmatch(result.stdout)
    assert found is not None
    assert (found["state"], result.exit_code) == ("CRITICAL", 2)
    assert len(found["long"].strip().splitlines()) == 2
    figures = {}
    for figure in found["figures"].split(" "):
        parts = FIGURE.fullmatch(figure)
        assert parts is not None, figure
        figures[parts[1]] = (int(parts[2]), parts[3])
    age, unit = figures.pop("load_age")
    assert unit == "s"
    assert age == pytest.approx((datetime.now(UTC) - NOW).total_seconds(), abs=60)
    size = sum(b.size or 0 for life in (FINE, LATE, ODD, GONE) for b in life.backups)
    assert figures == {
        "graphs": (3, ""),
        "critical": (1, ""),
        "warning": (1, ""),
        "unknown": (0, ""),
        "oldest_success": (60 * 3600, "s"),
        "stored": (size * 1_048_576, "B"),
        "backups": (130, ""),
        "running": (0, ""),
        "stuck": (0, ""),
        "failures_30d": (0, ""),
    }


def test_nagios_output_stays_within_its_8_kb(check: Check) -> None:
    many = tuple(Life(f"graph-{n}", name="ä" * 40) for n in range(500))
    output = check("--format", "nagios", lives=many).stdout
    assert len(output.encode()) < 8_000
    assert re.search(r"\.\.\. and \d+ more\n$", output)


def test_a_long_name_leaves_the_figures_where_nagios_reads_them(check: Check) -> None:
    long = replace(LATE, name="ä" * 9_000)
    output = check("--format", "nagios", lives=(long,), policy=POLICY).stdout
    assert len(output.encode()) < 8_000
    first = output.splitlines()[0]
    assert first.split(" | ")[1].startswith("graphs=1;")
    assert "last success" in first


def rows_of(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_csv_has_a_row_for_each_graph_and_rule_with_the_documented_columns(check: Check) -> None:
    result = check("--format", "csv", policy="[[rules]]\nexclude = 'odd'\nrpo_hours = 24\n")
    assert result.exit_code == 2
    rows = rows_of(result)
    assert tuple(rows[0]) == COLUMNS
    verdicts = {row["graph_id"]: (row["verdict"], row["target"]) for row in rows}
    assert verdicts == {
        "g-late": ("violated", "24"),
        "g-fine": ("met", "24"),
        "g-odd": ("excluded", "24"),
        "g-gone": ("excluded", "24"),
        "": ("met", "48"),
    }
    assert rows[0]["graph_name"] == "late|x\n=1+1"
    assert float(rows[0]["actual"]) == 60


def test_json_has_the_same_rows(check: Check) -> None:
    policy = "[[rules]]\nexclude = 'odd'\nrpo_hours = 24\nmin_backups = 11\n"
    rows = json.loads(check("--format", "json", policy=policy).stdout)
    of_csv = rows_of(check("--format", "csv", policy=policy))
    assert [tuple(row) for row in rows] == [COLUMNS] * len(of_csv)
    keys = ("graph_id", "rule", "severity", "verdict")
    assert [[row[k] for k in keys] for row in rows] == [[row[k] for k in keys] for row in of_csv]


POLICY = """[[rules]]
graphs = "late*"
exclude = "*=1+1"
rpo_hours = 100
[[rules]]
graphs = ["fine", "late*"]
rpo_hours = 24
[[rules]]
rpo_hours = 1
"""


def test_explain_says_which_rules_apply_to_a_graph_and_why(check: Check) -> None:
    result = check("--explain", "fine", policy=POLICY)
    assert result.exit_code == 0
    text = result.stdout
    assert "rpo_hours: met: 1 h, at most 24 h" in text
    assert re.search(r"line 4: does not name it: graphs = \['late\*'\]", text)
    assert re.search(r"line 7: counts", text)
    assert re.search(r"line 9: names it, too, but comes later", text)
    assert re.search(r"no rule at all: .*min_backups", text)


def test_explain_looks_at_some_projects_only(tmp_path: Path) -> None:
    database = tmp_path / "two.duckdb"
    lives = [replace(FINE, project_id=project) for project in ("p1", "p2")]
    write_history(database, lives, [ProjectRow("p1", "prod"), ProjectRow("p2", "dev")])
    words = ["check", "--database", str(database), "--explain", "fine"]
    both = CliRunner().invoke(cli, words).stdout
    assert [name for name in ("prod", "dev") if f"of project {name}" in both] == ["prod", "dev"]
    one = CliRunner().invoke(cli, [*words, "--project-name", "dev"])
    assert "of project prod" not in one.stdout
    assert "of project dev" in one.stdout
    assert "stale_load: of its project" in one.stdout
    assert CliRunner().invoke(cli, [*words, "--project-name", "nonsense"]).exit_code == 3


def test_a_rule_of_a_project_that_is_not_looked_at_is_no_mistake(tmp_path: Path) -> None:
    database = tmp_path / "two.duckdb"
    lives = [replace(FINE, project_id=project) for project in ("p1", "p2")]
    write_history(database, lives, [ProjectRow("p1", "prod"), ProjectRow("p2", "dev")])
    rules = [f"[[rules]]\nprojects = '{name}'\nrpo_hours = 24\n" for name in ("prod", "dev")]
    (tmp_path / "ges_policy.toml").write_text("".join(rules))
    words = ["check", "--database", str(database), "--project-name", "prod"]
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, "names" in result.stdout) == (0, False), result.stdout
    (tmp_path / "ges_policy.toml").write_text("".join(rules) + rules[0].replace("prod", "test"))
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, "line 9" in result.stdout) == (3, True), result.stdout


def test_a_violation_that_goes_on_is_evidence_of_any_window_after_its_begin(check: Check) -> None:
    late = replace(LATE, listed_ago=3 * HOUR, complete_ago=3 * HOUR)
    policy = "[[rules]]\nrpo_hours = 24\n"
    result = check("--since", "1h", "--format", "csv", lives=(late,), policy=policy)
    (row,) = rows_of(result)
    assert (result.exit_code, row["graph_id"], row["ended_at"]) == (2, "g-late", "")


def test_a_graph_that_could_never_be_listed_is_no_evidence(check: Check) -> None:
    refused = Life("g", outcome="forbidden", complete_ago=None)
    result = check("--since", "9d", lives=(refused,), policy="[[rules]]\nrpo_hours = 24\n")
    assert (result.exit_code, result.stdout) == (0, "0 violations\n")


@pytest.mark.parametrize(
    "rules", ["min_backups = 1", "overdue = false", 'graphs = "no*"\nrpo_hours = 24']
)
def test_without_a_rule_about_time_there_is_no_evidence_and_not_none_of_violations(
    check: Check, rules: str
) -> None:
    result = check("--since", "9d", policy=f"[[rules]]\n{rules}\n")
    assert result.exit_code == 3
    assert "rpo_hours and overdue" in result.stderr


def test_a_rule_that_is_off_and_names_no_graph_is_told_without_a_figure(check: Check) -> None:
    text = check(policy="[[rules]]\ngraphs = 'no*'\noverdue = false\n").stdout
    line = next(line for line in text.splitlines() if "overdue" in line)
    assert "at most" not in line


def test_explain_takes_an_id_and_says_what_excludes(check: Check) -> None:
    text = check("--explain", "g-late", policy=POLICY).stdout
    assert "line 4: excludes it: exclude = ['*=1+1']" in text
    assert "rpo_hours: violated (critical): 2 days 12 h, at most 24 h" in text


def test_explain_of_a_graph_that_is_not_there_names_close_ones(check: Check) -> None:
    result = check("--explain", "g-fin")
    assert result.exit_code == 3
    assert "g-fine" in result.stderr


def test_the_evidence_has_each_violation_with_its_begin_end_length_and_backups(
    check: Check,
) -> None:
    ages = [1, 25, 49, 97, 121]  # a day each, but two days between the third and the fourth
    life = Life("g", tuple(Backup(hours * HOUR) for hours in ages), name="orders")
    since = (NOW - 5 * DAY).isoformat()
    words = ("--since", since, "--format", "csv")
    result = check(*words, lives=(life,), policy="[[rules]]\nrpo_hours = 30\n")
    assert result.exit_code == 2
    (row,) = rows_of(result)
    began, ended = NOW - 67 * HOUR, NOW - 49 * HOUR
    assert row == {
        "project_id": PROJECT,
        "graph_id": "g",
        "graph_name": "orders",
        "rule": "rpo_hours",
        "severity": "critical",
        "target_hours": "30",
        "began_at": f"{began:%Y-%m-%dT%H:%M:%S}.000000Z",
        "ended_at": f"{ended:%Y-%m-%dT%H:%M:%S}.000000Z",
        "length_hours": "18",
        "backup_before": backup_id(life, 3),
        "backup_after": backup_id(life, 2),
        "reason": "the next success came late",
    }
    late = (NOW - 40 * HOUR).isoformat()
    later = check("--since", late, "--format", "csv")
    assert (rows_of(later), later.exit_code) == ([], 0)
    assert "from" in check("--since", since).stdout


def command(folder: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return warm_python.run(
        [PROGRAM, "check", *words], environment(None, folder, **variables), cwd=folder
    )


def no_history(folder: Path) -> None:
    """Nothing is there."""


def no_database(folder: Path) -> None:
    (folder / "ges_backups.duckdb").write_text("no database" * 1000)


def foreign_database(folder: Path) -> None:
    duckdb.connect(str(folder / "ges_backups.duckdb")).close()


def broken_policy(folder: Path) -> None:
    write_history(folder / "ges_backups.duckdb", [FINE])
    (folder / "ges_policy.toml").write_text("[[rules]]\nrpo_hour = 3\n")


def broken_view(folder: Path) -> None:
    written = write_history(folder / "ges_backups.duckdb", [FINE])
    with duckdb.connect(str(written.path)) as connection:
        connection.execute('ALTER TABLE "ges_backups".ges.backups DROP COLUMN status')


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (no_history, ()),
        (no_database, ()),
        (foreign_database, ()),
        (broken_policy, ()),
        (broken_view, ()),
        (no_history, ("--nonsense",)),
        (no_history, ("--database",)),
        (no_history, ("--since", "soon")),
        (no_history, ("--since", "2026-02-01", "--until", "2026-01-01")),
        (no_history, ("--policy", "missing.toml")),
    ],
)
def test_whatever_goes_wrong_is_unknown_and_told_where_nagios_reads(
    tmp_path: Path, arrange: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    arrange(tmp_path)
    done = command(tmp_path, "--format=nagios", *words)
    assert done.returncode == 3
    assert re.fullmatch(r"GES BACKUPS UNKNOWN: [^|\n]+\n", done.stdout)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--databse", "x", "check"), ("check", "--wait", "x")])
def test_wrong_usage_is_unknown_before_and_after_the_word(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    variables = environment(None, tmp_path, GES_BACKUPS_FORMAT="nagios")
    done = warm_python.run([PROGRAM, *words], variables, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("GES BACKUPS UNKNOWN: ")


def test_a_policy_is_taken_from_the_environment(tmp_path: Path) -> None:
    write_history(tmp_path / "ges_backups.duckdb", [FINE])
    (tmp_path / "p.toml").write_text("[[rules]]\nrpo_hours = 0.5\n")
    assert command(tmp_path).returncode == 0
    done = command(tmp_path, GES_BACKUPS_POLICY="p.toml")
    assert done.returncode == 2
    assert "p.toml" in done.stdout


def test_a_policy_beside_files_that_a_glob_finds_is_heard(tmp_path: Path) -> None:
    (tmp_path / "north").mkdir()
    write_history(tmp_path / "north" / "h.duckdb", [FINE])
    (tmp_path / "north" / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 0.5\n")
    done = CliRunner().invoke(cli, ["check", "--database", str(tmp_path / "*" / "h.duckdb")])
    assert (done.exit_code, "rpo_hours" in done.stdout) == (2, True)


def test_the_policy_to_start_from_is_right_and_holds_every_kind_that_takes_a_figure(
    check: Check,
) -> None:
    policy = read_policy(MONITORING / "ges_policy.toml")
    figures = {rule.kind for rule in policy.rules if rule.place != "default policy"}
    assert figures >= {
        "rpo_hours",
        "min_backups",
        "max_age_days",
        "max_duration_hours",
        "min_success_rate",
        "max_size_change_pct",
        "must_be_encrypted",
        "stale_hours",
    }
    result = check(lives=(FINE,), policy=(MONITORING / "ges_policy.toml").read_text())
    assert result.exit_code == 3  # its examples name no graph of this history, which is told
    assert "line" in result.stdout


def test_the_nagios_command_definition_runs_as_it_stands(tmp_path: Path) -> None:
    write_history(tmp_path / "fleet.duckdb", [FINE])
    text = (MONITORING / "nagios_commands.cfg").read_text()
    line = re.search(r"command_line\s+(.*)", text)
    assert line is not None
    program, *words = line[1].replace("$ARG1$", str(tmp_path / "fleet.duckdb")).split()
    assert program.endswith("/ges-backups")
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("GES BACKUPS OK: ")


def test_some_projects_are_checked_by_name_and_others_left_out(tmp_path: Path) -> None:
    twin = replace(LATE, project_id="p2")
    projects = [ProjectRow(PROJECT, "first"), ProjectRow("p2", "second")]
    database = write_history(tmp_path / "two.duckdb", [FINE, twin], projects).path

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["check", "--database", str(database), *words])

    assert [run("--project-name", name).exit_code for name in ("first", "second", "p2")] == [
        0,
        2,
        2,
    ]
    rows = rows_of(run("--project-name", "first", "--format", "csv"))
    assert {row["project_id"] for row in rows} == {PROJECT}
    wrong = run("--project-name", "third")
    assert wrong.exit_code == 3
    assert "first" in wrong.stderr


def test_several_databases_are_checked_as_one(tmp_path: Path) -> None:
    write_history(tmp_path / "a.duckdb", [FINE])
    write_history(tmp_path / "b.duckdb", [replace(LATE, project_id="p2")])
    words = ["check", "--database", str(tmp_path / "*.duckdb"), "--format", "csv"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert {row["graph_id"] for row in rows_of(done)} == {"g-fine", "g-late", ""}
