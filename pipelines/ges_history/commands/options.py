"""Options that several commands share."""

from pathlib import Path

import click

database = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("ges_backups.duckdb"),
    show_default=True,
    metavar="PATH",
    help="The DuckDB file that holds the history.",
)
