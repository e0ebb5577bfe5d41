"""The options of ``load`` for what is to be done around it: checks, metrics, the page, pings."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ges_history.commands import options
from ges_history.warehouses.seam import Say

if TYPE_CHECKING:
    from ges_history.watching.after import Watched

Command = TypeVar("Command", bound=Callable[..., Any])


class SecretUrl(options.TextType):
    """A URL that is itself a secret: no message holds it."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take an http or https URL, or end as wrong usage."""
        from ges_history.watching.notify import host_of  # noqa: PLC0415

        try:
            host_of(value)
        except ValueError as error:
            self.fail(f"it is {error}.", param, ctx)
        return str(value)


def watching(command: Command) -> Command:
    """Add the options that `wishes` takes, in the order in which the help shows them."""
    for option in reversed(
        (
            click.option(
                "--publish",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Then write a snapshot there, a DuckDB file for readers, where anything has"
                " changed.",
            ),
            click.option(
                "--check", is_flag=True, help="Then check the policy and tell what fails."
            ),
            click.option(
                "--metrics",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Then write the metrics for Prometheus there.",
            ),
            click.option(
                "--page",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Then write the HTML page there.",
            ),
            options.policy,
            click.option(
                "--ping",
                type=SecretUrl(),
                metavar="URL",
                help="Tell a dead man's switch (Healthchecks) of the start, success or failure."
                " Whoever has the URL can silence the alarm: set GES_BACKUPS_PING instead.",
            ),
            click.option(
                "--ping-partial",
                type=click.Choice(["failure", "success"]),
                default="failure",
                show_default=True,
                help="What a partial load (exit code 3) is told as.",
            ),
            click.option(
                "--notify",
                type=SecretUrl(),
                metavar="URL",
                help="Post the outcome and the violations as JSON to a webhook.",
            ),
        )
    ):
        command = option(command)
    return command


def watched(
    database: Path, warn: Say, say: Say, *, ping_partial: str, **around: Any
) -> "AbstractContextManager[Watched | None]":
    """The watch that the options ask for; without any, there is nothing to import.

    Args:
        database: The policy may stand beside it.
        warn: Takes what could not be done.
        say: Takes what is waited for.
        ping_partial: `failure` or `success`.
        around: The other options, as `Wishes` has them.
    """
    if not any(around.values()):
        return nullcontext()
    from ges_history.watching.after import Watched, Wishes  # noqa: PLC0415

    wishes = Wishes(beside=database.parent, partial_fails=ping_partial == "failure", **around)
    return Watched(wishes, warn, say)
