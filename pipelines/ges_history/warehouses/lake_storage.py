"""Where a lake lies: its folder or bucket, its Delta tables, and DuckDB over their files.

A table's folder stands in the dataset's folder, as dlt's destination `filesystem` places it. The
table's own log says which files hold its rows; no folder is ever read for it. Each table is
partitioned by its project, so that loads of two projects never touch the same file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa

from ges_backups.rows import BACKUP_COLUMNS
from ges_backups.schema import (
    GRAPH_COLUMNS,
    LISTING_COLUMNS,
    PROJECT_COLUMNS,
    REJECTED_COLUMNS,
)
from ges_history.errors import DatabaseError
from ges_history.warehouses.layout import quoted, stored_in, text
from ges_history.warehouses.seam import DATASET

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from dlt.common.storages import FilesystemConfigurationWithLocalFiles
    from fsspec import AbstractFileSystem

COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "backups": BACKUP_COLUMNS,
    "graphs": GRAPH_COLUMNS,
    "listings": LISTING_COLUMNS,
    "projects": PROJECT_COLUMNS,
    "rejected_backups": REJECTED_COLUMNS,
}
"""The tables of a history and their columns, in dlt's words."""
PLAIN = "filesystem"
"""The destination's name where it has none of its own."""
LOADS = "_dlt_loads"
VERSIONS = "_dlt_version"
READER_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
"""What a table may ask of its readers. Deletion vectors and renamed columns are not among them."""
PROPERTIES = {
    "delta.targetFileSize": str(32 * 2**20),
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
"""Of new tables: a changed row costs its file anew, so files are small; a reader has a day."""

_NOT_IN_A_URL = re.compile(r"[][^|?#]|%[0-9A-Fa-f]{2}")
"""deltalake dies of some of these, in a thread of its own, and ends the path at others."""
_BUCKET = re.compile(r"s3://[^/@:?#]+(/.*)?", re.DOTALL)
_NOT_IN_A_FOLDER = re.compile(r"[][^|\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""With the others it does not find its own files again."""
_DLTS_OWN = re.compile(r"__\d+(\.\d+)?(__[^/]*)?\.jsonl$")
"""The names of dlt's small files end so: with a time, some with a hash."""
_UTC = pa.timestamp("us", tz="UTC")
_ARROW = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": _UTC,
}


def partition_of(table: str) -> str:
    """The column that holds a row's project."""
    return "id" if table == "projects" else "project_id"


class NoPlace(DatabaseError):
    """What dlt's configuration names is no place for a lake; it may hold a password."""

    def __init__(self, destination: str) -> None:
        super().__init__(
            f"DESTINATION__{destination.upper()}__BUCKET_URL must be a folder or s3://BUCKET/PATH,"
            " without credentials in it."
        )


class LakeStorage:
    """A lake's folder or bucket.

    Args:
        configuration: Of dlt's destination `filesystem`, resolved.
        options: Credentials as `deltalake` takes them.

    Raises:
        DatabaseError: It is neither, or has a name that Delta does not take.
    """

    def __init__(
        self, configuration: "FilesystemConfigurationWithLocalFiles", options: dict[str, str]
    ) -> None:
        self._configuration = configuration
        self._options = options
        self.is_local = bool(configuration.is_local_filesystem)
        url = str(configuration.bucket_url).rstrip("/")
        self.bucket = configuration.make_local_path(url) if self.is_local else url
        if not self.is_local and not _BUCKET.fullmatch(url):
            raise NoPlace(self.destination)
        forbidden = _NOT_IN_A_FOLDER if self.is_local else _NOT_IN_A_URL
        if found := forbidden.search(Path(self.bucket).as_posix()):
            raise DatabaseError(
                f"{self.bucket!r} cannot hold a lake: Delta takes no {found[0]!r} in the path of a"
                " table. Give it another name."
            )

    def __repr__(self) -> str:
        return f"LakeStorage({self.bucket!r})"

    @property
    def destination(self) -> str:
        """Its name in dlt's configuration."""
        return self._configuration.destination_name or PLAIN

    @property
    def options(self) -> dict[str, str]:
        """Credentials and endpoint, as `deltalake` takes them; secret."""
        return dict(self._options)

    def filesystem(self) -> "AbstractFileSystem":
        """The files as dlt sees them."""
        from dlt.common.storages import fsspec_from_config  # noqa: PLC0415

        return fsspec_from_config(self._configuration)[0]

    def location(self, table: str) -> str:
        """A table's folder."""
        return f"{self.bucket}/{DATASET}/{table}"

    def open(self, table: str) -> "DeltaTable | None":
        """The newest state of a table; None where there is no such table."""
        from deltalake import DeltaTable  # noqa: PLC0415
        from deltalake.exceptions import TableNotFoundError  # noqa: PLC0415

        if self.is_local and not Path(self.location(table), "_delta_log").is_dir():
            return None  # deltalake would make the folder
        try:
            opened = DeltaTable(self.location(table), storage_options=self._options or None)
        except TableNotFoundError:
            return None
        _check_features(table, opened)
        _check_partitions(table, opened)
        return opened

    def open_all(self) -> "dict[str, DeltaTable | None]":
        """The newest state of each table, backups last: no listing is newer than its backups."""
        return {table: self.open(table) for table in sorted(COLUMNS, key="backups".__eq__)}

    def opened(self, table: str) -> "DeltaTable":
        """The newest state of a table, which is made where it is missing."""
        return self.open(table) or self._create(table)

    def _create(self, table: str) -> "DeltaTable":
        from deltalake import DeltaTable  # noqa: PLC0415
        from deltalake.exceptions import DeltaError  # noqa: PLC0415

        try:
            return DeltaTable.create(
                self.location(table),
                arrow_schema(table),
                mode="error",
                partition_by=[partition_of(table)],
                configuration=PROPERTIES,
                storage_options=self._options or None,
            )
        except DeltaError:  # the load of another project was quicker
            if (there := self.open(table)) is not None:
                return there
            raise

    def projects(self, opened: "DeltaTable") -> set[str]:
        """The projects that have rows in a table."""
        return {str(one) for partition in opened.partitions() for one in partition.values()}

    def files(
        self, opened: "DeltaTable", projects: Iterable[str] | None = None, holding: str = ""
    ) -> list[str]:
        """The files that hold the rows of some or all projects, as DuckDB takes them.

        Args:
            opened: The table.
            projects: Whose; default: of all.
            holding: A condition that some row of each is to meet, as far as Delta knows.
        """
        column = opened.metadata().partition_columns[0]
        wanted = [holding] if holding else []
        if projects is not None:
            wanted.append(f"{column} IN ({', '.join(map(text, sorted(projects)))})")
        uris = opened.file_uris(file_pruning_predicate=" AND ".join(wanted) or None)
        return [unquote(uri.removeprefix("file://")) for uri in uris]

    def files_by_project(
        self, opened: "DeltaTable", projects: Iterable[str] | None = None, holding: str = ""
    ) -> dict[str, list[str]]:
        """{project: the files that hold its rows}, of all projects or of these; see `files`."""
        found = self.projects(opened)
        wanted = found if projects is None else found & set(projects)
        files = {project: self.files(opened, [project], holding) for project in sorted(wanted)}
        return {project: of_project for project, of_project in files.items() if of_project}

    @contextmanager
    def duckdb(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB in memory that can read the lake's files; UTC."""
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if not self.is_local:
                connection.register_filesystem(self.filesystem())
            yield connection

    def rows(
        self,
        opened: "DeltaTable",
        empty: str,
        projects: Iterable[str] | None = None,
        holding: str = "",
    ) -> str:
        """A table's rows as SQL, every column there, whichever of its files have it.

        Args:
            opened: The table.
            empty: The name of a DuckDB table of its columns that holds no row.
            projects: Only the rows of these.
            holding: Only files that may hold a row for which this is true.
        """
        column = opened.metadata().partition_columns[0]
        names = [field.name for field in opened.schema().fields if field.name != column]
        stored = ", ".join(map(text, names))
        parts = [f"SELECT * FROM {empty}"]
        for project, files in self.files_by_project(opened, projects, holding).items():
            parts.append(
                f"SELECT COLUMNS(lambda c: c IN ({stored})), {text(project)} AS {quoted(column)}"
                f" FROM {stored_in(files)}"
            )
        return " UNION ALL BY NAME ".join(parts)

    def small_files(self, folder: str) -> list[str]:
        """dlt's own files in one of its folders."""
        fs = self.filesystem()
        path = self.location(folder)
        found = fs.ls(path, detail=False) if fs.exists(path) else []
        return [str(name) for name in found if _DLTS_OWN.search(str(name))]

    def small_file(self, path: str) -> dict[str, Any] | None:
        """What one of them says; None where it is not there, or not whole: its writer was killed."""
        try:
            said: dict[str, Any] = json.loads(self.filesystem().cat_file(path))
        except (FileNotFoundError, ValueError):
            return None
        return said


def arrow_schema(table: str) -> pa.Schema:
    """The columns of a table as this version knows them, in Arrow's types."""
    fields = [(name, _ARROW[hints["data_type"]]) for name, hints in COLUMNS[table].items()]
    return pa.schema([*fields, ("_dlt_load_id", pa.string())])


def schema_of(opened: "DeltaTable") -> pa.Schema:
    """The columns of a table in Arrow's types."""
    return pa.schema(opened.schema().to_arrow())


def missing_fields(opened: "DeltaTable", table: str) -> list[pa.Field]:
    """The columns of this version that a table of an earlier one lacks."""
    there = set(schema_of(opened).names)
    return [field for field in arrow_schema(table) if field.name not in there]


def whole_schema(opened: "DeltaTable", table: str) -> pa.Schema:
    """A table's columns, those that it lacks at their end."""
    return pa.schema([*schema_of(opened), *missing_fields(opened, table)])


def _check_features(name: str, opened: "DeltaTable") -> None:
    """Refuse what would be read wrongly: rows that a deletion vector hides would come back."""
    protocol = opened.protocol()
    unknown = sorted(set(protocol.reader_features or ()) - READER_FEATURES)
    if unknown or protocol.min_reader_version == 2:
        what = ", ".join(unknown) or "columnMapping"
        raise DatabaseError(
            f"Another tool changed the Delta table {name} to need {what}, which GES Backup History"
            f" does not read: turn it off there and rewrite the table, partitioned by {partition_of(name)}."
        )


def _check_partitions(name: str, opened: "DeltaTable") -> None:
    """Refuse what another tool has rewritten so that a project's rows are not in a folder of theirs."""
    if opened.metadata().partition_columns != [partition_of(name)]:
        raise DatabaseError(
            f"Another tool changed the Delta table {name}: it must be partitioned by"
            f" {partition_of(name)}, and by nothing else. Rewrite it so."
        )
