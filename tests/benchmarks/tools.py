"""Who is compared: each tool as a command that a user would start."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import HERE, Server

ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Tool:
    """A tool: its command, where its rows are, in which rounds it takes part, may it lose rows."""

    name: str
    command: Sequence[str]
    database: str
    table: str
    every: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    may_lose: bool = False


def ours(name: str = "ges-backups", root: Path = ROOT) -> Tool:
    """The installed command; `root` another checkout, for a comparison of versions."""
    command = Path(sys.executable).with_name("ges-backups")
    paths = f"{root / 'sources'}:{root / 'pipelines'}"
    return Tool(
        name,
        [str(command), "load", "--database", "ours.duckdb"],
        "ours.duckdb",
        "ges.backups",
        environment={"PYTHONPATH": paths},
    )


def _script(
    name: str, label: str, table: str, *arguments: str, every: int = 1, may_lose: bool = False
) -> Tool:
    command = [sys.executable, str(HERE / "competitors" / f"{name}.py"), *arguments]
    return Tool(label, command, f"{name}.duckdb", table, every, may_lose=may_lose)


FLOOR = _script("floor", "floor", "backups")
VENDOR_SDK = _script("vendor_sdk", "vendor SDK and pandas", "backups")
# With more graphs than one page of them holds, its one cursor for all drops rows of later graphs.
DLT_PARQUET = _script(
    "dlt_rest_api", "dlt rest_api, parquet", "ges.backups", "parquet", may_lose=True
)
DLT_DEFAULT = _script(
    "dlt_rest_api", "dlt rest_api, default", "ges.backups", every=2, may_lose=True
)


def environment_of(
    tool: Tool, server: Server, folder: Path, page_size: int, ours: int | str | None = None
) -> dict[str, str]:
    """The settings of all tools; nothing of the caller's own configuration.

    `ours` is the page size of `ges-backups`, where it is not that of the others.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DLT_DATA_DIR": str(folder / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "BENCH_ENDPOINT": server.endpoint,
        "BENCH_PROJECT": server.project,
        "BENCH_PAGE_SIZE": str(page_size),
        "SOURCES__GES_BACKUPS__ENDPOINT": server.endpoint,
        "SOURCES__GES_BACKUPS__PROJECT_ID": server.project,
        "SOURCES__GES_BACKUPS__PAGE_SIZE": str(ours or page_size),
        "SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN": "token",
        **tool.environment,
    }
