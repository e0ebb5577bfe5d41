"""A history whose every text tries to leave its place in a page."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb

from synthetic import DAY_MS, PROJECT, insert_backups, write_database

HOSTILE = (
    "</script><!--<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\u202e\x1b[31m"
)


def write_hostile(path: Path) -> Path:
    """One graph with a size that jumped, a stuck backup and a failed listing."""
    write_database(path, graphs=0, edge_cases=False)
    now = int(datetime.now(UTC).timestamp() * 1000)
    common = {"graph_id": HOSTILE, "graph_name": HOSTILE, "backup_method": HOSTILE}
    records = [
        common
        | {
            "id": f"{HOSTILE}{n}",
            "status": "success",
            "size": 900 if n == 1 else 100,
            "duration": 9,
            "start_timestamp": now - n * DAY_MS,
        }
        for n in range(1, 12)
    ]
    running = {"id": HOSTILE, "status": "backing_up", "start_timestamp": now - DAY_MS // 2}
    with duckdb.connect(str(path)) as connection:
        catalog = connection.execute("SELECT current_database()").fetchone()
        assert catalog is not None
        insert_backups(connection, catalog[0], [*records, common | running])
        connection.execute(
            "INSERT INTO ges.listings (project_id, graph_id, listed_at, outcome, error_code,"
            " error_msg) VALUES (?, ?, now(), 'failed', ?, ?)",
            [PROJECT, HOSTILE, HOSTILE, HOSTILE],
        )
    return path
