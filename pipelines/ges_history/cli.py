"""The command ``ges-backups``: its subcommands, and the one place where errors become exits."""

import os
import signal
import sys
import threading
from contextlib import suppress

import click

from ges_history.commands.check import Unknown, check, is_for_nagios
from ges_history.commands.demo import demo
from ges_history.commands.emulate import emulate
from ges_history.commands.forget import forget
from ges_history.commands.lines import is_lost_output, sentence_of, stamped
from ges_history.commands.load import load
from ges_history.commands.metrics import metrics
from ges_history.commands.notebook import notebook
from ges_history.commands.options import use_variables
from ges_history.commands.publish import publish
from ges_history.commands.report import report, reports

GRACE_SECONDS = 2.0
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it
WITHOUT_OUTPUT = {"load": 3, "check": 3}
"""Exit codes of commands whose output was lost, where 1 has a meaning that would be wrong."""
_signals: list[int] = []
"""Those that have come to end this process."""


class _Commands(click.Group):
    """Wrong usage before the word `check` is what it is after it: unknown, not critical."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if next((word for word in words if word in self.commands), None) == "check":
                raise Unknown(error.format_message(), is_for_nagios(words)) from error
            raise


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ges-backup-history")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Keeps the history of GES graph backups that the cloud's API forgets."""


for command in (demo, load, report, reports, check, metrics, publish, forget, notebook, emulate):
    use_variables(command)
    cli.add_command(command)


def main() -> None:
    """Run the command line; an error ends as one message on stderr and its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup and `&` ignore Ctrl-C
            signal.signal(number, _stop)
    os.umask(0o077)
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")  # dlt reads it when imported
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 - None where it is closed
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # an old terminal's set
    try:
        code, text = _run()
    except Exception as error:
        if isinstance(error, OSError) and is_lost_output(error):
            code, text = _without_output(), f"the output could not be written: {error.strerror}"
        elif "--debug" in sys.argv:
            raise
        elif sentence := sentence_of(error):
            code = _without_output() if isinstance(error, PermissionError) else 1
            text = sentence
        else:
            raise
    _leave(code, text)


def _run() -> tuple[int, str]:
    """Run the command; its exit code, and a last line to say."""
    output = sys.stdout
    try:
        returned = cli.main(prog_name="ges-backups", standalone_mode=False)
    except SystemExit as done:
        is_read = sys.stdout is output  # click puts another one in its place where nobody reads it
        return int(done.code or 0) if is_read else _without_output(), ""
    except (Exception, KeyboardInterrupt) as error:
        if _signals:  # whatever was made of it on its way
            return 128 + _signals[0], _stopped()
        if isinstance(error, click.Abort):
            return 130, _stopped()
        if not isinstance(error, click.ClickException):
            raise
        error.show()
        return error.exit_code, ""
    return int(returned or 0), ""  # what a command exits with, click returns


def _without_output() -> int:
    return next((WITHOUT_OUTPUT[word] for word in sys.argv[1:3] if word in WITHOUT_OUTPUT), 1)


def _stopped() -> str:
    return "stopped; the next load takes up what is left" if _is_load() else "stopped"


def _is_load() -> bool:
    return "load" in sys.argv[1:3]


def _stop(number: int, _: object) -> None:
    """Unwind, but not for longer than `GRACE_SECONDS`: a server or a large merge may hold a thread."""
    _signals.append(number)
    after = threading.Timer(GRACE_SECONDS, _leave, [128 + number, _stopped()])
    after.daemon = True
    after.start()
    raise KeyboardInterrupt


def _leave(code: int, text: str = "") -> None:
    """End at once, with a line of printable text.

    Threads may still wait for a server, and taking all modules down takes a tenth of a second.
    """
    if text:
        line = "".join(sign if sign.isprintable() else " " for sign in text)
        told = stamped(line, sys.stderr) if _is_load() else line
        click.echo(f"ges-backups: {told}", err=True)
    try:
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read the output has gone, or its disk is full: that was told
        code = code or _without_output()
    os._exit(code)
