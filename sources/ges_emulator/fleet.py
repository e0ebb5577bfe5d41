"""The fleet: graphs and their backups as the service knows them, with a clock; no HTTP in here.

Everything that is served is a plain dictionary (``Backup.record``, ``Graph.record``) in the form
of the API, so a test can make any row dirty. Whoever changes a fleet that is being served from
another thread holds ``fleet.lock``; the methods here take it themselves.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar

from ges_emulator.schedule import Run, Schedule
from ges_emulator.texts import backup_name, random_id, to_ms, to_text

DELETED = "400"
FIELDS_FROM_GRAPH = ("graph_size_type_index", "data_store_version", "arch")


class Listed(Protocol):
    """What can be in a listing: it has a place in the order called ``shuffled``."""

    shuffle_key: int


Row = TypeVar("Row", bound=Listed)


class Rows(Generic[Row]):
    """Rows in their natural order, from old to new, and the pages of it in any order."""

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.natural: list[Row] = list(rows)
        self._shuffled: list[Row] | None = None

    def insert(self, index: int, row: Row) -> None:
        """Put ``row`` at ``index`` of the natural order."""
        self.natural.insert(index, row)
        self._shuffled = None

    def remove(self, row: Row) -> None:
        """Take ``row`` out."""
        self.natural.remove(row)
        self._shuffled = None

    def page(self, order: str, offset: int, limit: int) -> list[Row]:
        """The rows at ``offset`` in ``old_to_new``, ``new_to_old`` or ``shuffled`` order."""
        if order == "old_to_new":
            return self.natural[offset : offset + limit]
        if order == "new_to_old":
            end = max(len(self.natural) - offset, 0)
            return self.natural[max(end - limit, 0) : end][::-1]
        if order == "shuffled":
            if self._shuffled is None:
                self._shuffled = sorted(self.natural, key=lambda row: row.shuffle_key)
            return self._shuffled[offset : offset + limit]
        raise ValueError(f"unknown order {order!r}: old_to_new, new_to_old or shuffled")


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

    def __init__(self, fleet: "Fleet", record: dict[str, Any], shuffle_key: int) -> None:
        self.fleet = fleet
        self.record = record
        self.shuffle_key = shuffle_key
        self.rows: Rows[Backup] = Rows()
        self.schedule: Schedule | None = None

    @property
    def id(self) -> str:
        """The graph's id."""
        return str(self.record["id"])

    @property
    def name(self) -> str:
        """The graph's name now."""
        return str(self.record["name"])

    @property
    def deleted(self) -> bool:
        """Whether the graph is gone; its backups may still be in the project's listing."""
        return bool(self.record["status"] == DELETED)

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


class Fleet:
    """All graphs of one project, and the clock."""

    def __init__(
        self,
        project_id: str = "0123456789abcdef0123456789abcdef",
        now: datetime | None = None,
        seed: int = 1,
    ) -> None:
        self.project_id = project_id
        self.now = datetime.now(UTC) if now is None else now
        self.seed = seed
        self.lock = RLock()
        self.version = 0
        self._random = random.Random(seed)  # noqa: S311
        self._created = 0
        self._graphs: Rows[Graph] = Rows()
        self._all: tuple[int, Rows[Backup]] = (0, Rows())

    @property
    def graphs(self) -> list[Graph]:
        """The graphs that exist, in the order of their creation."""
        with self.lock:
            return [graph for graph in self._graphs.natural if not graph.deleted]

    @property
    def deleted_graphs(self) -> list[Graph]:
        """The graphs that were deleted."""
        with self.lock:
            return [graph for graph in self._graphs.natural if graph.deleted]

    def graph(self, id: str) -> Graph | None:  # noqa: A002, the API's word
        """The graph with this id, if it exists."""
        with self.lock:
            return next((graph for graph in self.graphs if graph.id == id), None)

    def add_graph(
        self,
        id: str | None = None,  # noqa: A002, the API's word
        name: str | None = None,
        **fields: Any,
    ) -> Graph:
        """Add a graph; ``fields`` override those of ListGraphs, None leaves a field out."""
        with self.lock:
            if id is not None and self.graph(id):
                raise ValueError(f"there is a graph {id!r} already")
            number = len(self._graphs.natural) + 1
            created = to_text(to_ms(self.now))
            record = {
                "id": id or self.new_id(),
                "name": name or f"graph_{number}",
                **_GRAPH_DEFAULTS,
                "private_ip": f"192.168.{number // 250}.{number % 250 + 1}",
                "created": created,
                "updated": created,
                **fields,
            }
            record = {field: value for field, value in record.items() if value is not None}
            graph = Graph(self, record, self.new_shuffle_key())
            self._graphs.insert(number - 1, graph)
            self.version += 1
            return graph

    def delete_graph(self, id: str) -> None:  # noqa: A002, the API's word
        """Delete a graph: its backups stay in the project's listing, with graph status 400."""
        with self.lock:
            self._existing(id).set_status(DELETED)
            self.version += 1

    def forget_graph(self, id: str) -> None:  # noqa: A002, the API's word
        """Remove a graph, deleted or not, with its backups, as if it had never been."""
        with self.lock:
            graph = next(graph for graph in self._graphs.natural if graph.id == id)
            self._graphs.remove(graph)
            self.version += 1

    def rename_graph(self, id: str, name: str) -> None:  # noqa: A002, the API's word
        """Give a graph another name."""
        self._existing(id).rename(name)

    def advance(self, by: timedelta) -> None:
        """Move the clock: scheduled backups start and end, retention deletes.

        The same fleet and the same moment give the same backups, in however many steps.
        """
        with self.lock:
            self.now += by
            for graph in self.graphs:
                if graph.schedule:
                    graph.schedule.advance(graph, self.now)

    def list_graphs(self, order: str, offset: int, limit: int) -> tuple[int, list[Graph]]:
        """How many graphs exist, and a page of them."""
        with self.lock:
            rows = Rows(self.graphs)
            return len(rows.natural), rows.page(order, offset, limit)

    def list_all_backups(self, order: str, offset: int, limit: int) -> tuple[int, list[Backup]]:
        """How many backups the project has, those of deleted graphs included, and a page."""
        with self.lock:
            version, rows = self._all
            if version != self.version:
                every = [row for graph in self._graphs.natural for row in graph.rows.natural]
                rows = Rows(sorted(every, key=lambda row: row.start_ms))
                self._all = (self.version, rows)
            return len(rows.natural), rows.page(order, offset, limit)

    def new_id(self) -> str:
        """An id that no other has; the same again for the same seed and calls."""
        with self.lock:
            return random_id(self._random)

    def new_shuffle_key(self) -> int:
        """A place in the shuffled order: scattered, but fixed for a row's life."""
        with self.lock:
            self._created += 1
            return self._created * 2654435761 % 2**32

    def _existing(self, id: str) -> Graph:  # noqa: A002
        graph = self.graph(id)
        if graph is None:
            raise KeyError(f"there is no graph {id!r}")
        return graph


_GRAPH_DEFAULTS = {
    "created_by": "ges_operator",
    "is_multi_az": "false",
    "region_code": "eu-west-101",
    "az_code": "eu-west-101a",
    "schema_path": [],
    "edgeset_path": [],
    "vertexset_path": [],
    "edgeset_format": "csv",
    "vertexset_format": "csv",
    "data_store_version": "2.4.5",
    "sys_tags": [],
    "status": "200",
    "graph_size_type_index": "1",
    "vpc_id": "2d6f0c8e-6a5f-4b5e-9d0a-6b8f1d1b7a01",
    "subnet_id": "9c1f7a7e-0f0b-4f43-8a3e-52c1c9c3b902",
    "security_group_id": "5f8a1b6d-3b0e-4c2a-8f57-1f4f2f6a8c03",
    "replication": 1,
    "arch": "x86_64",
    "encrypted": False,
    "enable_rbac": False,
    "enable_full_text_index": False,
    "enable_hyg": False,
    "enable_https": False,
    "product_type": "InMemory",
}
