"""Where a load works: its lock, its dlt folder beside the database, and the database's own lock."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import dlt
from dlt.common.exceptions import DltException
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ges_history.errors import DatabaseError, HistoryError, LoadInProgress
from ges_history.loading.lineage import PIPELINE_NAME
from ges_history.warehouses.layout import check_layout, database_name

DATASET = "ges"
POLL_SECONDS = 0.25
KEPT_PACKAGES = 3
MEMORY_MB = 120
"""DuckDB's, which would take what is free: merging a file of 100,000 backups needs 90."""
HALF_SAVED = re.compile("[0-9a-f]{16}|[0-9a-f]{32}")
"""What dlt calls a file until it is whole."""

Say = Callable[[str], None]
Progress = Any  # one of dlt's collectors, or the name of one


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
        self._file = _real_path(database)  # one folder and one lock, whatever links lead here
        name = self._file.name if destination == "duckdb" else f"{PIPELINE_NAME}.{destination}"
        self.folder = self._file.parent / f".{name}.dlt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One load at a time; waits for another one, then says so.

        Raises:
            LoadInProgress: Another load went on for longer than `wait`.
            DatabaseError: The folder cannot be made or written.
        """
        self._check_path()
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.folder} cannot be written: {error.strerror}. A load keeps its "
                "packages there, beside the database."
            ) from error
        with lock:
            self._wait_for(lambda: self._try_lock(lock), LoadInProgress)
            self._sweep()
            yield

    def _check_path(self) -> None:
        if self._file.is_dir():
            raise DatabaseError(f"{self.database} is a folder: give a file with --database.")
        if not self._file.parent.is_dir():
            raise DatabaseError(
                f"The folder {self.database.parent} does not exist: make it, or give another --database."
            )
        if self._file.name == ":memory:":
            raise DatabaseError("A database in memory keeps no history: give a file.")
        if bad := [sign for sign in "%\\" if sign in str(self._file)]:
            raise DatabaseError(
                f"{self._file} holds the sign {bad[0]}, which dlt or DuckDB cannot have in a path: "
                "give another --database."
            )

    def _sweep(self) -> None:
        """Remove what killed and failed runs left unfinished, and all but the last loaded packages."""
        working = self.folder / PIPELINE_NAME
        kept = {"extracted", ".version"}
        unfinished = [path for path in _inside(working / "normalize") if path.name not in kept]
        unfinished += _inside(working / "load" / "new")
        loaded = sorted(_inside(working / "load" / "loaded"))[:-KEPT_PACKAGES]
        normalized = {path.name for path in _inside(working / "load" / "normalized")}
        extracted = _inside(working / "normalize" / "extracted")
        twice = [path for path in extracted if path.name in normalized]  # dlt would fail on it
        for path in (*unfinished, *loaded, *twice):
            shutil.rmtree(path, ignore_errors=True)
        for path in working.rglob("*"):
            if HALF_SAVED.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    @contextmanager
    def left_as_found(self) -> Iterator[None]:
        """Leave no empty database where there was none and the load failed."""
        was_there = self._file.exists()
        try:
            yield
        except BaseException:
            if not was_there and self.destination == "duckdb" and self._is_empty():
                self._file.unlink()
            raise

    def _is_empty(self) -> bool:
        import duckdb  # noqa: PLC0415

        if not self._file.exists():
            return False
        try:
            with duckdb.connect(str(self._file)) as connection:
                return not connection.execute("SELECT 1 FROM duckdb_tables()").fetchall()
        except duckdb.Error:
            return False

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

    def _wait_for(
        self, take: Callable[[], str | None], over: type[HistoryError], note: str = ""
    ) -> None:
        """Try until it is taken or the time is over; says at once what is in the way."""
        deadline = time.monotonic() + self.wait
        told = False
        while (obstacle := take()) is not None:
            if time.monotonic() >= deadline:
                raise over(
                    f"{obstacle}. {note}Try again when it has ended, or wait longer with "
                    "--wait SECONDS."
                )
            if not told:
                self.say(f"{obstacle}; waiting up to {self.wait:g} s.")
                told = True
            time.sleep(POLL_SECONDS)

    def _pipeline_of(
        self, progress: Progress | None = None, catalog: str | None = None
    ) -> dlt.Pipeline:
        """The dlt pipeline, its folder beside the database; a broken folder is made anew.

        Args:
            progress: dlt's progress collector.
            catalog: What DuckDB calls the open database, where a schema is called the same.
        """
        try:
            return self._make_pipeline(progress, catalog)
        except (ValueError, KeyError, TypeError, AttributeError, DltException) as error:
            if not (self.folder / PIPELINE_NAME / "state.json").exists():
                raise
            self.say(f"The packages in {self.folder} are broken ({error}): they are dropped.")
            shutil.rmtree(self.folder / PIPELINE_NAME)
            return self._make_pipeline(progress, catalog)

    def _make_pipeline(self, progress: Progress | None, catalog: str | None) -> dlt.Pipeline:
        target: Any = self.destination
        if self.destination == "duckdb":
            from ges_history.warehouses.duckdb_destination import HistoryDuckDb  # noqa: PLC0415

            target = HistoryDuckDb(str(self._file), catalog)
        return dlt.pipeline(
            PIPELINE_NAME,
            destination=target,
            dataset_name=DATASET,
            pipelines_dir=str(self.folder),
            progress=progress,  # type: ignore[arg-type]  # None is fine
        )

    @contextmanager
    def opened(
        self,
        pipeline: dlt.Pipeline | None = None,
        *,
        progress: Progress | None = None,
        note: str = "",
    ) -> Iterator[tuple[dlt.Pipeline, SqlClientBase[Any]]]:
        """The pipeline and its database, held open so that no other process takes it meanwhile.

        Args:
            pipeline: The one that an earlier call gave, None for the first.
            progress: dlt's progress collector, for the first.
            note: A sentence for the error, where another process holds the database.

        Raises:
            DatabaseError: Another process held it for longer than `wait`, or it is no history.
        """
        if self.destination != "duckdb":
            with self._connected(pipeline or self._pipeline_of(progress)) as opened:
                yield opened
            return
        import duckdb  # noqa: PLC0415

        held: list[duckdb.DuckDBPyConnection] = []

        def take() -> str | None:
            try:
                held.append(duckdb.connect(str(self._file)))
            except duckdb.Error as error:
                return self._obstacle(str(error))
            return None

        self._wait_for(take, DatabaseError, note)
        with held[0] as connection:
            connection.execute(f"SET memory_limit = '{MEMORY_MB} MB'")
            check_layout(connection)
            name = database_name(connection)
            is_ambiguous = name.lower() in (DATASET, f"{DATASET}_staging")
            pipeline = pipeline or self._pipeline_of(progress, name if is_ambiguous else None)
            with pipeline.sql_client() as client:
                yield pipeline, client

    @contextmanager
    def _connected(
        self, pipeline: dlt.Pipeline
    ) -> Iterator[tuple[dlt.Pipeline, SqlClientBase[Any]]]:
        """Another destination than a DuckDB file, with a connection to it."""
        unopened: Any = pipeline.sql_client()
        self._check_merges(pipeline)
        try:
            with unopened as client:
                yield pipeline, client
        except unopened.dbapi.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise DatabaseError(f"The destination {self.destination} says: {reason}") from error

    def _check_merges(self, pipeline: dlt.Pipeline) -> None:
        destination: Any = pipeline.destination
        strategies = destination.capabilities().supported_merge_strategies or ()
        if "upsert" not in strategies or not issubclass(destination.client_class, SqlJobClientBase):
            raise DatabaseError(
                f"The destination {self.destination} cannot hold a history: dlt cannot merge rows "
                "into it. Use duckdb, postgres, or another database that can."
            )

    def _obstacle(self, message: str) -> str:
        """What holds the file; raises where waiting does not help."""
        first_line = message.strip().splitlines()[0]
        if "Conflicting lock" in message or "Could not set lock" in message:
            holder = re.search(r"held in (.+?) \(PID (\d+)\)", message)
            who = f"{Path(holder[1]).name}, process {holder[2]}," if holder else "another process"
            return f"The database {self.database} is held by {who} which must close it first"
        if "Unique file handle conflict" in message or "different configuration" in message:
            raise DatabaseError(
                f"The database {self.database} is open in this process: close that connection first."
            )
        if "not a valid DuckDB database" in message:
            raise DatabaseError(
                f"{self.database} is not a DuckDB database: give another --database."
            )
        raise DatabaseError(f"{self.database} cannot be opened: {first_line}")


def _real_path(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise DatabaseError(f"The path {path} leads nowhere: {error}") from error


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
