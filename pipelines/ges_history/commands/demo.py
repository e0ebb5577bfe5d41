"""``ges-backups demo``: everything at once, on a living stand-in of the API."""

import json
import os
import shlex
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.errors import DatabaseError

if TYPE_CHECKING:
    from ges_emulator import Emulator
    from ges_history.loading.outcome import LoadOutcome

DEFAULT = Path("ges_demo.duckdb")
"""Never the file of a history of one's own."""
SHOWN_CHANGES = 4

_CHANGES = """
SELECT graph_name, name, status, size, duration, deleted_at IS NOT NULL AS gone
FROM {backups} WHERE _dlt_load_id > '{since}' OR deleted_at IS NOT NULL
ORDER BY gone, start_timestamp DESC
"""


@click.command()
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    metavar="PATH",
    allow_from_autoenv=False,  # GES_BACKUPS_DATABASE is where one's own history is
    help="The DuckDB file of the demo; an earlier demo in it is made anew.",
)
def demo(database: Path) -> None:
    """Load a believable fleet, let a day pass, load again, and show what that brought."""
    from ges_emulator import Emulator, demo_fleet  # noqa: PLC0415 - start-up stays fast

    fleet = demo_fleet(now=datetime.now(UTC) - timedelta(days=1))
    _make_room(database)
    every = [*fleet.graphs, *fleet.deleted_graphs]
    kept = sum(len(graph.backups) for graph in every)
    with Emulator(fleet) as emulator:
        click.secho("1. A stand-in for the API", bold=True)
        click.echo(
            f"   {len(fleet.graphs)} graphs and {len(fleet.deleted_graphs)} deleted, "
            f"{kept:,} backups of two years: {emulator.endpoint}\n"
        )
        click.secho("2. The first load reads the whole history", bold=True)
        _show(_load(database, emulator), database)
        click.secho("3. A day passes: backups start, end, fail and are deleted", bold=True)
        fleet.advance(timedelta(days=1))
        second = _load(database, emulator)
        _show(second, database)
        _show_changes(database)
    click.secho("4. What to do now", bold=True)
    click.echo(_next_steps(database))


def _make_room(database: Path) -> None:
    """Remove an earlier demo; anything else is left to the load, which refuses it in words."""
    if not database.exists():
        return
    from ges_history.warehouses.layout import is_demo  # noqa: PLC0415
    from ges_history.warehouses.opening import connect  # noqa: PLC0415

    try:
        with connect(database) as history:
            was_demo = is_demo(history, "history")
    except DatabaseError:
        return
    if was_demo:
        database.unlink()


def _load(database: Path, emulator: "Emulator") -> "LoadOutcome":
    from ges_emulator.service import DEFAULT_TOKEN  # noqa: PLC0415
    from ges_history.loading.projects import load  # noqa: PLC0415 - dlt takes a second to import

    return load(
        database,
        say=lambda line: click.echo(f"   {line}", err=True),
        isolated=True,
        is_demo=True,
        project_id=emulator.fleet.project_id,
        endpoint=emulator.endpoint,
        credentials=DEFAULT_TOKEN,
    )


def _show(outcome: "LoadOutcome", database: Path) -> None:
    from ges_history.commands.load import summary  # noqa: PLC0415

    click.echo("".join(f"   {line}\n" for line in summary(outcome, database)))


def _show_changes(database: Path) -> None:
    """A few of the backups that the second load brought or missed."""
    from ges_history.warehouses.opening import connect  # noqa: PLC0415

    with connect(database) as history:
        loads = history.sql("SELECT load_id FROM ges._dlt_loads ORDER BY load_id").fetchall()
        rows = history.sql(_CHANGES.format(backups="ges.backups", since=loads[0][0])).fetchall()
    for gone in (False, True):
        chosen: list[tuple[Any, ...]] = [row for row in rows if row[5] == gone]
        for graph, name, status, size, duration, _ in chosen[:SHOWN_CHANGES]:
            what = "deleted at the source, kept here" if gone else f"{status}, {duration or 0:,} s"
            click.echo(f"   {graph:<20.20} {name:<42.42} {size or 0:>8,} MB  {what}")
        if len(chosen) > SHOWN_CHANGES:
            click.echo(f"   ... and {len(chosen) - SHOWN_CHANGES} more\n")


def _next_steps(database: Path) -> str:
    command, python = _typed("ges-backups"), _typed("python")
    page = shlex.quote(str(database.with_suffix(".html")))
    option = f"--database {shlex.quote(str(database))}"
    code = f'import ges_history as h; print(h.read_report("growth", {json.dumps(str(database))}))'
    return f"""\
   The demo's history is in {database}, one DuckDB file. Look at it:
     {command} report {option}
     {command} report size_trend --graph orders {option}
     {command} report --html {page} {option}
     {python} -c {shlex.quote(code)}
   Your own project: set the region, the project id and a token (see README), then
     {command} load"""


def _typed(program: str) -> str:
    """How a program beside this one is called from here: by name where PATH finds it."""
    beside = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found and beside in (Path(found).absolute(), Path(found).resolve()):
        return program
    return shlex.quote(os.path.relpath(beside))
