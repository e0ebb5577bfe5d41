"""What the warehouse holds of a project: cursors, graphs, and which backups a mark may be due for.

The source asks before and while it lists. It asks in plain SQL that DuckDB and PostgreSQL share,
through a function that a warehouse gives, or else through the running pipeline's own destination.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.destination.exceptions import (
    DestinationUndefinedEntity,
    SqlClientNotAvailable,
)

from .listing import Cursor

Ask = Callable[[str], "pa.Table | None"]
"""Rows of a query that names tables as ``{backups}``; None where a table or column is not there yet."""

IDS_IN_A_QUERY = 5000
"""As literals, of which each takes a parser 20 µs."""
IDS_IN_A_TEXT = 100_000
FEWEST_IN_A_TEXT = 100
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class KnownListing:
    """The latest listing of a graph that the warehouse holds.

    Attributes:
        outcome: What came of it.
        last_complete_at: When a complete listing of the graph last began.
        last_read_at: When one that ended without an error, and was of no window, last began.
        cursor: None where it has none, or the load that wrote it is not complete.
    """

    outcome: str | None
    last_complete_at: datetime | None
    last_read_at: datetime | None
    cursor: Cursor | None


@dataclass
class Known:
    """What the warehouse holds of a project; an empty one knows nothing, so all is listed in full.

    Attributes:
        project_id: Letters and digits.
        project: Its row of `ges.projects`, None before the first load; without a cursor where it
            has none, or the load that wrote it is not complete.
        listings: By graph id.
        graphs: Rows of `ges.graphs` by id.
        holding: Ids of graphs of which it holds backups.
        rejected: Hashes of the rejected records that were reported.
        version: The package that last wrote the project's row, as each of its packages does.
        takes_arrays: Whether the warehouse knows `unnest` and `string_to_array`, as DuckDB and
            PostgreSQL do: many ids are then one text, which costs a tenth of as many literals.
    """

    project_id: str = ""
    project: dict[str, Any] | None = None
    listings: Mapping[str, KnownListing] = field(default_factory=dict)
    graphs: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    holding: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()
    version: str = ""
    ask: Ask = lambda _: None
    takes_arrays: bool = False

    @property
    def learned_size(self) -> dict[str, Any] | None:
        """What was learned last of the server's pages: see `PageSize`."""
        cursors = (listing.cursor for listing in self.listings.values())
        learned = [cursor.page_size for cursor in cursors if cursor and cursor.page_size]
        return max(learned, key=lambda one: float(one["learned_at"]), default=None)

    @cached_property
    def is_empty(self) -> bool:
        """Whether it holds no backup, of whatever project."""
        return not self.holding and not self.ask("SELECT id FROM {backups} LIMIT 1")

    def backups_of(self, graph_ids: Iterable[str]) -> pa.Table:
        """`id`, `graph_id` and `is_marked` of all backups of some of its graphs, in no order."""
        return self._ids(
            "SELECT id, graph_id, deleted_at IS NOT NULL AS is_marked FROM {backups}"
            f" WHERE {self._of_project} AND graph_id IN ",
            graph_ids,
            _IDS,
        )

    def owners_of(self, ids: Iterable[str]) -> pa.Table:
        """The same of the backups with these ids, whosever they are, and whether they `are_own`."""
        return self._ids(
            "SELECT id, graph_id, deleted_at IS NOT NULL AS is_marked,"
            f" {self._of_project} AS are_own FROM {{backups}} WHERE id IN ",
            ids,
            _OWNED,
        )

    def iter_rows(self, ids: Iterable[str]) -> Iterator[pa.Table]:
        """The whole rows of backups, in parts."""
        return self._iter_whole("{backups} WHERE id", ids)

    def iter_listings(self, graph_ids: Iterable[str]) -> Iterator[pa.Table]:
        """The whole rows of listings, in parts."""
        return self._iter_whole(f"{{listings}} WHERE {self._of_project} AND graph_id", graph_ids)

    @property
    def _of_project(self) -> str:
        return f"project_id = '{self.project_id}'"

    def _iter_whole(self, column: str, values: Iterable[str]) -> Iterator[pa.Table]:
        for part in self._parts(values, IDS_IN_A_QUERY):
            table = self.ask(f"SELECT * FROM {column} IN {part}")
            if table is not None:
                yield table

    def _ids(self, select: str, values: Iterable[str], columns: pa.Schema) -> pa.Table:
        most = IDS_IN_A_TEXT if self.takes_arrays else IDS_IN_A_QUERY
        tables = [self.ask(select + part) for part in self._parts(values, most)]
        found = [table.cast(columns) for table in tables if table is not None]
        return pa.concat_tables(found) if found else columns.empty_table()

    def _parts(self, values: Iterable[str], most: int) -> Iterator[str]:
        """What stands behind an IN, for so many values at most; as literals for fewer."""
        rest = iter(values)
        while part := list(islice(rest, most)):
            if self.takes_arrays and len(part) >= FEWEST_IN_A_TEXT and _can_be_joined(part):
                text = _text(_SEPARATOR.join(part))
                yield f"(SELECT unnest(string_to_array({text}, '{_SEPARATOR}')))"
                continue
            for first in range(0, len(part), IDS_IN_A_QUERY):
                yield f"({', '.join(map(_text, part[first : first + IDS_IN_A_QUERY]))})"


_IDS = pa.schema([("id", pa.string()), ("graph_id", pa.string()), ("is_marked", pa.bool_())])
_OWNED = _IDS.append(pa.field("are_own", pa.bool_()))


def read_known(project_id: str, ask: Ask) -> Known:
    """What a warehouse holds of a project.

    Args:
        project_id: Letters and digits.
        ask: Runs a query in the warehouse.
    """
    of_project = f"WHERE project_id = '{project_id}'"
    projects = _projects(project_id, ask)
    listings = _iter_rows(ask(f"SELECT * FROM {{listings}} {of_project}"))
    loads = ask("SELECT load_id FROM {_dlt_loads} WHERE status = 0")
    complete = set(loads.column(0).to_pylist() if loads is not None else ())
    graphs = _iter_rows(ask(f"SELECT * FROM {{graphs}} {of_project}"))
    holding = _iter_rows(ask(f"SELECT DISTINCT graph_id FROM {{backups}} {of_project}"))
    rejected = ask(f"SELECT record_hash FROM {{rejected_backups}} {of_project}")
    return Known(
        project_id=project_id,
        project=_project(projects[0], complete) if projects else None,
        listings={row["graph_id"]: _listing(row, complete) for row in listings},
        graphs={row["id"]: row for row in graphs},
        holding=frozenset(row["graph_id"] for row in holding),
        version=_version(projects),
        rejected=frozenset(rejected.column(0).to_pylist() if rejected is not None else ()),
        ask=ask,
    )


def read_version(project_id: str, ask: Ask) -> str:
    """`Known.version` alone."""
    return _version(_projects(project_id, ask))


def _projects(project_id: str, ask: Ask) -> list[dict[str, Any]]:
    """The project's row, if it has one."""
    return list(_iter_rows(ask(f"SELECT * FROM {{projects}} WHERE id = '{project_id}'")))


def _version(projects: list[dict[str, Any]]) -> str:
    """Of its row; one that a plain script has written may name no package."""
    return str(projects[0].get("_dlt_load_id")) if projects else ""


def _project(row: dict[str, Any], complete: set[str]) -> dict[str, Any]:
    """A row of `ges.projects`; in a database of an earlier release it has no cursor."""
    return {**row, "cursor": row.get("cursor") if row.get("_dlt_load_id") in complete else None}


def _listing(row: dict[str, Any], complete: set[str]) -> KnownListing:
    """A row of `ges.listings`; a database of an earlier release has no cursors and no `last_read_at`."""
    counts = row.get("_dlt_load_id") in complete
    cursor = Cursor.from_json(row.get("cursor")) if counts else None
    complete_at = row["last_complete_at"]
    return KnownListing(row["outcome"], complete_at, row.get("last_read_at") or complete_at, cursor)


def ask_the_pipeline(sql: str) -> pa.Table | None:
    """Run a query in the destination of the running pipeline, as an `Ask`; any SQL destination will do."""
    pipeline = dlt.current.pipeline()
    try:
        with pipeline.sql_client() as client:
            names = ("backups", "graphs", "listings", "rejected_backups", "projects", "_dlt_loads")
            tables = {name: client.make_qualified_table_name(name) for name in names}
            with client.execute_query(sql.format(**tables)) as cursor:
                columns = [column[0] for column in cursor.description or ()]
                return _table(columns, cursor.fetchall())
    except (DestinationUndefinedEntity, SqlClientNotAvailable):
        return None


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Rows of a driver as Arrow; what a driver reads out of a JSON column is text again."""
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    plain = [[json.dumps(v) if isinstance(v, dict | list) else v for v in of] for of in values]
    return pa.table(dict(zip(columns, plain, strict=True)))


def _iter_rows(table: pa.Table | None) -> Iterator[dict[str, Any]]:
    """A thousand at a time, so that not all of them are dictionaries at once."""
    for batch in table.to_batches(max_chunksize=1000) if table is not None else ():
        yield from batch.to_pylist()


def _can_be_joined(values: Iterable[str]) -> bool:
    return all(value and _SEPARATOR not in value for value in values)


def _text(value: str) -> str:
    """A text in SQL; braces are doubled, since table names are put in by `str.format`."""
    return "'" + value.replace("'", "''").replace("{", "{{").replace("}", "}}") + "'"
