"""The command ``ges-backups``: a group of subcommands and the one place where errors become exits."""

import sys

import click

from ges_history.commands.report import report, reports
from ges_history.errors import HistoryError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ges-backup-history")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Keeps the history of GES graph backups that the cloud's API forgets."""


for command in (report, reports):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors end as one message on stderr and exit code 1."""
    try:
        cli.main(prog_name="ges-backups")
    except HistoryError as error:
        if "--debug" in sys.argv:
            raise
        click.echo(f"ges-backups: {error}", err=True)
        sys.exit(1)
