"""``ges-backups metrics``: the history for Prometheus."""

from pathlib import Path

import click

from ges_history.commands import options
from ges_history.errors import HistoryError


@click.command()
@options.database
@options.policy
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write there, whole or not at all, instead of to the screen: FILE.prom in the folder of"
    " node-exporter's textfile collector.",
)
@options.wait
def metrics(database: Path, policy: Path | None, output: Path | None, wait: float) -> None:
    """Write the history as metrics in Prometheus' text format."""
    from ges_history.warehouses.duckdb_file import DuckDbFile  # noqa: PLC0415
    from ges_history.watching.findings import check  # noqa: PLC0415
    from ges_history.watching.gauges import as_text, write_text  # noqa: PLC0415
    from ges_history.watching.policy import find_policy  # noqa: PLC0415

    if output and output.exists() and database.exists() and output.samefile(database):
        raise HistoryError(f"{output} is the database itself; give another file to write to.")
    rules = find_policy(policy, database.parent)
    with DuckDbFile(database).reading(wait, lambda line: click.echo(line, err=True)) as read:
        found = check(read, rules)
    content = as_text(found)
    if output is None or str(output) == "-":
        click.echo(content, nl=False)
    else:
        write_text(output, content)
