"""dlt's destination `filesystem`, with every table of a history in Delta.

What differs from dlt's own: all data tables are Delta tables, made before their first row, and
rows come into them by `lake_upsert`, not by a merge that joins the whole table.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.client import HasFollowupJobs, LoadJob, RunnableLoadJob
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.destination.utils import get_merge_compare_columns
from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.filesystem import (
    CURRENT_VERSION,
    FILENAME_SEPARATOR,
    FilesystemClient,
    ReferenceFollowupJob,
    TableFormatLoadFilesystemJob,
)
from dlt.destinations.job_impl import FinalizedLoadJob

from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_storage import PLAIN, LakeStorage
from ges_history.warehouses.lake_upsert import Staged, until_committed, upsert
from ges_history.warehouses.only_missing import OnlyMissing

KEPT_STATES = 5


class HistoryLake(filesystem):
    """The destination; dlt's state and configuration know it by the lake's name of it.

    Attributes:
        storage: The lake.
        fence: What the load of the project holds.
    """

    storage: LakeStorage
    fence: Fence
    is_only_missing = False

    @classmethod
    def of(cls, storage: LakeStorage, fence: Fence) -> "HistoryLake":
        """The destination of one project's load; dlt itself looks at the arguments of `__init__`."""
        settings: dict[str, Any] = {"max_state_files": KEPT_STATES}
        if storage.destination != PLAIN:  # the state of a plain lake names no destination
            settings["destination_name"] = storage.destination
        destination = cls(**settings)
        destination.storage = storage
        destination.fence = fence
        return destination

    @property
    def client_class(self) -> type[FilesystemClient]:
        """What loads into it."""
        known = {
            "storage": self.storage,
            "fence": self.fence,
            "is_only_missing": self.is_only_missing,
        }
        return type("LakeClient", (_Client,), known)

    @property
    def destination_type(self) -> str:
        """As dlt's own, so that a plain dlt script works on the same lake."""
        return "dlt.destinations.filesystem"

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        """dlt's own for Delta tables, without a hint on each."""
        capabilities = super()._raw_capabilities()
        capabilities.preferred_loader_file_format = "parquet"
        capabilities.merge_strategies_selector = _all_strategies
        return capabilities


def _all_strategies(
    supported: Sequence[Any],
    *,
    table_schema: Any,  # noqa: ARG001
) -> Sequence[Any]:
    """What dlt asks of each table; a function of its own, since dlt pickles it for its processes."""
    return supported


class _Client(OnlyMissing, FilesystemClient):
    storage: LakeStorage
    fence: Fence

    def prepare_load_table(self, table_name: str) -> PreparedTableSchema:
        """dlt's own, as a Delta table unless it is one of dlt's."""
        table = super().prepare_load_table(table_name)
        if not self.is_dlt_table(table_name):
            table["table_format"] = "delta"
        return table

    def get_load_job_class(self, table: PreparedTableSchema, file_path: str) -> type[LoadJob]:
        """dlt's own; its jobs that do nothing are run, since it waits a second for what never ran."""
        job = super().get_load_job_class(table, file_path)
        return _NothingToDo if issubclass(job, FinalizedLoadJob) else job

    @staticmethod
    def get_reference_followup_job_class(
        table: PreparedTableSchema,
    ) -> type[ReferenceFollowupJob] | None:
        """What brings all files of a table into it."""
        return _UpsertJob if table.get("table_format") == "delta" else None

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """dlt's own, which takes half an `init` ill, and two loads that make it at once."""
        if self.is_local_filesystem and self.storage.small_file(self.init_file_path) is None:
            self.fs_client.makedirs(self.dataset_path, exist_ok=True)
            versions = dict.fromkeys(("initial_version", "current_version"), CURRENT_VERSION)
            self._write_to_json_file(self.init_file_path, versions)
        super().initialize_storage(truncate_tables)  # type: ignore[arg-type]

    def _write_to_json_file(self, filepath: str, data: dict[str, Any]) -> None:
        """dlt's own; in a folder, too, a file is there as a whole or not at all."""
        if not self.is_local_filesystem:
            super()._write_to_json_file(filepath, data)
            return
        half = Path(filepath).with_name(f".{self.fence.project}.half")
        super()._write_to_json_file(str(half), data)
        half.replace(filepath)

    def _list_dlt_table_files(
        self, table_name: str, pipeline_name: str | None = None
    ) -> Iterator[tuple[str, list[str]]]:
        """dlt's own; in a folder whatever its name, without files that are half or go meanwhile."""
        if not self.is_local_filesystem:
            yield from super()._list_dlt_table_files(table_name, pipeline_name)  # type: ignore[arg-type]
            return
        paths = self.storage.small_files(table_name)
        if not paths and not self.is_storage_initialized():
            raise DestinationUndefinedEntity(table_name)
        for path in paths:
            parts = Path(path).stem.rsplit(FILENAME_SEPARATOR, 2)
            is_wanted = len(parts) == 3 and pipeline_name in (None, parts[0])
            if is_wanted and self.storage.small_file(path) is not None:
                yield path, parts

    def complete_load(self, load_id: str) -> None:
        """Say that a load is complete; one that lost the project says nothing."""
        self.fence.check()
        super().complete_load(load_id)


class _NothingToDo(HasFollowupJobs, RunnableLoadJob):
    """For a file that waits for all files of its table."""

    def run(self) -> None:
        """Do nothing."""


class _UpsertJob(TableFormatLoadFilesystemJob):
    _job_client: _Client

    def run(self) -> None:
        client = self._job_client
        with self._spill() as spill:
            until_committed(lambda: upsert(client.storage, self._staged(), client.fence, spill))

    @contextmanager
    def _spill(self) -> Iterator[Path]:
        """A folder of the package: what a killed load leaves in it is removed by the next."""
        folder = Path(self._file_path).parents[1] / f"spill-{self.load_table_name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _staged(self) -> Staged:
        table: Any = self._load_table
        columns = table["columns"].items()
        return Staged(
            table=self.load_table_name,
            files=self.file_paths,
            keys=[name for name, hints in columns if hints.get("primary_key")],
            compared=get_merge_compare_columns(table),
            columns=[name for name, _ in columns],
            is_insert_only=table.get("x-merge-strategy") == "insert-only",
        )
