"""Run the source into the destination, and settle what follows a load. See `load`."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from ges_backups import ges_backups
from ges_backups.errors import GesError, SettingsError
from ges_history.errors import DatabaseError, HistoryError
from ges_history.outcome import LoadOutcome, Watch
from ges_history.settle import settle_with
from ges_history.workplace import (
    Progress,
    Say,
    Workplace,
    dlt_settings,
    for_owner_only,
)


def load(
    database: str | Path = "ges_backups.duckdb",
    *,
    full: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    destination: str = "duckdb",
    wait: float = 60.0,
    say: Say = lambda _: None,
    progress: Progress | None = None,
    isolated: bool = False,
    **source_settings: Any,
) -> LoadOutcome:
    """Load what is new since the last load; the one function behind ``ges-backups load``.

    A package that a killed run left is finished first. Then the graphs are listed, the rows
    merged, deletions marked and the reports rebuilt. Whatever fails, the next call mends it.

    Args:
        database: The DuckDB file; also names the folder beside it that holds dlt's packages.
        full: Read every listing from start to end, whatever was read before.
        since: Load only backups that started at this instant or later.
        until: Load only backups that started before this instant.
        destination: dlt's name of a destination; its credentials come from dlt's configuration.
        wait: Seconds to wait for another load, or for a process that holds the file.
        say: Takes lines that tell a person what is going on.
        progress: dlt's progress collector.
        isolated: Take settings from the arguments only, not from dlt's configuration.
        source_settings: Arguments of `ges_backups`, over those of dlt's configuration.

    Returns:
        What was listed, new, changed, deleted and rejected.

    Raises:
        GesError: Configuration, credentials, or an API that does not answer; nothing changed.
        HistoryError: The database cannot be used; nothing changed.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(dlt_settings(isolated=isolated))
        stack.enter_context(for_owner_only())
        watch = Watch()
        source = _source(watch, full=full, since=since, until=until, settings=source_settings)
        place = Workplace(Path(database), destination, wait, say)
        stack.enter_context(place.locked())
        outcome = _run(place, source, watch, progress)
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


def _run(
    place: Workplace, source: DltSource, watch: Watch, progress: Progress | None
) -> LoadOutcome:
    with place.opened(progress) as (pipeline, client):
        before = watch.count(client)
        load_ids = _finish_pending(place, pipeline, client)
        place.restore(pipeline, client)
        watch.remember_graphs(pipeline, client)
    pipeline = place.pipeline(progress)
    with _readable_errors():
        pipeline.extract(source)
    with place.opened(progress) as (pipeline, client):
        load_ids += _load_package(pipeline)
        watch.record_unchanged(client)
        settled = settle_with(pipeline, client)
        return watch.outcome(client, before, load_ids, settled)


def _finish_pending(
    place: Workplace, pipeline: dlt.Pipeline, client: SqlClientBase[Any]
) -> list[str]:
    """Load what a killed run had extracted; then mark what its evidence shows."""
    load_ids: list[str] = []
    if pipeline.has_pending_data:
        place.say("Finishing the load that was interrupted.")
        known = place.is_base_of_pending(pipeline, client)
        load_ids = _load_package(pipeline)
        if not known:
            place.forget_cursors(client)
    settle_with(pipeline, client)
    return load_ids


def _load_package(pipeline: dlt.Pipeline) -> list[str]:
    """Normalize and load what is pending; a package that can never load is given up, and says why."""
    if not pipeline.has_pending_data:
        return []
    with _readable_errors():
        pipeline.normalize()
        loaded = pipeline.load(raise_on_failed_jobs=True)
    return list(loaded.loads_ids) if loaded else []


def _source(
    watch: Watch,
    *,
    full: bool,
    since: datetime | None,
    until: datetime | None,
    settings: dict[str, Any],
) -> DltSource:
    if since and until and since >= until:
        raise SettingsError("--since must be before --until.")
    try:
        source = ges_backups(full=full, observer=watch, **settings)
    except ConfigFieldMissingException as error:
        raise SettingsError(_missing(error)) from error
    if since or until:
        window = dlt.sources.incremental(
            "start_timestamp",
            initial_value=_stamp(since) if since else 0,
            end_value=_stamp(until) if until else 10**15,
            allow_external_schedulers=False,
        )
        source.backups.apply_hints(incremental=window)
    return source


def _stamp(instant: datetime) -> int:
    """Milliseconds since 1970, the unit of the cursor."""
    return int(instant.timestamp() * 1000)


def _missing(error: ConfigFieldMissingException) -> str:
    names = [f"SOURCES__GES_BACKUPS__{field.upper()}" for field in error.traces]
    return (
        f"{' and '.join(names)} missing: set it in the environment, or in [sources.ges_backups] of "
        ".dlt/config.toml. `ges-backups demo` shows everything without an account."
    )


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Take the error that says what happened out of the layers that dlt wraps around it."""
    try:
        yield
    except PipelineStepFailed as failed:
        cause: BaseException | None = failed
        while cause is not None:
            if isinstance(cause, GesError | HistoryError | KeyboardInterrupt):
                raise cause from failed
            cause = cause.__cause__ or cause.__context__
        reason = str(failed.exception).strip().splitlines()[0] if failed.exception else ""
        raise DatabaseError(
            f"dlt could not {failed.step} the package: {reason} "
            "The package is kept; the next load takes it up again."
        ) from failed
