"""One load of one project, from its settings to its outcome."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

import dlt
import pyarrow as pa
from dlt.common.runtime.collector import NULL_COLLECTOR
from dlt.common.runtime.collector_base import Collector
from dlt.common.schema import Schema
from dlt.extract import DltSource

from ges_backups.batches import Batch
from ges_backups.known import Ask, Known, read_known, read_version
from ges_backups.pace import Gate, Sent
from ges_backups.project import ProjectSettings
from ges_backups.settings import to_stamp
from ges_backups.source import NAME, client_of, project_load, source_of
from ges_history.errors import DatabaseError
from ges_history.loading.outcome import Counts, LoadOutcome, Tally, count_backups, count_written
from ges_history.loading.packages import Packages, adopt_schema
from ges_history.loading.stored_schema import read_stored_schema, stored_version, with_real_columns
from ges_history.warehouses.seam import Say, Warehouse, quiet

Progress = Collector
DEFAULT_DATABASE = "ges_backups.duckdb"
ALL_TIME = 10**15
"""Milliseconds around 1970 that no start is beyond: the ends of a window that are not given."""
_KEPT = "What was listed is kept, and the next load takes it up."


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


def load_project(
    warehouse: Warehouse,
    settings: ProjectSettings,
    options: LoadOptions,
    gate: Gate | None = None,
    sent: Sent | None = None,
) -> LoadOutcome:
    """One load of one project; any number of projects load side by side.

    `sent` counts its requests, for who wants to know them also where it fails.

    Raises:
        GesError, HistoryError, DltException: See `failures.readable_errors`.
    """
    started = time.monotonic()
    with warehouse.lock(settings.project_id, options.wait, options.say):
        outcome = _ProjectRun(warehouse, settings, options, gate, sent or Sent()).run()
    seconds = round(time.monotonic() - started, 3)
    return replace(outcome, seconds=seconds, project_id=settings.project_id)


class _ProjectRun:
    """The steps of a load, while its lock is held."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: ProjectSettings,
        options: LoadOptions,
        gate: Gate | None,
        sent: Sent,
    ) -> None:
        self._gate = gate
        self._sent = sent
        self._warehouse = warehouse
        self._settings = settings
        self._options = options
        self._tally = Tally()
        self._stored_version: str | None = None
        self._packages = Packages(warehouse, settings.project_id, options.say)

    def run(self) -> LoadOutcome:
        """Finish what was left, list, load, and count; where nothing is new, dlt has nothing to do."""
        before, known = self._look()
        load_ids, relist = self._finish_pending(known)
        if load_ids:
            _, known = self._look()
        if batches := self._list(known, full=self._options.full or relist):
            self._packages.note(known.version, relist=relist)
            self._extract(batches)
            pa.default_memory_pool().release_unused()  # the warehouse needs what listing has needed
        after, written = before, (0, 0)
        are_pending = self._packages.are_pending
        if load_ids or are_pending or self._tally.unchanged() is not None:
            with self._writing():
                if are_pending:
                    self._check_unmoved(known)
                    load_ids += self._packages.load()
                self._settle()
                if load_ids:
                    after, written = self._count(load_ids)
        outcome = self._tally.outcome(int(self._sent), before, after, *written)
        if relist and not self._options.is_window and not outcome.graphs["failed"]:
            self._packages.note(known.version, relist=False)
        return outcome

    def _check_unmoved(self, known: Known) -> None:
        """What was listed is for what the warehouse held: a lock may be lost, a copy put in its place."""
        with self._asking() as ask:
            version = read_version(self._settings.project_id, ask)
        if version != known.version:
            raise DatabaseError(
                "The history of this project has changed while it was listed: the server was"
                f" started anew, a copy was put in its place, or another load came between. {_KEPT}"
            )

    def _count(self, load_ids: list[str]) -> tuple[Counts, tuple[int, int]]:
        """What the warehouse holds now, and what the packages wrote."""
        with self._asking() as ask:
            after = count_backups(ask, self._settings.project_id)
            return after, count_written(ask, load_ids)

    def _look(self) -> tuple[Counts, Known]:
        """What the warehouse holds of the project."""
        project_id = self._settings.project_id
        with self._asking() as ask:
            self._stored_version = stored_version(ask, NAME)
            known = replace(read_known(project_id, ask), ask=self._ask, takes_arrays=True)
            return count_backups(ask, project_id), known

    def _asking(self) -> AbstractContextManager[Ask]:
        return self._warehouse.asking(self._options.wait, self._options.say)

    def _ask(self, sql: str) -> pa.Table | None:
        """One query of the source, while it lists."""
        with self._asking() as ask:
            return ask(sql)

    def _finish_pending(self, known: Known) -> tuple[list[str], bool]:
        """Load what a killed run had extracted; its ids, and whether everything must be listed."""
        packages = self._packages
        relist = packages.must_relist
        if not packages.are_pending:
            return [], relist
        if not packages.fit(known.version):
            self._options.say("The warehouse has changed since that load: all is listed again.")
            relist = True
            packages.note(packages.base, relist=True)
        is_older = packages.are_older(known.version, known.ask)
        with self._writing():
            load_ids = packages.finish(is_older=is_older)
        with self._asking() as ask:
            self._tally.take_rejected(ask, load_ids)
        return load_ids, relist

    def _list(self, known: Known, *, full: bool) -> Iterator[Batch] | None:
        """List until something is new; what is new, in batches, or None where nothing is."""
        settings = self._settings
        collector = self._options.progress or NULL_COLLECTOR
        load = project_load(
            settings,
            client_of(settings, self._gate, self._sent),
            known,
            full=full,
            is_window=self._options.is_window,
            collector=collector,
            observer=self._tally,
        )
        batches = load.iter_batches(self._schema)
        with collector("Listing"):
            begun = list(islice(batches, 1))
        return _taken_up(begun, batches) if begun else None

    def _schema(self) -> Schema:
        """The source's schema, with the columns that this or another project or host has made."""
        pipeline = self._packages.pipeline
        own = pipeline.schemas.get(NAME) if NAME in pipeline.schemas else None
        version = self._stored_version
        if version is None:
            return own or Schema(NAME)
        known = own
        with self._asking() as ask:
            if known is None or known.stored_version_hash != version:
                stored = read_stored_schema(ask, NAME)
                known = Schema.from_stored_schema(stored) if stored is not None else known
            known = with_real_columns(ask, known or Schema(NAME), own)
        if known is not own:
            adopt_schema(pipeline, known)
        return known

    def _extract(self, batches: Iterator[Batch]) -> None:
        pipeline = self._packages.pipeline
        if self._options.progress is not None:
            pipeline.collector = self._options.progress
        source = source_of(batches)
        self._limit(source)
        pipeline.extract(source)
        pipeline.normalize()  # drops a package that holds nothing

    def _limit(self, source: DltSource) -> None:
        """Load only a window of starts, if one is wanted."""
        since, until = self._options.since, self._options.until
        if since or until:
            window = dlt.sources.incremental(
                "start_timestamp",
                initial_value=to_stamp(since) if since else -ALL_TIME,
                end_value=to_stamp(until) if until else ALL_TIME,
                allow_external_schedulers=False,
            )
            source.backups.apply_hints(incremental=window)

    def _settle(self) -> None:
        """Bring tables, views and comments up to date, and note what brought nothing."""
        self._warehouse.publish_reports()
        unchanged = self._tally.unchanged()
        if unchanged is not None:
            self._warehouse.touch(self._settings.project_id, unchanged)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The warehouse held for writing; where that fails, what was listed waits."""
        with ExitStack() as stack:
            try:
                writing = self._warehouse.writing(self._options.wait, self._options.say)
                stack.enter_context(writing)
            except DatabaseError as error:
                raise DatabaseError(f"{error} {_KEPT}") from error
            yield


def _taken_up(begun: list[Batch], others: Iterator[Batch]) -> Iterator[Batch]:
    """What was read ahead, and the others; none is kept here, since dlt keeps frames while it loads."""
    while begun:
        yield begun.pop()
    yield from others
