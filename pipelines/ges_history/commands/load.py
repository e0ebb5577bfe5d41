"""``ges-backups load``: bring the history up to date."""

import gc
import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.commands import options
from ges_history.commands.around import watched, watching
from ges_history.commands.lines import stamped
from ges_history.commands.little_memory import use_little_memory
from ges_history.commands.no_frames import hide_pandas_from_pyarrow
from ges_history.commands.outputs import refuse_own_files

if TYPE_CHECKING:
    from ges_history.loading.outcome import LoadOutcome

EPILOG = """\b
Exit codes: 0 all listed; 1 nothing could be done, nothing changed; 2 wrong usage;
3 partial: loaded, but some graphs could not be listed, some records were rejected, or what was
asked for after the load (--publish, --check, --metrics, --page) could not be done.
130 and 143: stopped by Ctrl-C or SIGTERM."""


@click.command(epilog=EPILOG)
@options.database
@click.option("--full", is_flag=True, help="Read every listing from start to end.")
@click.option(
    "--since", type=options.Instant(), help="Only backups that started at this time or later."
)
@click.option("--until", type=options.Instant(), help="Only backups that started before this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option("--quiet", is_flag=True, help="Say only what is not as it should be.")
@options.destination
@click.option(
    "--project",
    cls=options.Repeatable,
    multiple=True,
    metavar="NAME",
    help="Only this project of those that the settings list, by name or id; repeatable.",
)
@click.option(
    "--wait",
    type=options.Amount(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for another load, or for a process that holds the database.",
)
@watching
def load(
    database: Path,
    full: bool,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
    quiet: bool,
    destination: str,
    project: tuple[str, ...],
    wait: float,
    **around: Any,
) -> None:
    """Load what is new since the last load; settings come from dlt's configuration."""
    if since and until and since >= until:
        raise click.UsageError("--since must be before --until.")
    use_little_memory()
    gc.disable()  # what is imported stays: looking for rubbish in it takes a tenth of the start
    hide_pandas_from_pyarrow()
    from ges_history.loading.progress import collector  # noqa: PLC0415
    from ges_history.loading.projects import load as run  # noqa: PLC0415 - dlt takes a second to import
    from ges_history.loading.unknown_settings import iter_unknown_settings  # noqa: PLC0415
    from ges_history.warehouses import warehouse_for  # noqa: PLC0415

    gc.freeze()
    gc.enable()

    def warn(line: str) -> None:
        with suppress(OSError):  # a log that takes nothing more ends no load
            click.echo(stamped(line, sys.stderr), err=True)

    def say(line: str) -> None:
        if not quiet:
            warn(line)

    for line in iter_unknown_settings(os.environ):
        warn(line)
    with watched(database, warn, say, **around) as watch:
        if files := [around[name] for name in ("publish", "metrics", "page") if around[name]]:
            refuse_own_files(warehouse_for(database, destination), *files)
        outcome = run(
            database,
            full=full,
            since=since,
            until=until,
            destination=destination,
            project=project,
            wait=wait,
            say=say,
            progress=None if quiet else collector(),
        )
        where = database if destination == "duckdb" else f"the destination {destination}"
        lines = summary(outcome, where)
        followed = watch and watch.loaded(
            warehouse_for(database, destination), outcome, "\n".join(lines), wait
        )
    if as_json:
        told = outcome.to_json() | (followed.to_json() if followed else {})
        click.echo(json.dumps(told))
    else:
        then = followed.lines(quiet) if followed else []
        for line in [*(problem_lines(outcome) if quiet else lines), *then]:
            click.echo(stamped(line, sys.stdout))
    sys.exit(followed.exit_code if followed else outcome.exit_code)


def summary(outcome: "LoadOutcome", database: Path | str) -> list[str]:
    """The outcome in a few lines for people."""
    graphs, backups = outcome.graphs, outcome.backups
    failed = f", {graphs['failed']:,} failed" if graphs["failed"] else ""
    parts = [
        f"{backups[kind]:,} {kind}"
        for kind in ("new", "changed", "deleted", "returned", "rejected")
        if backups[kind] or kind in ("new", "changed", "deleted")
    ]
    if outcome.outcome == "unchanged":
        parts = ["nothing new, nothing changed"]
    known = f"{backups['running']:,} running, {backups['total']:,} in the history"
    lines = [
        *(_project_line(name, one) for name, one in outcome.projects.items()),
        f"graphs    {graphs['listed']:,} listed{failed}",
        f"backups   {', '.join(parts)}; {known}",
        f"cost      {outcome.requests:,} requests, {outcome.seconds:.1f} s",
        f"database  {database}",
    ]
    return lines + problem_lines(outcome)


def _project_line(name: str, outcome: "LoadOutcome") -> str:
    backups = outcome.backups
    counts = (
        f"{outcome.graphs['listed']:,} graphs, {backups['new']:,} new, {backups['total']:,} kept"
    )
    return f"project   {name}: {outcome.outcome}; {counts}"


def problem_lines(outcome: "LoadOutcome") -> list[str]:
    """A line for each of the first problems of a load."""
    lines = [_problem_line(problem) for problem in outcome.problems[:20]]
    if len(outcome.problems) > 20:
        lines.append(f"... and {len(outcome.problems) - 20:,} more problems, all in --json")
    return lines


def _problem_line(problem: dict[str, str | None]) -> str:
    subject = f"backup {problem['backup_id']} " if problem.get("backup_id") else ""
    where = f"graph {problem['graph_id']}" if problem["graph_id"] else "the list of graphs"
    if problem.get("project"):
        where = f"{problem['project']}, {where}"
    text = f"problem   {where}: {subject}{problem['outcome']}: {problem['error_msg']}"
    return "".join(c if c.isprintable() else " " for c in text)[:400]
