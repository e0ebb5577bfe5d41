"""The fleet: graphs and their backups as the service knows them, with a clock; no HTTP in here.

Everything that is served is a plain dictionary (``Backup.record``, ``Graph.record``) in the form
of the API, so a test can make any row dirty. Whoever changes a fleet that is being served from
another thread holds ``fleet.lock``; the methods here take it themselves.
"""

import random
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

from ges_emulator.graph_life import Backup, Graph
from ges_emulator.paging import Rows
from ges_emulator.texts import random_id, to_ms, to_text

DELETED = "400"


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
        self._graphs: list[Graph] = []
        self._existing: dict[str, Graph] = {}
        self._all: tuple[int, Rows[Backup]] = (0, Rows())

    @property
    def graphs(self) -> list[Graph]:
        """The graphs that exist, in the order of their creation."""
        with self.lock:
            return list(self._existing.values())

    @property
    def deleted_graphs(self) -> list[Graph]:
        """The graphs that were deleted."""
        with self.lock:
            return [graph for graph in self._graphs if graph.deleted]

    def graph(self, id: str) -> Graph | None:  # noqa: A002, the API's word
        """The graph with this id, if it exists."""
        with self.lock:
            return self._existing.get(id)

    def add_graph(
        self,
        id: str | None = None,  # noqa: A002, the API's word
        name: str | None = None,
        **fields: Any,
    ) -> Graph:
        """Add a graph; ``fields`` override those of ListGraphs, None leaves a field out."""
        with self.lock:
            if id in self._existing:
                raise ValueError(f"there is a graph {id!r} already")
            number = len(self._graphs) + 1
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
            self._graphs.append(graph)
            self._existing[graph.id] = graph
            self.version += 1
            return graph

    def delete_graph(self, id: str) -> None:  # noqa: A002, the API's word
        """Delete a graph: its backups stay in the project's listing, with graph status 400."""
        with self.lock:
            self._existing.pop(id).set_status(DELETED)
            self.version += 1

    def forget_graph(self, id: str) -> None:  # noqa: A002, the API's word
        """Remove a graph, deleted or not, with its backups, as if it had never been."""
        with self.lock:
            self._graphs = [graph for graph in self._graphs if graph.id != id]
            self._existing.pop(id, None)
            self.version += 1

    def rename_graph(self, id: str, name: str) -> None:  # noqa: A002, the API's word
        """Give a graph another name."""
        self._existing[id].rename(name)

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
                every = [row for graph in self._graphs for row in graph.rows.natural]
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
