"""The seam: all that loading, reports and watching know of where a history lives.

A warehouse is a DuckDB file, a PostgreSQL database or a lake of Delta tables. In each of them the
dataset `ges` holds the tables of `ges_backups.schema`, and the schema `reports` the views of
`ges_history.reports`. SQL that is given to a warehouse is DuckDB's, names tables in two parts
(``ges.backups``, ``reports.growth``), and marks values with ``?``; instants come back in UTC.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ges_history.errors import HistoryError

if TYPE_CHECKING:
    import dlt
    import pyarrow as pa

    from ges_backups.known import Ask

DATASET = "ges"
REPORTS = "reports"

Say = Callable[[str], None]
"""Takes a line for a person."""

Read = Callable[..., "pa.Table"]
"""`read(sql, *values)`: the rows of a query as an Arrow table."""


def quiet(_: str) -> None:
    """Says nothing."""


def pipeline_name(project: str) -> str:
    """The name of a project's dlt pipeline, and of its folder."""
    return f"ges_backups_{project}"


class Warehouse(Protocol):
    """Where a history lives; see the module's docstring for its SQL.

    Attributes:
        name: For people; never holds a secret.
        dialect: Of its own SQL, by sqlglot's name.
        folder: Where dlt keeps the packages of its pipelines on this machine.
    """

    name: str
    dialect: str

    @property
    def folder(self) -> Path:
        """See above."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""

    def lock(
        self, project: str, wait: float = 60.0, say: Say = quiet
    ) -> AbstractContextManager[None]:
        """Be the only load of a project, on any host; freed by death.

        Args:
            project: The project's id.
            wait: Seconds to wait for another load of it.
            say: Is told at once what is waited for.

        Raises:
            LoadInProgress: Another load went on for longer.
            DatabaseError: The warehouse cannot be reached or written.
        """

    def pipeline(self, project: str) -> "dlt.Pipeline":
        """The dlt pipeline of a project: its own name, folder and staging dataset."""

    def writing(self, wait: float = 60.0, say: Say = quiet) -> AbstractContextManager[None]:
        """Hold what dlt writes to for as long as a package is loaded; waited for like `lock`."""

    def asking(self, wait: float = 60.0, say: Say = quiet) -> AbstractContextManager["Ask"]:
        """What the source asks: over the tables as they are, named ``{backups}``; see `known.Ask`.

        An answer is None where a table is not there yet. Waits like `lock`; held as short as it goes.
        """

    def touch(self, project: str, listed: "pa.Table") -> None:
        """Write time and cost of listings that brought nothing new; no package is made for them.

        Args:
            project: The project's id.
            listed: Columns `graph_id`, `listed_at`, `outcome`, `backup_count`, `requests`.
        """

    def publish_reports(self) -> bool:
        """Make all tables and views there, and as this version has them; whether any was not.

        Repeatable, and what was left half done is mended by the next.
        """

    def reading(self, wait: float = 0.0, say: Say = quiet) -> AbstractContextManager[Read]:
        """Several reads of one state; tables and views of this version are all there.

        Args:
            wait: Seconds to wait for a load that holds the warehouse.
            say: Is told at once what is waited for.

        Raises:
            NoHistory: There is no history yet.
            DatabaseError: It cannot be read.
        """

    def read(self, sql: str, *values: Any) -> "pa.Table":
        """The rows of one query, nothing held after; errors as for `reading`."""

    def forget(self, project: str, wait: float = 60.0, say: Say = quiet) -> dict[str, int]:
        """Remove all rows of a project; how many went, by table. Never at the source; waits like `lock`."""

    def explain(self, error: BaseException) -> HistoryError:
        """What a driver's error means, in a sentence; the one place that reads a driver's words.

        Its `is_lasting` tells whether trying again cannot help: named, never guessed.
        """
