"""Fit a table to a width without ever cutting a figure or a date.

What gives way, in this order: columns that are empty, columns of `DROPPED_FIRST`, the ends of long
texts (names of graphs last), then columns from the right. What was left out is told.
"""

from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size

from ges_history.reports.cells import Column

GAP = 2
"""Spaces between two columns."""
NARROWEST_TEXT = 12
"""Cells to which a text may be cut."""
TEXTS = ("error_msg", "backup_method", "backup_id", "graph_id", "project_name", "graph_name")
"""Columns whose ends may be cut, the first of them first."""
DROPPED_FIRST = (
    "project_id",
    "graph_id",
    "backup_id",
    "backup_name",
    "region",
    "first_listed_at",
    "stale_after_hours",
    "deleted_mb",
    "added_30d_mb",
    "removed_30d_mb",
    "succeeded_30d",
    "failed_30d",
    "new_levels",
    "backups_kept",
    "graphs",
    "rejected_30d",
    "failed_listings",
    "anomalies_7d",
    "running",
    "load_age_hours",
    "restarts",
    "error_msg",
    "graph_deleted_at",
    "known_until",
    "points",
    "first_day",
    "level_since",
    "low_30d_mb",
    "high_30d_mb",
    "low_90d_mb",
    "high_90d_mb",
    "max_duration_s",
    "avg_7d_mb",
    "longest_gap_hours",
    "change_mb",
    "change_pct",
    "deviation",
    "oldest_at",
    "last_complete_at",
    "requests",
    "backup_count",
    "median_lifetime_days",
    "r2",
    "last_day",
    "level_backups",
    "level_before_mb",
    "level_mb",
    "level_change_pct",
    "is_new_level",
    "age_when_known_hours",
    "encrypted",
    "ended_at",
    "projected_30d_mb",
    "stuck",
    "never_succeeded",
    "overdue",
    "backups_at_source",
    "backups",
)


@dataclass(frozen=True)
class Fitted:
    """The columns that fit, their widths in cells, and the headings of those left out."""

    columns: list[Column]
    left_out: list[str]

    @property
    def widths(self) -> list[int]:
        """Cells that each column takes."""
        return [width_of(column) for column in self.columns]


def fit(columns: list[Column], width: int) -> Fitted:
    """The columns as they fit into so many cells."""
    kept, left_out = list(columns), list[str]()
    if _total(kept) <= width:
        return Fitted(kept, left_out)

    def drop(column: Column) -> None:
        kept.remove(column)
        left_out.append(column.heading)

    for column in [c for c in columns if c.cells and not any(c.cells)] + _in_order(columns):
        if _total(kept) > width and column in kept and len(kept) > 1:
            drop(column)
    for name in TEXTS:
        kept = [_cut(c, _total(kept) - width) if c.name == name else c for c in kept]
    while _total(kept) > width and len(kept) > 1:
        drop(kept[-1])
    return Fitted(kept, left_out)


def width_of(column: Column) -> int:
    """Cells that a column takes; its heading may break between words."""
    longest_word = max(map(cell_len, column.heading.split()), default=0)
    return max([longest_word, *map(cell_len, column.cells)])


def _in_order(columns: list[Column]) -> list[Column]:
    by_name = {column.name: column for column in columns}
    return [by_name[name] for name in DROPPED_FIRST if name in by_name]


def _total(columns: list[Column]) -> int:
    return sum(map(width_of, columns)) + GAP * (len(columns) - 1)


def _cut(column: Column, excess: int) -> Column:
    """A column of texts, narrower by what is too much, each cut text ending in an ellipsis."""
    width = max(width_of(column) - max(excess, 0), min(NARROWEST_TEXT, width_of(column)))
    return replace(column, cells=[_shortened(text, width) for text in column.cells])


def _shortened(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"
