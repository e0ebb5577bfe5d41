"""Every option of every command can be a variable, as the README says."""

from pathlib import Path

import click
import pytest
from click.core import ParameterSource
from click.testing import CliRunner

from ges_history.cli import cli
from watched import HOUR, Backup, Life, ProjectRow, write_history

WORDS = {"publish": ["copy.duckdb"], "forget": ["a-project"]}
OPTIONS = [
    (name, option)
    for name, command in cli.commands.items()
    for option in command.params
    if isinstance(option, click.Option) and (name, option.name) != ("demo", "database")
]
VALUES = {"instant": "2026-01-01", "url": "https://localhost/", "path": "a b", "text": '"a b"'}


def value_for(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[-1])
    return VALUES.get(option.type.name, "1")


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda one: getattr(one, "name", one))
def test_each_option_is_heard_by_its_variable(
    name: str, option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = max(option.opts, key=len).removeprefix("--").replace("-", "_").upper()
    monkeypatch.setenv(f"GES_BACKUPS_{written}", value_for(option))
    context = cli.commands[name].make_context(name, list(WORDS.get(name, [])))
    assert option.name is not None
    assert context.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT
    if option.multiple:
        assert [str(one) for one in context.params[option.name]] == ["a b"]


@pytest.mark.parametrize(
    "said", ["north prod\nsouth prod\n", '"north prod"  "south prod"', "p1 p2"]
)
def test_a_variable_may_have_several_values(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = [Life("g", (Backup(2 * HOUR),), project_id=one) for one in ("p1", "p2", "p3")]
    rows = [ProjectRow("p1", "north prod"), ProjectRow("p2", "south prod"), ProjectRow("p3", "dev")]
    written = write_history(tmp_path / "h:1.duckdb", lives, rows)
    monkeypatch.setenv("GES_BACKUPS_DATABASE", str(written.path))  # one, with a colon
    monkeypatch.setenv("GES_BACKUPS_PROJECT_NAME", said)
    done = CliRunner().invoke(cli, ["check", "--format", "csv"])
    assert {row.split(",")[0].strip('"') for row in done.stdout.splitlines()[1:]} == {"p1", "p2"}
