"""The history of GES graph backups: its pipeline, its reports and its command line.

>>> from ges_history import connect, read_report
>>> trend = read_report("size_trend", "ges_backups.duckdb", graph="orders")
>>> with connect("ges_backups.duckdb") as history:
...     history.sql("SELECT status, count(*) FROM ges.backups GROUP BY status").show()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ges_history.loading.run import load
    from ges_history.reports.read import read_report
    from ges_history.warehouses.opening import connect

__all__ = ["connect", "load", "read_report"]

_HOMES = {
    "connect": "ges_history.warehouses.opening",
    "load": "ges_history.loading.run",
    "read_report": "ges_history.reports.read",
}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first asked for: the command line starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
