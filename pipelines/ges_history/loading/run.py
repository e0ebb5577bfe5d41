"""Run the source into the destination, and settle what follows a load. See `load`."""

import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.exceptions import DltException
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from ges_backups import ges_backups
from ges_backups.errors import SettingsError
from ges_history.loading.failures import is_lasting, readable_errors, reason_of
from ges_history.loading.lineage import Lineage
from ges_history.loading.outcome import LoadOutcome, Watch
from ges_history.loading.runtime import dlt_settings, for_owner_only
from ges_history.loading.settle import Settled, settle_with
from ges_history.loading.workplace import Progress, Say, Workplace
from ges_history.warehouses.duckdb_destination import with_memory


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
        since: Load only backups that started at this instant or later; UTC where it has no zone.
        until: Load only backups that started before this instant; UTC where it has no zone.
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
        HistoryError: The database cannot be used; what was listed is kept for the next load.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(readable_errors())
        stack.enter_context(dlt_settings(isolated=isolated))
        stack.enter_context(for_owner_only())
        watch = Watch()
        source = _source(watch, full=full, since=since, until=until, settings=source_settings)
        place = Workplace(Path(database), destination, wait, say)
        stack.enter_context(place.locked())
        stack.enter_context(place.left_as_found())
        outcome = _run(place, source, watch, progress)
    return replace(outcome, seconds=round(time.monotonic() - started, 3))


def _run(
    place: Workplace, source: DltSource, watch: Watch, progress: Progress | None
) -> LoadOutcome:
    with place.opened(progress=progress) as (pipeline, client):
        before = watch.count(client)
        load_ids, settled = _finish_pending(place, pipeline, client)
        with_memory(client, lambda: watch.take_rejected(client, load_ids))
        watch.remember_graphs(pipeline, client)
    pipeline.extract(source)
    pipeline.normalize()  # drops a package that holds nothing
    note = "What was listed is kept, and the next load takes it up. "
    if pipeline.has_pending_data:  # closed between: what is settled then reuses freed blocks
        with place.opened(pipeline, note=note):
            load_ids += _load_package(pipeline)
    with place.opened(pipeline, note=note) as (pipeline, client):
        watch.record_unchanged(client)
        settled += with_memory(client, lambda: settle_with(pipeline, client))
        return watch.outcome(client, before, load_ids, settled)


def _finish_pending(
    place: Workplace, pipeline: dlt.Pipeline, client: SqlClientBase[Any]
) -> tuple[list[str], Settled]:
    """Load what a killed run had extracted, and mark what its evidence shows."""
    lineage = Lineage(place.folder, client)
    load_ids: list[str] = []
    if pipeline.has_pending_data:
        fitness = lineage.fitness_of_pending(pipeline)
        if fitness == "foreign":
            place.say("The package of an interrupted load is for another database: it is dropped.")
            pipeline.drop()
        else:
            place.say("Finishing the load that was interrupted.")
            if fitness == "older":
                place.say("The database is older than that load: all graphs are listed again.")
                lineage.expect_cursors_ahead()
            load_ids = _load_or_give_up(place, pipeline)
    lineage.restore(pipeline)
    return load_ids, with_memory(client, lambda: settle_with(pipeline, client))


def _load_or_give_up(place: Workplace, pipeline: dlt.Pipeline) -> list[str]:
    """Load a package that was left; one that can never be loaded must not block those to come."""
    try:
        _adopt_schemas(pipeline)
        return _load_package(pipeline)
    except (PipelineStepFailed, DltException, ValueError) as failed:
        if not is_lasting(failed, embedded=place.destination == "duckdb"):
            raise
        place.say(
            f"The interrupted load cannot be finished: {reason_of(failed)} Its package is dropped, "
            "and what it held is listed again."
        )
        pipeline.drop()
        return []


def _adopt_schemas(pipeline: dlt.Pipeline) -> None:
    """Let dlt know the tables of a package that was committed when the process was killed.

    dlt commits a package before its own copy of the schema, and normalizes by the latter.
    """
    packages = pipeline._get_normalize_storage().extracted_packages
    for load_id in pipeline.list_extracted_load_packages():
        schema = packages.load_schema(load_id)
        pipeline.schemas.save_schema(schema)
        if not pipeline.default_schema_name:
            with pipeline.managed_state():
                pipeline.default_schema_name = schema.name  # type: ignore[assignment]


def _load_package(pipeline: dlt.Pipeline) -> list[str]:
    """Normalize and load what is pending."""
    if not pipeline.has_pending_data:
        return []
    pipeline.normalize()
    pa.default_memory_pool().release_unused()  # DuckDB takes its memory from elsewhere
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
    since, until = _in_utc(since), _in_utc(until)
    if since and until and since >= until:
        raise SettingsError("The start of the window, since, must be before its end, until.")
    source = ges_backups(full=full, observer=watch, **settings)
    if since or until:
        window = dlt.sources.incremental(
            "start_timestamp",
            initial_value=_stamp(since) if since else 0,
            end_value=_stamp(until) if until else 10**15,
            allow_external_schedulers=False,
        )
        source.backups.apply_hints(incremental=window)
    return source


def _in_utc(instant: datetime | None) -> datetime | None:
    return instant.replace(tzinfo=UTC) if instant and instant.tzinfo is None else instant


def _stamp(instant: datetime) -> int:
    """Milliseconds since 1970, the unit of the cursor."""
    return int(instant.timestamp() * 1000)
