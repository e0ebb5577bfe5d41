"""Every command on a history in PostgreSQL, as it is typed."""

import json
from pathlib import Path

import pytest

from cli_harness import Command, Done
from ges_emulator import Emulator, Fleet
from ges_history.reports.read import read_report
from ges_history.warehouses import warehouse_for
from harness import fill, the_graph
from postgres_history import environment_of
from postgres_server import PostgresDatabase


@pytest.fixture
def command(tmp_path: Path, emulator: Emulator) -> Command:
    return Command(emulator, tmp_path)


def test_all_commands(
    command: Command, postgres: PostgresDatabase, fleet: Fleet, tmp_path: Path
) -> None:
    of_others = dict.fromkeys(("HOST", "PORT", "DATABASE", "USERNAME", "PASSWORD", "WORKERS"), "x")

    def run(*words: str) -> Done:
        variables = {**postgres.environment, **of_others}
        done = command.run(*words, "--destination", "postgres", **variables)
        assert done.err.count("Traceback") == 0, done.err
        return done

    assert run("load", "--json").json["backups"]["new"] == 6
    fill(the_graph(fleet), 2, 10)
    assert run("load", "--json").json["backups"]["new"] == 2
    assert run("load", "--json").json["outcome"] == "unchanged"

    rows = json.loads(run("report", "size_trend", "--graph", "g1", "--format", "json").out)
    assert len(rows) == 5
    assert run("report").code == 0
    assert run("report", "--html", "page.html").code == 0
    assert "g1" in (tmp_path / "page.html").read_text()
    assert run("check", "--format", "json").code in (0, 1, 2)
    assert run("metrics").code == 0
    assert run("publish", "copy.duckdb").code == 0
    with environment_of(postgres):
        warehouse = warehouse_for(tmp_path / "x", "postgres")
    kept = warehouse.read("FROM ges.backups ORDER BY id")
    frame = read_report("growth", warehouse)
    copy = warehouse_for(tmp_path / "copy.duckdb").read("FROM ges.backups ORDER BY id")
    assert copy.to_pylist() == kept.to_pylist()
    assert list(frame["graph_id"]) == ["g1", "g2"]

    assert run("forget", fleet.project_id, "--yes").code == 0
    assert postgres.rows("backups") == []
