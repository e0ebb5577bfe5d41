"""``ges-backups load`` as a user runs it: exit codes, what it prints, and how it ends when stopped."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import warm_python
from cli_harness import PROGRAM, SETTING, Command, environment, folder_of, unfinished
from ges_emulator import Emulator, Fault, Fleet
from harness import DAY_MS, FIRST_MS, NOW, Warehouse, assert_exact, fill, fleet_of, the_graph

TOKEN = f"{SETTING}CREDENTIALS__TOKEN"
by_either_signal = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)


@pytest.fixture
def command(emulator: Emulator, tmp_path: Path) -> Command:
    return Command(emulator, tmp_path)


@pytest.fixture
def history(tmp_path: Path) -> Warehouse:
    """The database that the command makes where no other is given."""
    return Warehouse(tmp_path / "ges_backups.duckdb")


def assert_sentence(text: str) -> None:
    """One line for a person, without a traceback."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("ges-backups: ")
    assert len(lines[0]) > 40


def test_summary_for_people(command: Command, history: Warehouse, fleet: Fleet) -> None:
    the_graph(fleet).add_backup(NOW, status="backing_up", id="running")
    first = command.load()
    assert (first.code, first.err) == (0, "")
    lines = first.lines
    assert lines[0] == "graphs    2 listed"
    assert lines[1] == "backups   7 new, 0 changed, 0 deleted; 1 running, 7 in the history"
    assert re.fullmatch(r"cost      4 requests, \d+\.\d s", lines[2])
    assert lines[3] == "database  ges_backups.duckdb"
    second = command.load()
    assert second.lines[1].startswith("backups   nothing new, nothing changed; 1 running")
    assert_exact(history, fleet)


def test_json_holds_the_same_for_programs(command: Command, fleet: Fleet) -> None:
    the_graph(fleet).add_record({"id": "bad", "graph_id": "g1"})
    fleet.add_graph("g3")
    assert command.emulator is not None
    command.emulator.forbid("g3")
    done = command.load("--json")
    found = done.json
    assert done.code == 3
    assert list(found) == ["outcome", "graphs", "backups", "requests", "seconds", "problems"]
    assert found["outcome"] == "partial"
    assert found["graphs"] == {"total": 3, "listed": 2, "failed": 1}
    assert found["backups"] == {
        "new": 6,
        "changed": 0,
        "deleted": 0,
        "returned": 0,
        "rejected": 1,
        "running": 0,
        "total": 6,
    }
    assert found["requests"] == 5  # the list, three graphs, and once what deleted ones have left
    assert isinstance(found["seconds"], float)
    by_outcome: dict[str, Any] = {problem["outcome"]: problem for problem in found["problems"]}
    assert by_outcome["forbidden"]["graph_id"] == "g3"
    assert by_outcome["forbidden"]["error_code"] == "GES.0016"
    assert by_outcome["rejected"]["backup_id"] == "bad"
    again = command.load("--json")
    assert (again.code, again.json["backups"]["rejected"]) == (3, 0)
    command.emulator.allow("g3")
    assert command.load("--json").json["outcome"] == "unchanged"


def test_changes_are_counted(command: Command, fleet: Fleet) -> None:
    graph = the_graph(fleet)
    graph.add_backup(NOW, status="backing_up", id="running")
    gone = graph.backups[0]
    command.load()
    graph.delete_backup(gone)
    graph.backups[-1].finish()
    fill(graph, 2, first=50)
    counts = command.load("--json").json["backups"]
    assert (counts["new"], counts["changed"], counts["deleted"], counts["running"]) == (2, 1, 1, 0)
    graph.add_record(gone.record, index=0, start_ms=gone.start_ms)
    counts = command.load("--json").json["backups"]
    assert (counts["new"], counts["changed"], counts["returned"]) == (0, 0, 1)


def test_window_loads_what_started_in_it(command: Command, history: Warehouse) -> None:
    day = [datetime.fromtimestamp((FIRST_MS + n * DAY_MS) / 1000, UTC).isoformat() for n in (1, 2)]
    done = command.load("--since", day[0], "--until", day[1])
    assert done.code == 0
    assert set(history.backups) == {"g1-b1", "g2-b1"}
    command.load("--since", day[1])
    assert set(history.backups) == {"g1-b1", "g2-b1", "g1-b2", "g2-b2"}
    assert history.deleted == set()
    command.load()
    assert len(history.backups) == 6


def test_a_window_before_all_backups_is_empty(command: Command) -> None:
    command.load()
    for words in (("--until", "1960-01-01"), ("--since", "1950-01-01", "--until", "1960-01-01")):
        done = command.load("--json", *words)
        assert (done.code, done.json["outcome"]) == (0, "unchanged"), done.err


def test_full_reads_everything(command: Command) -> None:
    small_pages = {f"{SETTING}PAGE_SIZE": "2"}
    first = command.load("--json", **small_pages).json["requests"]
    assert command.load("--json", **small_pages).json["requests"] < first
    assert command.load("--json", "--full", **small_pages).json["requests"] == first


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({TOKEN: "wrong"}, [], "refused the credential"),
        ({TOKEN: None}, [], "No credentials"),
        ({TOKEN: None, f"{SETTING}CREDENTIALS__USERNAME": "me"}, [], "Incomplete credentials"),
        ({f"{SETTING}CREDENTIALS__ACCESS_KEY": "x"}, [], "Contradictory credentials"),
        ({f"{SETTING}PROJECT_ID": None}, [], "PROJECT_ID missing"),
        ({f"{SETTING}PROJECT_ID": "a" * 65}, [], "is not valid"),
        ({f"{SETTING}PROJECT_ID": "../.."}, [], "is not valid"),
        ({f"{SETTING}ENDPOINT": None}, [], "No endpoint"),
        ({f"{SETTING}ENDPOINT": "not a url"}, [], "is not a URL"),
        ({f"{SETTING}ENDPOINT": "http://example.com"}, [], "plain http"),
        ({f"{SETTING}PAGE_SIZE": "many"}, [], "page_size"),
        ({f"{SETTING}PAGE_SIZE": "0"}, [], "page_size"),
        ({f"{SETTING}CONCURRENCY": "1.5"}, [], "concurrency"),
        ({f"{SETTING}GRAPH_IDS": "g1,g2"}, [], "JSON list"),
        ({f"{SETTING}GRAPH_IDS": '["a/b"]'}, [], "is not valid"),
        ({f"{SETTING}FULL_LISTING_INTERVAL": "often"}, [], "full_listing_interval"),
        ({"NORMALIZE__WORKERS": "many"}, [], "dlt's setting workers is not a whole number"),
        *(
            ({"RUNTIME__LOG_LEVEL": "loud"}, words, "log_level of [runtime] in .dlt/config.toml")
            for words in (
                [],
                *(["--destination", name] for name in ("postgres", "filesystem", "x")),
            )
        ),
        ({}, ["--destination", "nowhere"], "no destination 'nowhere'"),
        ({}, ["--destination", "filesystem"], "set DESTINATION__FILESYSTEM__BUCKET_URL"),
        (
            {"DESTINATION__ARCHIVE__DESTINATION_TYPE": "clickhouse"},
            ["--destination", "archive"],
            "archive is clickhouse, which cannot hold a history",
        ),
        (
            {"DESTINATION__POSTGRES__CREDENTIALS": "postgresql://u:p@127.0.0.1:9/x"},
            ["--destination", "postgres", "--wait", "0"],
            "PostgreSQL",
        ),
        ({}, ["--database", "missing/x.duckdb"], "does not exist"),
        ({}, ["--database", "text"], "not a DuckDB database"),
        ({}, ["--database", "blocked"], "cannot be written"),
        (
            {f"{SETTING}ENDPOINT": "http://127.0.0.1:9", f"{SETTING}REQUEST_SECONDS": "1"},
            [],
            "no answer",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    command: Command, variables: dict[str, str | None], words: list[str], said: str
) -> None:
    (command.folder / "text").write_text("no database\n" * 1000)
    (command.folder / ".blocked.dlt").write_text("a file where a folder must be")
    done = command.load(*words, **variables)
    assert done.code == 1, done.text
    assert_sentence(done.err)
    assert said in done.err
    assert done.out == ""
    assert not (command.folder / "ges_backups.duckdb").exists() or not Warehouse(
        command.folder / "ges_backups.duckdb"
    ).rows("backups")


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "someday"],
        ["--since", "2026-02-01", "--until", "2026-01-01"],
        ["--wait", "-1"],
        ["--wait", "nan"],
        ["--wait", "inf"],
        ["--database", "."],
        ["--unknown"],
    ],
    ids=" ".join,
)
def test_wrong_usage(command: Command, words: list[str]) -> None:
    done = command.load(*words)
    assert done.code == 2
    assert "Usage: ges-backups load" in done.err
    assert command.emulator is not None
    assert command.emulator.requests == []


def test_destination_that_is_set_up_by_name(command: Command, fleet: Fleet) -> None:
    named = {
        "DESTINATION__WAREHOUSE__DESTINATION_TYPE": "duckdb",
        "DESTINATION__WAREHOUSE__CREDENTIALS": "w.duckdb",
    }
    first = command.load("--destination", "warehouse", **named)
    assert (first.code, first.lines[-1]) == (0, "database  the destination warehouse")
    the_graph(fleet).delete_backup("g1-b0")
    command.load("--destination", "warehouse", **named)
    warehouse = Warehouse(command.folder / "w.duckdb")
    assert warehouse.deleted == {"g1-b0"}
    assert_exact(warehouse, fleet)


def test_settings_of_the_user_are_honoured(command: Command, emulator: Emulator) -> None:
    settings = command.folder / ".dlt"
    settings.mkdir()
    (settings / "config.toml").write_text(
        f'[sources.ges_backups]\nproject_id = "{emulator.fleet.project_id}"\n'
        f'endpoint = "{emulator.endpoint}"\npage_size = 2\n[runtime]\nlog_level = "INFO"\n'
    )
    (settings / "secrets.toml").write_text(
        '[sources.ges_backups.credentials]\ntoken = "emulator-token"\n'
    )
    bare = {f"{SETTING}PROJECT_ID": None, f"{SETTING}ENDPOINT": None, TOKEN: None}
    done = command.load(**bare)
    assert done.code == 0, done.err
    assert "[INFO]" in done.err
    assert {request.query["limit"] for request in emulator.requests} == {2}


@pytest.mark.parametrize(
    ("words", "code"), [(["load"], 1), (["check", "--destination", "filesystem"], 3)]
)
@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config.toml", "[[[broken", "line 1, column 3: empty table name"),
        ("secrets.toml", '[x]\ntoken = "SECRET\n', "line 2, column 16: invalid control char"),
        ("secrets.toml", "token = SECRET\n", "line 1, column 9: unexpected char"),
        ("secrets.toml", "SECRET = 1\nSECRET = 2\n", "a name that stands there twice"),
    ],
    ids=["header", "open quote", "no quotes", "twice"],
)
def test_broken_settings_file_is_said_with_its_place_and_without_its_words(
    command: Command, words: list[str], code: int, name: str, text: str, told: str
) -> None:
    (command.folder / ".dlt").mkdir()
    (command.folder / ".dlt" / name).write_text(text)
    done = command.run(*words)
    assert done.code == code
    assert_sentence(done.err)
    assert f".dlt/{name} are no TOML, " in done.err
    assert told in done.err
    assert "SECRET" not in done.text


def test_settings_file_that_may_not_be_read_is_said(command: Command) -> None:
    (command.folder / ".dlt").mkdir()
    (command.folder / ".dlt" / "secrets.toml").touch(mode=0)
    done = command.run_without_rights("load")
    assert done.code == 1
    assert_sentence(done.err)
    assert done.err.endswith(".dlt/secrets.toml cannot be read: Permission denied.\n")


@pytest.mark.parametrize(("name", "code"), [("load", 1), ("check", 3)])
def test_a_folder_that_may_not_be_entered_is_said(command: Command, name: str, code: int) -> None:
    (command.folder / "shut").mkdir(mode=0)
    try:
        done = command.run_without_rights(name, "--database", "shut/h.duckdb")
    finally:
        (command.folder / "shut").chmod(0o700)
    assert done.code == code
    assert_sentence(done.err)
    assert done.err.endswith("shut/h.duckdb cannot be used: Permission denied.\n")


def test_debug_shows_where_it_happened(command: Command) -> None:
    done = command.run("--debug", "load", **{TOKEN: "wrong"})
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert "refused the credential" in done.err


def test_lines_of_progress_where_there_is_no_terminal(command: Command, fleet: Fleet) -> None:
    for number in range(100):
        fleet.add_graph(f"more{number}")
    done = command.load()
    assert "listed 102 of 102 graphs" in done.err
    assert "\x1b" not in done.text


def on_a_terminal(command: Command, *words: str) -> tuple[int, str]:
    """The exit code and everything that a terminal was sent."""
    mine, theirs = pty.openpty()
    variables = {**environment(command.emulator, command.folder), "TERM": "xterm"}
    with warm_python.start(
        [PROGRAM, *words],
        variables,
        cwd=command.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    ) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(mine, 65536)
            except OSError:
                break
            if not part:
                break
            sent += part
        code = process.wait(30)
    os.close(mine)
    return code, sent.decode(errors="replace")


def test_bar_of_progress_gives_the_cursor_back(command: Command) -> None:
    code, sent = on_a_terminal(command, "load")
    assert code == 0
    assert "listing graphs" in sent
    assert sent.rfind("\x1b[?25h") > sent.rfind("\x1b[?25l")


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "list of graphs"),
        (signal.SIGINT, 130, "listing"),
        (signal.SIGINT, 130, "server hangs"),
        (signal.SIGINT, 130, "throttled"),
        (signal.SIGTERM, 143, "listing"),
        (signal.SIGTERM, 143, "server hangs"),
        pytest.param(signal.SIGTERM, 143, "list of graphs", marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, 143, "throttled", marks=pytest.mark.soak),
    ],
)
def test_stopped_while_it_lists(
    command: Command,
    emulator: Emulator,
    fleet: Fleet,
    history: Warehouse,
    moment: str,
    number: signal.Signals,
    code: int,
) -> None:
    wanted = {"list of graphs": "graphs"}.get(moment, "backups")
    fault = Fault.throttled(60) if moment == "throttled" else Fault.hang()
    if moment != "listing":
        emulator.faults.add(fault, times=None, path=wanted)
    else:
        emulator.latency_seconds = 1.0
    process = command.start("load")
    deadline = time.monotonic() + 60
    while not [request for request in emulator.requests if request.endpoint == wanted]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sent_at = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - sent_at < 3
    assert (process.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert "stopped; the next load takes up what is left" in err
    emulator.faults.clear()
    emulator.latency_seconds = 0
    assert command.load().code == 0
    assert_exact(history, fleet)
    assert unfinished(history.path) == []


@by_either_signal
def test_stopped_while_it_merges(
    tmp_path: Path, history: Warehouse, number: signal.Signals, code: int
) -> None:
    fleet = fleet_of()
    fill(the_graph(fleet), 30_000)
    with Emulator(fleet) as emulator:
        command = Command(emulator, tmp_path)
        process = command.start("load", **{f"{SETTING}PAGE_SIZE": "10000"})
        project = f"ges_backups_{fleet.project_id}"
        normalized = folder_of(history.path) / project / "load" / "normalized"
        deadline = time.monotonic() + 60
        while not (normalized.is_dir() and any(normalized.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        sent_at = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - sent_at < 3
        assert process.returncode == code, err
        assert "Traceback" not in err
        the_graph(fleet).delete_backup("g1-b7")
        assert command.load().code == 0
    assert history.deleted == {"g1-b7"}
    assert_exact(history, fleet)


STOP_BETWEEN_CONTEXTS = """
import os, sys
from ges_history.cli import main
step, number = os.environ["STOP_IN"], int(os.environ["STOP_BY"])
begun = False
def look(frame, event, _):
    global begun
    name = frame.f_code.co_name
    begun = begun or (name == step and frame.f_code.co_filename.endswith("pipeline.py"))
    if begun and event == "call" and name == "_thread_setitem":
        config = frame.f_back.f_locals["config"]
        if frame.f_locals["context"].get(type(config)) is config:
            sys.setprofile(None)
            os.kill(os.getpid(), number)
sys.setprofile(look)
main()
"""


@by_either_signal
@pytest.mark.parametrize("step", ["extract", "normalize", "load"])
def test_stopped_where_dlt_puts_a_context_back(
    command: Command, history: Warehouse, step: str, number: signal.Signals, code: int
) -> None:
    """There dlt raises an error of its own, which must not pass for a load that failed."""
    emulator = command.emulator
    assert emulator is not None
    stopped = command.program(
        STOP_BETWEEN_CONTEXTS, "load", STOP_IN=step, STOP_BY=str(number.value)
    )
    assert (stopped.code, stopped.out) == (code, ""), stopped.err
    assert "stopped; the next load takes up what is left" in stopped.err
    assert "Traceback" not in stopped.err
    done = command.load()
    assert (done.code, "aside" in done.text) == (0, False), done.text
    assert_exact(history, emulator.fleet)


SLOW_DATABASE = """
import os, threading
import duckdb
from ges_history.cli import main
said, number = os.environ["SLOW_AT"], int(os.environ["STOP_BY"])
LONG = "SELECT count(*) FROM range(200000) a, range(200000) b WHERE a.range * b.range % 7 = 3"
def slowed(inner):
    def asked(connection, query, *values, **others):
        if said in query:
            threading.Timer(0.5, os.kill, [os.getpid(), number]).start()
            return inner(connection, LONG)
        return inner(connection, query, *values, **others)
    return asked
for name in ("sql", "execute"):
    setattr(duckdb.DuckDBPyConnection, name, slowed(getattr(duckdb.DuckDBPyConnection, name)))
main()
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["load"], "_dlt_version", id="load looks"),
        pytest.param(["load"], "INSERT INTO", id="load merges"),
        pytest.param(["report", "inventory"], "reports.inventory", id="report"),
        pytest.param(["check"], "reports.", id="check"),
    ],
)
@by_either_signal
def test_stopped_while_the_database_works(
    command: Command,
    history: Warehouse,
    words: list[str],
    said: str,
    number: signal.Signals,
    code: int,
) -> None:
    """DuckDB then raises an error of its own, and what the signal has raised is gone."""
    emulator = command.emulator
    assert emulator is not None
    command.load()
    fill(the_graph(emulator.fleet), 1, first=50)
    (command.folder / "ges_policy.toml").write_text("[[rules]]\nrpo_hours = 26\n")
    done = command.program(SLOW_DATABASE, *words, SLOW_AT=said, STOP_BY=str(number.value))
    assert (done.code, done.out) == (code, ""), done.err
    left = "; the next load takes up what is left" if words == ["load"] else ""
    (line,) = done.err.strip().splitlines()
    assert line.endswith(f"stopped{left}")
    assert command.load().code == 0
    assert_exact(history, emulator.fleet)


def test_fails_soon_though_other_requests_hang(command: Command, emulator: Emulator) -> None:
    emulator.faults.add(Fault.hang(), times=None, graph_id="g1")
    emulator.faults.add(Fault.http(401), times=None, graph_id="g2")
    emulator.faults.add(Fault.http(401), times=None, path="graphs", at=range(2, 100))
    started = time.monotonic()
    done = command.load()
    assert done.code == 1
    assert "refused the credential" in done.err
    assert time.monotonic() - started < 15


def test_warehouse_is_as_before_when_the_source_is_down(
    command: Command, history: Warehouse, emulator: Emulator
) -> None:
    command.load()
    before = history.snapshot()
    emulator.stop()
    done = command.load(**{f"{SETTING}REQUEST_SECONDS": "1"})
    assert done.code == 1
    assert_sentence(done.err)
    assert history.snapshot() == before


def test_failed_first_load_leaves_no_database(tmp_path: Path) -> None:
    with Emulator(fleet_of()) as emulator:
        emulator.revoke_tokens()
        done = Command(emulator, tmp_path).load()
    assert (done.code, "refused the credential" in done.err) == (1, True)
    assert list(tmp_path.glob("*.duckdb")) == []


OF_OTHERS = {
    **dict.fromkeys(
        ("WORKERS", "PROJECTS", "CREDENTIALS", "PROGRESS", "DEV_MODE", "POOL_TYPE"), "x"
    ),
    **dict.fromkeys(
        ("CONCURRENCY", "PAGE_SIZE", "LISTING", "GRAPH_IDS", "REGION", "USERNAME"), "x"
    ),
    **dict.fromkeys(
        ("HOST", "PORT", "DATABASE", "PASSWORD", "BUCKET_URL", "DESTINATION_TYPE"), "x"
    ),
    **dict.fromkeys(("LOG_LEVEL", "RESTORE_FROM_DESTINATION", "DRIVERNAME", "DATASET_NAME"), "x"),
}
"""Variables without a section, which dlt takes for settings; they may be those of any program."""


@pytest.mark.parametrize("destination", ["duckdb", "filesystem", "warehouse"])
def test_variables_of_other_programs_are_passed_over(
    command: Command, fleet: Fleet, destination: str
) -> None:
    variables = {
        **OF_OTHERS,
        "DESTINATION__FILESYSTEM__BUCKET_URL": str(command.folder / "lake"),
        "DESTINATION__WAREHOUSE__DESTINATION_TYPE": "duckdb",
        "DESTINATION__WAREHOUSE__CREDENTIALS": "w.duckdb",
    }
    words = () if destination == "duckdb" else ("--destination", destination)
    assert command.load("--json", *words, **variables).json["backups"]["new"] == 6
    fill(the_graph(fleet), 1, 10)
    assert command.load("--json", *words, **variables).json["backups"]["new"] == 1
    report = command.run("report", "backups", "--format", "json", *words, **variables)
    assert len(json.loads(report.out)) == 7


@pytest.mark.parametrize("destination", ["duckdb", "filesystem"])
def test_processes_of_dlt_that_the_user_wants_are_used(command: Command, destination: str) -> None:
    variables = {
        "NORMALIZE__WORKERS": "2",
        "DESTINATION__FILESYSTEM__BUCKET_URL": str(command.folder / "lake"),
    }
    done = command.load("--json", "--destination", destination, **variables)
    assert done.json["backups"]["new"] == 6, done.err


@pytest.mark.parametrize(
    ("words", "stream", "code", "said"),
    [
        ("load", "stdout", 3, "could not be written"),
        ("load", "stderr", 0, ""),
        ("load --json", "stdout", 3, "could not be written"),
        pytest.param("load --json", "stderr", 0, "", marks=pytest.mark.soak),
    ],
)
def test_output_into_a_full_disk_harms_no_load(
    command: Command,
    history: Warehouse,
    fleet: Fleet,
    words: str,
    stream: str,
    code: int,
    said: str,
) -> None:
    with Path("/dev/full").open("w") as full:
        done = warm_python.run(
            [PROGRAM, *words.split()],
            environment(command.emulator, command.folder),
            cwd=command.folder,
            **{stream: full},
        )
    err = done.stderr or ""
    assert (done.returncode, "Traceback" in err) == (code, False)
    assert said in err
    assert_exact(history, fleet)


def test_more_output_than_a_full_disk_takes_at_once_harms_no_load(tmp_path: Path) -> None:
    """What is larger than a buffer is not there any more when somebody looks why it was lost."""
    fleet = fleet_of(graphs=60, backups=2)
    with Emulator(fleet) as emulator, Path("/dev/full").open("w") as full:
        for number in range(2, 61):
            emulator.forbid(f"g{number}")
        variables = environment(emulator, tmp_path)
        for words, code in (
            ("load --json", 3),
            ("metrics", 1),
            ("report load_health --format csv", 1),
        ):
            done = warm_python.run([PROGRAM, *words.split()], variables, cwd=tmp_path, stdout=full)
            assert done.returncode == code, done.stderr
            assert "could not be written: No space left on device" in done.stderr
            assert "Traceback" not in done.stderr
    assert len(Warehouse(tmp_path / "ges_backups.duckdb").backups) == 2


@pytest.mark.parametrize("words", ["load --json", "check"])
def test_output_that_nobody_reads_harms_no_load(
    command: Command, history: Warehouse, fleet: Fleet, words: str
) -> None:
    command.load()
    fill(the_graph(fleet), 1, first=50)
    with command.start(*words.split()) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 3
    assert words == "check" or len(history.backups) == 7


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        ("load", ">&-"),
        ("load --json", ">&- 2>&-"),
        pytest.param("load", ">&- 2>&-", marks=pytest.mark.soak),
        pytest.param("load --json", ">&-", marks=pytest.mark.soak),
    ],
)
def test_closed_output_harms_no_load(
    command: Command, history: Warehouse, fleet: Fleet, words: str, closed: str
) -> None:
    """An interpreter that finds a stream closed has none, so each begins cold."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {PROGRAM} {words} {closed}"],
        cwd=command.folder,
        env=environment(command.emulator, command.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert_exact(history, fleet)
