"""What a load did, counted while it runs, for people and as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

from ges_backups.graph import GraphListing
from ges_backups.records import Rejected
from ges_backups.schema import GRAPH_COLUMNS
from ges_history.loading.settle import Settled, is_duckdb

MAX_PROBLEMS = 1000


@dataclass(frozen=True)
class LoadOutcome:
    """What a load did.

    Attributes:
        outcome: ``complete``, ``unchanged`` or ``partial``.
        graphs: Counts: total, listed, failed.
        backups: Counts: new, changed, deleted, returned, rejected, running, total.
        requests: Requests sent for the graphs.
        seconds: Wall time.
        problems: Each graph that could not be listed and each record that was rejected.
    """

    outcome: str
    graphs: dict[str, int]
    backups: dict[str, int]
    requests: int
    seconds: float = 0.0
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where all was listed and accepted, 3 where it was not."""
        return 3 if self.problems else 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, the keys in a fixed order."""
        return {
            "outcome": self.outcome,
            "graphs": self.graphs,
            "backups": self.backups,
            "requests": self.requests,
            "seconds": self.seconds,
            "problems": self.problems,
        }


class Watch:
    """Observes a load and counts; records listings that brought nothing new without a package."""

    def __init__(self) -> None:
        self._project_id = ""
        self._graphs = 0
        self._outcomes: Counter[str] = Counter()
        self._requests = 0
        self._rejected = 0
        self._problems: list[dict[str, Any]] = []
        self._unchanged: list[GraphListing] = []
        self._known: set[tuple[str, str]] = set()
        self._graph_rows: set[tuple[str | None, ...]] = set()
        self._is_recorded = False

    def begin(self, project_id: str, graphs: int, requests: int) -> None:
        """So many graphs will be listed; finding them took so many requests."""
        self._project_id = project_id
        self._graphs = graphs
        self._requests += requests

    def knows(self, project_id: str, graph_id: str) -> bool:
        """Whether the warehouse holds backups of the graph."""
        return (project_id, graph_id) in self._known

    def has_graph(self, row: Mapping[str, str | None]) -> bool:
        """Whether the warehouse holds this row of `ges.graphs` as it is."""
        return tuple(row[name] for name in GRAPH_COLUMNS) in self._graph_rows

    def listed(self, listing: GraphListing) -> bool:
        """Count a listing; an unchanged one of a graph that is known is recorded here."""
        self._outcomes[listing.outcome] += 1
        self._requests += listing.requests
        if listing.error is not None:
            self._add_problem(
                graph_id=listing.graph_id,
                outcome=listing.outcome,
                error_code=listing.error.error_code,
                error_msg=str(listing.error),
            )
        if listing.unchanged and self._is_recorded:
            self._unchanged.append(listing)
            return True
        return False

    def rejected(self, record: Rejected) -> None:
        """Count a record that does not fit."""
        self._rejected += 1
        self._add_problem(
            graph_id=record.graph_id,
            backup_id=record.backup_id,
            outcome="rejected",
            error_code=None,
            error_msg=record.reason,
        )

    def take_rejected(self, client: SqlClientBase[Any], load_ids: Sequence[str]) -> None:
        """Count the records that a killed load rejected and could not tell of."""
        if not load_ids:
            return
        rows = _query(
            client,
            "SELECT graph_id, backup_id, reason, record FROM {rejected_backups}"  # noqa: S608
            f" WHERE _dlt_load_id IN ({_literals(load_ids)})",
        )
        for row in rows:
            self.rejected(Rejected(*row))

    def _add_problem(self, **problem: Any) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def remember_graphs(self, pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> None:
        """Read what the warehouse knows of graphs, before they are listed."""
        self._is_recorded = is_duckdb(pipeline)
        rows = _query(client, "SELECT DISTINCT project_id, graph_id FROM {backups}")
        self._known = {(row[0], row[1]) for row in rows}
        columns = ", ".join(map(client.escape_column_name, GRAPH_COLUMNS))
        rows = _query(client, f"SELECT {columns} FROM {{graphs}}")  # noqa: S608
        self._graph_rows = {tuple(row) for row in rows}

    def record_unchanged(self, client: SqlClientBase[Any]) -> None:
        """Write the time and cost of listings that brought nothing new."""
        if not self._unchanged:
            return
        columns = [
            [listing.graph_id for listing in self._unchanged],
            [listing.listed_at for listing in self._unchanged],
            [listing.outcome for listing in self._unchanged],
            [listing.backup_count for listing in self._unchanged],
            [listing.requests for listing in self._unchanged],
        ]
        table = client.make_qualified_table_name("listings")
        client.native_connection.execute(
            f"""UPDATE {table} AS l
            SET listed_at = u.listed_at, outcome = u.outcome, error_code = NULL,
                error_msg = NULL, backup_count = u.backup_count, requests = u.requests,
                restarts = 0, last_complete_at = CASE u.outcome
                    WHEN 'complete' THEN u.listed_at ELSE l.last_complete_at END
            FROM (SELECT unnest($1::VARCHAR[]) AS graph_id,
                unnest($2::TIMESTAMPTZ[]) AS listed_at, unnest($3::VARCHAR[]) AS outcome,
                unnest($4::BIGINT[]) AS backup_count, unnest($5::BIGINT[]) AS requests) u
            WHERE l.project_id = $6 AND l.graph_id = u.graph_id""",  # noqa: S608
            [*columns, self._project_id],
        )

    def count(self, client: SqlClientBase[Any]) -> int:
        """Backups in the warehouse."""
        return _number(client, "SELECT COUNT(*) FROM {backups}")

    def outcome(
        self,
        client: SqlClientBase[Any],
        before: int,
        load_ids: Sequence[str],
        settled: Settled,
    ) -> LoadOutcome:
        """The summary of a load.

        Args:
            client: For counting.
            before: Backups in the warehouse before it.
            load_ids: Packages that it loaded.
            settled: Marks that were set and removed after it.
        """
        total = self.count(client)
        touched = _number(
            client,
            f"SELECT COUNT(*) FROM {{backups}} WHERE _dlt_load_id IN ({_literals(load_ids)})",  # noqa: S608
        )
        running = _number(
            client,
            "SELECT COUNT(*) FROM {backups} WHERE status = 'backing_up' AND deleted_at IS NULL",
        )
        failed = sum(self._outcomes[kind] for kind in ("missing", "forbidden", "failed"))
        backups = {
            "new": total - before,
            "changed": touched - (total - before),
            "deleted": settled.deleted,
            "returned": settled.returned,
            "rejected": self._rejected,
            "running": running,
            "total": total,
        }
        quiet = not any(backups[kind] for kind in ("new", "changed", "deleted", "returned"))
        done = "unchanged" if quiet else "complete"
        return LoadOutcome(
            outcome="partial" if self._problems else done,
            graphs={"total": self._graphs, "listed": self._graphs - failed, "failed": failed},
            backups=backups,
            requests=self._requests,
            problems=self._problems,
        )


def _query(client: SqlClientBase[Any], sql: str) -> Sequence[Sequence[Any]]:
    """Rows of a query on ``{table}``; none where the table does not exist yet."""
    names = ("backups", "graphs", "rejected_backups")
    tables = {name: client.make_qualified_table_name(name) for name in names}
    try:
        return client.execute_sql(sql.format(**tables)) or ()
    except DatabaseUndefinedRelation:
        return ()


def _number(client: SqlClientBase[Any], sql: str) -> int:
    rows = _query(client, sql)
    return int(rows[0][0]) if rows else 0


def _literals(load_ids: Sequence[str]) -> str:
    """dlt's load ids as SQL texts; they are numbers."""
    return ", ".join(f"'{load_id}'" for load_id in load_ids) or "''"
