"""What people read: a column's heading with its unit, a value as short text."""

import unicodedata
from datetime import date, datetime
from typing import Any

HEADINGS = {
    "graph_name": "graph",
    "backup_method": "method",
    "mb_per_s": "throughput [MB/s]",
    "mb_per_day": "growth [MB/day]",
    "success_rate": "success rate [0-1]",
    "value": "value [MB or s]",
    "expected": "expected [MB or s]",
    "deviation": "deviation [robust sd]",
}
UNITS = {
    "_mb": " [MB]",
    "_s": " [s]",
    "_hours": " [h]",
    "_days": " [days]",
    "_pct": " [%]",
    "_at": " [UTC]",
}


def heading(column: str) -> str:
    """A column's name in words, with its unit: `size_mb` is `size [MB]`."""
    if column in HEADINGS:
        return HEADINGS[column]
    for suffix, unit in UNITS.items():
        if column.endswith(suffix):
            return column.removesuffix(suffix).replace("_", " ") + unit
    return column.replace("_", " ")


def cell(value: Any) -> str:
    """A value as people read it: `1,234.5`, `2026-06-08 13:55`, `yes`; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    return harmless(str(value))


def harmless(text: str) -> str:
    """Text without characters that steer a terminal or turn its lines around."""
    return "".join(
        char
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def _number(value: float) -> str:
    """One decimal for what is large, three significant digits for what is small."""
    if value != value:  # noqa: PLR0124 - not a number
        return ""
    return f"{value:,.1f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
