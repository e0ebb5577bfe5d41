"""The history of GES graph backups: its pipeline, its reports and its command line.

>>> from ges_history import connect, read_report
>>> trend = read_report("size_trend", "ges_backups.duckdb", graph="orders", since="30d")
>>> with connect("ges_backups.duckdb") as history:
...     history.sql("SELECT status, count(*) FROM ges.backups GROUP BY status").show()

The public API is what `__all__` lists:

    load           bring a history up to date
    read_report    a report as a DataFrame
    report_names   which reports there are
    describe       all tables and reports: columns, units, descriptions
    copy_history   what a history holds into another warehouse
    connect        the history as a DuckDB connection, for SQL
    HistoryError   what all of them raise, with a message for people
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ges_history.errors import HistoryError
    from ges_history.loading.moving import copy_history
    from ges_history.loading.projects import load
    from ges_history.reports.catalogue import report_names
    from ges_history.reports.describe import describe
    from ges_history.reports.read import read_report
    from ges_history.warehouses.opening import connect

    __version__: str

__all__ = [
    "HistoryError",
    "__version__",
    "connect",
    "copy_history",
    "describe",
    "load",
    "read_report",
    "report_names",
]

_HOMES = {
    "HistoryError": "ges_history.errors",
    "connect": "ges_history.warehouses.opening",
    "copy_history": "ges_history.loading.moving",
    "describe": "ges_history.reports.describe",
    "load": "ges_history.loading.projects",
    "read_report": "ges_history.reports.read",
    "report_names": "ges_history.reports.catalogue",
}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first asked for: the command line starts fast."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("ges-backup-history")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
