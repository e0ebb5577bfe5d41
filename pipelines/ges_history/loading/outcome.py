"""What a load did, counted while it runs, for people and as JSON."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from dlt.common.exceptions import DltException

from ges_backups.errors import AnswerError, CredentialsError, GesError
from ges_backups.graph import PROJECT_WIDE, GraphListing
from ges_backups.known import Ask
from ges_backups.records import Rejected
from ges_backups.rows import UTC_TIME
from ges_history.errors import HistoryError

MAX_PROBLEMS = 1000


@dataclass(frozen=True)
class LoadOutcome:
    """What a load did.

    Attributes:
        outcome: ``complete``, ``unchanged``, ``partial``, or ``failed``: nothing was done.
        graphs: Counts: total, listed, failed. Where the project was listed at once, those that hold
            backups; 1 failed where that listing failed.
        backups: Counts: new, changed, deleted, returned, rejected, running, total.
        requests: Requests of the API that were sent, also by a project that failed.
        seconds: Wall time.
        problems: Each graph that could not be listed and each record that was rejected.
        projects: Where several were loaded, what each of them did, by name.
        project_id: Of the project, where it was one.
    """

    outcome: str
    graphs: dict[str, int]
    backups: dict[str, int]
    requests: int
    seconds: float = 0.0
    problems: list[dict[str, Any]] = field(default_factory=list)
    projects: dict[str, "LoadOutcome"] = field(default_factory=dict)
    project_id: str = ""

    @property
    def exit_code(self) -> int:
        """0 where all was listed and accepted, 3 where it was not, 1 where nothing could be done."""
        if self.outcome == "failed":
            return 1
        return 3 if self.problems else 0

    @property
    def error(self) -> str | None:
        """Why nothing could be done; None where anything could."""
        return self.problems[0]["error_msg"] if self.outcome == "failed" else None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, the keys in a fixed order."""
        told = {
            "outcome": self.outcome,
            "graphs": self.graphs,
            "backups": self.backups,
            "requests": self.requests,
            "seconds": self.seconds,
            "problems": self.problems,
        }
        if self.projects:
            told["projects"] = {name: one.to_json() for name, one in self.projects.items()}
        return told


GRAPHS = ("total", "listed", "failed")
BACKUPS = ("new", "changed", "deleted", "returned", "rejected", "running", "total")


def failed_project(error: Exception, requests: int) -> LoadOutcome:
    """A project of which nothing could be loaded, and why; so many requests were sent."""
    code = error.error_code if isinstance(error, AnswerError | CredentialsError) else None
    is_foreseen = isinstance(error, GesError | HistoryError | DltException)
    text = str(error) if is_foreseen else f"an unforeseen {type(error).__name__}: {error}"
    problem = {"graph_id": None, "outcome": "failed", "error_code": code, "error_msg": text}
    nothing = dict.fromkeys(BACKUPS, 0)
    graphs = dict.fromkeys(GRAPHS, 0)
    return LoadOutcome("failed", graphs, nothing, requests, problems=[problem])


def sum_of(projects: Mapping[str, LoadOutcome]) -> LoadOutcome:
    """Several projects as one: counts added, problems with the project's name."""
    outcomes = [one.outcome for one in projects.values()]
    problems = [
        {"project": name, **problem} for name, one in projects.items() for problem in one.problems
    ]
    if all(outcome == "failed" for outcome in outcomes):
        whole = "failed"
    elif problems:
        whole = "partial"
    else:
        whole = "complete" if "complete" in outcomes else "unchanged"
    return LoadOutcome(
        outcome=whole,
        graphs={key: sum(one.graphs[key] for one in projects.values()) for key in GRAPHS},
        backups={key: sum(one.backups[key] for one in projects.values()) for key in BACKUPS},
        requests=sum(one.requests for one in projects.values()),
        problems=problems[:MAX_PROBLEMS],
        projects=dict(projects),
    )


@dataclass(frozen=True)
class Counts:
    """A project's backups in the warehouse; `graphs` are those that hold any without a mark.

    `marked_of` has the marked ones of each graph that holds any backup.
    """

    total: int = 0
    marked: int = 0
    running: int = 0
    graphs: int = 0
    marked_of: Mapping[str, int] = field(default_factory=dict)


def count_backups(ask: Ask, project_id: str) -> Counts:
    """Count a project's backups; zeros where there is no table yet."""
    table = ask(
        "SELECT graph_id, COUNT(*) AS total, COUNT(deleted_at) AS marked,"
        " COUNT(CASE WHEN status = 'backing_up' AND deleted_at IS NULL THEN 1 END) AS running"
        f" FROM {{backups}} WHERE project_id = '{project_id}' GROUP BY graph_id"
    )
    graphs = table.to_pylist() if table is not None else []
    return Counts(
        total=sum(graph["total"] for graph in graphs),
        marked=sum(graph["marked"] for graph in graphs),
        running=sum(graph["running"] for graph in graphs),
        graphs=sum(graph["total"] > graph["marked"] for graph in graphs),
        marked_of={graph["graph_id"]: graph["marked"] for graph in graphs},
    )


class Tally:
    """Observes a load and counts; keeps the listings that brought nothing new."""

    def __init__(self) -> None:
        self._graphs = 0
        self._is_project_wide = False
        self._outcomes: Counter[str] = Counter()
        self._rejected = 0
        self._problems: list[dict[str, Any]] = []
        self._unchanged: list[GraphListing] = []

    def begin(self, project_id: str, graphs: int) -> None:  # noqa: ARG002
        """So many graphs will be listed."""
        self._graphs = graphs

    def listed(self, listing: GraphListing) -> bool:
        """Count a listing; an unchanged one needs no row of a package."""
        self._outcomes[listing.outcome] += 1
        self._is_project_wide |= listing.graph_id == PROJECT_WIDE
        if listing.error is not None:
            self._add_problem(
                graph_id=listing.graph_id,
                outcome=listing.outcome,
                error_code=listing.error.error_code,
                error_msg=str(listing.error),
            )
        if listing.unchanged:
            self._unchanged.append(listing)
        return listing.unchanged

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

    def take_rejected(self, ask: Ask, load_ids: Sequence[str]) -> None:
        """Count the records that a killed load rejected and could not tell of."""
        if not load_ids:
            return
        table = ask(
            "SELECT graph_id, backup_id, reason, record FROM {rejected_backups}"
            f" WHERE _dlt_load_id IN ({_literals(load_ids)})"
        )
        for row in table.to_pylist() if table is not None else ():
            self.rejected(Rejected(**row))

    def _add_problem(self, **problem: Any) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def unchanged(self) -> pa.Table | None:
        """The listings that brought nothing new, as `Warehouse.touch` takes them; None for none.

        A project without graphs has no listing that could bring anything: its table is empty.
        """
        if self._graphs and not self._unchanged:
            return None

        def column(of: Callable[[GraphListing], Any], kind: pa.DataType) -> pa.Array:
            return pa.array([of(listing) for listing in self._unchanged], kind)

        return pa.table(
            {
                "graph_id": column(lambda one: one.graph_id, pa.string()),
                "listed_at": column(lambda one: one.listed_at, UTC_TIME),
                "outcome": column(lambda one: one.outcome, pa.string()),
                "backup_count": column(lambda one: one.backup_count, pa.int64()),
                "requests": column(lambda one: one.requests, pa.int64()),
            }
        )

    def outcome(
        self, requests: int, before: Counts, after: Counts, touched: int, deleted: int
    ) -> LoadOutcome:
        """The summary of a load.

        Args:
            requests: How many it sent.
            before: The project's backups before it.
            after: After it.
            touched: Rows of backups that its packages wrote.
            deleted: Those of them that are marked.
        """
        total = self._graphs
        failed = sum(self._outcomes[kind] for kind in ("missing", "forbidden", "failed"))
        if self._is_project_wide and not failed:
            total = after.graphs  # one listing was read; what it holds is counted
        new = after.total - before.total
        returned = before.marked + deleted - after.marked
        vanished = sum(
            marked for graph, marked in after.marked_of.items() if graph not in before.marked_of
        )  # new ones that went while their graph was first read: new and deleted, touched once
        backups = {
            "new": new,
            "changed": max(0, touched - new - deleted - returned + vanished),
            "deleted": deleted,
            "returned": returned,
            "rejected": self._rejected,
            "running": after.running,
            "total": after.total,
        }
        quiet = not any(backups[kind] for kind in ("new", "changed", "deleted", "returned"))
        done = "unchanged" if quiet else "complete"
        return LoadOutcome(
            outcome="partial" if self._problems else done,
            graphs={"total": total, "listed": total - failed, "failed": failed},
            backups=backups,
            requests=requests,
            problems=self._problems,
        )


def count_written(ask: Ask, load_ids: Sequence[str]) -> tuple[int, int]:
    """How many rows of backups some packages wrote, and how many of these are marked."""
    if not load_ids:
        return 0, 0
    table = ask(
        "SELECT COUNT(*) AS touched, COUNT(deleted_at) AS deleted FROM {backups}"
        f" WHERE _dlt_load_id IN ({_literals(load_ids)})"
    )
    row = table.to_pylist()[0] if table is not None else {"touched": 0, "deleted": 0}
    return row["touched"], row["deleted"]


def _literals(load_ids: Sequence[str]) -> str:
    """dlt's load ids as SQL texts; they are numbers."""
    return ", ".join(f"'{load_id}'" for load_id in load_ids)
