"""Which history a folder of packages belongs to: databases are moved, copied, restored and replaced.

dlt's state travels with its data, so a database always brings the cursors that are right for it.
Only a package that a killed run left has to be judged: it was made for one state of one history.
The file `base.json` beside the packages says for which.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

PIPELINE_NAME = "ges_backups"

Fitness = Literal["fits", "older", "foreign"]


@dataclass(frozen=True)
class Base:
    """A state of a history.

    Attributes:
        state: dlt's hash of the newest state, which holds the cursors; None before the first.
        first_load: The id of the first load: the same for all copies of one history.
        cursors_are_ahead: The cursors know of more than the database holds: they must go.
    """

    state: str | None = None
    first_load: str | None = None
    cursors_are_ahead: bool = False


class Lineage:
    """Compares the database with the folder of its packages.

    Args:
        folder: The folder that holds `base.json` and dlt's folder.
        client: The open database.
    """

    def __init__(self, folder: Path, client: SqlClientBase[Any]) -> None:
        self._path = folder / "base.json"
        self._client = client

    def fitness_of_pending(self, pipeline: dlt.Pipeline) -> Fitness:
        """Whether the pending package was made for this database, or an earlier state of it."""
        stored, base = self._stored_state(), self._read()
        if stored in (base.state, pipeline.state.get("_version_hash")):
            return "fits"
        loads = self._loads()
        pending = [
            *pipeline.list_extracted_load_packages(),
            *pipeline.list_normalized_load_packages(),
        ]
        if loads and loads[0] == base.first_load and loads[-1] < min(pending):
            return "older"
        return "foreign"

    def expect_cursors_ahead(self) -> None:
        """Note that a package is being loaded whose cursors are not right for this database."""
        base = self._read()
        self._write(Base(base.state, base.first_load, cursors_are_ahead=True))

    def restore(self, pipeline: dlt.Pipeline) -> None:
        """Make dlt's folder agree with the database, which is right: it may have been replaced."""
        if self._read().cursors_are_ahead:
            self._forget_cursors()
        stored = self._stored_state()
        local = None if pipeline.first_run else pipeline.state.get("_version_hash")
        if stored != local:
            pipeline.drop().sync_destination()
        loads = self._loads()
        self._write(Base(stored, loads[0] if loads else None))

    def _forget_cursors(self) -> None:
        """Everything is listed again by a load that finds no state."""
        table = self._client.make_qualified_table_name("_dlt_pipeline_state")
        self._query(f"DELETE FROM {table} WHERE pipeline_name = %s", PIPELINE_NAME)  # noqa: S608

    def _stored_state(self) -> str | None:
        """The hash of the newest state in the database."""
        state = self._client.make_qualified_table_name("_dlt_pipeline_state")
        loads = self._client.make_qualified_table_name("_dlt_loads")
        rows = self._query(
            f"SELECT s.version_hash FROM {state} s JOIN {loads} l ON l.load_id = s._dlt_load_id"  # noqa: S608
            " WHERE s.pipeline_name = %s AND l.status = 0 ORDER BY l.load_id DESC LIMIT 1",
            PIPELINE_NAME,
        )
        return str(rows[0][0]) if rows else None

    def _loads(self) -> list[str]:
        """The ids of the first and the last load, which begin with their times; or nothing."""
        table = self._client.make_qualified_table_name("_dlt_loads")
        rows = self._query(f"SELECT MIN(load_id), MAX(load_id) FROM {table}")  # noqa: S608
        return [load_id for load_id in rows[0] if load_id] if rows else []

    def _query(self, sql: str, *parameters: str) -> Sequence[Sequence[Any]]:
        try:
            return self._client.execute_sql(sql, *parameters) or ()
        except DatabaseUndefinedRelation:
            return ()

    def _read(self) -> Base:
        try:
            return Base(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return Base()

    def _write(self, base: Base) -> None:
        if self._path.exists() and self._read() == base:
            return
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(asdict(base)))
        new.replace(self._path)
