"""The DAG of docs/deploy, parsed and run by Airflow; costs minutes, so only with AIRFLOW=1."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from environments import ROOT, Packages, attempt, make_environment, run
from ges_emulator import Emulator
from harness import TOKEN, fleet_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not os.environ.get("AIRFLOW"), reason="only by make integrations AIRFLOW=1"),
]


def test_dag_loads_each_project_and_fails_where_the_policy_is_violated(
    packages: Packages, tmp_path: Path
) -> None:
    airflow = make_environment(tmp_path / "venv", str(packages.wheel), "apache-airflow>=3.3,<4")
    (tmp_path / "dags").mkdir()
    shutil.copy(ROOT / "docs" / "deploy" / "airflow_dag.py", tmp_path / "dags")
    north, south = fleet_of(graphs=2, backups=3), fleet_of(graphs=0, backups=0)
    south.project_id = "f" * 32
    graph = south.add_graph("south")
    for day in range(4):
        graph.add_backup(south.now - timedelta(days=day + 1), duration=9, size=1)
    with Emulator(north) as first, Emulator(south) as second:
        served = [
            {"project_id": one.fleet.project_id, "endpoint": one.endpoint, "credentials": TOKEN}
            for one in (first, second)
        ]
        settings = {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "GES_BACKUPS_DATABASE": str(tmp_path / "history.duckdb"),
            "GES_BACKUPS_PROJECTS": json.dumps(served),
            "PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        program = airflow.program("airflow")
        run([program, "db", "migrate"], tmp_path, **settings)
        errors = run([program, "dags", "list-import-errors"], tmp_path, **settings)
        assert "No data found" in errors.stdout
        done = attempt([program, "dags", "test", "ges_backup_history"], tmp_path, **settings)
    with duckdb.connect(tmp_path / "history.duckdb", read_only=True) as history:
        rows = history.sql("SELECT project_id, count(*) FROM ges.backups GROUP BY ALL").fetchall()
    assert dict(rows) == {north.project_id: 6, south.project_id: 4}
    assert done.returncode == 1  # the fleets' last backups are long ago: overdue, critical
    assert "exit code 2" in done.stdout + done.stderr
