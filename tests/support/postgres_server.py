"""A real PostgreSQL server on a free port of 127.0.0.1, made for the tests and ended with them.

`postgres_server` is one cluster a session, `postgres` a database of its own for each test. Where
no server is installed, the tests that ask for one are skipped.
"""

import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

ADMIN = "postgres"
PASSWORD = "Secr3t-of-Postgres"
STARTED_WITHIN_SECONDS = 60
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "timezone": "America/New_York",  # whatever a server's zone is, a history's is UTC
}


@dataclass(frozen=True)
class PostgresDatabase:
    """A database and who reads it; `port` may be that of a proxy in front of the server."""

    server: "PostgresServer"
    name: str
    user: str = ADMIN
    password: str = PASSWORD
    port: int = 0

    @property
    def url(self) -> str:
        """Where it is, with the password."""
        port = self.port or self.server.port
        password = quote(self.password, safe="")
        return f"postgresql://{self.user}:{password}@127.0.0.1:{port}/{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The variable that dlt's configuration reads."""
        return {"DESTINATION__POSTGRES__CREDENTIALS": self.url}

    def through(self, port: int) -> "PostgresDatabase":
        """The same by way of another port."""
        return replace(self, port=port)

    def seen_by(self, user: str, password: str) -> "PostgresDatabase":
        """The same for another role."""
        return replace(self, user=user, password=password)

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run statements as the administrator; the rows of the last, if it has any."""
        return self._named_rows(sql, *values)[1]

    def _named_rows(self, sql: str, *values: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
        import psycopg2  # noqa: PLC0415 - where no server is, the driver may be missing too

        connection = psycopg2.connect(replace(self, user=ADMIN, password=PASSWORD, port=0).url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
                cursor.execute(sql, values or None)
                if cursor.description is None:
                    return [], []
                return [column.name for column in cursor.description], cursor.fetchall()
        finally:
            connection.close()

    def rows(self, table: str, schema: str = "ges") -> list[dict[str, Any]]:
        """All rows of a table as dictionaries; none where there is no table."""
        from psycopg2.errors import InvalidSchemaName, UndefinedTable  # noqa: PLC0415

        try:
            names, rows = self._named_rows(f"SELECT * FROM {schema}.{table}")
        except (InvalidSchemaName, UndefinedTable):
            return []
        return [dict(zip(names, row, strict=True)) for row in rows]


@dataclass
class PostgresServer:
    """A cluster in a folder of its own; it can be stopped and started again."""

    folder: Path
    port: int
    user: str | None
    _process: "subprocess.Popen[bytes] | None" = None
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [f"--{name}={value}" for name, value in {**OPTIONS, "port": self.port}.items()]
        command = _as_owner(self.user, _program("postgres"), "-D", str(self.folder), *options)
        with (self.folder.parent / "log").open(
            "ab"
        ) as log:  # it ends with the thread that starts it
            self._process = self._starter.submit(
                subprocess.Popen, command, stdout=log, stderr=log, cwd="/"
            ).result()
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        ready = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder.parent / "log").read_text())
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT disconnects everybody, SIGQUIT is a crash, SIGTERM waits for clients."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start it on the same port."""
        self.stop(how)
        self.start()

    def create_database(self, template: str = "template1") -> PostgresDatabase:
        """A database of its own: an empty one, or a copy of one that nobody is connected to."""
        name = f"test_{next(self._numbers)}"
        PostgresDatabase(self, "postgres").execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return PostgresDatabase(self, name)


def _as_owner(user: str | None, *command: str) -> list[str]:
    """The command as run by the cluster's owner; it dies with the process that started it."""
    other = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
    return ["setpriv", *other, "--pdeathsig", "INT", "--", *command]


@functools.cache
def _program(name: str) -> str:
    """The path of one of the server's programs; skips the test where it is not installed."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    path = os.pathsep.join([os.environ["PATH"], *map(str, newest_first)])
    found = shutil.which(name, path=path)
    if found is None or shutil.which("setpriv") is None:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt-get install postgresql)")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running cluster."""
    initdb = _program("initdb")
    pytest.importorskip("psycopg2", reason="the extra `postgres` is not installed")
    user = ADMIN if os.geteuid() == 0 else None  # the server refuses to run as root
    parent = Path(tempfile.mkdtemp(prefix="ges-postgres-"))
    try:
        password = parent / "password"
        password.write_text(PASSWORD)
        if user is not None:
            for path in (parent, password):
                shutil.chown(path, user, user)
        server = PostgresServer(parent / "cluster", _free_port(), user)
        subprocess.run(
            _as_owner(
                user,
                *(initdb, "-D", str(server.folder), "-U", ADMIN, "--pwfile", str(password)),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(parent)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresDatabase:
    """An empty database."""
    return postgres_server.create_database()
