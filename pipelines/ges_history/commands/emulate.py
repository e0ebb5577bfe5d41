"""``ges-backups emulate``: serve the demo's fleet for anyone who wants to try things out."""

import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING

import click

from ges_history.commands import options
from ges_history.errors import HistoryError

if TYPE_CHECKING:
    from ges_emulator import Emulator

TICK_SECONDS = 0.5
FAST_DAYS_BEHIND = 30.0
MOST_DAYS_BEHIND = 10_000.0
GREETING = """\
A fleet of {graphs} graphs is served at {endpoint}; {clock}.
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
    type=options.Amount(),
    default=1.0,
    show_default=True,
    help="How many times as fast as real time the fleet's clock runs, until it has caught up.",
)
@click.option(
    "--days-behind",
    type=options.Amount(MOST_DAYS_BEHIND),
    help=f"How far in the past the fleet begins; {FAST_DAYS_BEHIND:g} where --speed is above 1.",
)
@click.option(
    "--order",
    type=click.Choice(["old_to_new", "new_to_old", "shuffled"]),
    default="old_to_new",
    show_default=True,
    help="The order of the listings.",
)
@click.option("--page-cap", type=click.IntRange(1), help="The most rows in a page.")
def emulate(
    port: int, speed: float, days_behind: float | None, order: str, page_cap: int | None
) -> None:
    """Serve a stand-in for the API on this machine, with a fleet that lives, never in the future."""
    from ges_emulator import Emulator, demo_fleet  # noqa: PLC0415
    from ges_emulator.service import DEFAULT_TOKEN  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _terminate)
    if days_behind is None:
        days_behind = FAST_DAYS_BEHIND if speed > 1 else 0.0
    try:
        fleet = demo_fleet(now=datetime.now(UTC) - timedelta(days=days_behind))
        with Emulator(fleet, order, page_cap, port=port) as emulator:
            greeting = GREETING.format(
                graphs=len(fleet.graphs),
                endpoint=emulator.endpoint,
                clock=_clock(speed, days_behind),
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


def _clock(speed: float, days_behind: float) -> str:
    if not days_behind:
        return "its clock is yours" if speed == 1 else f"its clock runs {speed:g} times as fast"
    return (
        f"its clock begins {days_behind:g} days ago\nand runs {speed:g} times as fast as yours "
        "until it has caught up"
    )


def _live(emulator: "Emulator", speed: float) -> None:
    """Move the fleet's clock, up to the real one, until somebody ends the program."""
    before = time.monotonic()
    while True:
        time.sleep(TICK_SECONDS)
        now = time.monotonic()
        behind = datetime.now(UTC) - emulator.fleet.now
        step = min(timedelta(seconds=(now - before) * speed), behind)
        emulator.fleet.advance(max(step, timedelta()))
        before = now


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)
