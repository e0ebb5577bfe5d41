"""Where a history lives: the seam, and a DuckDB file, PostgreSQL or a lake behind it."""

from pathlib import Path

from ges_history.errors import DatabaseError
from ges_history.warehouses.seam import Warehouse


def warehouse_for(
    database: str | Path, destination: str = "duckdb", *, is_demo: bool = False
) -> Warehouse:
    """The warehouse that is meant.

    Args:
        database: A DuckDB file; for other destinations it still names the folder of packages.
        destination: dlt's name of the destination.
        is_demo: The history is a demo's.
    """
    from ges_history.warehouses.duckdb_file import DuckDbFile  # noqa: PLC0415 - as it is asked for

    if destination == "postgres":
        return _postgres(database)
    if destination != "duckdb":
        raise DatabaseError(f"The destination {destination} cannot hold a history: use duckdb.")
    return DuckDbFile(database, is_demo=is_demo)


def _postgres(beside: str | Path) -> Warehouse:
    try:
        from ges_history.warehouses.postgres import PostgresDatabase  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "psycopg2":
            raise
        raise DatabaseError(
            "PostgreSQL needs a driver: pip install 'ges-backup-history[postgres]'."
        ) from error
    return PostgresDatabase(beside)
