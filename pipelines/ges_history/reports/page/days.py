"""Rows of graphs and days, as one row a graph with a list for each column."""

from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ges_history.reports.overview import Key, Row, Scope
from ges_history.warehouses.seam import Read

if TYPE_CHECKING:
    import pyarrow as pa


def read_days(read: Read, scope: Scope, sql: str, since: date) -> dict[Key, Row]:
    """{graph: its columns} of a SELECT from a day on.

    Its rows begin with `project_id` and `graph_id`, are in the order of both and of `day`, which
    comes back in days since 1970-01-01.
    """
    return split(scope.table(read, sql, since))


def split(table: "pa.Table") -> dict[Key, Row]:
    """The same of a table of such rows."""
    projects, graphs = (table.column(n).to_pylist() for n in ("project_id", "graph_id"))
    keys = list(zip(projects, graphs, strict=True))
    starts = [n for n, key in enumerate(keys) if n == 0 or key != keys[n - 1]]
    columns = {
        name: days_of(table.column(name)) if name == "day" else table.column(name).to_pylist()
        for name in table.column_names[2:]
    }
    return {
        keys[first]: {name: values[first:end] for name, values in columns.items()}
        for first, end in pairwise([*starts, len(keys)])
    }


def days_of(dates: "pa.ChunkedArray") -> list[int]:
    """Dates as days since 1970-01-01."""
    import pyarrow as pa  # noqa: PLC0415

    numbers: list[Any] = dates.cast(pa.date32()).cast(pa.int32()).to_pylist()
    return numbers
