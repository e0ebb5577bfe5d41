"""The task of docs/deploy/airflow_dag.py, called without Airflow; with it: `tests/doors`."""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ges_history.errors import HistoryError
from harness import TOKEN

DAG = Path(__file__).parents[2] / "docs" / "deploy" / "airflow_dag.py"
SETTING = "SOURCES__GES_BACKUPS__"


def leaving(**_: Any) -> Any:
    """A decorator that leaves a function as it is."""
    return lambda function: function


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the document defines; its graph of tasks is not built."""
    task = type("task", (), {"__call__": staticmethod(leaving), "bash": staticmethod(leaving)})()
    exceptions, sdk = ModuleType("airflow.exceptions"), ModuleType("airflow.sdk")
    vars(exceptions).update(AirflowFailException=RuntimeError)
    vars(sdk).update(task=task, dag=lambda **_: lambda _: lambda: None)
    package = SimpleNamespace(exceptions=exceptions, sdk=sdk)
    for name, module in {
        "airflow": package,
        exceptions.__name__: exceptions,
        sdk.__name__: sdk,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("GES_BACKUPS_DATABASE", str(tmp_path / "history.duckdb"))
    return runpy.run_path(str(DAG))


def test_listed_projects_that_all_fail_fail_their_task(
    tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = [{"name": name, "project_id": name * 9} for name in ("a", "b")]
    monkeypatch.setenv(f"{SETTING}PROJECTS", json.dumps(listed))
    monkeypatch.setenv(f"{SETTING}ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(f"{SETTING}REQUEST_SECONDS", "2")
    monkeypatch.setenv(f"{SETTING}CREDENTIALS__TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError, match="does not answer"):
        tasks["load_project"]({})
