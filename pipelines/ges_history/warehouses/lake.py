"""A history in a lake: Delta tables in a folder or a bucket, read without any server."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.errors import DatabaseError, HistoryError, NoHistory
from ges_history.warehouses.seam import DATASET, Read, Say, pipeline_name, quiet

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import dlt
    import duckdb
    import pyarrow as pa

    from ges_backups.known import Ask
    from ges_history.warehouses.lake_lock import Fence
    from ges_history.warehouses.lake_storage import LakeStorage

NEEDED = "A lake needs `pip install 'ges-backup-history[lake]'`"


class LakeWarehouse:
    """A lake; see `ges_history.warehouses.seam.Warehouse`.

    Where it lies and how it is entered is dlt's configuration: `DESTINATION__NAME__BUCKET_URL` and
    `DESTINATION__NAME__CREDENTIALS__...`.

    Args:
        beside: The folder that holds the folder of packages; default: the current one.
        destination: Its name in dlt's configuration.
    """

    dialect = "duckdb"

    def __init__(self, beside: str | Path = ".", destination: str = "filesystem") -> None:
        self.storage = _storage(destination)
        self.name = self.storage.bucket
        self._beside = Path(beside).resolve()
        self._fences: dict[str, Fence] = {}

    @property
    def folder(self) -> Path:
        """Where dlt keeps packages; named for the lake, so that none goes to another one."""
        lake = hashlib.blake2b(self.storage.bucket.encode(), digest_size=4).hexdigest()
        return self._beside / f".ges_backups.lake-{lake}.dlt"

    @contextmanager
    def lock(self, project: str, wait: float = 60.0, say: Say = quiet) -> Iterator[None]:
        """Be the only load of a project; what it left behind is tidied before it ends.

        Where that fails, it is told: the load is complete, and a later one tidies.
        """
        from ges_history.warehouses.lake_lock import locked  # noqa: PLC0415
        from ges_history.warehouses.lake_upkeep import tidy  # noqa: PLC0415

        self._make_folder()
        with ExitStack() as held:
            with self._explained():
                fence = held.enter_context(locked(self.storage, project, wait, say))
            self._fences[project] = fence
            try:
                yield
                try:
                    with self._explained():
                        tidy(self.storage, fence)
                except HistoryError as error:
                    say(f"The load is complete; the lake could not be tidied after it: {error}")
            finally:
                del self._fences[project]

    def pipeline(self, project: str) -> "dlt.Pipeline":
        """The project's pipeline."""
        import dlt  # noqa: PLC0415

        from ges_history.warehouses.lake_destination import HistoryLake  # noqa: PLC0415

        return dlt.pipeline(
            pipeline_name(project),
            destination=HistoryLake.of(self.storage, self._fence(project)),
            dataset_name=DATASET,
            pipelines_dir=str(self.folder),
        )

    def _fence(self, project: str) -> "Fence":
        from ges_history.warehouses.lake_lock import Fence  # noqa: PLC0415

        return self._fences.get(project) or Fence(project)

    def writing(self, wait: float = 60.0, say: Say = quiet) -> "AbstractContextManager[None]":  # noqa: ARG002
        """Nothing is held: readers and other projects never stand in the way."""
        return nullcontext()

    @contextmanager
    def asking(self, wait: float = 60.0, say: Say = quiet) -> Iterator["Ask"]:  # noqa: ARG002
        """What the source asks; each table in the state that it had at its first question."""
        from ges_history.warehouses.lake_storage import COLUMNS, LOADS, VERSIONS  # noqa: PLC0415

        names = {table: f"{DATASET}.{table}" for table in (*COLUMNS, LOADS, VERSIONS)}
        with self.storage.duckdb() as connection:
            try:
                read = self._reader(connection, is_lazy=True)
            except NoHistory:
                yield lambda _: None
                return
            yield lambda sql: read(sql.format(**names))

    def touch(self, project: str, listed: "pa.Table") -> None:
        """Write time and cost of listings that brought nothing new."""
        from ges_history.warehouses.lake_upsert import until_committed  # noqa: PLC0415

        with self._explained():
            until_committed(lambda: self._touch(project, listed))

    def _touch(self, project: str, listed: "pa.Table") -> None:
        from ges_history.warehouses.lake_storage import missing_fields  # noqa: PLC0415
        from ges_history.warehouses.lake_upsert import (  # noqa: PLC0415
            add_columns,
            fenced,
            note_commit,
        )

        fence = self._fence(project)
        of_project = f"target.project_id = '{project}' AND target.graph_id = source.graph_id"
        listings, projects = self.storage.opened("listings"), self.storage.opened("projects")
        fence.check()
        add_columns(listings, "listings", missing_fields(listings, "listings"), fence)
        merger = listings.merge(
            listed,
            of_project,
            source_alias="source",
            target_alias="target",
            commit_properties=fenced(listings, fence),
        )
        same = ("listed_at", "outcome", "backup_count", "requests")
        merger.when_matched_update(
            {
                **{name: f"source.{name}" for name in same},
                "error_code": "NULL",
                "error_msg": "NULL",
                "restarts": "0",
                "last_read_at": "source.listed_at",
                "last_complete_at": "CASE WHEN source.outcome = 'complete'"
                " THEN source.listed_at ELSE target.last_complete_at END",
            }
        ).execute()
        note_commit(listings, "listings", fence)
        projects.update(
            {"last_listed_at": "now()"},
            predicate=f"id = '{project}'",
            commit_properties=fenced(projects, fence),
        )
        note_commit(projects, "projects", fence)

    def publish_reports(self) -> bool:
        """Make the tables that are missing; the reports are made anew by each reader."""
        from ges_history.warehouses.lake_storage import COLUMNS  # noqa: PLC0415

        with self._explained():
            missing = [table for table in COLUMNS if self.storage.open(table) is None]
            for table in missing:
                self.storage.opened(table)
        return bool(missing)

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:  # noqa: ARG002
        """Several reads of one state, in a DuckDB of this process; a load is never waited for."""
        with self.storage.duckdb() as connection:
            yield self._reader(connection)

    def _reader(self, connection: "duckdb.DuckDBPyConnection", *, is_lazy: bool = False) -> Read:
        """Reads by a DuckDB; only their own errors are the lake's, not those of who reads."""
        from ges_history.warehouses.lake_reading import LakeReader  # noqa: PLC0415

        with self._explained():
            reader = LakeReader(self.storage, connection, is_lazy=is_lazy)

        def read(sql: str, *values: Any) -> "pa.Table":
            with self._explained():
                return reader.read(sql, *values)

        return read

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)

    def forget(
        self,
        project: str,
        wait: float = 60.0,  # noqa: ARG002
        say: Say = quiet,  # noqa: ARG002
    ) -> dict[str, int]:
        """Remove all rows of a project, and its packages; its files go within a day of loads.

        Cursors go first, so that what is cut short is listed again, and the project's own row last, so
        that it is known until all is gone.
        """
        from ges_history.warehouses.lake_storage import COLUMNS, partition_of  # noqa: PLC0415
        from ges_history.warehouses.lake_upsert import until_committed  # noqa: PLC0415

        gone = dict.fromkeys(COLUMNS, 0)
        with self._explained():
            for name in sorted(COLUMNS, key=lambda it: (it == "projects", it != "listings")):
                key = partition_of(name)
                count = self.read(f"SELECT count(*) AS n FROM ges.{name} WHERE {key} = ?", project)
                gone[name] = int(count.column("n")[0].as_py())
                if gone[name]:
                    until_committed(partial(self._delete, name, f"{key} = '{project}'"))
        shutil.rmtree(self.folder / pipeline_name(project), ignore_errors=True)
        return gone

    def _delete(self, table: str, rows: str) -> None:
        self.storage.opened(table).delete(rows)

    def _make_folder(self) -> None:
        if "%" in str(self.folder):
            raise DatabaseError(
                f"The folder {self.folder} holds the sign %, which dlt cannot have in a path: keep its"
                " packages elsewhere (--database, or the current folder)."
            )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {self.folder} cannot be written: {error.strerror}. A load keeps its "
                "packages there."
            ) from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the lake's own drivers as one of the history."""
        try:
            yield
        except self.errors as error:
            raise self.explain(error) from error

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What deltalake, the bucket's libraries and DuckDB raise."""
        import duckdb  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from deltalake.exceptions import DeltaError  # noqa: PLC0415
        from obstore.exceptions import BaseError  # noqa: PLC0415

        return (DeltaError, BaseError, BotoCoreError, ClientError, duckdb.Error, OSError)

    def explain(self, error: BaseException) -> HistoryError:
        """What deltalake, the bucket or DuckDB say."""
        from ges_history.warehouses.lake_errors import explain  # noqa: PLC0415

        return explain(error, self.storage)


def _storage(name: str) -> "LakeStorage":
    """The lake that dlt's configuration names."""
    try:
        import deltalake  # noqa: F401, PLC0415
        import obstore  # noqa: F401, PLC0415
        import s3fs  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise DatabaseError(f"{NEEDED} ({error.name} is missing).") from error
    from dlt.common.configuration.exceptions import ConfigurationException  # noqa: PLC0415
    from dlt.common.exceptions import MissingDependencyException  # noqa: PLC0415
    from dlt.common.libs.deltalake import deltalake_storage_options  # noqa: PLC0415
    from dlt.destinations import filesystem  # noqa: PLC0415

    from ges_history.dlt_environment import sectioned_environment  # noqa: PLC0415
    from ges_history.warehouses.lake_storage import LakeStorage, NoPlace  # noqa: PLC0415

    with sectioned_environment():
        try:
            destination = filesystem(destination_name=name)
            configuration = destination.configuration(
                destination.spec()._bind_dataset_name(DATASET), accept_partial=False
            )
            options = deltalake_storage_options(
                configuration.credentials, configuration.deltalake_storage_options
            )
        except MissingDependencyException as error:  # of some other kind of place
            raise NoPlace(name) from error
        except ConfigurationException as error:
            variable = f"DESTINATION__{name.upper()}__"
            raise DatabaseError(
                f"A lake needs its place in dlt's configuration: set {variable}BUCKET_URL"
                " to a folder or to s3://BUCKET/PATH, and for a bucket"
                f" {variable}CREDENTIALS__AWS_ACCESS_KEY_ID, ..AWS_SECRET_ACCESS_KEY,"
                " ..REGION_NAME and, away from AWS, ..ENDPOINT_URL."
            ) from error
    return LakeStorage(configuration, options)
