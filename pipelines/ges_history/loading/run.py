"""One load of one project, from its settings to its outcome. See `load`."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.schema import Schema
from dlt.extract import DltSource

from ges_backups.errors import SettingsError
from ges_backups.known import Ask, Known, read_known
from ges_backups.project import ProjectSettings, resolve_project
from ges_backups.source import NAME, project_source
from ges_history.errors import DatabaseError
from ges_history.instants import Instant, parse_instant
from ges_history.loading.dlt_settings import dlt_settings
from ges_history.loading.failures import readable_errors
from ges_history.loading.outcome import LoadOutcome, Tally, count_backups, count_written
from ges_history.loading.packages import Packages, adopt_schema
from ges_history.loading.stored_schema import read_stored_schema, stored_version
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.seam import Say, Warehouse, quiet

Progress = Any  # one of dlt's collectors, or the name of one
DEFAULT_DATABASE = "ges_backups.duckdb"


@dataclass(frozen=True)
class LoadOptions:
    """How a load goes.

    Attributes:
        full: Read every listing from start to end, whatever was read before.
        since: Load only backups that started at this instant or later.
        until: Load only backups that started before this instant.
        wait: Seconds to wait for another load, or for a process that holds the warehouse.
        say: Takes lines that tell a person what is going on.
        progress: dlt's progress collector.
    """

    full: bool = False
    since: datetime | None = None
    until: datetime | None = None
    wait: float = 60.0
    say: Say = quiet
    progress: Progress | None = None

    @property
    def is_window(self) -> bool:
        """Whether only a window of starts is loaded."""
        return self.since is not None or self.until is not None


def load(
    database: str | Path = DEFAULT_DATABASE,
    *,
    full: bool = False,
    since: Instant | None = None,
    until: Instant | None = None,
    destination: str = "duckdb",
    wait: float = 60.0,
    say: Say = quiet,
    progress: Progress | None = None,
    isolated: bool = False,
    is_demo: bool = False,
    **source_settings: Any,
) -> LoadOutcome:
    """Load what is new since the last load; the one function behind ``ges-backups load``.

    A package that a killed run left is finished first. Then the graphs are listed, and the rows
    merged, deletion marks among them. Whatever fails, the next call mends it.

    Args:
        database: The DuckDB file; also names the folder beside it that holds dlt's packages.
        full: Read every listing from start to end, whatever was read before.
        since: Load only backups that started at this instant or later; what `parse_instant` takes.
        until: Load only backups that started before this instant, likewise.
        destination: dlt's name of a destination; its credentials come from dlt's configuration.
        wait: Seconds to wait for another load, or for a process that holds the file.
        say: Takes lines that tell a person what is going on.
        progress: dlt's progress collector.
        isolated: Take settings from the arguments only, not from dlt's configuration.
        is_demo: The history is a demo's: it is marked so, and a demo's alone.
        source_settings: Settings of the project, over those of dlt's configuration.

    Returns:
        What was listed, new, changed, deleted and rejected.

    Raises:
        GesError: Configuration, credentials, or an API that does not answer; nothing changed.
        HistoryError: The warehouse cannot be used; what was listed is kept for the next load.
    """
    try:
        begin, end = (None if it is None else parse_instant(it) for it in (since, until))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    options = LoadOptions(full, begin, end, wait, say, progress)
    if options.since and options.until and options.since >= options.until:
        raise SettingsError("The start of the window, since, must be before its end, until.")
    warehouse = warehouse_for(database, destination, is_demo=is_demo)
    with dlt_settings(), readable_errors(warehouse):
        settings = resolve_project(source_settings, isolated=isolated)
        return load_project(warehouse, settings, options)


def load_project(
    warehouse: Warehouse, settings: ProjectSettings, options: LoadOptions
) -> LoadOutcome:
    """One load of one project; any number of projects load side by side.

    Raises:
        GesError, HistoryError, DltException: See `failures.readable_errors`.
    """
    started = time.monotonic()
    with warehouse.lock(settings.project_id, options.wait, options.say):
        outcome = _ProjectRun(warehouse, settings, options).run()
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


class _ProjectRun:
    """The steps of a load, while its lock is held."""

    def __init__(
        self, warehouse: Warehouse, settings: ProjectSettings, options: LoadOptions
    ) -> None:
        self._warehouse = warehouse
        self._settings = settings
        self._options = options
        self._tally = Tally()
        self._packages = Packages(warehouse, settings.project_id, options.say)

    def run(self) -> LoadOutcome:
        """Finish what was left, list, load, and count."""
        project_id = self._settings.project_id
        with self._asking() as ask:
            before = count_backups(ask, project_id)
        load_ids, relist = self._finish_pending()
        with self._asking() as ask:
            known = replace(read_known(project_id, ask), ask=self._ask)
            self._follow_schema(ask)
        self._packages.note(known.version, relist=relist)
        self._extract(known, full=self._options.full or relist)
        new_ids = self._load()
        load_ids += new_ids
        if load_ids or self._tally.unchanged() is not None:
            self._settle()
        if relist and not self._options.is_window:
            self._packages.note(known.version, relist=False)
        if not load_ids:
            return self._tally.outcome(before, before, 0, 0)
        with self._asking() as ask:
            written = count_written(ask, load_ids)
            return self._tally.outcome(before, count_backups(ask, project_id), *written)

    def _asking(self) -> AbstractContextManager[Ask]:
        return self._warehouse.asking(self._options.wait, self._options.say)

    def _ask(self, sql: str) -> pa.Table | None:
        """One query of the source, while it lists."""
        with self._asking() as ask:
            return ask(sql)

    def _finish_pending(self) -> tuple[list[str], bool]:
        """Load what a killed run had extracted; its ids, and whether everything must be listed."""
        packages = self._packages
        relist = packages.must_relist
        if not packages.are_pending:
            return [], relist
        with self._asking() as ask:
            known = read_known(self._settings.project_id, ask)
        if not packages.fit(known.version):
            self._options.say("The warehouse has changed since that load: all is listed again.")
            relist = True
            packages.note(known.version, relist=True)
        with self._writing():
            load_ids = packages.finish()
        with self._asking() as ask:
            self._tally.take_rejected(ask, load_ids)
        return load_ids, relist

    def _follow_schema(self, ask: Ask) -> None:
        """Take the columns that another project or host has made."""
        pipeline = self._packages.pipeline
        version = stored_version(ask, NAME)
        own = pipeline.schemas.get(NAME) if NAME in pipeline.schemas else None
        if version is not None and (own is None or own.stored_version_hash != version):
            stored = read_stored_schema(ask, NAME)
            if stored is not None:
                adopt_schema(pipeline, Schema.from_stored_schema(stored))

    def _extract(self, known: Known, *, full: bool) -> None:
        pipeline = self._packages.pipeline
        if self._options.progress is not None:
            pipeline.collector = self._options.progress
        source = project_source(self._settings, full=full, known=known, observer=self._tally)
        self._limit(source)
        pipeline.extract(source)
        pipeline.normalize()  # drops a package that holds nothing

    def _limit(self, source: DltSource) -> None:
        """Load only a window of starts, if one is wanted."""
        since, until = self._options.since, self._options.until
        if since or until:
            window = dlt.sources.incremental(
                "start_timestamp",
                initial_value=_stamp(since) if since else 0,
                end_value=_stamp(until) if until else 10**15,
                allow_external_schedulers=False,
            )
            source.backups.apply_hints(incremental=window)

    def _load(self) -> list[str]:
        if not self._packages.are_pending:
            return []
        with self._writing():
            return self._packages.load()

    def _settle(self) -> None:
        """Note what brought nothing, and bring views and comments up to date."""
        with self._writing():  # opened anew: what is written now reuses the blocks that were freed
            unchanged = self._tally.unchanged()
            if unchanged is not None:
                self._warehouse.touch(self._settings.project_id, unchanged)
            self._warehouse.publish_reports()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The warehouse held for writing; where that fails, what was listed waits."""
        with ExitStack() as stack:
            try:
                writing = self._warehouse.writing(self._options.wait, self._options.say)
                stack.enter_context(writing)
            except DatabaseError as error:
                kept = "What was listed is kept, and the next load takes it up."
                raise DatabaseError(f"{error} {kept}") from error
            yield


def _stamp(instant: datetime) -> int:
    """Milliseconds since 1970, the unit of the cursor."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


__all__ = ["Ask", "LoadOptions", "load", "load_project"]
