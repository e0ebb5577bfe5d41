"""Options that several commands share."""

import csv
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.instants import parse_instant
from ges_history.warehouses.opening import DEFAULT_DATABASE


class Amount(click.FloatRange):
    """A number from 0 up to `most`; NaN and infinity are none."""

    def __init__(self, most: float = 1e9) -> None:
        super().__init__(min=0)
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the number, or end as wrong usage."""
        amount = super().convert(value, param, ctx)
        if not amount <= self._most:
            self.fail(f"{value} is no number from 0 to {self._most:,.0f}.", param, ctx)
        return amount


def variable(option: str) -> str:
    """The variable of an option: `GES_BACKUPS_` and its name."""
    return "GES_BACKUPS_" + option.lstrip("-").replace("-", "_").upper()


def use_variables(command: click.Command) -> None:
    """Let each option of a command be given by its variable, whatever its argument is called."""
    for option in command.params:
        if isinstance(option, click.Option) and option.allow_from_autoenv:
            option.envvar = variable(max(option.opts, key=len))


class Repeatable(click.Option):
    """An option that may be given again; its variable is split as click does, or has a value a line.

    A name with a space may stand in double quotes, a path that is there may hold a colon.
    """

    def value_from_envvar(self, ctx: click.Context) -> list[str] | None:
        """The values of the variable."""
        text = self.resolve_envvar_value(ctx)
        if text is None:
            return None
        if "\n" in text:
            values = text.splitlines()
        elif isinstance(self.type, click.Path):
            values = [text] if Path(text).exists() else text.split(os.pathsep)
        else:
            values = next(csv.reader([text], delimiter=" "), [])
        return [value for value in values if value]


database = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(DEFAULT_DATABASE),
    show_default=True,
    metavar="PATH",
    help="The DuckDB file that holds the history.",
)

databases = click.option(
    "--database",
    cls=Repeatable,
    multiple=True,
    type=click.Path(path_type=Path),
    default=[Path(DEFAULT_DATABASE)],
    show_default=True,
    metavar="PATH",
    help="The DuckDB file that holds the history; several, or a glob, are read as one.",
)

destination = click.option(
    "--destination",
    default="duckdb",
    show_default=True,
    metavar="NAME",
    help="Where the history is, by dlt's name: duckdb, postgres, filesystem (a lake).",
)

spark = click.option(
    "--spark",
    metavar="sc://HOST:PORT",
    help="Let this Spark Connect server work it out, from the files of a lake.",
)

wait = click.option(
    "--wait",
    type=Amount(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a load that holds the database.",
)


if TYPE_CHECKING:
    from ges_history.watching.policy import Policy

    InstantType = click.ParamType[datetime]
    TextType = click.ParamType[str]
else:
    InstantType = TextType = click.ParamType  # click 8.1 has none with a parameter


class Instant(InstantType):
    """A date or an instant in ISO 8601, UTC where it has no zone, or a word like `7d`."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse the text, or end as wrong usage."""
        try:
            return parse_instant(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


policy = click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What must hold, TOML. Default: ges_policy.toml beside the database; where that is not,"
    " a default policy.",
)


def policy_of(policy: Path | None, database: Sequence[Path], destination: str) -> "Policy":
    """What a command goes by: the policy that is given, else the one beside the files it reads.

    Raises:
        PolicyError: It cannot be read, or is wrong, or the files have different ones beside them.
    """
    from ges_history.warehouses.opening import database_files  # noqa: PLC0415
    from ges_history.watching.policy import find_policy  # noqa: PLC0415

    files = database_files(database) if destination == "duckdb" else database[:1]
    return find_policy(policy, *(file.parent for file in files))


project_names = click.option(
    "--project-name",
    cls=Repeatable,
    multiple=True,
    metavar="NAME",
    help="Only this project, by its name or id; repeatable.",
)

regions = click.option(
    "--region",
    cls=Repeatable,
    multiple=True,
    metavar="REGION",
    help="Only projects of this region (the host of the endpoint, where none is set); repeatable.",
)
