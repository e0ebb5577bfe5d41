"""Several DuckDB files, each with projects of its own, read as one history."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ges_history.errors import DatabaseError, HistoryError
from ges_history.warehouses import warehouse_for
from ges_history.warehouses.duckdb_file import DuckDbFile, reading_of
from ges_history.warehouses.opening import Databases, database_files
from ges_history.warehouses.seam import Read, Say, Warehouse, quiet

if TYPE_CHECKING:
    import pyarrow as pa


class DuckDbFiles:
    """The reading half of `ges_history.warehouses.seam.Warehouse`, over two files or more."""

    dialect = "duckdb"

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.name = f"{len(self.paths)} databases"

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:
        """Several reads of one state of each file."""
        with reading_of(self.paths, wait, say) as read:
            yield read

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)

    def explain(self, error: BaseException) -> HistoryError:
        """What DuckDB says."""
        return DuckDbFile(self.paths[0]).explain(error)

    def __getattr__(self, name: str) -> NoReturn:
        """Several files are only read."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise DatabaseError(f"{self.name} are one history to read only: give a single --database.")


def history_of(
    databases: Databases, destination: str = "duckdb", spark: str | None = None
) -> Warehouse:
    """The warehouse to read: one database or several, or where else a history lives.

    Args:
        databases: A DuckDB file, a glob, or several of these. For other destinations only the
            first counts, as for `warehouse_for`.
        destination: dlt's name of the destination.
        spark: A Spark Connect server that reads a lake, ``sc://HOST:PORT``.

    Raises:
        NoHistory: A glob finds no file.
    """
    if destination != "duckdb":
        given = [databases] if isinstance(databases, str | Path) else list(databases)
        warehouse = warehouse_for(given[0], destination)
        return _by_spark(warehouse, spark) if spark else warehouse
    if spark:
        raise DatabaseError("Spark reads a lake only: give --destination filesystem.")
    files = database_files(databases)
    if len(files) == 1:
        return warehouse_for(files[0])
    return cast("Warehouse", DuckDbFiles(files))


def _by_spark(warehouse: Warehouse, remote: str) -> Warehouse:
    """A lake, read by a server."""
    from ges_history.warehouses.lake import LakeWarehouse  # noqa: PLC0415 - as it is asked for
    from ges_history.warehouses.spark import SparkLake  # noqa: PLC0415

    if not isinstance(warehouse, LakeWarehouse):
        raise DatabaseError("Spark reads a lake only: give --destination filesystem.")
    return cast("Warehouse", SparkLake(warehouse, remote))
