"""``ges-backups emulate``: serve the demo's fleet for anyone who wants to try things out."""

import signal
import sys
import time
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING

import click

from ges_history.errors import HistoryError

if TYPE_CHECKING:
    from ges_emulator import Emulator

TICK_SECONDS = 0.5
GREETING = """\
A fleet of {graphs} graphs is served at {endpoint}; its clock runs {speed:g} times as fast as yours.
To load from it, type in another terminal:

  export SOURCES__GES_BACKUPS__ENDPOINT={endpoint}
  export SOURCES__GES_BACKUPS__PROJECT_ID={project_id}
  export SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN={token}
  ges-backups load

Ctrl-C ends it.
"""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8780, show_default=True)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="How many times as fast as real time the fleet's clock runs.",
)
@click.option(
    "--order",
    type=click.Choice(["old_to_new", "new_to_old", "shuffled"]),
    default="old_to_new",
    show_default=True,
    help="The order of the listings.",
)
@click.option("--page-cap", type=click.IntRange(1), help="The most rows in a page.")
def emulate(port: int, speed: float, order: str, page_cap: int | None) -> None:
    """Serve a stand-in for the API on this machine, with a fleet that lives."""
    from ges_emulator import Emulator, demo_fleet  # noqa: PLC0415
    from ges_emulator.service import DEFAULT_TOKEN  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _terminate)
    try:
        fleet = demo_fleet()
        with Emulator(fleet, order, page_cap, port=port) as emulator:
            greeting = GREETING.format(
                graphs=len(fleet.graphs),
                endpoint=emulator.endpoint,
                speed=speed,
                project_id=fleet.project_id,
                token=DEFAULT_TOKEN,
            )
            click.echo(greeting)
            _live(emulator, speed)
    except OSError as error:
        raise HistoryError(
            f"port {port} cannot be opened ({error.strerror}): choose another one with --port."
        ) from error
    except KeyboardInterrupt:
        sys.exit(130)


def _live(emulator: "Emulator", speed: float) -> None:
    """Move the fleet's clock until somebody ends the program."""
    before = time.monotonic()
    while True:
        time.sleep(TICK_SECONDS)
        now = time.monotonic()
        emulator.fleet.advance(timedelta(seconds=(now - before) * speed))
        before = now


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)
