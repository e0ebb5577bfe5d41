"""A history in PostgreSQL as the tests of loading see one: loaded, read, killed at a statement."""

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from forked import started
from ges_emulator import Emulator
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.seam import Warehouse as Seam
from harness import Row, Warehouse, fleet_of, settings_for
from postgres_proxy import PostgresProxy, When
from postgres_server import PostgresDatabase, PostgresServer

TABLES = {
    "backups": ("id",),
    "graphs": ("project_id", "id"),
    "listings": ("project_id", "graph_id"),
    "rejected_backups": ("project_id", "record_hash"),
    "projects": ("id",),
    "_dlt_loads": ("load_id",),
    "_dlt_pipeline_state": ("_dlt_id",),
}
"""All tables that a load writes, with what is there once."""


@dataclass
class PostgresHistory(Warehouse):
    """A database that loads go to; `path` names the folder of packages.

    Attributes:
        database: Where it is.
        project: Only this project's rows are looked at, where there are several.
    """

    database: PostgresDatabase = field(kw_only=True)
    project: str | None = None

    @property
    def seam(self) -> Seam:
        """The warehouse itself."""
        with environment_of(self.database):
            return warehouse_for(self.path, "postgres")

    def load(self, emulator: Emulator, **settings: Any) -> LoadOutcome:
        """One load in this process."""
        return self.load_with(**settings_for(emulator, **self.settings, **settings))

    def load_with(self, **settings: Any) -> LoadOutcome:
        """One load with these settings and no others."""
        with environment_of(self.database):
            return load(self.path, destination="postgres", **settings)

    def rows(self, table: str) -> list[Row]:
        """All rows of a table of the dataset."""
        rows = self.database.rows(table)
        return [row for row in rows if self.project in (None, row.get("project_id", self.project))]

    def repeated(self) -> dict[str, list[Any]]:
        """{table: keys that are there more than once}, for those that have any."""
        found = {}
        for table, key in TABLES.items():
            seen = [tuple(row[name] for name in key) for row in self.rows(table)]
            if len(seen) != len(set(seen)):
                found[table] = sorted(one for one in set(seen) if seen.count(one) > 1)
        return found

    def start_load(self, emulator: Emulator, **settings: Any) -> Any:
        """A load in a process of its own; has `pid`, `join` and `exitcode`."""
        settings = settings_for(emulator, **self.settings, **settings)
        return started(_load, self.path, self.database.environment, settings)

    @contextmanager
    def held(self, project: str) -> Iterator[None]:
        """Hold the lock of a project, as a load does."""
        with self.seam.lock(project):
            yield

    def load_killed(
        self, emulator: Emulator, proxy: PostgresProxy, nth: int, when: When
    ) -> int | None:
        """A load in a process of its own that is killed at a statement; its exit code."""
        started: list[Any] = []
        proxy.arm(nth, when, lambda: os.kill(started[0].pid, signal.SIGKILL))
        started.append(self.through(proxy).start_load(emulator))
        started[0].join(60)
        return started[0].exitcode  # type: ignore[no-any-return]

    def copied(self, path: Path) -> "PostgresHistory":
        """A copy of the database, and of the folder of packages beside another path."""
        database = self.database.server.create_database(template=self.database.name)
        copy = PostgresHistory(path, self.settings, database=database)
        shutil.copytree(self.seam.folder, copy.seam.folder)
        return copy

    def through(self, proxy: PostgresProxy) -> "PostgresHistory":
        """The same database by way of a proxy, with the same folder."""
        return PostgresHistory(self.path, self.settings, database=self.database.through(proxy.port))


def _load(path: Path, variables: Mapping[str, str], settings: dict[str, Any]) -> None:
    os.environ.update(variables)
    load(path, destination="postgres", **settings)


@contextmanager
def environment_of(database: PostgresDatabase) -> Iterator[None]:
    """dlt's configuration names this database meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def history(postgres: PostgresDatabase, tmp_path: Path) -> PostgresHistory:
    """An empty database, loaded into from a folder of the test."""
    return PostgresHistory(tmp_path / "history", database=postgres)


@pytest.fixture(scope="session")
def first_history(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> PostgresHistory:
    """A database into which two graphs of three backups were loaded once; it is only copied."""
    path = tmp_path_factory.mktemp("first") / "history"
    history = PostgresHistory(path, database=postgres_server.create_database())
    with Emulator(fleet_of(graphs=2, backups=3)) as emulator:
        history.load(emulator)
    return history


@pytest.fixture
def begun(first_history: PostgresHistory, tmp_path: Path) -> PostgresHistory:
    """A history into which what `emulator` serves at first was loaded once."""
    return first_history.copied(tmp_path / "history")


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[PostgresProxy]:
    """A proxy in front of the server."""
    with PostgresProxy(postgres_server.port) as proxy:
        yield proxy
