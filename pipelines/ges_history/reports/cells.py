"""A table as people read it: each column's heading, and its values in words and units.

A column has one format. Sizes and times carry their units, as on the page; the format follows from
a column's name (`size_mb`, `rpo_age_hours`, `started_at`), so new columns of a report have one too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ges_history.reports import words

if TYPE_CHECKING:
    import pyarrow as pa

HEADINGS = {
    "graph_name": "graph",
    "project_name": "project",
    "backup_id": "backup",
    "backup_method": "method",
    "previous_size_mb": "before",
    "change_pct": "change",
    "avg_7d_mb": "7-day mean",
    "p50_duration_s": "median",
    "p95_duration_s": "95 % within",
    "max_duration_s": "longest",
    "mb_per_s": "speed",
    "last_size_mb": "newest",
    "mb_per_day": "growth a day",
    "growth_mb_per_day": "growth a day",
    "r2": "r²",
    "projected_30d_mb": "in 30 days",
    "projected_90d_mb": "in 90 days",
    "low_30d_mb": "lowest in 30",
    "high_30d_mb": "highest in 30",
    "low_90d_mb": "lowest in 90",
    "high_90d_mb": "highest in 90",
    "rpo_age_hours": "age",
    "stale_hours": "stale for",
    "elapsed_s": "for",
    "longest_failure_streak": "failures in a row",
    "median_lifetime_days": "lifetime",
}
UNITS = ("_mb", "_s", "_hours", "_days", "_pct", "_at")
"""Ends of names that say the unit, which the cells say themselves."""
PERIODS = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True)
class Column:
    """One column: its name in the report, what is read above it and in it."""

    name: str
    heading: str
    cells: list[str]
    is_number: bool


def readable(table: "pa.Table") -> list[Column]:
    """The columns of a report, in its order; `is_partial` is told in the period's column."""
    rows = table.to_pylist()
    return [
        Column(
            name=field.name,
            heading=heading(field.name),
            cells=[_cell(field.name, row) for row in rows],
            is_number=_is_number(field.type),
        )
        for field in table.schema
        if field.name != "is_partial"
    ]


def heading(column: str) -> str:
    """A column's name in words; instants say that they are UTC."""
    if column in HEADINGS:
        return HEADINGS[column]
    unit = next((unit for unit in UNITS if column.endswith(unit)), "")
    name = column.removesuffix(unit).replace("_", " ")
    return f"{name} [UTC]" if unit == "_at" or column == "known_until" else name


_NUMBERS: dict[str, Callable[[Any], str]] = {
    "change_mb": words.change,
    "mb_per_day": words.change,
    "growth_mb_per_day": words.change,
    "change_pct": lambda value: f"{value:+,.1f} %",
    "success_rate": words.percent,
    "success_rate_30d": words.percent,
    "mb_per_s": lambda value: f"{words.number(value, 1)} MB/s",
    "r2": lambda value: words.number(value, 2),
    "deviation": lambda value: f"{value:+,.1f} \N{GREEK SMALL LETTER SIGMA}",
}
_BY_UNIT: dict[str, Callable[[Any], str]] = {
    "_mb": words.size,
    "_s": words.seconds,
    "_hours": words.hours,
    "_days": lambda value: f"{words.number(value, 1)} days",
    "_pct": lambda value: f"{words.number(value, 1)} %",
}


def _cell(column: str, row: dict[str, Any]) -> str:
    """A value as people read it; nothing for null and for what is no number."""
    value = row[column]
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _format(column, row)(value).replace("\N{MINUS SIGN}", "-")
    if isinstance(value, datetime) and column not in PERIODS:
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        text = f"{value:{PERIODS.get(column, '%Y-%m-%d')}}"
        return f"{text} so far" if column in PERIODS and row.get("is_partial") else text
    return words.harmless(str(value))


def _format(column: str, row: dict[str, Any]) -> Callable[[Any], str]:
    if column in _NUMBERS:
        return _NUMBERS[column]
    if column in ("value", "expected"):
        return words.seconds if row.get("kind") == "slow" else words.size
    unit = next((unit for unit in _BY_UNIT if column.endswith(unit)), "")
    return _BY_UNIT[unit] if unit else _plain


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else words.number(value, 1)


def _is_number(type_: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415 - slow to import

    return bool(types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_))
