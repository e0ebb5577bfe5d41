"""A history in a DuckDB file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.warehouses.opening import connect
from ges_history.warehouses.seam import Read, Say, quiet

if TYPE_CHECKING:
    import pyarrow as pa


class DuckDbFile:
    """A DuckDB file of any name; see `ges_history.warehouses.seam.Warehouse`."""

    dialect = "duckdb"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:  # noqa: ARG002
        """Several reads of one state."""
        with connect(self.path) as connection:

            def read(sql: str, *values: Any) -> "pa.Table":
                return connection.sql(sql, params=list(values)).to_arrow_table()

            yield read

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)
