"""Bring staged rows into a Delta table: what is new is appended, what changed is replaced.

A merge of dlt's or deltalake's own reads and joins the whole table, 20 s for a thousand rows into
ten million. Here DuckDB first finds which staged keys are known, reading nothing but keys; then
only files whose range of starts holds a changed row are merged. The start is no part of the key:
the ranges are those of the rows as the table holds them.

Every commit carries a transaction id of its project. Delta refuses a commit when another one with
the same id came between: so a writer that read an older state can never add to a newer one,
whatever became of its lock, and known rows can be told from new ones outside of Delta.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from ges_backups.rows import stray_column
from ges_history.warehouses.lake_lock import Fence
from ges_history.warehouses.lake_storage import LakeStorage, partition_of, schema_of
from ges_history.warehouses.layout import quoted, stored_in, text

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

PRUNES = "start_timestamp"
"""Files are in its order, roughly, and know their smallest and largest."""
MARK = "deleted_at"
RANGES = 12
MERGED_AT_ONCE = 200_000
APPENDED_AT_ONCE = 10_000_000
"""New rows that are put in order and committed at once: DuckDB has no memory to order ten times as many."""
UPKEEP_COMMITS = 12
COMMIT_TRIES = 8
MEMORY_MB = 500
HELD_START = "held start"
"""The start that the table holds for a staged row; with a space, as no column of a table is named."""
CLOSE = 24 * 3_600_000
"""Starts that are closer than this, in milliseconds, are in one range."""


@dataclass(frozen=True)
class Staged:
    """Rows that a load brings for a table.

    Attributes:
        table: The table's name.
        files: Local Parquet files.
        keys: Columns that name a row; a row comes once.
        compared: Columns whose change makes a row a changed one.
        columns: Those that the load knows beside the files' own; what else stands in a row stays.
        is_insert_only: Known rows stay as they are.
    """

    table: str
    files: Sequence[str]
    keys: Sequence[str]
    compared: Sequence[str]
    columns: Collection[str] = ()
    is_insert_only: bool = False


def upsert(storage: LakeStorage, staged: Staged, fence: Fence, spill: Path) -> None:
    """Bring staged rows into their table; again changes nothing.

    Args:
        storage: The lake.
        staged: The rows.
        fence: The load's lock.
        spill: A folder for what does not fit into memory.

    Raises:
        deltalake.exceptions.CommitFailedError: Another writer came between; try again.
        LeaseLost: Another load has the project.
    """
    opened = storage.opened(staged.table)
    fence.check()  # after the state was read: whoever held the lock before has no commit to come
    with storage.duckdb() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY_MB} MB'")
        connection.execute(f"SET temp_directory = {text(str(spill))}")
        _Upsert(storage, staged, opened, fence, connection).run()


class _Upsert:
    def __init__(
        self,
        storage: LakeStorage,
        staged: Staged,
        opened: "DeltaTable",
        fence: Fence,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        self._storage = storage
        self._staged = staged
        self._table = opened
        self._fence = fence
        self._connection = connection
        self._partition = partition_of(staged.table)

    def run(self) -> None:
        self._stage()
        rows = self._number("SELECT count(*) FROM staged")
        self._find_known()
        known = self._number("SELECT count(*) FROM known")
        if known and not self._staged.is_insert_only:
            self._replace_changed()
        if known < rows:
            self._append_new()

    def _stage(self) -> None:
        """The view `staged`, in the columns and types of the table, which gets the new ones."""
        self._connection.execute(f"CREATE VIEW files AS FROM {stored_in(self._staged.files)}")
        present = self._types("files")
        self._add_columns(present)
        self._own = {*self._staged.columns, *present, *self._strays.values()}
        self._connection.register("columns", schema_of(self._table).empty_table())
        self._connection.execute("CREATE TABLE empty AS FROM columns")
        selected = [
            self._cast(name, type_, present) for name, type_ in self._types("empty").items()
        ]
        staged = f"SELECT {', '.join(selected)} FROM files"
        self._connection.execute(f"CREATE VIEW staged AS {staged}")
        query = f"SELECT DISTINCT {self._partition} FROM staged"
        projects = self._connection.sql(query).fetchall()
        self._projects = sorted(project for (project,) in projects)

    def _types(self, of: str) -> dict[str, str]:
        rows = self._connection.execute(f"DESCRIBE {of}").fetchall()
        return {row[0]: row[1] for row in rows}

    def _add_columns(self, present: dict[str, str]) -> None:
        """Columns that came, and those for values that do not fit into the one of their name."""
        from dlt.common.libs.deltalake import ensure_delta_compatible_arrow_schema  # noqa: PLC0415

        there = schema_of(self._table)
        came = self._connection.sql("FROM files LIMIT 0").to_arrow_table().schema
        came = ensure_delta_compatible_arrow_schema(came)
        self._strays = self._find_strays(there, present)
        wanted = [field for field in came if field.name not in there.names]
        wanted += [
            pa.field(name, pa.string()) for name in self._strays.values() if name not in there.names
        ]
        add_columns(self._table, self._staged.table, wanted, self._fence)

    def _find_strays(self, there: pa.Schema, present: dict[str, str]) -> dict[str, str]:
        """{column: the one that takes its values as text}, where another project chose the type."""
        types = {
            field.name: str(field.type)
            for field in self._connection.sql("FROM files LIMIT 0").to_arrow_table().schema
        }
        strays = {}
        for name in present:
            if name not in there.names or types[name] == str(there.field(name).type):
                continue
            to = _duckdb_type(self._connection, there.field(name))
            lost = f"CAST({quoted(name)} AS VARCHAR) IS DISTINCT FROM"
            again = f"CAST(TRY_CAST({quoted(name)} AS {to}) AS VARCHAR)"
            count = self._number(f"SELECT count(*) FROM files WHERE {lost} {again}")
            if count:
                strays[name] = stray_column(name)
        return strays

    def _cast(self, name: str, type_: str, present: dict[str, str]) -> str:
        """A column of the table out of the files; what a record lacks is null."""
        origins = {stray: column for column, stray in self._strays.items()}
        column = quoted(name)
        if name in origins:
            return f"CAST({quoted(origins[name])} AS VARCHAR) AS {column}"
        if name not in present or name in self._strays:
            return f"CAST(NULL AS {type_}) AS {column}"
        return f"CAST({column} AS {type_}) AS {column}"

    def _find_known(self) -> None:
        """The table `known`: the keys, and starts, of staged rows that the table holds."""
        held = self._storage.rows(self._table, "empty", self._projects)
        if self._partition not in self._staged.keys and MARK in schema_of(self._table).names:
            held += self._marked_elsewhere()
        self._connection.execute(f"CREATE VIEW held AS {held}")
        self._prunes = PRUNES in schema_of(self._table).names
        columns = [f"h.{quoted(key)}" for key in self._staged.keys]
        if self._prunes:
            columns.append(f"h.{PRUNES} AS {quoted(HELD_START)}")
        self._connection.execute(
            f"CREATE TABLE known AS SELECT {', '.join(columns)} FROM held h"
            f" SEMI JOIN staged s ON {self._same('s', 'h')}"
        )

    def _marked_elsewhere(self) -> str:
        """Staged rows that other projects hold, and have marked: they move to the one that lists them."""
        others = self._storage.projects(self._table) - set(self._projects)
        is_marked = f"{MARK} IS NOT NULL"
        marked = self._storage.rows(self._table, "empty", others, is_marked)
        self._connection.execute(
            f"CREATE TABLE elsewhere AS SELECT m.* FROM ({marked}) m"
            f" SEMI JOIN staged s ON {self._same('s', 'm')} WHERE {is_marked}"
        )
        query = f"SELECT DISTINCT {self._partition} FROM elsewhere"
        self._projects += [project for (project,) in self._connection.sql(query).fetchall()]
        return " UNION ALL BY NAME FROM elsewhere"

    def _same(self, one: str, other: str) -> str:
        return " AND ".join(
            f"{one}.{quoted(key)} = {other}.{quoted(key)}" for key in self._staged.keys
        )

    def _replace_changed(self) -> None:
        table_columns = set(schema_of(self._table).names)
        compared = [name for name in self._staged.compared if name in table_columns]
        compared += [name for name in self._strays.values() if name not in compared]
        if not compared:
            return
        differs = " OR ".join(f"s.{quoted(n)} IS DISTINCT FROM h.{quoted(n)}" for n in compared)
        start = f", h.{PRUNES} AS {quoted(HELD_START)}" if self._prunes else ""
        starts = self._starts("known") if self._prunes else []
        near = _within(f"h.{PRUNES}", starts) if self._prunes else "true"
        self._connection.execute(
            f"CREATE TABLE changed AS SELECT s.*{start} FROM staged s JOIN held h"
            f" ON {self._same('s', 'h')} WHERE ({near}) AND ({differs})"
        )
        count = self._number("SELECT count(*) FROM changed")
        keys = ", ".join(map(quoted, self._staged.keys))
        order = f"{quoted(HELD_START)}, {keys}" if self._prunes else keys
        for offset in range(0, count, MERGED_AT_ONCE):
            part = f"FROM changed ORDER BY {order} LIMIT {MERGED_AT_ONCE} OFFSET {offset}"
            self._merge(self._connection.sql(part).to_arrow_table())

    def _merge(self, rows: pa.Table) -> None:
        condition = self._of_projects("target") + f" AND {self._same('target', 'source')}"
        if self._prunes:
            starts = rows.column(HELD_START).unique().to_pylist()
            condition += f" AND ({_within(f'target.{PRUNES}', _ranges(starts))})"
            rows = rows.drop_columns([HELD_START])
        merger = self._table.merge(
            rows,
            condition,
            source_alias="source",
            target_alias="target",
            commit_properties=self._commit(),
        )
        others = [name for name in rows.column_names if name not in self._own]
        merger.when_matched_update_all(except_cols=others).execute()
        self._committed()

    def _append_new(self) -> None:
        from deltalake import write_deltalake  # noqa: PLC0415

        order = f"ORDER BY {PRUNES}" if self._prunes else ""
        for condition in (parts := self._parts()):
            new = f"FROM staged s ANTI JOIN known k ON {self._same('s', 'k')} WHERE {condition}"
            if len(parts) > 1 and not self._number(f"SELECT count(*) {new}"):
                continue
            write_deltalake(
                self._table,
                self._connection.sql(f"{new} {order}").to_arrow_reader(50_000),
                mode="append",
                commit_properties=self._commit(),
            )
            self._committed()

    def _parts(self) -> list[str]:
        """Conditions that divide the staged rows by their starts, whole days in each part."""
        if not self._prunes:
            return ["true"]
        days = self._connection.sql(
            f"SELECT {PRUNES} // {CLOSE}, count(*) FROM staged GROUP BY 1 ORDER BY 1"
        ).fetchall()
        begins, size = [0], 0
        for day, count in days:
            if size and size + count > APPENDED_AT_ONCE:
                begins.append(day * CLOSE)
                size = 0
            size += count
        ends = [f" AND {PRUNES} < {begin}" for begin in begins[1:]]
        return [f"{PRUNES} >= {begin}{end}" for begin, end in zip(begins, [*ends, ""], strict=True)]

    def _of_projects(self, alias: str) -> str:
        """Names the projects, so that Delta need not look at, or wait for, any other's files."""
        listed = ", ".join(map(text, self._projects))
        return f"{alias}.{quoted(self._partition)} IN ({listed})"

    def _starts(self, of: str) -> list[tuple[int, int]]:
        days = self._connection.sql(
            f"SELECT DISTINCT {quoted(HELD_START)} // {CLOSE} * {CLOSE} FROM {of}"
        ).fetchall()
        return _ranges([day for (day,) in days] + [day + CLOSE - 1 for (day,) in days])

    def _commit(self) -> "CommitProperties":
        return fenced(self._table, self._fence)

    def _committed(self) -> None:
        note_commit(self._table, self._staged.table, self._fence)

    def _number(self, sql: str) -> int:
        ((number,),) = self._connection.execute(sql).fetchall()
        return int(number)


def until_committed(work: Callable[[], object]) -> None:
    """Do it; where a commit of another project came between, do it again, a few times."""
    from deltalake.exceptions import CommitFailedError  # noqa: PLC0415

    for attempt in range(1, COMMIT_TRIES):
        try:
            work()
        except CommitFailedError:
            time.sleep(0.1 * attempt)
        else:
            return
    work()


def fenced(opened: "DeltaTable", fence: Fence) -> "CommitProperties":
    """The properties of a project's next commit: one that came between makes it fail."""
    from deltalake import CommitProperties, Transaction  # noqa: PLC0415

    app = _app(fence)
    number = (opened.transaction_version(app) or 0) + 1
    return CommitProperties(app_transactions=[Transaction(app, number)])


def add_columns(
    opened: "DeltaTable", table: str, missing: Sequence[pa.Field], fence: Fence
) -> None:
    """Add columns, null in the rows that are there, to a table; `table` is its name."""
    from deltalake import Field  # noqa: PLC0415

    if missing:
        fields = [Field.from_arrow(field.with_nullable(True)) for field in missing]
        opened.alter.add_columns(fields, commit_properties=fenced(opened, fence))
        fence.due.add(table)


def note_commit(opened: "DeltaTable", table: str, fence: Fence) -> None:
    """Count a commit: after some, the table is to be tidied."""
    if (opened.transaction_version(_app(fence)) or 0) % UPKEEP_COMMITS == 0:
        fence.due.add(table)


def _app(fence: Fence) -> str:
    return f"ges_backups_{fence.project}"


def _duckdb_type(connection: duckdb.DuckDBPyConnection, field: pa.Field) -> str:
    name = "one_column"
    connection.register(name, pa.schema([field]).empty_table())
    ((_, type_, *_),) = connection.execute(f"DESCRIBE {name}").fetchall()
    connection.unregister(name)
    return str(type_)


def _ranges(starts: Iterable[int]) -> list[tuple[int, int]]:
    """Few ranges that hold all starts: the widest gaps between them are left out."""
    ordered = sorted(starts)
    if not ordered:
        return []
    gaps = sorted(
        ((after - before, before, after) for before, after in pairwise(ordered)), reverse=True
    )[: RANGES - 1]
    cuts = sorted((before, after) for gap, before, after in gaps if gap > CLOSE)
    lows = [ordered[0], *(after for _, after in cuts)]
    highs = [*(before for before, _ in cuts), ordered[-1]]
    return list(zip(lows, highs, strict=True))


def _within(column: str, ranges: Sequence[tuple[int, int]]) -> str:
    return " OR ".join(f"{column} BETWEEN {low} AND {high}" for low, high in ranges) or "true"
