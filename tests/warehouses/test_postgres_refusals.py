"""A database that cannot be reached or written: a sentence in time, and no secret anywhere."""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli_harness import Command
from dirty import good_record
from ges_backups.records import MAX_BIGINT
from ges_emulator import Emulator
from ges_history.errors import DatabaseError
from ges_history.reports.catalogue import report_names
from ges_history.warehouses.postgres_connection import PostgresServer
from ges_history.watching.facts import read_facts
from harness import fleet_of, the_graph
from postgres_history import PostgresHistory, environment_of
from postgres_proxy import PostgresProxy
from postgres_server import PASSWORD, PostgresDatabase

VARIABLE = "DESTINATION__POSTGRES__CREDENTIALS"


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    with Emulator(fleet_of(2, 3)) as emulator:
        yield Command(emulator, tmp_path)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def _urls(postgres: PostgresDatabase, closed_port: int, silent_port: int) -> dict[str, str]:
    other = replace(postgres, password=f"{PASSWORD}-wrong")
    return {
        "wrong password": other.url,
        "no such role": replace(postgres, user="nobody_here").url,
        "missing database": replace(postgres, name="no_such_database").url,
        "server down": postgres.through(closed_port).url,
        "server silent": postgres.through(silent_port).url,
        "TLS refused": f"{postgres.url}?sslmode=require",
        "no such option": f"{postgres.url}?sslmode=perhaps",
        "port is no number": postgres.url.replace(f":{postgres.server.port}/", ":port/"),
        "no connection string": f"postgresql:/{PASSWORD}",
        "no host": f"postgresql://{PASSWORD}",
        "a name that is not known": postgres.url.replace("127.0.0.1", "no-such-host.invalid"),
        "at and slash": postgres.url.replace(PASSWORD, f"first@{PASSWORD}/last"),
        "per cent signs": postgres.url.replace(PASSWORD, f"{PASSWORD}%zz"),
    }


CASES = [
    "wrong password",
    "no such role",
    "missing database",
    "server down",
    "server silent",
    "TLS refused",
    "no such option",
    "port is no number",
    "no connection string",
    "no host",
    "a name that is not known",
    "at and slash",
    "per cent signs",
]


def _written(folder: Path) -> str:
    return "".join(
        path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_a_sentence_in_time_and_no_secret(
    postgres: PostgresDatabase,
    command: Command,
    closed_port: int,
    silent_port: int,
    case: str,
    debug: bool,
) -> None:
    url = _urls(postgres, closed_port, silent_port)[case]
    options = ["--debug"] if debug else []
    started = time.monotonic()
    words = [*options, "load", "--destination", "postgres", "--wait", "2"]
    done = command.run(*words, **{VARIABLE: url})
    assert time.monotonic() - started < 30
    assert done.code == 1
    assert done.out == ""
    if not debug:
        assert len(done.err.strip().splitlines()) <= 2
        assert "Traceback" not in done.err
    assert PASSWORD not in done.text + _written(command.folder)


def test_a_server_that_takes_its_time_to_let_in_is_no_hindrance(
    postgres: PostgresDatabase, proxy: PostgresProxy
) -> None:
    proxy.seconds_before = 2.5
    with environment_of(postgres.through(proxy.port)):
        PostgresServer().connect(wait=0).close()
        PostgresServer().connect(wait=math.inf).close()


def test_a_refusal_in_another_language_is_not_asked_for_again_and_again() -> None:
    said = [b"SFATAL", b"VFATAL", b"C28P01", "MPasswort für »loader« falsch".encode(), b""]
    words = b"".join(one + b"\0" for one in said)
    refusal = b"E" + (len(words) + 4).to_bytes(4, "big") + words
    tries = []

    def refuse() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = server.accept()
                with client:
                    tries.append(client.recv(1000))
                    client.sendall(refusal)

    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=refuse, daemon=True).start()
        port = server.getsockname()[1]
        patch.setenv(VARIABLE, f"postgresql://loader:x@127.0.0.1:{port}/db?sslmode=disable")
        with pytest.raises(DatabaseError, match="falsch"):
            PostgresServer().connect(wait=4)
        server.shutdown(socket.SHUT_RDWR)
    assert 2 <= len(tries) <= 6


@pytest.mark.parametrize(
    "others",
    [
        "CREATE SCHEMA ges; CREATE TABLE ges.graphs AS SELECT 1 AS id",
        "CREATE SCHEMA reports; CREATE VIEW reports.overview AS SELECT 1 AS id",
    ],
    ids=["a table", "a view"],
)
def test_what_is_no_history_is_left_alone(history: PostgresHistory, others: str) -> None:
    history.database.execute(others)
    with Emulator(fleet_of()) as emulator, pytest.raises(DatabaseError, match="something else"):
        history.load(emulator)
    kept = history.rows("graphs") or history.database.rows("overview", "reports")
    assert kept == [{"id": 1}]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://u:first@Second/third@127.0.0.1:1/db",
            r"@ and / in a password as %40 and %2F",
        ),
        ("postgresql://u:first@Second@127.0.0.1:1/third", r"@ and / in a password as %40 and %2F"),
        ("postgresql://u:first@Second/third@127.0.0.1", r"@ and / in a password as %40 and %2F"),
    ],
)
def test_signs_of_a_password_that_split_it_are_told_without_its_parts(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(DatabaseError, match=said) as told:
        PostgresServer()
    assert not any(part in str(told.value) for part in ("first", "Second", "third"))


def test_names_and_ids_that_postgres_cannot_keep_stop_no_load(history: PostgresHistory) -> None:
    long_id = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))  # an index shortens what repeats
    with Emulator(fleet_of(1, 1)) as emulator:
        graph = the_graph(emulator.fleet)
        graph.add_record({**good_record(1), "ctid": "(0,1)", "xmin": 7})
        graph.add_record({**good_record(2), "id": long_id})
        assert history.load(emulator).outcome == "partial"
    others = {row["id"]: row.get("other_fields") for row in history.rows("backups")}
    assert others == {"g1-b0": None, "dirty1": {"ctid": "(0,1)", "xmin": 7}}
    (rejected,) = history.rows("rejected_backups")
    assert rejected["backup_id"] == long_id


def test_sums_of_sizes_that_no_number_holds_break_no_report(history: PostgresHistory) -> None:
    huge = {"size": MAX_BIGINT, "duration": MAX_BIGINT}
    with Emulator(fleet_of(1, 1)) as emulator:
        for number in range(30):
            the_graph(emulator.fleet).add_record({**good_record(number), **huge})
        history.load(emulator)
    with environment_of(history.database):
        for report in report_names():
            history.seam.read(f"SELECT * FROM reports.{report}")
        with history.seam.reading() as read:
            (graph,) = read_facts(read).graphs
    assert graph.source_mb == MAX_BIGINT


def test_a_name_of_a_database_is_taken_as_it_is_written(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"{replace(postgres, name='no%20such').url}")
    with pytest.raises(DatabaseError, match="no database no%20such, which is taken as it is"):
        PostgresServer().connect()


def test_no_secret_is_kept_by_loads(history: PostgresHistory, command: Command) -> None:
    for _ in range(2):
        done = command.run("load", "--destination", "postgres", **history.database.environment)
        assert done.code == 0, done.text
        assert PASSWORD not in done.text
    assert PASSWORD not in _written(command.folder)
    texts = [
        str(history.database.rows(table))
        for table in ("_dlt_pipeline_state", "_dlt_version", "_dlt_loads", "projects", "listings")
    ]
    assert PASSWORD not in "".join(texts)
