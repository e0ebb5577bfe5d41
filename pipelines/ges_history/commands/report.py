"""``ges-backups report`` and ``ges-backups reports``: look at the history."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.commands import options
from ges_history.errors import HistoryError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "csv", "json", "markdown", "parquet")
ROWS_ON_SCREEN = 50


@click.command()
@click.argument("name", required=False)
@click.option("--graph", "-g", multiple=True, help="Only this graph, by id or name; repeatable.")
@click.option("--since", type=options.Instant(), help="Rows from this date or instant on (UTC).")
@click.option("--until", type=options.Instant(), help="Rows before this date or instant (UTC).")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"At most this many rows, the newest; a table shows {ROWS_ON_SCREEN} unless told.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Default: what the suffix of --output says, else a table.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there instead of to the screen.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the fleet's page instead: one file, works offline.",
)
@options.database
def report(
    name: str | None,
    *,
    format_: str | None,
    output: Path | None,
    html: Path | None,
    database: Path,
    **selection: Any,
) -> None:
    """Show the fleet on one screen, or the report NAME as a table.

    `ges-backups reports` lists the names.
    """
    selected = {key: value for key, value in selection.items() if value not in (None, ())}
    if name is None:
        if selected or format_ or output:
            raise click.UsageError("These options select from a report: give its NAME.")
        if html:
            _write_page(database, html)
        else:
            _show_fleet(database)
        return
    if html:
        raise click.UsageError("The page shows the whole fleet: give --html without a NAME.")
    _report(name, database, _format_of(format_, output), output, selected)


@click.command()
def reports() -> None:
    """List the reports with a line each."""
    from ges_history.reports.views import descriptions  # noqa: PLC0415

    lines = descriptions()
    width = max(map(len, lines))
    for name, description in lines.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {description}")


def _format_of(format_: str | None, output: Path | None) -> str:
    from ges_history.reports.formats import SUFFIXES  # noqa: PLC0415

    chosen = format_ or SUFFIXES.get(output.suffix.lower() if output else "", "table")
    if chosen == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: give --output FILE.")
    return chosen


def _report(
    name: str, database: Path, format_: str, output: Path | None, selected: dict[str, Any]
) -> None:
    from ges_history.reports.formats import WRITERS  # noqa: PLC0415
    from ges_history.reports.read import UnknownReportError, read_table  # noqa: PLC0415

    limit = selected.get("limit")
    to_screen = format_ == "table" and output is None
    if to_screen and limit is None:
        selected["limit"] = ROWS_ON_SCREEN + 1
    try:
        table = read_table(name, database, **selected)
    except UnknownReportError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    if format_ != "table":
        _write(WRITERS[format_](table), output, database)
    elif output is not None:
        _write(_as_text(table), output, database)
    else:
        _show(table, ROWS_ON_SCREEN if limit is None else limit)


def _show(table: "pa.Table", limit: int) -> None:
    """Print a table; say so where rows were left out."""
    from ges_history.reports.screen import console_for, report_table, without_needless_ids  # noqa: PLC0415

    console = console_for(sys.stdout)
    shown = without_needless_ids(table.slice(0, limit))
    console.print(report_table(shown, console.width))
    if table.num_rows > limit:
        click.echo(f"These are {limit} rows; --limit or --format csv gives more.", err=True)


def _as_text(table: "pa.Table") -> bytes:
    import io  # noqa: PLC0415

    from ges_history.reports.screen import console_for, report_table, without_needless_ids  # noqa: PLC0415

    text = io.StringIO()
    console_for(text).print(report_table(without_needless_ids(table)))
    return text.getvalue().encode()


def _show_fleet(database: Path) -> None:
    from ges_history.reports.overview import read_fleet  # noqa: PLC0415
    from ges_history.reports.screen import console_for, fleet_screen  # noqa: PLC0415
    from ges_history.warehouses import warehouse_for  # noqa: PLC0415

    with warehouse_for(database).reading() as read:
        fleet = read_fleet(read)
    console = console_for(sys.stdout)
    console.print(fleet_screen(fleet, console.width))


def _write_page(database: Path, path: Path) -> None:
    from ges_history.reports.page import write_page  # noqa: PLC0415
    from ges_history.warehouses import warehouse_for  # noqa: PLC0415

    _refuse_the_database(path, database)
    write_page(warehouse_for(database), path)


def _write(content: bytes, output: Path | None, database: Path) -> None:
    """Write to a file, or to standard output."""
    if output is None:
        click.echo(content, nl=False)
        return
    _refuse_the_database(output, database)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise HistoryError(f"{output} cannot be written: {error.strerror}.") from error


def _refuse_the_database(output: Path, database: Path) -> None:
    if output.exists() and database.exists() and output.samefile(database):
        raise HistoryError(f"{output} is the database itself; give another file to write to.")
