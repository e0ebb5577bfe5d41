"""`ges-backups load` with what it does around itself: pings, a webhook, a check, metrics, the page."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from beginnings import Beginnings
from cli_harness import Command, Done
from ges_emulator import Emulator, Fault, Fleet
from ges_history.errors import HistoryError
from ges_history.loading.outcome import LoadOutcome
from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.watching.after import Watched, Wishes
from ges_history.watching.gauges import write_text
from harness import Warehouse, fleet_of
from listener import Listener
from small_disk import only_root, small_disk

SECRET = "0c1e-secret-77aa"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def command(emulator: Emulator, tmp_path: Path) -> Command:
    return Command(emulator, tmp_path)


@pytest.fixture
def begun(command: Command, emulator: Emulator, beginnings: Beginnings) -> Command:
    """A command where a load has been before."""
    beginnings.load(Warehouse(command.folder / "ges_backups.duckdb"), emulator)
    return command


def unstamped(done: Done) -> list[str]:
    """The lines of a log without their times."""
    return [line.split(" ", 1)[1] for line in done.out.splitlines()]


def assert_discreet(done: Done) -> None:
    assert SECRET not in done.text


def test_a_load_is_pinged_at_its_start_and_its_end_with_its_summary(
    command: Command, listener: Listener
) -> None:
    done = command.load(GES_BACKUPS_PING=f"{listener.url}/{SECRET}")
    assert (done.code, listener.paths) == (0, [f"/{SECRET}/start", f"/{SECRET}"])
    assert listener.received[1].body.decode().splitlines() == unstamped(done)
    assert_discreet(done)


def test_a_load_that_cannot_be_done_is_pinged_with_its_code_and_its_message(
    command: Command, listener: Listener
) -> None:
    wrong = {"SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN": "an-old-token"}
    done = command.load("--ping", f"{listener.url}/{SECRET}", **wrong)
    assert (done.code, listener.paths) == (1, [f"/{SECRET}/start", f"/{SECRET}/1"])
    message = listener.received[1].body.decode()
    assert message in done.err
    assert "an-old-token" not in message
    assert_discreet(done)


@pytest.mark.parametrize(("told_as", "path"), [("failure", "/x/3"), ("success", "/x")])
def test_a_partial_load_is_a_failure_or_a_success_as_set(
    begun: Command, listener: Listener, told_as: str, path: str
) -> None:
    graphs = {"SOURCES__GES_BACKUPS__GRAPH_IDS": '["g1", "missing"]'}
    done = begun.load("--ping", f"{listener.url}/x", "--ping-partial", told_as, **graphs)
    assert (done.code, listener.paths) == (3, ["/x/start", path])


def test_a_switch_that_hangs_neither_fails_a_load_nor_holds_it(begun: Command) -> None:
    with Listener(delay_seconds=600) as listener:
        began = time.monotonic()
        url = f"{listener.url}/{SECRET}"
        done = begun.load("--ping", url, "--notify", url)
        assert time.monotonic() - began < 110  # 10 s of waiting, and a load on a busy machine
    assert done.code == 0
    assert done.err.count("127.0.0.1 did not arrive") == 2
    assert_discreet(done)


@pytest.mark.parametrize("option", ["--ping", "--notify"])
def test_what_is_no_url_is_wrong_usage_and_not_shown(command: Command, option: str) -> None:
    done = command.load(option, f"hc-ping.com/{SECRET}")
    assert done.code == 2
    assert option in done.err
    assert_discreet(done)


def test_a_webhook_gets_the_outcome_and_the_violations(begun: Command, listener: Listener) -> None:
    done = begun.load("--json", "--notify", f"{listener.url}/hook/{SECRET}")
    (received,) = listener.received
    content = json.loads(received.body)
    assert content["outcome"] == done.json
    assert content["exit_code"] == 0
    assert {(v["graph_id"], v["rule"]) for v in content["violations"]} == {
        ("g1", "overdue"),  # the emulator's backups are of 2020
        ("g2", "overdue"),
    }
    assert "2 critical" in content["text"]
    assert_discreet(done)


def test_a_webhook_is_told_that_nothing_could_be_done(command: Command, listener: Listener) -> None:
    wrong = {"SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN": "an-old-token"}
    assert command.load("--notify", f"{listener.url}/hook", **wrong).code == 1
    content = json.loads(listener.received[0].body)
    assert (content["exit_code"], content["outcome"]["outcome"]) == (1, "failed")


def test_what_the_api_says_is_no_markup_of_a_chat(listener: Listener) -> None:
    with suppress(HistoryError), Watched(Wishes(notify=f"{listener.url}/hook")):
        raise HistoryError("The API answers <!channel> & more")
    content = json.loads(listener.received[0].body)
    assert content["text"].endswith("answers &lt;!channel&gt; &amp; more")
    assert content["problems"] == ["The API answers <!channel> & more"]


def test_a_check_and_metrics_follow_in_one_go(command: Command, tmp_path: Path) -> None:
    done = command.load("--check", "--metrics", "ges.prom")
    assert done.code == 0
    assert unstamped(done)[-1] == "2 graphs, default policy: 2 critical, 0 warning, 11 met"
    families = {
        f.name: f for f in text_string_to_metric_families((tmp_path / "ges.prom").read_text())
    }
    backups = families["ges_backup_source_backups"].samples
    assert {sample.labels["graph_id"]: sample.value for sample in backups} == {"g1": 3, "g2": 3}
    (seconds,) = families["ges_backup_last_load_duration_seconds"].samples
    (requests,) = families["ges_backup_last_load_requests"].samples
    again = command.load("--json").json
    assert 0 < seconds.value < 60
    # once an interval it asks what deleted graphs have left
    assert requests.value == again["requests"] + 1


def test_metrics_that_cannot_be_written_leave_the_load_done_and_the_old_file(
    command: Command, tmp_path: Path, warehouse: Warehouse
) -> None:
    done = command.load("--metrics", "missing/ges.prom")
    assert done.code == 3
    assert "missing/ges.prom cannot be written" in done.err
    assert len(Warehouse(tmp_path / "ges_backups.duckdb").backups) == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metrics", "missing/ges.prom"], "missing/ges.prom cannot be written"),
        (["--check", "--policy", "missing.toml"], "missing.toml cannot be read"),
        (["--publish", "missing/copy.duckdb"], "missing"),
    ],
)
def test_what_cannot_be_done_after_a_load_is_told_and_the_rest_is_done(
    command: Command, listener: Listener, tmp_path: Path, words: list[str], told: str
) -> None:
    url = f"{listener.url}/{SECRET}"
    done = command.load("--quiet", "--ping", url, *words)
    assert (done.code, done.out) == (3, "")
    assert told in done.err
    assert "The history is loaded" in done.err
    assert listener.paths == [f"/{SECRET}/start", f"/{SECRET}/3"]
    assert told in listener.received[1].body.decode()
    assert len(Warehouse(tmp_path / "ges_backups.duckdb").backups) == 6


@pytest.mark.parametrize("missing", ["--publish", "--metrics", "--page"])
def test_a_file_that_cannot_be_written_keeps_nothing_else_back(
    command: Command, listener: Listener, tmp_path: Path, missing: str
) -> None:
    files = {"--publish": "copy.duckdb", "--metrics": "ges.prom", "--page": "fleet.html"}
    wanted = files | {missing: f"missing/{files[missing]}"}
    wishes = [word for pair in wanted.items() for word in pair]
    done = command.load("--json", "--check", "--notify", listener.url, *wishes)
    content = json.loads(listener.received[0].body)
    written = {option for option, name in files.items() if (tmp_path / name).exists()}
    assert (done.code, written) == (3, files.keys() - {missing}), done.err
    assert ["missing" in problem for problem in content["problems"]] == [True]
    for told in (done.json, content):
        assert {one["rule"] for one in told["violations"]} == {"overdue"}


@only_root
def test_a_full_disk_for_the_snapshot_leaves_the_load_done_and_the_metrics_written(
    command: Command, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 64) as disk:
        done = command.load("--publish", str(disk / "copy.duckdb"), "--metrics", "ges.prom")
        assert list(disk.iterdir()) == []
    assert (done.code, (tmp_path / "ges.prom").exists()) == (3, True), done.text
    assert "6 new" in done.out
    assert "copy.duckdb cannot be written: " in done.err
    assert "Traceback" not in done.err


class Broken(DuckDbFile):
    """A file that cannot be read just now."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(path)
        self.error = error

    def reading(self, *_: object) -> NoReturn:
        raise self.error


LOADED = LoadOutcome("complete", graphs={}, backups={}, requests=2)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (duckdb.TransactionException("Failed to commit: no room"), "no room"),
        (OverflowError("int too large"), "OverflowError: int too large"),
    ],
    ids=["of the database", "unforeseen"],
)
def test_whatever_is_raised_after_a_load_is_told(
    tmp_path: Path, error: Exception, words: str
) -> None:
    told = list[str]()
    broken = Broken(tmp_path / "x", error)
    followed = Watched(Wishes(check=True, page=Path("p")), told.append).loaded(broken, LOADED)
    assert followed.exit_code == 3
    (line,) = told
    assert "what should follow is not done (check, page): " in line
    assert words in line


def test_a_stop_after_a_load_stops(tmp_path: Path) -> None:
    stopped = Broken(tmp_path / "x", RuntimeError("Query interrupted"))
    with pytest.raises(KeyboardInterrupt):
        Watched(Wishes(check=True)).loaded(stopped, LOADED)


def test_metrics_may_go_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "ges.prom"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, b"ges_backup_graphs 2\n")
        assert os.read(reader, 100) == b"ges_backup_graphs 2\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_quiet_load_tells_what_did_not_arrive(begun: Command) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/{SECRET}"
        done = begun.load("--quiet", "--ping", url, "--notify", url)
    assert (done.code, done.err.count("did not arrive")) == (0, 2)
    assert_discreet(done)


def test_the_outcome_as_json_has_the_violations_that_were_asked_for(begun: Command) -> None:
    violations = begun.load("--json", "--check").json["violations"]
    found = {(one["graph_id"], one["rule"]) for one in violations}
    assert found == {("g1", "overdue"), ("g2", "overdue")}
    assert "violations" not in begun.load("--json").json


def test_metrics_tell_of_each_project_what_its_own_load_did(tmp_path: Path) -> None:
    north, south = fleet_of(graphs=2), fleet_of(graphs=5)
    south.project_id = "f" * 32
    with Emulator(north) as first, Emulator(south) as second:
        command = Command(first, tmp_path)
        listed = [
            {
                "name": name,
                "project_id": emulator.fleet.project_id,
                "endpoint": emulator.endpoint,
            }
            for name, emulator in (("north", first), ("south", second))
        ]
        projects = {"SOURCES__GES_BACKUPS__PROJECTS": json.dumps(listed)}
        assert command.load("--metrics", "ges.prom", **projects).code == 0
        requests = metric(tmp_path, "last_load_requests")
        assert requests == {
            emulator.fleet.project_id: len(emulator.requests) for emulator in (first, second)
        }
        second.faults.add(Fault.http(403), times=99)
        assert command.load("--metrics", "ges.prom", **projects).code == 3
        assert metric(tmp_path, "last_load_outcome") == {north.project_id: 0, south.project_id: 1}
        assert set(metric(tmp_path, "last_load_duration_seconds")) == set(requests)


def test_a_project_that_fails_from_the_start_is_told_by_the_load_that_it_failed(
    emulator: Emulator, tmp_path: Path
) -> None:
    south = fleet_of(graphs=1)
    south.project_id = "f" * 32
    with Emulator(south) as second:
        second.faults.add(Fault.http(403), times=None)
        listed = [
            {"name": name, "project_id": one.fleet.project_id, "endpoint": one.endpoint}
            for name, one in (("north", emulator), ("south", second))
        ]
        projects = {"SOURCES__GES_BACKUPS__PROJECTS": json.dumps(listed)}
        command = Command(emulator, tmp_path)
        done = command.load("--json", "--check", "--metrics", "ges.prom", **projects)
    assert done.code == 3
    told = {one["rule"] for one in done.json["violations"] if one["project_id"] == "f" * 32}
    assert told == {"failed_listing", "stale_load"}
    fine = emulator.fleet.project_id
    assert metric(tmp_path, "last_load_outcome") == {fine: 0, south.project_id: 1}
    assert set(metric(tmp_path, "project_info")) == {fine, south.project_id}
    assert set(metric(tmp_path, "last_load_timestamp_seconds")) == {fine}


def metric(folder: Path, name: str) -> dict[str, float]:
    families = text_string_to_metric_families((folder / "ges.prom").read_text())
    samples = next(family for family in families if family.name == f"ges_backup_{name}").samples
    return {sample.labels["project_id"]: sample.value for sample in samples}


def test_a_project_that_is_listed_at_once_is_healthy_until_that_fails(
    command: Command, emulator: Emulator, tmp_path: Path
) -> None:
    policy = tmp_path / "ges_policy.toml"
    policy.write_text("[[rules]]\nfailed_listing = true\n")
    at_once = {"SOURCES__GES_BACKUPS__LISTING": "project"}
    done = command.load("--check", **at_once)
    assert unstamped(done)[-1].endswith(": 3 met"), done.text
    emulator.faults.add(Fault.http(403), times=None, path="all_backups")
    done = command.load("--check", **at_once)
    assert unstamped(done)[-1].endswith(": 2 critical, 0 warning, 1 met"), done.text
    assert command.run("metrics", "--output", "ges.prom").code == 0
    assert set(metric(tmp_path, "last_load_outcome").values()) == {3}


def test_a_wrong_policy_stops_no_load(command: Command, tmp_path: Path) -> None:
    (tmp_path / "ges_policy.toml").write_text("[[rules]]\nrpo = 3\n")
    done = command.load("--check")
    assert done.code == 3
    assert "line 2" in done.err
    assert len(Warehouse(tmp_path / "ges_backups.duckdb").backups) == 6


def test_a_page_follows(begun: Command, tmp_path: Path) -> None:
    done = begun.load("--page", "fleet.html")
    assert (done.code, "</html>" in (tmp_path / "fleet.html").read_text()) == (0, True), done.err


def test_a_quiet_load_tells_violations_only(begun: Command, tmp_path: Path) -> None:
    assert begun.load("--quiet").out == ""
    lines = unstamped(begun.load("--quiet", "--check"))
    assert [line.split()[0] for line in lines] == ["CRITICAL", "CRITICAL", "2"]
    (tmp_path / "ges_policy.toml").write_text("[[rules]]\nmin_backups = 3\n")
    assert begun.load("--quiet", "--check").out == ""


def test_an_empty_project_is_checked_too(tmp_path: Path) -> None:
    with Emulator(Fleet()) as emulator:
        done = Command(emulator, tmp_path).load("--check", "--metrics", "ges.prom")
    assert (done.code, (tmp_path / "ges.prom").exists()) == (0, True), done.text
