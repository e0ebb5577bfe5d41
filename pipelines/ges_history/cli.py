"""The command ``ges-backups``: its subcommands, and the one place where errors become exits."""

import os
import signal
import sys

import click

from ges_history.commands.demo import demo
from ges_history.commands.emulate import emulate
from ges_history.commands.load import load
from ges_history.commands.report import report, reports
from ges_history.errors import HistoryError


class Stopped(BaseException):
    """SIGTERM came."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ges-backup-history")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Keeps the history of GES graph backups that the cloud's API forgets."""


for command in (demo, load, report, reports, emulate):
    cli.add_command(command)


def main() -> None:
    """Run the command line; an error ends as one message on stderr and its exit code."""
    signal.signal(signal.SIGTERM, _stop)
    os.umask(0o077)
    try:
        cli.main(prog_name="ges-backups", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _leave("stopped; what was listed so far is dropped, the next load starts again", 130)
    except Stopped:
        _leave("stopped by SIGTERM; the next load starts again", 143)
    except BrokenPipeError:
        os._exit(1)  # whoever read the output has gone, and there is nobody to tell
    except Exception as error:
        if "--debug" in sys.argv or not _is_readable(error):
            raise
        click.echo(f"ges-backups: {error}", err=True)
        sys.exit(1)


def _is_readable(error: Exception) -> bool:
    """Whether an error is one of ours, whose message says what to do."""
    if isinstance(error, HistoryError):
        return True
    from ges_backups.errors import GesError  # noqa: PLC0415 - imports dlt

    return isinstance(error, GesError)


def _stop(*_: object) -> None:
    raise Stopped


def _leave(text: str, code: int) -> None:
    """End at once: threads may still wait for a server."""
    click.echo(f"ges-backups: {text}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
