"""The history in Dagster: described, materialized with its checks, and in `dagster dev` on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from browser import CHROMIUM, NO_BROWSER, chromium, visit
from environments import ROOT, UV, Environment, Packages, attempt, clean, make_environment, run
from ges_emulator import Emulator, Fault
from ges_history.reports.views import report_names
from harness import TOKEN, fleet_of

pytestmark = pytest.mark.integration

DEFINITIONS = """
import os
from ges_history.dagster import backup_history

def project(number):
    return {
        "project_id": os.environ[f"PROJECT_{number}"],
        "endpoint": os.environ[f"ENDPOINT_{number}"],
        "credentials": os.environ["TOKEN"],
    }

defs = backup_history("history.duckdb", projects={"north": project(1), "south": project(2)})
"""
LISTED = """
import dagster as dg
import ges_history.dagster

ges_history.dagster.RETRIES = dg.RetryPolicy(max_retries=0)  # the delay is a minute
defs = ges_history.dagster.backup_history("history.duckdb")
"""
MATERIALIZE = """
import json, sys
import dagster as dg
from definitions import defs

result = defs.resolve_job_def("load_backups").execute_in_process(
    instance=dg.DagsterInstance.ephemeral(),
    partition_key=next(iter(sys.argv[1:]), None),
    raise_on_error=False,
)
told = {"success": result.success, "assets": {}, "checks": {}}
for event in result.all_events:
    if event.is_step_materialization:
        metadata = event.materialization.metadata
        told["assets"][event.asset_key.to_user_string()] = {
            name: value.value for name, value in metadata.items()
        }
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        check = event.event_specific_data
        rows = check.metadata["rows"].value if "rows" in check.metadata else []
        told["checks"][check.check_name] = [check.passed, check.severity.value, rows]
print("TOLD", json.dumps(told, default=str))
"""
LAUNCH = """
mutation($tags: [ExecutionTag!]) { launchRun(executionParams: {
  selector: {repositoryLocationName: "definitions.py", repositoryName: "__repository__",
             jobName: "load_backups"},
  executionMetadata: {tags: $tags}, mode: "default", runConfigData: "{}"
}) { __typename ... on LaunchRunSuccess { run { runId } } } }
"""
SCHEDULE = """
from datetime import datetime, timezone
import dagster as dg
from definitions import defs

[schedule] = defs.schedules
for hour in (1, 2):
    context = dg.build_schedule_context(
        instance=dg.DagsterInstance.ephemeral(),
        repository_def=defs.get_repository_def(),
        scheduled_execution_time=datetime(2026, 1, 1, hour, 17, tzinfo=timezone.utc),
    )
    for request in schedule.evaluate_tick(context).run_requests:
        print("RUN", request.partition_key, request.run_key)
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.fixture(scope="module")
def dagster(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(
        tmp_path_factory.mktemp("dagster") / "venv", f"{packages.wheel}[dagster]"
    )


@contextmanager
def two_projects() -> Iterator[tuple[list[Emulator], dict[str, str]]]:
    north, south = fleet_of(graphs=2, backups=3), fleet_of(graphs=1, backups=4)
    south.project_id = "f" * 32
    with Emulator(north) as first, Emulator(south) as second:
        served = {"TOKEN": TOKEN}
        for number, emulator in enumerate((first, second), 1):
            served[f"ENDPOINT_{number}"] = emulator.endpoint
            served[f"PROJECT_{number}"] = emulator.fleet.project_id
        yield [first, second], served


def materialize(
    dagster: Environment,
    folder: Path,
    key: str | None,
    served: dict[str, str],
    definitions: str = DEFINITIONS,
) -> Any:
    (folder / "definitions.py").write_text(definitions)
    (folder / "materialize.py").write_text(MATERIALIZE)
    done = run(
        [dagster.python, "materialize.py", *([key] if key else [])],
        folder,
        PYTHONPATH=str(folder),
        **served,
    )
    return json.loads(done.stdout.split("TOLD ")[1])


def test_projects_are_partitions_and_each_asset_is_made(
    dagster: Environment, tmp_path: Path
) -> None:
    with two_projects() as (emulators, served):
        north = materialize(dagster, tmp_path, "north", served)
        emulators[1].faults.add(Fault.http(403), times=99, graph_id="g1")
        south = materialize(dagster, tmp_path, "south", served)
    assert north["success"]
    assert south["success"]
    tables = {f"ges/{name}" for name in ("backups", "graphs", "listings", "projects")}
    reports = {f"reports/{name}" for name in report_names()}
    assert set(north["assets"]) == tables | {"ges/rejected_backups"} | reports
    assert north["assets"]["ges/backups"]["backups_new"] == 6
    assert north["assets"]["ges/backups"]["outcome"] == "complete"
    assert north["assets"]["reports/recovery_point"]["dagster/row_count"] == 2
    assert north["checks"]["all_listed"][0]
    assert south["assets"]["ges/backups"]["outcome"] == "partial"
    assert south["checks"]["all_listed"][:2] == [False, "WARN"]
    passed, severity, rows = south["checks"]["failed_listing"]
    assert (passed, severity) == (False, "ERROR")
    assert [row["graph_id"] for row in rows] == ["g1"]


def test_schedule_asks_for_a_run_of_each_project_at_each_tick(
    dagster: Environment, tmp_path: Path
) -> None:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "schedule.py").write_text(SCHEDULE)
    with two_projects() as (_, served):
        done = run([dagster.python, "schedule.py"], tmp_path, PYTHONPATH=str(tmp_path), **served)
    runs = [line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("RUN ")]
    assert [project for project, _ in runs] == ["north", "south"] * 2
    assert len({key for _, key in runs}) == 4


def test_wrong_credential_fails_without_another_try(dagster: Environment, tmp_path: Path) -> None:
    with two_projects() as (emulators, served):
        told = materialize(dagster, tmp_path, "north", {**served, "TOKEN": "wrong"})
        assert len(emulators[0].requests) <= 2
    assert not told["success"]
    assert told["assets"] == {}


def test_listed_projects_that_all_fail_make_no_asset(dagster: Environment, tmp_path: Path) -> None:
    listed = [{"name": name, "project_id": name * 9} for name in ("a", "b")]
    setting = "SOURCES__GES_BACKUPS__"
    dead = {
        f"{setting}PROJECTS": json.dumps(listed),
        f"{setting}ENDPOINT": "http://127.0.0.1:9",
        f"{setting}REQUEST_SECONDS": "2",
        f"{setting}CREDENTIALS__TOKEN": TOKEN,
    }
    told = materialize(dagster, tmp_path, None, dead, LISTED)
    assert (told["success"], told["assets"]) == (False, {})


def test_module_is_typed(dagster: Environment) -> None:
    mypy = Path(UV).with_name("mypy")
    command = [str(mypy), "--python-executable", dagster.python, "-m", "ges_history.dagster"]
    told = attempt(command, ROOT).stdout  # stubs of other packages are not in this environment
    assert "1 source file" in told
    assert [line for line in told.splitlines() if "ges_history/dagster.py" in line] == []


@contextmanager
def dagster_dev(dagster: Environment, folder: Path, served: dict[str, str]) -> Iterator[str]:
    """`dagster dev` on loopback, up; all its processes are ended after."""
    (folder / "definitions.py").write_text(DEFINITIONS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    path = f"{dagster.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    command = [dagster.program("dagster"), "dev", "-f", "definitions.py", "-h", "127.0.0.1"]
    with (folder / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port)],
            cwd=folder,
            env=clean(DAGSTER_HOME=str(home), PATH=path, **served),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url), 180, folder / "dev.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=5).ok
    except requests.ConnectionError:
        return False


def until(holds: Any, seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)


def ask(url: str, query: str, **variables: Any) -> Any:
    content = {"query": query, "variables": variables}
    return requests.post(f"{url}/graphql", json=content, timeout=60).json()["data"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
def test_a_run_is_launched_and_its_page_shows_the_checks(
    dagster: Environment, tmp_path: Path
) -> None:
    with two_projects() as (_, served), dagster_dev(dagster, tmp_path, served) as url:
        log = tmp_path / "dev.log"
        tags = [{"key": "dagster/partition", "value": "north"}]
        launched: dict[str, Any] = {}

        def is_launched() -> bool:
            launched.update(ask(url, LAUNCH, tags=tags)["launchRun"])
            return launched["__typename"] == "LaunchRunSuccess"

        until(is_launched, 60, log)
        run_id = launched["run"]["runId"]
        until(
            lambda: ask(url, STATUS, id=run_id)["runOrError"]["status"] in {"SUCCESS", "FAILURE"},
            240,
            log,
        )
        assert ask(url, STATUS, id=run_id)["runOrError"]["status"] == "SUCCESS"
        with (
            chromium() as browser,
            visit(browser, f"{url}/assets/ges/backups?view=checks", allowed=url) as seen,
        ):
            page = seen.page
            page.get_by_text("all_listed").first.wait_for(timeout=60_000)
            page.get_by_role("button", name="Skip").click()  # a newsletter's dialog
            page.get_by_text("overdue", exact=True).first.click()
            page.get_by_text("findings", exact=True).first.wait_for(timeout=30_000)
            assert page.get_by_text("Failed", exact=True).count() >= 1
            picture = tmp_path / "dagster.png"
            page.screenshot(path=picture)
    if folder := os.environ.get("GES_PICTURES"):
        shutil.copy(picture, Path(folder) / "dagster.png")
