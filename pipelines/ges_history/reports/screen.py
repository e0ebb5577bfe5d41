"""What `ges-backups report` shows on a terminal. Text from the API is never read as markup."""

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ges_history.reports.attention import Judged, fleet_alarms, judge, verdict
from ges_history.reports.cells import readable
from ges_history.reports.fitting import GAP, NARROWEST_TEXT, fit
from ges_history.reports.overview import RECENT_DAYS, Fleet, Row
from ges_history.reports.words import change, hours, percent, plain, size

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHOWN = 5
"""Rows of each list on the fleet's screen; the reports have the rest."""
ATTENTION_SHOWN = 10
"""Graphs whose problems are told there."""

UNBOUNDED = 10_000
"""Cells of a line where nothing has to fit."""


def console_for(stream: IO[str], wide: bool = False) -> Console:
    """A console that colours on a terminal only; without bounds where there is none, or if `wide`."""
    terminal = Console(file=stream).is_terminal
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if terminal and not wide else UNBOUNDED,
        no_color=None if terminal else True,
    )


def report_table(table: "pa.Table", width: int = UNBOUNDED, wide: bool = False) -> RenderableType:
    """A report as a table that fits into `width` cells, a line below for what was left out.

    Args:
        table: Rows of a report.
        width: Cells of the terminal.
        wide: Show all columns, however wide; the console must be `console_for(stream, wide=True)`.
    """
    fitted = fit(readable(table), UNBOUNDED if wide else max(width - 2, 20))
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column, cells in zip(fitted.columns, fitted.widths, strict=True):
        shown.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            vertical="bottom",
            width=cells,
        )
    for row in zip(*(column.cells for column in fitted.columns), strict=True):
        shown.add_row(*(Text(text, no_wrap=True) for text in row))
    parts: list[RenderableType] = [Padding(shown, (0, 0, 0, 1), expand=False)]
    if fitted.left_out:
        names = ", ".join(fitted.left_out)
        parts.append(Text(f" Left out for width: {names}; --wide shows all.", style="dim"))
    return Group(*parts)


def without_needless_ids(table: "pa.Table") -> "pa.Table":
    """A report without what tells nothing here: names of the one project, ids beside names."""
    if "graph_id" not in table.column_names:
        return table
    projects, project_names, graphs, names = (
        table.column(name).to_pylist()
        for name in ("project_id", "project_name", "graph_id", "graph_name")
    )
    drop = ["project_name"] if len(set(projects)) <= 1 else []
    drop += ["project_id"] if len(set(project_names)) == len(set(projects)) else []
    keys, named = set(zip(projects, graphs, strict=True)), set(zip(projects, names, strict=True))
    drop += ["graph_id"] if len(named) == len(keys) else []
    return table.drop_columns(drop)


def fleet_screen(fleet: Fleet, width: int = UNBOUNDED) -> RenderableType:
    """The fleet on one screen: alarms and figures first, then what wants attention, worst first."""
    graphs = judge(fleet)
    alarmed = [graph for graph in graphs if graph.alarms]
    lines = [Text(alarm, style="bold red") for alarm in fleet_alarms(fleet)]
    lines.append(Text(verdict(graphs), style="bold red" if alarmed else "bold green"))
    figures = Panel.fit(_figures(fleet, len(alarmed)), title="Backup history", title_align="left")
    parts: list[RenderableType] = [*lines, figures]
    if fleet.shows_projects:
        worst = sorted(fleet.projects, key=_trouble_of_project)
        parts.append(_list("Projects", _PROJECT_COLUMNS, worst, "overview", width))
    if alarmed:
        parts.append(_attention(fleet, alarmed, width))
    if fleet.running:
        title = f"In progress, {n} stuck" if (n := fleet.totals["stuck"]) else "In progress"
        worst = sorted(fleet.running, key=lambda row: (not row["stuck"], -row["elapsed_s"]))
        parts.append(_list(title, _RUNNING_COLUMNS, worst, "running", width))
    if recent := fleet.recent_anomalies:
        worst = sorted(recent, key=lambda row: -abs(row["deviation"]))
        title = f"Anomalies of the last {RECENT_DAYS} days"
        parts.append(_list(title, _ANOMALY_COLUMNS, worst, "anomalies", width))
    return Group(*parts)


def _trouble_of_project(row: Row) -> tuple[bool | int, ...]:
    """What puts the worst project first, as `reports.overview` is ordered."""
    counts = (-row[name] for name in ("attention", "new_levels", "anomalies_7d"))
    return (row["stale"] is not None, not row["stale"], *counts)


def _figures(fleet: Fleet, attention: int) -> Table:
    """Two columns of figures with their names; those that want attention in colour."""
    t = fleet.totals
    rejected, failed = t["rejected_30d"], t["failed_listings"]
    figures = [
        ("graphs at the source", _of(t["graphs_at_source"], t["graphs"]), ""),
        ("need attention", f"{attention:,}", _alarm(attention)),
        ("backups kept", f"{t['backups_kept']:,}", ""),
        ("without any success", f"{t['never_succeeded']:,}", _alarm(t["never_succeeded"])),
        ("backups at the source", f"{t['backups_at_source']:,}", ""),
        ("overdue", f"{t['overdue']:,}", _alarm(t["overdue"])),
        ("stored at the source", size(t["stored_mb"]), ""),
        ("in progress", f"{t['running']:,}", ""),
        ("growth a day, 30 days", change(t["growth_mb_per_day"]), ""),
        ("stuck", f"{t['stuck']:,}", _alarm(t["stuck"])),
        ("stored in 30 days", size(t["projected_30d_mb"]), ""),
        ("listings that failed", f"{failed:,}", _alarm(failed)),
        ("stored in 90 days", size(t["projected_90d_mb"]), ""),
        ("anomalies, 7 days", f"{t['anomalies_7d']:,}", _alarm(t["anomalies_7d"], "yellow")),
        ("success rate, 30 days", percent(t["success_rate_30d"]), ""),
        ("records rejected, 30 days", f"{rejected:,}", _alarm(rejected, "yellow")),
    ]
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "right"):
        grid.add_column(justify=justify)
    for left, right in zip(figures[::2], figures[1::2], strict=True):
        grid.add_row(*(Text(text, style=f[2]) for f in (left, right) for text in f[:2]))
    grid.add_row(Text("last load"), Text(_ago(t["load_age_hours"])))
    return grid


_PROJECT_COLUMNS = ("project_name", "region", "graphs_at_source", "attention", "stored_mb",
                    "growth_mb_per_day", "success_rate_30d", "load_age_hours")  # fmt: skip
_RUNNING_COLUMNS = ("graph_name", "project_name", "started_at", "elapsed_s", "p95_duration_s",
                    "stuck")  # fmt: skip
_ANOMALY_COLUMNS = ("graph_name", "project_name", "started_at", "kind", "value", "expected",
                    "deviation")  # fmt: skip


def _list(
    title: str, columns: tuple[str, ...], rows: list[Row], report: str, width: int
) -> RenderableType:
    """The first rows of a report, and where the rest is."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import

    several = len({row["project_id"] for row in rows}) > 1
    shown = [name for name in columns if several or name != "project_name" or report == "overview"]
    table = pa.Table.from_pylist([{name: row[name] for name in shown} for row in rows[:ROWS_SHOWN]])
    parts = [_title(title, len(rows)), report_table(table, width)]
    return Group(*parts, *_rest(len(rows) - ROWS_SHOWN, f"ges-backups report {report}"))


def _attention(fleet: Fleet, graphs: Sequence[Judged], width: int) -> RenderableType:
    """The worst graphs, each with what is wrong with it, as on the page."""
    shown = graphs[:ATTENTION_SHOWN]
    names = [
        f"{plain(graph.name)} ({plain(graph.project)})"
        if fleet.shows_projects
        else plain(graph.name)
        for graph in shown
    ]
    widest = max(map(cell_len, names))
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(width=min(widest, max(width // 3, NARROWEST_TEXT)), overflow="ellipsis")
    grid.add_column(overflow="fold")
    for name, graph in zip(names, shown, strict=True):
        for n, problem in enumerate(graph.problems):
            style = "red" if problem.alarm else "yellow"
            first = Text(name, no_wrap=True, overflow="ellipsis") if n == 0 else Text()
            grid.add_row(first, Text(plain(problem.sentence), style=style))
    rest = _rest(len(graphs) - len(shown), "ges-backups report recovery_point")
    return Group(
        _title("Needs attention", len(graphs)), Padding(grid, (0, 0, 0, 1), expand=False), *rest
    )


def _title(text: str, amount: int) -> Text:
    return Text(f"\n{text} ({amount:,})", style="bold")


def _rest(left_out: int, command: str) -> list[Text]:
    return [Text(f" and {left_out:,} more: {command}", style="dim")] if left_out > 0 else []


def _ago(age_hours: float | None) -> str:
    return "never" if age_hours is None else f"{hours(max(age_hours, 0))} ago"


def _of(part: int, whole: int) -> str:
    return f"{part:,}" if part == whole else f"{part:,} of {whole:,}"


def _alarm(count: int, style: str = "red") -> str:
    return style if count else ""
