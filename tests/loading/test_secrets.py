"""No credential is found in anything that a run leaves, and nothing that the API says is obeyed."""

import gzip
import json
import os
import ssl
import stat
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from cli_harness import SETTING, Command, Done, after, environment, folder_of, killed_load
from ges_backups.errors import GesError
from ges_emulator import Emulator, Fault, Fleet
from ges_emulator.replies import Answer, error
from ges_history.errors import HistoryError
from ges_history.loading.projects import load
from harness import Warehouse, fleet_of, settings_for, the_graph

PARTS = {
    "token": "tok-SECRETa-7d1f",
    "password": "pwd-SECRETb-9c2e",
    "access": "AKSECRETc4b8",
    "secret": "sk-SECRETd-1a6b",
    "security": "sts-SECRETe-55aa",
}


@dataclass
class Account:
    """One way to be let in: what the emulator knows of it, and the settings of the client."""

    emulator: dict[str, Any]
    variables: dict[str, str | None]
    secrets: list[str] = field(default_factory=list)


def _account(kind: str) -> Account:
    setting = f"{SETTING}CREDENTIALS__"
    if kind == "token":
        token = PARTS["token"]
        return Account({"tokens": [token]}, {f"{setting}TOKEN": token}, [token])
    if kind == "password":
        return Account(
            {"tokens": [], "users": {("domain", "user"): PARTS["password"]}},
            {
                f"{setting}TOKEN": None,
                f"{setting}USERNAME": "user",
                f"{setting}PASSWORD": PARTS["password"],
                f"{setting}DOMAIN_NAME": "domain",
            },
            [PARTS["password"]],
        )
    keys = (PARTS["secret"], PARTS["security"])
    return Account(
        {"tokens": [], "access_keys": {PARTS["access"]: keys}},
        {
            f"{setting}TOKEN": None,
            f"{setting}ACCESS_KEY": PARTS["access"],
            f"{setting}SECRET_KEY": PARTS["secret"],
            f"{setting}SECURITY_TOKEN": PARTS["security"],
        },
        [PARTS["access"], PARTS["secret"], PARTS["security"]],
    )


@pytest.fixture(params=["token", "password", "access key"])
def account(request: pytest.FixtureRequest) -> Account:
    return _account(request.param)


def issued_tokens(emulator: Emulator) -> list[str]:
    """Tokens that IAM gave out."""
    return [token for token in vars(emulator.tokens)["_ends"] if token not in PARTS.values()]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything in all files of a folder, also unpacked: gzip, parquet, DuckDB."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        raw = path.read_bytes()
        yield str(path), raw
        if raw[:2] == b"\x1f\x8b":
            yield f"{path} unpacked", gzip.decompress(raw)
        if raw[:4] == b"PAR1":
            yield f"{path} rows", str(pq.read_table(path).to_pylist()).encode()
        if raw[8:12] == b"DUCK":
            yield f"{path} tables", _tables(path)


def _tables(database: Path) -> bytes:
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = connection.execute(
            "SELECT database_name, schema_name, table_name FROM duckdb_tables()"
        ).fetchall()
        rows = [
            connection.execute(f'SELECT * FROM "{catalog}"."{schema}"."{table}"').fetchall()
            for catalog, schema, table in tables
        ]
    return repr(rows).encode()


def assert_discreet(secrets: list[str], folder: Path, *runs: Done) -> None:
    assert secrets
    texts = list(contents(folder))
    texts += [(f"output of run {number}", run.text.encode()) for number, run in enumerate(runs)]
    assert len(texts) > len(runs)
    found = [(s[:8], where) for s in secrets for where, text in texts if s.encode() in text]
    assert found == []


def test_credentials_are_nowhere_in_what_a_run_leaves(account: Account, tmp_path: Path) -> None:
    with Emulator(fleet_of(graphs=2, backups=3), **account.emulator) as emulator:
        iam = {f"{SETTING}CREDENTIALS__IAM_ENDPOINT": emulator.iam_endpoint}
        settings = {**account.variables, **(iam if "users" in account.emulator else {})}
        loud = {"RUNTIME__LOG_LEVEL": "DEBUG", f"{SETTING}REQUEST_SECONDS": "1"}
        command = Command(emulator, tmp_path)
        good = command.load("--json", **settings, **loud)
        assert good.code == 0
        emulator.faults.add(Fault.redirect("http://127.0.0.1:1/v2/elsewhere"), times=None)
        redirected = command.run("--debug", "load", **settings, **loud)
        emulator.faults.clear()
        secrets = account.secrets + issued_tokens(emulator)
        emulator.faults.add(Fault.http(401), times=None)
        refused = command.run("--debug", "load", **settings, **loud)
        emulator.stop()
        down = command.run("--debug", "load", **settings, **loud)
    assert redirected.code == refused.code == down.code == 1
    assert "Traceback" in redirected.err
    assert_discreet(secrets, tmp_path, good, redirected, refused, down)


@pytest.mark.parametrize(
    ("account", "status"),
    [
        pytest.param(kind, status, marks=[] if is_default else pytest.mark.soak)
        for kind, by_default in (
            ("token", (200, 401)),
            ("password", (400, 401)),
            ("access key", (401, 500)),
        )
        for status in (200, 400, 401, 500)
        for is_default in [status in by_default]
    ],
    indirect=["account"],
)
def test_credentials_that_a_server_repeats_are_not_told(
    account: Account, status: int, tmp_path: Path
) -> None:
    """Neither whole nor cut: an answer's words are kept to a length."""
    with Emulator(fleet_of(graphs=2, backups=3), **account.emulator) as emulator:

        def repeat(_: Answer, path: str) -> Answer:
            taken = [] if path == "tokens" else issued_tokens(emulator)[-1:]
            said = " ".join(account.secrets + taken)
            return error(status, said, f"{said} is no good {'.' * 270} {said}")

        def run(path: str, graph_id: str | None = None) -> Done:
            fault = Fault("repeats", change=lambda answer: repeat(answer, path))
            emulator.faults.add(fault, None, graph_id, path)
            return command.run("--debug", "load", **settings, **loud)

        iam = {f"{SETTING}CREDENTIALS__IAM_ENDPOINT": emulator.iam_endpoint}
        settings = {**account.variables, **(iam if "users" in account.emulator else {})}
        loud = {"RUNTIME__LOG_LEVEL": "DEBUG", f"{SETTING}REQUEST_SECONDS": "1"}
        command = Command(emulator, tmp_path)
        runs = [run("backups", "g2"), run("graphs")]
        if "users" in account.emulator:
            runs.append(run("tokens"))
        told = [secret[:7] for secret in account.secrets + issued_tokens(emulator)]
    assert [run.code for run in runs] == [3, 1, 1][: len(runs)]
    assert all("***" in run.text for run in runs)
    assert_discreet(told, tmp_path, *runs)


def test_credentials_are_not_in_a_package_that_was_left(tmp_path: Path) -> None:
    with Emulator(fleet_of(), tokens=[PARTS["token"]]) as emulator:
        settings = settings_for(emulator, credentials={"token": PARTS["token"]})
        extracted = after("dlt.extract.storage.ExtractStorage.commit_new_load_package")
        warehouse = Warehouse(tmp_path / "history.duckdb")
        assert killed_load(warehouse, settings, extracted) == -9
    assert_discreet([PARTS["token"]], tmp_path)


def all_causes(error: BaseException) -> list[BaseException]:
    """An error and all that lie under it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


@pytest.mark.parametrize(
    "credentials",
    [
        {"token": PARTS["token"]},
        {"token": f" {PARTS['token']}\n"},
        {"token": PARTS["token"], "password": PARTS["password"]},
        {"username": "user", "password": PARTS["password"]},
        {"access_key": PARTS["access"]},
        {"acess_key": PARTS["access"], "secret_key": PARTS["secret"]},
        PARTS["token"],
        [PARTS["token"]],
        json.dumps({"token": PARTS["token"]})[:-1],
    ],
    ids=[
        "refused",
        "with blanks",
        "two kinds",
        "no domain",
        "no secret",
        "misspelt",
        "plain",
        "list",
        "cut",
    ],
)
def test_credentials_are_not_in_exceptions(tmp_path: Path, credentials: Any) -> None:
    with Emulator(fleet_of()) as emulator, pytest.raises((GesError, HistoryError)) as raised:
        load(tmp_path / "x.duckdb", **settings_for(emulator, credentials=credentials))
    texts: list[str] = traceback.format_exception(raised.value)
    error: BaseException | None = raised.value
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        texts += [str(error), repr(error), *map(str, vars(error).values())]
        error = error.__cause__ or error.__context__
    for secret in PARTS.values():
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("kind", ["another host", "another scheme"])
def test_redirect_takes_no_credentials_along(tmp_path: Path, kind: str) -> None:
    with Emulator(fleet_of()) as emulator, Emulator(fleet_of()) as elsewhere:
        target = elsewhere.endpoint + f"/v2/{emulator.fleet.project_id}/graphs"
        if kind == "another scheme":
            target = target.replace("http://", "https://")
        emulator.faults.add(Fault.redirect(target), times=None)
        done = Command(emulator, tmp_path).load(**{f"{SETTING}REQUEST_SECONDS": "1"})
        assert elsewhere.requests == []
    assert (done.code, "redirects" in done.err) == (1, True)


NO_NETWORK = """
import socket, sys
from pathlib import Path
connect = socket.socket.connect
def watched(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        Path("calls.txt").open("a").write(repr(address))
        raise OSError("no network")
    return connect(self, address)
socket.socket.connect = watched
lookup = socket.getaddrinfo
def looked_up(host, *rest, **more):
    if host not in ("127.0.0.1", "localhost", None):
        Path("calls.txt").open("a").write(repr(host))
        raise OSError("no network")
    return lookup(host, *rest, **more)
socket.getaddrinfo = looked_up
from ges_history.cli import main
sys.argv[0] = "ges-backups"
main()
"""


def test_nothing_but_the_endpoint_is_called(tmp_path: Path, emulator: Emulator) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, "load"],
        cwd=tmp_path,
        env=environment(emulator, tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "calls.txt").exists()
    assert not (tmp_path / ".dlt").exists()


NASTY = [
    "'; DROP TABLE ges.backups; --",
    '"; DELETE FROM ges.backups; --',
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "%s%n{0}{graph_id}$HOME`id`",
    "../../../../etc/passwd",
    "\u202etxt.exe",
    "line\r\nfeed",
]


def test_what_the_api_says_is_kept_and_not_obeyed(tmp_path: Path) -> None:
    fleet = Fleet()
    graph = fleet.add_graph("good", name=NASTY[0])
    for number, nasty in enumerate(NASTY):
        graph.add_backup(1_700_000_000_000 + number, id=nasty, name=nasty, status=nasty)
        graph.add_record({"id": nasty, "start_timestamp": nasty, nasty: nasty})
        fleet.add_graph(nasty, name=nasty).add_backup(1_700_000_000_000, id=f"of {nasty}")
    bad = fleet.add_graph("bad", name="bad")
    with Emulator(fleet) as emulator:
        emulator.faults.add(
            Fault.http(403, error_code=NASTY[2], error_msg="".join(NASTY)), None, graph_id=bad.id
        )
        emulator.faults.add(Fault.http(200, NASTY[2], NASTY[2]), None, graph_id="good", at=[2])
        command = Command(emulator, tmp_path)
        done = command.load("--database", "h.duckdb")
        as_json = command.load("--database", "h.duckdb", "--full", "--json")
        report = command.run("report", "--database", "h.duckdb")
        inventory = command.run("report", "inventory", "--database", "h.duckdb")
    assert (done.code, as_json.code, report.code, inventory.code) == (3, 3, 0, 0)
    for run in (done, as_json, report, inventory):
        odd = {sign for sign in run.text if not sign.isprintable() and sign != "\n"}
        assert odd == set()
        assert "Traceback" not in run.err
    warehouse = Warehouse(tmp_path / "h.duckdb")
    assert set(NASTY) <= {row["name"] for row in warehouse.rows("backups")}
    assert set(NASTY) <= {row["backup_id"] for row in warehouse.rejected}
    assert set(NASTY) <= {row["graph_id"] for row in warehouse.rows("listings")}
    assert as_json.json["problems"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".h.duckdb.dlt", "h.duckdb"]


def test_first_page_that_is_an_error_in_disguise_is_printed_plainly(tmp_path: Path) -> None:
    with Emulator(fleet_of()) as emulator:
        emulator.faults.add(Fault.http(200, NASTY[2], NASTY[2]), None, path="graphs")
        done = Command(emulator, tmp_path).load(**{f"{SETTING}REQUEST_SECONDS": "1"})
    assert done.code == 1
    assert {sign for sign in done.text if not sign.isprintable()} == {"\n"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    pem = folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key.pem"), "-out", str(pem)),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(pem.read_text() + (folder / "key.pem").read_text())
    return pem


@pytest.fixture
def https(certificate: Path) -> Iterator[Emulator]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Emulator(fleet_of(), ssl_context=context) as emulator:
        yield emulator


def test_own_authority_works_through_its_bundle(
    https: Emulator, certificate: Path, tmp_path: Path
) -> None:
    done = Command(https, tmp_path).load(REQUESTS_CA_BUNDLE=str(certificate))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"CURL_CA_BUNDLE": ""},
        {"REQUESTS_CA_BUNDLE": ""},
        {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""},
        {"PYTHONHTTPSVERIFY": "0"},
        {"SSL_VERIFY": "false", "SSL_CERT_FILE": ""},
    ],
    ids=["by default", "empty curl", "empty requests", "both empty", "python", "others"],
)
def test_unknown_certificate_is_refused(
    https: Emulator, tmp_path: Path, variables: dict[str, str | None]
) -> None:
    done = Command(https, tmp_path).load(**variables)
    assert done.code == 1
    assert "The TLS certificate of 127.0.0.1" in done.err
    assert "REQUESTS_CA_BUNDLE" in done.err
    assert "Traceback" not in done.err
    assert https.requests == []


def test_bundle_that_is_not_there_is_said_at_once(https: Emulator, tmp_path: Path) -> None:
    done = Command(https, tmp_path).load(REQUESTS_CA_BUNDLE=str(tmp_path / "missing.pem"))
    assert done.code == 1
    assert "REQUESTS_CA_BUNDLE" in done.err
    assert "Traceback" not in done.err


def modes(folder: Path) -> dict[str, str]:
    """Access rights of what lies in a folder, where others than the owner can reach it."""
    wide = {}
    for path in folder.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            wide |= {str(path): oct(mode)} | (modes(path) if path.is_dir() else {})
    return wide


def test_files_are_for_their_owner_only(tmp_path: Path, emulator: Emulator, fleet: Fleet) -> None:
    before = os.umask(0o000)
    try:
        warehouse = Warehouse(tmp_path / "history.duckdb")
        warehouse.load(emulator)
        the_graph(fleet).add_backup(fleet.now)
        killed_load(warehouse, settings_for(emulator), after("dlt.load.load.Load.complete_jobs"))
        assert modes(tmp_path) == {}
        warehouse.load(emulator)
        assert modes(tmp_path) == {}
        assert os.umask(0o000) == 0
    finally:
        os.umask(before)
    assert folder_of(warehouse.path).is_dir()
