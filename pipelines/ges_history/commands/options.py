"""Options that several commands share."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ges_history.warehouses.opening import DEFAULT_DATABASE

database = click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(DEFAULT_DATABASE),
    show_default=True,
    metavar="PATH",
    help="The DuckDB file that holds the history.",
)


class Instant(click.ParamType[datetime]):
    """A date or an instant in ISO 8601; UTC where it has no zone."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse the text, or end as wrong usage."""
        from ges_history.reports.read import parse_instant  # noqa: PLC0415

        try:
            return parse_instant(value)
        except ValueError:
            self.fail(f"{value!r} is no date like 2026-06-08 or 2026-06-08T13:55:13Z.", param, ctx)


wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a load that holds the database.",
)

policy = click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What must hold, TOML. Default: ges_policy.toml beside the database; where that is not,"
    " a default policy.",
)
