"""Where a history lives: the seam, and a DuckDB file, PostgreSQL or a lake behind it."""

from pathlib import Path

from ges_history.errors import DatabaseError
from ges_history.warehouses.seam import Warehouse

KINDS = ("duckdb", "postgres", "filesystem")


def warehouse_for(
    database: str | Path, destination: str = "duckdb", *, is_demo: bool = False
) -> Warehouse:
    """The warehouse that is meant.

    Args:
        database: A DuckDB file; for other destinations it still names the folder of packages.
        destination: dlt's name of the destination: `duckdb`, `postgres`, `filesystem` (a lake), or
            a name that ``DESTINATION__NAME__DESTINATION_TYPE`` makes one of these.
        is_demo: The history is a demo's.

    Raises:
        DatabaseError: There is no such destination, it cannot hold a history, or a driver is missing.
    """
    kind = destination if destination in KINDS else _kind_of(destination)
    if kind == "postgres":
        return _postgres(database, destination)
    if kind == "filesystem":
        from ges_history.warehouses.lake import LakeWarehouse  # noqa: PLC0415 - as it is asked for

        return LakeWarehouse(Path(database).parent, destination)
    from ges_history.warehouses.duckdb_file import DuckDbFile  # noqa: PLC0415 - as it is asked for

    file = database if destination == "duckdb" else _file_of(destination)
    return DuckDbFile(file, is_demo=is_demo)


def _kind_of(name: str) -> str:
    """What a destination is that is set up by a name of its own, in dlt's configuration."""
    from dlt import config  # noqa: PLC0415 - a second to import

    from ges_history.dlt_environment import sectioned_environment  # noqa: PLC0415

    with sectioned_environment():
        said = str(config.get(f"destination.{name}.destination_type") or "")
    kind = said.removeprefix("dlt.destinations.")
    if kind in KINDS:
        return kind
    if kind:
        raise DatabaseError(
            f"The destination {name} is {kind}, which cannot hold a history: use {' or '.join(KINDS)}."
        )
    raise DatabaseError(
        f"There is no destination {name!r}: use {' or '.join(KINDS)}, or set "
        f"DESTINATION__{name.upper()}__DESTINATION_TYPE to one of these."
    )


def _file_of(name: str) -> Path:
    """The file of a DuckDB destination that is set up by name."""
    from dlt import secrets  # noqa: PLC0415 - a second to import

    said: object = secrets.get(f"destination.{name}.credentials")
    if not isinstance(said, str):
        raise DatabaseError(f"DESTINATION__{name.upper()}__CREDENTIALS must be the path of a file.")
    return Path(said.removeprefix("duckdb:///"))


def _postgres(beside: str | Path, destination: str) -> Warehouse:
    try:
        from ges_history.warehouses.postgres import PostgresDatabase  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "psycopg2":
            raise
        raise DatabaseError(
            "PostgreSQL needs a driver: pip install 'ges-backup-history[postgres]'."
        ) from error
    return PostgresDatabase(beside, destination)
