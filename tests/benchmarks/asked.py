"""The scenario that counts: requests of whole loads beside the fewest that can bring the same rows."""

import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from pathlib import Path

import tables
from measure import HERE
from scenarios import Options

DAY_MS = 86_400_000
FIRST_MS = 1_700_000_000_000
LIMITS = ("10", "100", "1,000", "100, others refused")
STEPS = ("first", "nothing new", "one new a graph", "one deleted a graph")


def requests(options: Options) -> tuple[list[object], str]:
    """Requests of whole loads, the list of graphs included, beside the fewest possible."""
    graphs, backups = (5, 30) if options.quick else (20, 150)
    rows = []
    # Loads in this process would make it large, and its children count from its memory on.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        for listing in ("graphs", "project"):
            for limit in LIMITS:
                size = int(limit.split(",")[0] if "refused" in limit else limit.replace(",", ""))
                asked = apart.submit(count, listing, limit, size, graphs, backups).result()
                fewest = least(listing, size, graphs, backups)
                cells = (f"{ours} / {best}" for ours, best in zip(asked, fewest, strict=True))
                rows.append((listing, limit, *cells))
    header = ["LISTING", "rows in a page", *STEPS]
    words = (
        f"{graphs} graphs of {backups} backups, old to new: requests sent / the fewest. The fewest "
        "read each row that is new once, a graph's count once, and to find which backup has gone, "
        "its whole list once; that each page begins with the last row of the one before is what "
        "`ges-backups` pays above it for proof."
    )
    return [], f"{words}\n\n{tables.table(header, rows)}"


def least(listing: str, limit: int, graphs: int, backups: int) -> list[int]:
    """The fewest requests of the four loads, by counting."""
    found = ceil(graphs / limit) if listing == "graphs" else 0

    def whole(rows: int) -> int:
        return graphs * ceil(rows / limit) if found else ceil(graphs * rows / limit)

    nothing = graphs if found else 1
    new = graphs if found else ceil(graphs / limit)
    return [found + n for n in (whole(backups), nothing, new, whole(backups))]


def count(listing: str, limit: str, size: int, graphs: int, backups: int) -> list[int]:
    """What four loads asked for, each after a change of the fleet."""
    sys.path[:0] = [str(HERE.parents[1] / folder) for folder in ("pipelines", "sources")]
    from ges_emulator import Emulator, Fleet  # noqa: PLC0415 - measured processes need none of it
    from ges_history import load  # noqa: PLC0415

    fleet = Fleet()
    for number in range(graphs):
        fleet.add_graph(f"g{number:02}")

    def add(number: int) -> None:
        for place, graph in enumerate(fleet.graphs):
            graph.add_backup(FIRST_MS + number * DAY_MS + place, id=f"{graph.id}-{number}")

    def delete() -> None:
        for graph in fleet.graphs:
            graph.delete_backup(graph.backups[backups // 2])

    for number in range(backups):
        add(number)
    caps = {"most_rows": size} if "refused" in limit else {"page_cap": size}
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: None,
        lambda: add(backups),
        delete,
    ]
    asked = []
    with Emulator(fleet, "old_to_new", **caps) as emulator, tempfile.TemporaryDirectory() as place:
        for change in changes:
            change()
            before = len(emulator.requests)
            load(
                Path(place) / "asked.duckdb",
                isolated=True,
                endpoint=emulator.endpoint,
                project_id=fleet.project_id,
                credentials={"token": "emulator-token"},
                listing=listing,
            )
            asked.append(len(emulator.requests) - before)
    return asked
