"""``ges-backups check``: hold a policy against the history."""

import os
import sys
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ges_history.commands import options
from ges_history.commands.lines import is_lost_output, sentence_of
from ges_history.commands.no_frames import hide_pandas_from_pyarrow
from ges_history.commands.options import variable
from ges_history.errors import HistoryError

if TYPE_CHECKING:
    import pyarrow as pa

    from ges_history.reports.overview import Scope
    from ges_history.warehouses.seam import Read
    from ges_history.watching.facts import Facts, Graph
    from ges_history.watching.policy import Policy

UNKNOWN = 3
EPILOG = """\b
Exit codes, as Nagios has them: 0 all met; 1 a warning; 2 critical; 3 unknown: no history, it
cannot be read, wrong usage, a wrong policy, or a rule that cannot be judged."""


class Unknown(click.ClickException):
    """Nothing could be checked."""

    exit_code = UNKNOWN

    def __init__(self, message: str, for_nagios: bool) -> None:
        super().__init__(message)
        self._for_nagios = for_nagios

    def show(self, file: Any = None) -> None:
        """On stderr for people; Nagios reads stdout only."""
        if self._for_nagios:
            words = " ".join(self.message.replace("|", "/").split())
            click.echo(f"GES BACKUPS UNKNOWN: {words}")
        else:
            click.echo(f"ges-backups: {self.message}", file=file, err=True)


def is_for_nagios(words: list[str]) -> bool:
    """Whether arguments that may be wrong ask for Nagios' format."""
    return "nagios" in " ".join([*words, os.environ.get(variable("format"), "")])


class _Plugin(click.Command):
    """A command whose failures, of whatever kind, are unknown to a monitoring system."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the arguments; wrong ones are unknown, not critical (2, as click has it)."""
        for_nagios = is_for_nagios(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise Unknown(error.format_message(), for_nagios) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error that nobody foresaw must not pass for a warning (1, Python's own)."""
        for_nagios = ctx.params.get("format_") == "nagios"
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise Unknown(error.format_message(), for_nagios) from error
        except HistoryError as error:
            raise Unknown(str(error), for_nagios) from error
        except Exception as error:
            if "--debug" in sys.argv or (isinstance(error, OSError) and is_lost_output(error)):
                raise
            words = sentence_of(error) or f"{type(error).__name__}: {error}"
            raise Unknown(words, for_nagios) from error


@click.command(cls=_Plugin, epilog=EPILOG)
@options.databases
@options.destination
@options.policy
@options.project_names
@options.regions
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "nagios", "json", "csv"]),
    default="table",
    show_default=True,
    help="For people, for Nagios, or every verdict as rows.",
)
@click.option("--explain", metavar="GRAPH", help="Say which rules apply to a graph, and why.")
@click.option(
    "--since",
    type=options.Instant(),
    help="Evidence: each time from here on in which a last success was too old.",
)
@click.option("--until", type=options.Instant(), help="Evidence up to here.")
@options.wait
def check(
    database: tuple[Path, ...],
    destination: str,
    policy: Path | None,
    project_name: tuple[str, ...],
    region: tuple[str, ...],
    format_: str,
    explain: str | None,
    since: datetime | None,
    until: datetime | None,
    wait: float,
) -> None:
    """Check the history against a policy, as it is now or over a time of the past."""
    from ges_history.reports.overview import scope_of  # noqa: PLC0415
    from ges_history.warehouses.duckdb_files import history_of  # noqa: PLC0415

    if since and until and since >= until:
        raise click.UsageError("--since must be before --until.")
    hide_pandas_from_pyarrow()
    rules = options.policy_of(policy, database, destination)
    with history_of(database, destination).reading(wait, _say) as read:
        scope = scope_of(read, project_name, region)
        if explain is not None:
            code, content = _explain(read, rules, explain, scope)
        elif since or until:
            code, content = _evidence(read, rules, since, until, format_, scope)
        else:
            code, content = _check(read, rules, format_, scope)
    click.echo(content, nl=isinstance(content, str))
    sys.exit(code)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _check(read: "Read", policy: "Policy", format_: str, scope: "Scope") -> tuple[int, str | bytes]:
    from ges_history.watching import tell  # noqa: PLC0415
    from ges_history.watching.findings import check as hold  # noqa: PLC0415

    found = hold(read, policy, scope)
    if format_ == "nagios":
        return found.exit_code, tell.as_nagios(found)
    if format_ == "table":
        return found.exit_code, "\n".join(tell.as_lines(found))
    return found.exit_code, _rows(tell.as_table(found.findings), format_)


def _evidence(
    read: "Read",
    policy: "Policy",
    since: datetime | None,
    until: datetime | None,
    format_: str,
    scope: "Scope",
) -> tuple[int, str | bytes]:
    from ges_history.watching import tell  # noqa: PLC0415
    from ges_history.watching.evidence import violations_between  # noqa: PLC0415

    if format_ == "nagios":
        raise click.UsageError("--since and --until look back: use --format table, csv or json.")
    spans = violations_between(read, policy, since, until, scope)
    severities = {span.severity for span in spans}
    code = 2 if "critical" in severities else len(severities)
    if format_ == "table":
        return code, "\n".join(tell.spans_lines(spans))
    return code, _rows(tell.spans_table(spans), format_)


def _explain(
    read: "Read", policy: "Policy", wanted: str, scope: "Scope"
) -> tuple[int, str | bytes]:
    from ges_history.watching import tell  # noqa: PLC0415
    from ges_history.watching.facts import read_facts  # noqa: PLC0415

    graphs = _graphs_called(wanted, read_facts(read).only(scope))
    return 0, "\n".join(line for graph in graphs for line in tell.explain(graph, policy))


def _graphs_called(wanted: str, facts: "Facts") -> "list[Graph]":
    found = [graph for graph in facts.graphs if wanted in (graph.graph_id, graph.graph_name)]
    if not found:
        known = {name for graph in facts.graphs for name in (graph.graph_id, graph.graph_name)}
        close = get_close_matches(wanted, sorted(known), n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(close)}?" if close else "."
        raise HistoryError(f"The history knows no graph {wanted!r}{hint}")
    return found


def _rows(table: "pa.Table", format_: str) -> bytes:
    from ges_history.reports.formats import WRITERS  # noqa: PLC0415

    return WRITERS[format_](table)
