"""``ges-backups report`` and ``ges-backups reports``: look at the history."""

import click


@click.command()
def report() -> None:
    """Show the fleet, or one report as a table."""


@click.command()
def reports() -> None:
    """List the reports with a line each."""
