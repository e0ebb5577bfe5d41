"""The page's calendar goes by the policy that stands beside the database."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ges_history.cli import cli
from synthetic import write_database


def days_on_target(folder: Path, policy: str | None, name: str = "ges_policy.toml") -> list[str]:
    """The shares that the page tells, under a policy."""
    file = folder / name
    file.unlink(missing_ok=True)
    if policy:
        file.write_text(policy)
    page = folder / "page.html"
    words = ["report", "--html", str(page), "--database", str(folder / "history.duckdb")]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return re.findall(r"(\d+(?:\.\d)?) %", page.read_text(encoding="utf-8"))


def test_a_target_that_nothing_meets_shows_in_the_shares_of_days(tmp_path: Path) -> None:
    write_database(tmp_path / "history.duckdb", graphs=3, backups=90, edge_cases=False)
    without = days_on_target(tmp_path, None)
    lenient = days_on_target(tmp_path, "[[rules]]\nrpo_hours = 8000\n")
    strict = days_on_target(tmp_path, "[[rules]]\nrpo_hours = 0.01\n")
    assert without != strict
    assert strict.count("0") > lenient.count("0")
    assert lenient.count("100") > strict.count("100")


def test_a_policy_of_the_environment_counts_as_for_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_database(tmp_path / "history.duckdb", graphs=3, backups=90, edge_cases=False)
    strict = "[[rules]]\nrpo_hours = 0.01\n"
    beside = days_on_target(tmp_path, strict)
    (tmp_path / "ges_policy.toml").unlink()
    monkeypatch.setenv("GES_BACKUPS_POLICY", str(tmp_path / "other.toml"))
    assert days_on_target(tmp_path, strict, "other.toml") == beside


def test_a_policy_that_is_a_link_to_nowhere_is_no_missing_one(tmp_path: Path) -> None:
    write_database(tmp_path / "history.duckdb", graphs=1, backups=3, edge_cases=False)
    (tmp_path / "ges_policy.toml").symlink_to(tmp_path / "nowhere.toml")
    words = ["report", "--html", str(tmp_path / "p.html"), "--database"]
    done = CliRunner().invoke(cli, [*words, str(tmp_path / "history.duckdb")])
    assert "cannot be read" in str(done.exception)


def test_a_wrong_policy_is_said_before_the_page_is_written(tmp_path: Path) -> None:
    write_database(tmp_path / "history.duckdb", graphs=1, backups=3, edge_cases=False)
    (tmp_path / "ges_policy.toml").write_text("[[rules]]\nrpo_huors = 1\n")
    page = tmp_path / "page.html"
    words = ["report", "--html", str(page), "--database", str(tmp_path / "history.duckdb")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code != 0
    assert "line 2" in str(done.exception)
    assert not page.exists()
