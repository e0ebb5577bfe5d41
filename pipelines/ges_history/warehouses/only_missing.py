"""Rows of a package that is older than the warehouse: what is there stays, what is missing is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlt.common.destination.client import JobClientBase
from dlt.common.destination.typing import PreparedTableSchema


@contextmanager
def only_missing(destination: Any, *, wanted: bool) -> Iterator[None]:
    """Let a destination of ours write nothing but rows whose keys are not there."""
    destination.is_only_missing = wanted
    try:
        yield
    finally:
        destination.is_only_missing = False


class OnlyMissing(JobClientBase):
    """A client that can do so; stands before dlt's among the bases."""

    is_only_missing = False

    def prepare_load_table(self, table_name: str) -> PreparedTableSchema:
        """dlt's own, with another strategy where that is wanted."""
        table: Any = super().prepare_load_table(table_name)
        if self.is_only_missing and table["write_disposition"] == "merge":
            table["x-merge-strategy"] = "insert-only"
        return table  # type: ignore[no-any-return]
