"""A lake whose reports a Spark Connect server works out: any that can read the lake's files.

The server is told which files hold the rows, so that it needs no Delta of its own. All that is made
there are views of a session, in UTC, that end with it; nothing is copied through this process but
the answers. What a report reads several times is worked out once: kept by the server where it can
(Apache Spark), in a folder of the lake where it cannot (Sail), else each time again.
"""

import functools
import re
import socket
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ges_history.errors import DatabaseError, HistoryError, NoHistory
from ges_history.reports.catalogue import views_needed
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.lake_storage import (
    COLUMNS,
    arrow_schema,
    partition_of,
    whole_schema,
)
from ges_history.warehouses.seam import DATASET, REPORTS, Read, Say, quiet
from ges_history.warehouses.spark_address import SparkAddress
from ges_history.warehouses.spark_sql import Part, named, parts_of, query

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

NEEDED = "Spark needs `pip install 'ges-backup-history[spark]'`"
SCRATCH = "_ges_scratch"
_PATTERN = re.compile("[*?{]")
TRIES_AGAIN = 4
"""How often Spark's client asks a server that is away, for 4 s together; its own 15 take ten minutes."""


class SparkLake:
    """A lake, read by a Spark Connect server; see `ges_history.warehouses.seam.Warehouse`.

    Args:
        lake: The lake; it is loaded into without Spark.
        remote: The server, ``sc://HOST:PORT``, with what else Spark Connect takes.

    Raises:
        DatabaseError: That is no address, or Spark would take the lake's path for a pattern.
    """

    dialect = "spark"

    def __init__(self, lake: LakeWarehouse, remote: str) -> None:
        self._lake = lake
        self._remote = SparkAddress(remote)
        self.name = lake.name
        if found := _PATTERN.search(lake.name):
            raise DatabaseError(
                f"{lake.name} cannot be read by Spark, which takes {found[0]!r} for a pattern and finds"
                " no rows: give the lake another name, or ask without --spark."
            )

    @contextmanager
    def reading(self, wait: float = 0.0, say: Say = quiet) -> Iterator[Read]:  # noqa: ARG002
        """Several reads of one state, in a session of the server."""
        with _session(self._remote) as session:
            reader = _SparkReader(self._lake, session, self._remote)
            try:
                yield reader.read
            finally:
                reader.close()

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after."""
        with self.reading() as read:
            return read(sql, *values)

    def explain(self, error: BaseException) -> HistoryError:
        """What the lake, or Spark, says."""
        return self._lake.explain(error)

    def __getattr__(self, name: str) -> Any:
        """All else is the lake's."""
        return getattr(self._lake, name)


class _SparkReader:
    def __init__(self, lake: LakeWarehouse, session: "SparkSession", remote: SparkAddress) -> None:
        self._remote = remote
        self._lake = lake
        self._session = session
        self._there: set[str] = set()
        self._kept: list[DataFrame] = []
        self._scratch = ""
        self._opened = lake.storage.open_all()
        if not self._lay_out("backups"):
            raise NoHistory(
                f"There is no history in {lake.name}; run `ges-backups load --destination"
                " filesystem` to make it."
            )

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of a query; see the seam."""
        try:
            for report in views_needed(named(sql, REPORTS)):
                self._lay_out_report(report)
            for table in sorted(named(sql, DATASET)):
                self._lay_out(table)
            return self._session.sql(query(sql, values)).toArrow()
        except _spark_errors() as error:
            raise DatabaseError(_what_spark_says(error, self._remote)) from error

    def close(self) -> None:
        """Give back what was kept."""
        with suppress(*_spark_errors()):  # a server that has gone keeps nothing
            for frame in self._kept:
                frame.unpersist()
        if self._scratch:
            files = self._lake.storage.filesystem()
            with suppress(
                *self._lake.errors
            ):  # only Spark may write there: it stays, the answer too
                if files.exists(self._scratch):
                    files.rm(self._scratch, recursive=True)

    def _lay_out(self, table: str) -> bool:
        """Make a table of the lake a view of the session; whether it is there."""
        if table in self._there or table not in COLUMNS:
            return True
        storage = self._lake.storage
        opened = self._opened[table]
        schema = arrow_schema(table) if opened is None else whole_schema(opened, table)
        column = partition_of(table)
        frame = self._empty(schema)
        stored = _spark_schema(schema, leaving_out=column)
        for project, uris in storage.files_by_project(opened).items() if opened else ():
            frame = frame.unionByName(self._rows(uris, stored, column, project))
        frame.createOrReplaceTempView(f"{DATASET}_{table}")
        self._there.add(table)
        return opened is not None

    def _rows(self, files: list[str], stored: Any, column: str, project: str) -> "DataFrame":
        """The rows of a project: its id stands in the path alone."""
        from pyspark.sql.functions import lit  # noqa: PLC0415

        rows = self._session.read.schema(stored).parquet(*map(_spark_path, files))
        return rows.withColumn(column, lit(project))

    def _empty(self, schema: "pa.Schema") -> "DataFrame":
        return self._session.createDataFrame([], _spark_schema(schema))

    def _lay_out_report(self, report: str) -> None:
        for table in sorted(named(_text(report), DATASET)):
            self._lay_out(table)
        if f"{REPORTS}.{report}" in self._there:
            return
        for part in parts_of(report):
            frame = self._session.sql(part.sql)
            kept = self._keep(part, frame) if part.is_kept else frame
            kept.createOrReplaceTempView(part.name)
        self._there.add(f"{REPORTS}.{report}")

    def _keep(self, part: Part, frame: "DataFrame") -> "DataFrame":
        """Have it worked out once."""
        if self._can_persist:
            self._kept.append(frame.persist())
            return self._kept[-1]
        storage = self._lake.storage
        self._scratch = self._scratch or f"{storage.bucket}/{SCRATCH}/{uuid.uuid4().hex}"
        path = f"{self._scratch}/{part.name}"
        try:
            frame.write.parquet(_spark_path(path))
            return self._session.read.schema(frame.schema).parquet(_spark_path(path))
        except _spark_errors():  # it may not write there
            return frame

    @functools.cached_property
    def _can_persist(self) -> bool:
        """Whether the server keeps what it is told to keep; Sail says so of everything and does not."""
        one = self._session.sql("SELECT 1 AS one")
        if one.storageLevel.useMemory:
            return False
        one.persist()
        is_kept = bool(one.storageLevel.useMemory)
        one.unpersist()
        return is_kept


@contextmanager
def _session(remote: SparkAddress) -> "Iterator[SparkSession]":
    """A session of the server, in UTC."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of pandas 3, which is not used here
        warnings.filterwarnings("ignore", r"\[RETRIES_EXCEEDED\]|session\.stop", UserWarning)
        try:
            from pyspark.sql import SparkSession  # noqa: PLC0415
            from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415
        except ImportError as error:
            raise DatabaseError(f"{NEEDED}.") from error
        _check_that_it_listens(remote)
        try:
            session = SparkSession.builder.remote(remote.url).create()
            session.client.set_retry_policies([DefaultPolicy(max_retries=TRIES_AGAIN)])
            session.conf.set("spark.sql.session.timeZone", "UTC")
        except _spark_errors() as error:
            raise DatabaseError(_no_server(remote, _first_line(error))) from error
        try:
            yield session
        finally:
            session.client.set_retry_policies([DefaultPolicy(max_retries=0)])
            session.stop()


def _spark_errors() -> tuple[type[Exception], ...]:
    import grpc  # noqa: PLC0415
    from pyspark.errors import PySparkException  # noqa: PLC0415

    return (PySparkException, grpc.RpcError)


def _check_that_it_listens(remote: SparkAddress) -> None:
    """Find out at once: pyspark tries for minutes."""
    try:
        with socket.create_connection((remote.host, remote.port), timeout=10):
            return
    except (OSError, ValueError) as error:
        raise DatabaseError(_no_server(remote, str(error))) from error


def _no_server(remote: SparkAddress, reason: str) -> str:
    """A sentence."""
    return f"No Spark Connect server answers at {remote}: {remote.hide(reason)}."


def _what_spark_says(error: BaseException, remote: SparkAddress) -> str:
    """A sentence, where its server has gone; else its own first line."""
    if any(sign in str(error) for sign in ("UNAVAILABLE", "RETRIES_EXCEEDED")):
        return (
            f"The Spark Connect server at {remote} does not answer any more: it was stopped,"
            " or has run out of memory."
        )
    return f"Spark says: {remote.hide(_first_line(error))}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _text(report: str) -> str:
    from ges_history.reports.catalogue import selects  # noqa: PLC0415

    return selects()[report]


def _spark_path(uri: str) -> str:
    """A file as Spark names it: Hadoop calls S3 otherwise."""
    return f"s3a://{uri.removeprefix('s3://')}" if uri.startswith("s3://") else uri


def _spark_schema(schema: "pa.Schema", leaving_out: str = "") -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415

    fields = [field.with_nullable(True) for field in schema if field.name != leaving_out]
    return from_arrow_schema(pa.schema(fields))
