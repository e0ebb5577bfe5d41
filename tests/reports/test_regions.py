"""Projects chosen by name and region: the same ones by every command that reads, with their figures."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ges_history import HistoryError, read_report
from ges_history.cli import cli
from ges_history.reports.overview import UnknownProjectError
from ges_history.reports.words import size
from watched import DAY, HOUR, Backup, Life, ProjectRow, write_history

GRAPHS = {"p1": ("orders", 3, 100), "p2": ("risk", 4, 1_000), "p3": ("search", 5, 10_000)}
"""By project: its graph, how many backups that has, and how many MB each."""
STORED = {project: count * size for project, (_, count, size) in GRAPHS.items()}
LATE = "p3"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two projects in one region, a third, whose backups are late, in another."""
    lives = [
        Life(
            graph,
            tuple(
                Backup(n * DAY + (60 if project == LATE else 1) * HOUR, size=size)
                for n in range(count)
            ),
            project,
            graph,
        )
        for project, (graph, count, size) in GRAPHS.items()
    ]
    projects = [
        ProjectRow("p1", "first", region="eu-1"),
        ProjectRow("p2", "second", region="eu-1"),
        ProjectRow("p3", "third", region="ges.example"),
    ]
    return write_history(tmp_path_factory.mktemp("regions") / "f.duckdb", lives, projects).path


def run(database: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--database", str(database)])


CHOICES = [
    ([], {"p1", "p2", "p3"}),
    (["--region", "eu-1"], {"p1", "p2"}),
    (["--region", "ges.example"], {"p3"}),
    (["--region", "eu-1", "--region", "ges.example"], {"p1", "p2", "p3"}),
    (["--region", "eu-1", "--project-name", "second"], {"p2"}),
    (["--project-name", "p1", "--project-name", "third"], {"p1", "p3"}),
]


@pytest.mark.parametrize(
    ("words", "wanted"), CHOICES, ids=[" ".join(words) or "all" for words, _ in CHOICES]
)
def test_every_command_takes_the_same_projects(
    database: Path, words: list[str], wanted: set[str]
) -> None:
    rows = json.loads(run(database, "report", "inventory", *words, "--format", "json").stdout)
    assert {row["project_id"] for row in rows} == wanted
    assert sum(row["size_mb"] for row in rows) == sum(STORED[project] for project in wanted)

    verdicts = run(database, "check", *words, "--format", "csv")
    assert {row["project_id"] for row in csv.DictReader(io.StringIO(verdicts.stdout))} == wanted
    assert verdicts.exit_code == (2 if LATE in wanted else 0)
    spans = run(database, "check", *words, "--format", "csv", "--since", "2000-01-01")
    found = {row["project_id"] for row in csv.DictReader(io.StringIO(spans.stdout))}
    assert found == wanted & {LATE}

    metrics = run(database, "metrics", *words).stdout
    told = {project for project in GRAPHS if f'project_id="{project}"' in metrics}
    assert told == wanted

    screen = run(database, "report", *words).stdout
    assert (f"Projects ({len(wanted)})" in screen) is (len(wanted) > 1)
    assert size(sum(STORED[project] for project in wanted)) in screen


@pytest.mark.parametrize(
    ("words", "wanted"), CHOICES[::2], ids=[" ".join(words) or "all" for words, _ in CHOICES[::2]]
)
def test_a_page_takes_the_same_projects(database: Path, words: list[str], wanted: set[str]) -> None:
    page = run(database, "report", "--html", "-", *words).stdout
    assert {name for name, (graph, _, _) in GRAPHS.items() if f">{graph}</bdi>" in page} == wanted


def test_a_name_or_region_that_is_not_known_is_refused_in_words(database: Path) -> None:
    for words, said in (
        (["--region", "eu-9"], "no region eu-9; did you mean eu-1?"),
        (["--region", "mars"], "no region mars; it holds eu-1, ges.example."),
        (["--project-name", "secnd"], "no project secnd; did you mean second?"),
        (["--region", "eu-1", "--project-name", "third"], "no project third in eu-1."),
    ):
        for command in (["report"], ["report", "growth"], ["report", "--html", "-"], ["metrics"]):
            done = run(database, *command, *words)
            assert isinstance(done.exception, HistoryError), command
            assert said in str(done.exception)
        checked = run(database, "check", *words)
        assert checked.exit_code == 3
        assert said in checked.stderr


def test_python_chooses_by_region_too(database: Path) -> None:
    frame = read_report("overview", database, region="eu-1")
    assert dict(zip(frame.project_id, frame.stored_mb, strict=True)) == {
        project: STORED[project] for project in ("p1", "p2")
    }
    assert set(read_report("growth", database, region=["eu-1", "ges.example"]).project_id) == {
        *GRAPHS
    }
    with pytest.raises(UnknownProjectError):
        read_report("growth", database, region="nowhere")
