"""``ges-backups report`` and ``ges-backups reports``: look at the history."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.commands import completion, options
from ges_history.commands.no_frames import hide_pandas_from_pyarrow
from ges_history.commands.outputs import refuse_own_files

if TYPE_CHECKING:
    from ges_history.reports.read import Answer
    from ges_history.warehouses.seam import Warehouse
    from ges_history.watching.policy import Policy

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet", "excel")
BINARY = ("parquet", "excel")
ROWS_ON_SCREEN = 50
STDOUT = Path("-")


@click.command()
@click.argument("name", required=False, shell_complete=completion.reports)
@click.option(
    "--graph",
    "-g",
    cls=options.Repeatable,
    multiple=True,
    shell_complete=completion.graphs,
    help="Only this graph, by id or name; repeatable.",
)
@options.project_names
@options.regions
@click.option(
    "--since",
    type=options.Instant(),
    help="From this date or instant on (UTC), or `7d`, `yesterday`.",
)
@click.option("--until", type=options.Instant(), help="Until before this date or instant (UTC).")
@click.option("--status", help="Only backups of this status, for `report backups`.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="At most this many rows: the newest, of a report about now the worst;"
    f" a table shows {ROWS_ON_SCREEN} unless told.",
)
@click.option("--wide", is_flag=True, help="Show all columns, however wide the terminal is.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Default: what the suffix of --output says, else a table.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write there instead of to the screen; - is stdout.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the fleet's page instead: one file, works offline; - is stdout.",
)
@options.policy
@options.wait
@options.databases
@options.destination
@options.spark
def report(
    name: str | None,
    *,
    format_: str | None,
    output: Path | None,
    html: Path | None,
    policy: Path | None,
    wide: bool,
    wait: float,
    database: tuple[Path, ...],
    destination: str,
    spark: str | None,
    project_name: tuple[str, ...],
    region: tuple[str, ...],
    **selection: Any,
) -> None:
    """Show the fleet on one screen, or the report NAME as a table.

    `ges-backups reports` lists the names; `backups` lists the backups as they are, newest first.
    """
    from ges_history.warehouses.duckdb_files import history_of  # noqa: PLC0415

    selected = {key: value for key, value in selection.items() if value not in (None, ())}
    if name is None and (selected or format_ or output):
        raise click.UsageError("These options select from a report: give its NAME.")
    if name is not None and html:
        raise click.UsageError("The page shows the whole fleet: give --html without a NAME.")
    warehouse = history_of(database, destination, spark)
    refuse_own_files(warehouse, output, html)
    if name is not None:
        selected |= {"project": project_name, "region": region}
        format_ = _format_of(format_, output)
        _write_report(warehouse, name, format_, output, selected, wait=wait, wide=wide)
    elif html:
        scope = {"projects": project_name, "regions": region}
        rules = options.policy_of(policy, database, destination)
        _write_page(warehouse, html, scope, rules, wait)
    else:
        _show_fleet(warehouse, project_name, region, wait=wait, wide=wide)


@click.command()
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: names, grain, columns with units and descriptions of all tables and views.",
)
@click.option(
    "--sql",
    metavar="DIALECT",
    help="Print the statements that create the views instead, in this SQL (as sqlglot names it).",
)
def reports(format_: str, sql: str | None) -> None:
    """List the reports with a line each."""
    if sql:
        click.echo(";\n\n".join(_statements(sql)) + ";")
    elif format_ == "json":
        from ges_history.reports.describe import describe  # noqa: PLC0415

        click.echo(json.dumps(describe(), indent=2))
    else:
        from ges_history.reports.catalogue import descriptions  # noqa: PLC0415

        lines = descriptions()
        width = max(map(len, lines))
        for name, description in lines.items():
            click.echo(f"{click.style(name.ljust(width), bold=True)}  {description}")


def _statements(dialect: str) -> list[str]:
    from ges_history.reports.dialects import UnknownDialectError  # noqa: PLC0415
    from ges_history.reports.views import view_statements  # noqa: PLC0415

    try:
        return ["CREATE SCHEMA IF NOT EXISTS reports", *view_statements(dialect)]
    except UnknownDialectError as error:
        raise click.BadParameter(str(error), param_hint="--sql") from error


def _format_of(format_: str | None, output: Path | None) -> str:
    from ges_history.reports.formats import SUFFIXES  # noqa: PLC0415

    chosen = format_ or SUFFIXES.get(output.suffix.lower() if output else "", "table")
    if chosen in BINARY and output in (None, STDOUT) and sys.stdout.isatty():
        raise click.UsageError(f"{chosen.capitalize()} is not for a terminal: give --output FILE.")
    return chosen


def _write_report(
    warehouse: "Warehouse",
    name: str,
    format_: str,
    output: Path | None,
    selected: dict[str, Any],
    *,
    wait: float,
    wide: bool,
) -> None:
    from ges_history.reports.formats import WRITERS  # noqa: PLC0415

    limit = selected.get("limit")
    to_screen = format_ == "table" and output is None
    if to_screen and limit is None:
        selected["limit"] = ROWS_ON_SCREEN + 1
    answer = _read(warehouse, name, selected, wait)
    if to_screen:
        _show(answer, name, ROWS_ON_SCREEN if limit is None else limit, wide=wide)
        return
    content = _as_text(answer) if format_ == "table" else WRITERS[format_](answer.table)
    _write(content, output)
    if answer.table.num_rows == 0:
        click.echo(_no_rows(answer), err=True)


def _read(warehouse: "Warehouse", name: str, selected: dict[str, Any], wait: float) -> "Answer":
    from ges_history.reports import read as reading  # noqa: PLC0415
    from ges_history.reports.selection import SelectionError, selection_of  # noqa: PLC0415

    try:
        reading.check_name(name)
        selection_of(name, selected.get("since"), selected.get("until"), selected.get("limit"))
        with warehouse.reading(wait, _say) as read:
            return reading.read_answer(read, name, **selected)
    except reading.UnknownReportError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    except SelectionError as error:
        raise click.UsageError(str(error)) from error


def _show(answer: "Answer", name: str, limit: int, *, wide: bool) -> None:
    """Print a table; say so where rows were left out, or there are none."""
    from ges_history.reports.screen import console_for, report_table, without_needless_ids  # noqa: PLC0415
    from ges_history.reports.selection import most_wanted  # noqa: PLC0415

    table = answer.table
    if table.num_rows == 0:
        click.echo(_no_rows(answer))
        return
    console = console_for(sys.stdout, wide)
    shown = without_needless_ids(most_wanted(table, name, limit))
    console.print(report_table(shown, console.width, wide))
    if table.num_rows > limit:
        click.echo(f"These are {limit} rows; --limit or --format csv gives more.", err=True)


def _as_text(answer: "Answer") -> bytes:
    import io  # noqa: PLC0415

    from ges_history.reports.screen import console_for, report_table, without_needless_ids  # noqa: PLC0415

    text = io.StringIO()
    console_for(text).print(report_table(without_needless_ids(answer.table)))
    return text.getvalue().encode()


def _no_rows(answer: "Answer") -> str:
    return f"no rows: {answer.reason}" if answer.reason else "no rows"


def _show_fleet(
    warehouse: "Warehouse",
    projects: tuple[str, ...],
    regions: tuple[str, ...],
    *,
    wait: float,
    wide: bool,
) -> None:
    from ges_history.reports.overview import read_fleet, scope_of  # noqa: PLC0415
    from ges_history.reports.screen import console_for, fleet_screen  # noqa: PLC0415

    hide_pandas_from_pyarrow()
    with warehouse.reading(wait, _say) as read:
        fleet = read_fleet(read, scope_of(read, projects, regions))
    console = console_for(sys.stdout, wide)
    console.print(fleet_screen(fleet, console.width))


def _write_page(
    warehouse: "Warehouse",
    path: Path,
    scope: dict[str, tuple[str, ...]],
    policy: "Policy",
    wait: float,
) -> None:
    """Write the page; its calendar goes by the policy."""
    from ges_history.reports.page import page_text, write_page  # noqa: PLC0415

    targets = _targets(warehouse, policy, wait)
    if path == STDOUT:
        _write(page_text(warehouse, **scope, targets=targets, wait=wait).encode(), None)
        return
    write_page(warehouse, path, **scope, targets=targets, wait=wait)
    click.echo(f"page      {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _targets(warehouse: "Warehouse", policy: "Policy", wait: float) -> dict[tuple[str, str], float]:
    from ges_history.watching.facts import read_facts  # noqa: PLC0415
    from ges_history.watching.findings import recovery_targets  # noqa: PLC0415

    if not policy.rules_of("rpo_hours"):
        return {}
    with warehouse.reading(wait, _say) as read:
        return recovery_targets(read_facts(read, set()), policy)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _write(content: bytes, output: Path | None) -> None:
    """Write to a file, whole or not at all, or to standard output."""
    from ges_history.whole_file import write_whole  # noqa: PLC0415

    if output in (None, STDOUT):
        click.echo(content, nl=False)
        return
    write_whole(output, content)
