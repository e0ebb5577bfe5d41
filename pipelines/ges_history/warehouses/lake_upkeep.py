"""Keep a lake small: few files, a short log, no more of dlt's small objects than are of use.

Every dozen commits of a project its part of a table is compacted, unreferenced files that are
older than a day are removed (a reader that opened the table within a day keeps all it needs), and
the log is cut behind a checkpoint. Other projects' parts are left to their own loads.
"""

from contextlib import suppress
from functools import partial

from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_storage import LOADS, LakeStorage, partition_of, schema_of
from ges_history.warehouses.lake_upsert import until_committed

READER_HOURS = 24
KEPT_LOADS = 50


def tidy(storage: LakeStorage, fence: Fence) -> None:
    """Tidy the tables that are due; that another project commits meanwhile harms no load."""
    from deltalake.exceptions import CommitFailedError  # noqa: PLC0415

    for name in sorted(fence.due):
        with suppress(CommitFailedError):  # others were quicker each time: some loads later, then
            until_committed(partial(_tidy_table, storage, name, fence))
    if fence.due:
        _prune_loads(storage)
    fence.due.clear()


def _tidy_table(storage: LakeStorage, name: str, fence: Fence) -> None:
    opened = storage.open(name)
    if opened is None:
        return
    fence.check()
    opened.optimize.compact(partition_filters=[(partition_of(name), "=", fence.project)])
    opened.vacuum(retention_hours=READER_HOURS, dry_run=False, full=True)
    opened.create_checkpoint()
    opened.cleanup_metadata()


def _prune_loads(storage: LakeStorage) -> None:
    """Forget complete loads that are old and to which no cursor refers: they need the others."""
    used = _loads_of(storage, "listings") | _loads_of(storage, "projects")
    files = storage.filesystem()
    for path in sorted(storage.small_files(LOADS), key=_load_id)[:-KEPT_LOADS]:
        if _load_id(path) not in used:
            with suppress(FileNotFoundError):  # the load of another project was quicker
                files.rm_file(path)


def _loads_of(storage: LakeStorage, table: str) -> set[str]:
    opened = storage.opened(table)
    with storage.duckdb() as connection:
        connection.register("columns", schema_of(opened).empty_table())
        query = f"SELECT DISTINCT _dlt_load_id FROM ({storage.rows(opened, 'columns')})"
        return {load for (load,) in connection.sql(query).fetchall()}


def _load_id(path: str) -> str:
    return path.rpartition("__")[2].removesuffix(".jsonl")
