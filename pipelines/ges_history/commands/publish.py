"""``ges-backups publish``: a snapshot for dashboards and notebooks, which no load waits for."""

from pathlib import Path

import click

from ges_history.commands import options


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@options.databases
@options.destination
@options.wait
def publish(file: Path, database: tuple[Path, ...], destination: str, wait: float) -> None:
    """Write the history as the DuckDB file FILE, by renaming, where anything has changed."""
    from ges_history.warehouses.duckdb_files import history_of  # noqa: PLC0415
    from ges_history.warehouses.snapshot import publish as write  # noqa: PLC0415

    warehouse = history_of(database, destination)
    written = write(warehouse, file, wait, lambda line: click.echo(line, err=True))
    click.echo(f"{file} {'written' if written else 'is up to date'}")
