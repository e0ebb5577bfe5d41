"""A lake that follows a fleet through the product's own `load`, here and in processes that die."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import warm_python
from ges_emulator import Emulator, Fleet
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load
from ges_history.warehouses.lake import LakeWarehouse
from ges_history.warehouses.seam import Read
from harness import FIRST_MS, Row, fill, settings_for, the_graph
from lake_place import Place

PAGE_SIZE = 4
PROGRAM = "import json, sys; from ges_history.loading.projects import load; load(**json.loads(sys.argv[1]))"


@dataclass
class LakeRows:
    """What a lake holds, each of its tables in the state of their first reading."""

    read: Read

    @property
    def backups(self) -> dict[str, Row]:
        """The backups by their ids; fails where an id came twice."""
        rows = self.read("SELECT * FROM ges.backups").to_pylist()
        repeated = [key for key, times in Counter(row["id"] for row in rows).items() if times > 1]
        assert not repeated
        return {row["id"]: row for row in rows}

    def keys(self, table: str, *key: str) -> list[tuple[Any, ...]]:
        """The keys of a table's rows, sorted; each once, or else it fails."""
        rows = self.read(f"SELECT {', '.join(key)} FROM ges.{table}").to_pylist()
        found = sorted(tuple(row.values()) for row in rows)
        assert len(found) == len(set(found))
        return found


@dataclass
class LakeLife:
    """A lake, the fleet that it follows, and the emulator between them."""

    place: Place
    fleet: Fleet
    emulator: Emulator
    host: str = "here"
    moves: int = field(default=0)

    @property
    def lake(self) -> LakeWarehouse:
        return self.place.warehouse(self.host)

    @contextmanager
    def reading(self) -> Iterator[LakeRows]:
        """What the lake holds now."""
        with self.lake.reading() as read:
            yield LakeRows(read)

    @property
    def arguments(self) -> dict[str, Any]:
        self.place.warehouse(self.host)
        return {
            "database": str(self.place.folder / self.host / "x.duckdb"),
            "destination": "filesystem",
            "wait": 60.0,
            **settings_for(self.emulator, page_size=PAGE_SIZE),
        }

    def load(self, **settings: Any) -> LoadOutcome:
        """One load, in this process."""
        return load(**self.arguments, **settings)

    def start_load(self, **environment: str) -> "subprocess.Popen[bytes]":
        """One load, in a process of its own."""
        return warm_python.start(
            [sys.executable, "-c", PROGRAM, json.dumps(self.arguments)],
            {**os.environ, **environment},
            stderr=subprocess.DEVNULL,
        )

    def move_on(self) -> None:
        """Let everything happen that a load must notice."""
        self.moves += 1
        graph = the_graph(self.fleet)
        graph.delete_backup(graph.backups[1])
        if graph.backups[-1].record["status"] == "backing_up":
            graph.backups[-1].finish(size=70 + self.moves)
        fill(graph, 2, first=50 * self.moves)
        start = FIRST_MS + (50 * self.moves + 10) * 86_400_000
        graph.add_backup(start, id=f"running{self.moves}", status="backing_up")
        broken = {"id": f"broken{self.moves}", "graph_id": "g2", "start_timestamp": start}
        the_graph(self.fleet, "g2").add_record(broken | {"size": "12abc"}, index=0)
        fill(self.fleet.add_graph(f"g9-{self.moves}"), 3)
