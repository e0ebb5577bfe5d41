"""What a shell offers for the names of reports and graphs."""

import re

import click

from ges_history.errors import HistoryError

_ONE_WORD = re.compile(r"[\w@%+=:,./-]+")
"""What a shell takes as it stands: it gets the names raw, and would run what others hold."""


def reports(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Names of reports."""
    from ges_history.reports.catalogue import LISTS, report_names  # noqa: PLC0415

    return [name for name in [*report_names(), *LISTS] if name.startswith(incomplete)]


def graphs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of graphs in the database that are one word; none where it cannot be read just now."""
    from ges_history.warehouses.duckdb_files import history_of  # noqa: PLC0415

    try:
        with history_of(ctx.params["database"], ctx.params["destination"]).reading() as read:
            names = read("SELECT DISTINCT graph_name FROM reports.graph_names").to_pylist()
    except HistoryError:
        return []
    words = [row["graph_name"] for row in names if _ONE_WORD.fullmatch(row["graph_name"])]
    return sorted(name for name in words if name.startswith(incomplete))
