"""Where a load works: its lock, its dlt folder beside the database, and the database's own lock."""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.config_providers_context import ConfigProvidersContainer
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

from ges_history.errors import DatabaseError, LoadInProgress
from ges_history.layout import check_layout

PIPELINE_NAME = "ges_backups"
DATASET = "ges"
POLL_SECONDS = 0.25

Say = Callable[[str], None]
Progress = Any  # one of dlt's collectors, or the name of one

DLT_SETTINGS: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL"},
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": True}},
    "load": {
        "delete_completed_jobs": True,
        "truncate_staging_dataset": True,
        "raise_on_max_retries": 5,
    },
}


@contextmanager
def dlt_settings(*, isolated: bool = False) -> Iterator[None]:
    """dlt's settings that a history needs, below the user's own, for as long as a load runs.

    Args:
        isolated: Ignore the user's settings, for the demo.
    """
    context = Container()[PluggableRunContext]
    before = context.providers
    provider = CustomLoaderDocProvider("ges_history", lambda: DLT_SETTINGS, supports_secrets=False)
    others = [known for known in before.providers if known.name != provider.name]
    context.providers = ConfigProvidersContainer([*([] if isolated else others), provider])
    try:
        yield
    finally:
        context.providers = before


@contextmanager
def for_owner_only() -> Iterator[None]:
    """Files made meanwhile are readable by their owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class Workplace:
    """A database (or another destination), its lock and its folder of packages.

    Args:
        database: The DuckDB file; for other destinations it still names the folder.
        destination: dlt's name of the destination.
        wait: Seconds to wait for a lock.
        say: Takes lines for a person.
    """

    def __init__(self, database: Path, destination: str, wait: float, say: Say) -> None:
        self.database = database
        self.destination = destination
        self.wait = wait
        self.say = say
        self.folder = database.parent / f".{database.name}.dlt"
        if destination != "duckdb":
            self.folder = database.parent / f".{PIPELINE_NAME}.{destination}.dlt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One load at a time; waits for another one, then says so.

        Raises:
            LoadInProgress: Another load went on for longer than `wait`.
            DatabaseError: The folder cannot be made or written.
        """
        if self.database.is_dir():
            raise DatabaseError(f"{self.database} is a folder: give a file with --database.")
        if not self.database.absolute().parent.is_dir():
            raise DatabaseError(
                f"The folder {self.database.parent} does not exist: make it, or give another --database."
            )
        try:
            self.folder.mkdir(exist_ok=True)
            lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.folder} cannot be written: {error.strerror}. A load keeps its "
                "packages there, beside the database."
            ) from error
        with lock:
            self._wait_for(lambda: self._try_lock(lock))
            yield

    def _try_lock(self, lock: IO[str]) -> str | None:
        """Take the lock file; what is in the way, or None."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            return f"Another load (process {holder}) is working on {self.database}"
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return None

    def _wait_for(self, take: Callable[[], str | None]) -> None:
        """Try until it is taken or the time is over; says at once what is in the way."""
        deadline = time.monotonic() + self.wait
        told = False
        while (obstacle := take()) is not None:
            if time.monotonic() >= deadline:
                raise LoadInProgress(
                    f"{obstacle}. Try again when it has ended, or wait longer with --wait SECONDS."
                )
            if not told:
                self.say(f"{obstacle}; waiting up to {self.wait:g} s.")
                told = True
            time.sleep(POLL_SECONDS)

    def pipeline(self, progress: Progress | None = None) -> dlt.Pipeline:
        """The dlt pipeline, its folder beside the database."""
        target: Any = self.destination
        if self.destination == "duckdb":
            target = dlt.destinations.duckdb(str(self.database.absolute()))
        return dlt.pipeline(
            PIPELINE_NAME,
            destination=target,
            dataset_name=DATASET,
            pipelines_dir=str(self.folder.absolute()),
            progress=progress,  # type: ignore[arg-type]  # None is fine
        )

    @contextmanager
    def opened(
        self, progress: Progress | None = None
    ) -> Iterator[tuple[dlt.Pipeline, SqlClientBase[Any]]]:
        """The pipeline and its database, held open so that no other process takes it meanwhile.

        Raises:
            DatabaseError: Another process held it for longer than `wait`, or it is no history.
        """
        pipeline = self.pipeline(progress)
        if self.destination != "duckdb":
            with pipeline.sql_client() as client:
                yield pipeline, client
            return
        import duckdb  # noqa: PLC0415

        held: list[duckdb.DuckDBPyConnection] = []

        def take() -> str | None:
            try:
                held.append(duckdb.connect(str(self.database.absolute())))
            except duckdb.IOException as error:
                return self._obstacle(str(error))
            except duckdb.Error as error:
                raise DatabaseError(f"{self.database} cannot be opened: {error}") from error
            return None

        self._wait_for(take)
        with held[0] as connection:
            check_layout(connection)
            with pipeline.sql_client() as client:
                yield pipeline, client

    def _obstacle(self, message: str) -> str:
        """What holds the file; raises where waiting does not help."""
        if "Conflicting lock" not in message and "Could not set lock" not in message:
            if "not a valid DuckDB database" in message:
                raise DatabaseError(
                    f"{self.database} is not a DuckDB database: give another --database."
                )
            raise DatabaseError(f"{self.database} cannot be opened: {message.splitlines()[0]}")
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", message)
        who = f"{Path(holder[1]).name}, process {holder[2]}," if holder else "another process"
        return f"The database {self.database} is held by {who} which must close it first"

    def restore(self, pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> None:
        """Make dlt's folder agree with the database, which is right: it may have been replaced.

        State travels with its data, so a moved, copied or restored database brings its own.
        """
        stored = stored_state_hash(client)
        local = None if pipeline.first_run else pipeline.state.get("_version_hash")
        if stored != local:
            pipeline.drop().sync_destination()
        self._write_base(stored)

    def is_base_of_pending(self, pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> bool:
        """Whether the pending package was made on top of what the database holds now."""
        stored = stored_state_hash(client)
        try:
            base = json.loads((self.folder / "base.json").read_text())["state"]
        except (OSError, ValueError, KeyError):
            return False
        return stored in (base, pipeline.state.get("_version_hash"))

    def _write_base(self, stored: str | None) -> None:
        path = self.folder / "base.json"
        text = json.dumps({"state": stored})
        if not path.exists() or path.read_text() != text:
            path.with_suffix(".new").write_text(text)
            path.with_suffix(".new").replace(path)

    def forget_cursors(self, client: SqlClientBase[Any]) -> None:
        """Drop dlt's state of another database's package: everything is listed again."""
        self.say("The database was replaced since: all graphs are listed from the start.")
        table = client.make_qualified_table_name("_dlt_pipeline_state")
        client.execute_sql(f"DELETE FROM {table}")  # noqa: S608


def stored_state_hash(client: SqlClientBase[Any]) -> str | None:
    """The hash of the newest state in the destination, None where there is none."""
    state = client.make_qualified_table_name("_dlt_pipeline_state")
    loads = client.make_qualified_table_name("_dlt_loads")
    try:
        rows = client.execute_sql(
            f"SELECT s.version_hash FROM {state} s JOIN {loads} l ON l.load_id = s._dlt_load_id"  # noqa: S608
            " WHERE s.pipeline_name = %s AND l.status = 0 ORDER BY l.load_id DESC LIMIT 1",
            PIPELINE_NAME,
        )
    except DatabaseUndefinedRelation:
        return None
    return str(rows[0][0]) if rows else None
