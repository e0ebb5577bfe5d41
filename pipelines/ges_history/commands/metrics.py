"""``ges-backups metrics``: the history for Prometheus."""

from pathlib import Path

import click

from ges_history.commands import options
from ges_history.commands.no_frames import hide_pandas_from_pyarrow
from ges_history.commands.outputs import refuse_own_files


@click.command()
@options.databases
@options.destination
@options.policy
@options.project_names
@options.regions
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there, whole or not at all, instead of to the screen: FILE.prom in the folder of"
    " node-exporter's textfile collector.",
)
@options.wait
def metrics(
    database: tuple[Path, ...],
    destination: str,
    policy: Path | None,
    project_name: tuple[str, ...],
    region: tuple[str, ...],
    output: Path | None,
    wait: float,
) -> None:
    """Write the history as metrics in Prometheus' text format."""
    from ges_history.reports.overview import scope_of  # noqa: PLC0415
    from ges_history.warehouses.duckdb_files import history_of  # noqa: PLC0415
    from ges_history.watching.findings import check  # noqa: PLC0415
    from ges_history.watching.gauges import as_text, write_text  # noqa: PLC0415

    hide_pandas_from_pyarrow()
    to_screen = output is None or str(output) == "-"
    warehouse = history_of(database, destination)
    refuse_own_files(warehouse, output)
    rules = options.policy_of(policy, database, destination)
    with warehouse.reading(wait, _say) as read:
        found = check(read, rules, scope_of(read, project_name, region))
    content = as_text(found)
    if output is None or to_screen:
        click.echo(content, nl=False)
    else:
        write_text(output, content)


def _say(line: str) -> None:
    click.echo(line, err=True)
