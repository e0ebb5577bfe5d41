"""What `ges-backups report` shows on a terminal. Text from the API is never read as markup."""

from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ges_history.reports.cells import cell, heading

if TYPE_CHECKING:
    import pyarrow as pa

    from ges_history.reports.overview import Fleet

ROWS_SHOWN = 5
"""Rows of each list on the fleet's screen; the reports have the rest."""

_UNBOUNDED = 10_000


def console_for(stream: IO[str]) -> Console:
    """A console that colours on a terminal only, and cuts no column where there is none."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(
            file=stream, highlight=False, markup=False, emoji=False, width=_UNBOUNDED, no_color=True
        )
    return console


def report_table(table: "pa.Table") -> Table:
    """A report as a table: units in headings, numbers to the right."""
    from pyarrow import types  # noqa: PLC0415 - slow to import

    shown = Table(box=box.SIMPLE_HEAD)
    for field in table.schema:
        number = types.is_integer(field.type) or types.is_floating(field.type)
        shown.add_column(Text(heading(field.name)), justify="right" if number else "left")
    for row in table.to_pylist():
        shown.add_row(*(Text(cell(value)) for value in row.values()))
    return shown


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
