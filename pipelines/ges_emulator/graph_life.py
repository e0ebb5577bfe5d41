"""One graph and its backups, in the form in which the API answers them."""

from datetime import datetime
from threading import RLock
from typing import Any, NamedTuple, Protocol

from ges_emulator.paging import Rows
from ges_emulator.texts import backup_name, to_ms, to_text

FIELDS_FROM_GRAPH = ("graph_size_type_index", "data_store_version", "arch")


class Home(Protocol):
    """What a graph knows of the fleet that it is in."""

    lock: RLock
    now: datetime
    seed: int
    version: int

    def graph(self, id: str) -> "Graph | None":  # noqa: A002, the API's word
        """The graph with this id, if it exists."""

    def new_id(self) -> str:
        """An id that no other has."""

    def new_shuffle_key(self) -> int:
        """A place in the shuffled order."""


class Plan(Protocol):
    """What a graph knows of its automatic backups."""

    def advance(self, graph: Any, now: datetime) -> None:
        """Bring a graph to a moment: every start, end and deletion in the order of time."""


class Run(NamedTuple):
    """How a running backup will end."""

    ends_at: datetime
    status: str
    duration_seconds: int
    size_mb: int


class Backup:
    """One backup; ``record`` is what is served, and may be changed in place."""

    __slots__ = ("record", "run", "shuffle_key", "start_ms")

    def __init__(self, record: Any, start_ms: int, shuffle_key: int) -> None:
        self.record = record
        self.start_ms = start_ms
        self.shuffle_key = shuffle_key
        self.run: Run | None = None

    @property
    def id(self) -> str:
        """The id that is served."""
        return str(self.record["id"])

    def finish(
        self,
        status: str = "success",
        duration: int = 54,
        size: int = 1,
        end: datetime | None = None,
    ) -> None:
        """End a running backup: ``duration`` in seconds, ``size`` in MB, ``end`` else computed."""
        end_ms = self.start_ms + duration * 1000 if end is None else to_ms(end)
        self.record.update(
            status=status,
            end_timestamp=end_ms,
            end_time=to_text(end_ms),
            size=size,
            duration=duration,
        )
        self.run = None


class Graph:
    """One graph and its backups; ``record`` is its row in ListGraphs, and may be changed."""

    def __init__(self, fleet: Home, record: dict[str, Any], shuffle_key: int) -> None:
        self.fleet = fleet
        self.id: str = record["id"]
        self.record = record
        self.shuffle_key = shuffle_key
        self.rows: Rows[Backup] = Rows()
        self.schedule: Plan | None = None

    @property
    def name(self) -> str:
        """The graph's name now."""
        return str(self.record["name"])

    @property
    def deleted(self) -> bool:
        """Whether the graph is gone; its backups may still be in the project's listing."""
        return self.fleet.graph(self.id) is not self

    @property
    def backups(self) -> list[Backup]:
        """The backups from old to new: a new list, changing it changes nothing."""
        with self.fleet.lock:
            return list(self.rows.natural)

    def add_backup(
        self,
        start: datetime | int,
        duration: int = 54,
        size: int = 1,
        status: str = "success",
        method: str = "auto",
        *,
        id: str | None = None,  # noqa: A002, the API's word
        name: str | None = None,
        index: int | None = None,
        **extra_fields: Any,
    ) -> Backup:
        """Add a backup that started at ``start`` (a moment, or ms since 1970).

        ``duration`` in seconds, ``size`` in MB; a running one (``backing_up``) has no end, size 0
        and duration 0. ``index``: its position from old to new, else by its start.
        ``extra_fields`` are served too and override every other field.
        """
        start_ms = start if isinstance(start, int) else to_ms(start)
        running = status == "backing_up"
        end_ms = None if running else start_ms + duration * 1000
        record = {
            "id": id or self.fleet.new_id(),
            "name": name or backup_name(self.name, start_ms, method),
            "backup_method": method,
            "graph_id": self.id,
            "graph_name": self.name,
            "graph_status": self.record["status"],
            **{field: self.record[field] for field in FIELDS_FROM_GRAPH if field in self.record},
            "status": status,
            "start_timestamp": start_ms,
            "start_time": to_text(start_ms),
            "product_type": self.record.get("product_type"),
            "end_timestamp": end_ms,
            "end_time": None if end_ms is None else to_text(end_ms),
            "size": 0 if running else size,
            "duration": 0 if running else duration,
            "encrypted": self.record.get("encrypted"),
        }
        for field in ("product_type", "encrypted"):
            if record[field] is None:
                del record[field]
        record.update(extra_fields)
        return self.add_record(record, index=index, start_ms=start_ms)

    def add_record(
        self, record: object, index: int | None = None, start_ms: int | None = None
    ) -> Backup:
        """Add a row that is served as it is, whatever it is; at the end unless placed."""
        with self.fleet.lock:
            rows = self.rows.natural
            if start_ms is None:
                start_ms = rows[-1].start_ms if rows else 0
            if index is None:
                index = len(rows)
                while index and rows[index - 1].start_ms > start_ms:
                    index -= 1
            backup = Backup(record, start_ms, self.fleet.new_shuffle_key())
            self.rows.insert(index, backup)
            self.fleet.version += 1
            return backup

    def delete_backup(self, id: str | Backup) -> None:  # noqa: A002, the API's word
        """Delete a backup by its id, or the backup itself."""
        with self.fleet.lock:
            if not isinstance(id, Backup):
                id = next(  # noqa: A001
                    row
                    for row in self.rows.natural
                    if isinstance(row.record, dict) and row.record.get("id") == id
                )
            self.rows.remove(id)
            self.fleet.version += 1

    def set_status(self, status: str) -> None:
        """Change the graph's status, in its backups too."""
        self._follow("status", "graph_status", status)

    def rename(self, name: str) -> None:
        """Change the graph's name, in its backups too; the names of backups stay."""
        self._follow("name", "graph_name", name)

    def _follow(self, field: str, field_of_backups: str, value: str) -> None:
        with self.fleet.lock:
            self.record[field] = value
            self.record["updated"] = to_text(to_ms(self.fleet.now))
            for row in self.rows.natural:
                if isinstance(row.record, dict) and field_of_backups in row.record:
                    row.record[field_of_backups] = value
