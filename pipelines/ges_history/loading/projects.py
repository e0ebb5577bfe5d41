"""A load: one project, or many side by side into one warehouse; a bad one harms no other. See `load`."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ges_backups.errors import SettingsError
from ges_backups.pace import Gate, Sent
from ges_backups.project import ProjectSettings, resolve_project, resolve_projects
from ges_history.instants import Instant, parse_instant
from ges_history.loading.dlt_settings import dlt_settings
from ges_history.loading.failures import readable_errors
from ges_history.loading.outcome import LoadOutcome, failed_project, sum_of
from ges_history.loading.run import LoadOptions, Progress, load_project
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.opening import DEFAULT_DATABASE
from ges_history.warehouses.seam import Say, Warehouse, quiet

SIDE_BY_SIDE = 4


def load(
    database: str | Path = DEFAULT_DATABASE,
    *,
    full: bool = False,
    since: Instant | None = None,
    until: Instant | None = None,
    destination: str = "duckdb",
    project: Sequence[str] = (),
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
        since: Load only backups that started at this instant or later: see `instants.parse_instant`.
        until: Load only backups that started before this instant, likewise.
        destination: dlt's name of a destination; its credentials come from dlt's configuration.
        project: Names or ids of the projects to load, of those that the settings list; empty: all.
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
    options = LoadOptions(full, _instant(since), _instant(until), wait, say, progress)
    if options.since and options.until and options.since >= options.until:
        raise SettingsError("The start of the window, since, must be before its end, until.")
    warehouse = warehouse_for(database, destination, is_demo=is_demo)
    with readable_errors(warehouse), dlt_settings():
        projects = resolve_projects(source_settings, project, isolated=isolated, say=say)
        if projects is None:
            settings = resolve_project(source_settings, isolated=isolated)
            return load_project(warehouse, settings, options)
        return load_projects(warehouse, projects, options)


def load_projects(
    warehouse: Warehouse, projects: Sequence[ProjectSettings], options: LoadOptions
) -> LoadOutcome:
    """Load projects, each a load of its own with its own cursors, lock and outcome.

    Requests of one endpoint together stay within the largest `concurrency` of its projects.

    Args:
        warehouse: Where they go.
        projects: Their settings, resolved.
        options: How all of them are loaded.

    Returns:
        The sums; `projects` has what each one did, in the order of the list.
    """
    started = time.monotonic()
    gates = _gates(projects)
    quietly = replace(options, progress=None)

    def one(settings: ProjectSettings) -> LoadOutcome:
        said = replace(quietly, say=lambda line: options.say(f"{_name(settings)}: {line}"))
        begun, sent = time.monotonic(), Sent()
        try:
            with readable_errors(warehouse):
                return load_project(warehouse, settings, said, gates[str(settings.endpoint)], sent)
        except BrokenPipeError:
            raise
        except Exception as error:  # one surprise stops one project
            seconds = round(time.monotonic() - begun, 3)
            failed = failed_project(error, int(sent))
            return replace(failed, seconds=seconds, project_id=settings.project_id)

    found: dict[str, LoadOutcome] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="ges-projects") as pool:
        waiting = {pool.submit(one, settings): settings for settings in projects}
        for number, done in enumerate(as_completed(waiting), 1):
            name = _name(waiting[done])
            found[name] = done.result()
            if options.progress is not None:
                options.say(f"{number} of {len(projects)} projects: {name} {found[name].outcome}")
    whole = sum_of({_name(settings): found[_name(settings)] for settings in projects})
    return replace(whole, seconds=round(time.monotonic() - started, 3))


def _name(settings: ProjectSettings) -> str:
    return settings.name or settings.project_id


def _gates(projects: Sequence[ProjectSettings]) -> dict[str, Gate]:
    """One gate an endpoint."""
    most: dict[str, int] = {}
    for settings in projects:
        endpoint = str(settings.endpoint)
        most[endpoint] = max(most.get(endpoint, 1), settings.concurrency)
    return {endpoint: Gate(concurrency) for endpoint, concurrency in most.items()}


def _instant(value: Instant | None) -> datetime | None:
    try:
        return None if value is None else parse_instant(value)
    except ValueError as error:
        raise SettingsError(str(error)) from error
