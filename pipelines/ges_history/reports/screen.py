"""What `ges-backups report` shows on a terminal. Text from the API is never read as markup."""

from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ges_history.reports.cells import readable
from ges_history.reports.fitting import GAP, fit

if TYPE_CHECKING:
    import pyarrow as pa

    from ges_history.reports.overview import Fleet

ROWS_SHOWN = 5
"""Rows of each list on the fleet's screen; the reports have the rest."""

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
    shown = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
    )
    for column, cells in zip(fitted.columns, fitted.widths, strict=True):
        shown.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            vertical="bottom",
            width=cells,
        )
    for row in zip(*(column.cells for column in fitted.columns), strict=True):
        shown.add_row(*(Text(text, no_wrap=True) for text in row))
    parts: list[RenderableType] = [Padding(shown, (0, 0, 0, 1))]
    if fitted.left_out:
        names = ", ".join(fitted.left_out)
        parts.append(Text(f" Left out for width: {names}; --wide shows all.", style="dim"))
    return Group(*parts)


def without_needless_ids(table: "pa.Table") -> "pa.Table":
    """A report without the columns that tell nothing here: the one project, ids of unique names."""
    keys = set(zip(*(table.column(n).to_pylist() for n in ("project_id", "graph_id")), strict=True))
    names = set(table.column("graph_name").to_pylist())
    drop = ["project_id"] if len({project for project, _ in keys}) <= 1 else []
    drop += ["graph_id"] if len(names) == len(keys) else []
    return table.drop_columns(drop)


def fleet_screen(fleet: "Fleet") -> RenderableType:
    """The fleet on one screen: figures first, then what wants attention, the worst first."""
    stuck = fleet.running.column("stuck").to_pylist().count(True)
    lists = [
        ("Overdue", fleet.overdue, "recovery_point"),
        ("Never had a successful backup", fleet.never_succeeded, "recovery_point"),
        (f"In progress, {stuck} stuck" if stuck else "In progress", fleet.running, "running"),
        ("Anomalies of the last 7 days", fleet.anomalies, "anomalies"),
        ("Listings that failed", fleet.failed_listings, "load_health"),
    ]
    parts = [_attention(title, rows, more) for title, rows, more in lists if rows.num_rows]
    figures = Panel.fit(_figures(fleet, stuck), title="Backup history", title_align="left")
    return Group(figures, *parts)


def _figures(fleet: "Fleet", stuck: int) -> Table:
    """Two columns of figures with their names; those that want attention in colour."""
    rate = fleet.success_rate_30d
    figures = [
        ("graphs at the source", _of(fleet.graphs_at_source, fleet.graphs), ""),
        ("overdue graphs", cell(fleet.overdue.num_rows), _alarm(fleet.overdue.num_rows)),
        ("backups kept", cell(fleet.backups_kept), ""),
        ("without any success", cell(n := fleet.never_succeeded.num_rows), _alarm(n)),
        ("backups at the source", cell(fleet.backups_at_source), ""),
        ("in progress", cell(fleet.running.num_rows), ""),
        ("stored [MB]", cell(fleet.stored_mb), ""),
        ("stuck", cell(stuck), _alarm(stuck)),
        ("growth of backups [MB/day]", cell(fleet.growth_mb_per_day) or "-", ""),
        ("anomalies, 7 days", cell(n := fleet.anomalies.num_rows), _alarm(n, "yellow")),
        ("success rate, 30 days", "-" if rate is None else f"{rate:.1%}", ""),
        ("listings that failed", cell(n := fleet.failed_listings.num_rows), _alarm(n)),
    ]
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "left", "right"):
        grid.add_column(justify=justify)
    for left, right in zip(figures[::2], figures[1::2], strict=True):
        grid.add_row(*(Text(text, style=f[2]) for f in (left, right) for text in f[:2]))
    rejected = fleet.rejected_30d
    grid.add_row(
        Text("last load"),
        Text(_ago(fleet.load_age_hours)),
        Text("records rejected, 30 days", style=_alarm(rejected, "yellow")),
        Text(cell(rejected), style=_alarm(rejected, "yellow")),
    )
    return grid


def _attention(title: str, rows: "pa.Table", report: str) -> RenderableType:
    """The first rows of a list, and where the rest is."""
    left_out = rows.num_rows - ROWS_SHOWN
    head = rows.slice(0, ROWS_SHOWN)
    names = head.column("graph_name").to_pylist()
    if len(set(names)) == len(set(zip(names, head.column("graph_id").to_pylist(), strict=True))):
        head = head.drop_columns(["graph_id"])
    parts: list[RenderableType] = [
        Text(f"\n{title} ({rows.num_rows:,})", style="bold"),
        report_table(head),
    ]
    if left_out > 0:
        parts.append(Text(f"  and {left_out:,} more: ges-backups report {report}", style="dim"))
    return Group(*parts)


def _ago(hours: float | None) -> str:
    """An age in the unit that a person would say it in."""
    if hours is None:
        return "never"
    if hours < 1:
        return f"{hours * 60:.0f} min ago"
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"


def _of(part: int, whole: int) -> str:
    return cell(part) if part == whole else f"{cell(part)} of {cell(whole)}"


def _alarm(count: int, style: str = "red") -> str:
    return style if count else ""
