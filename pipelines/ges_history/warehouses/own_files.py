"""The files that a history lives in on this machine, to which nothing else may be written."""

import os
from pathlib import Path

from ges_history.warehouses.layout import folder_beside
from ges_history.warehouses.seam import Warehouse


def is_own_file(warehouse: Warehouse, file: Path) -> bool:
    """Whether a file is, or would be, a history's DuckDB file or its log, or in the folder beside it.

    Whatever links lead there; a lake and a server have no such file.
    """
    meant = Path(os.path.realpath(file))
    for path in _paths(warehouse):
        real = Path(os.path.realpath(path))
        folder = folder_beside(real)
        if meant in (real, real.with_name(f"{real.name}.wal"), folder) or folder in meant.parents:
            return True
        if meant.exists() and real.exists() and meant.samefile(real):
            return True
    return False


def _paths(warehouse: Warehouse) -> list[Path]:
    paths: list[Path] | None = getattr(warehouse, "paths", None)
    path: Path | None = None if paths else getattr(warehouse, "path", None)
    return paths or ([path] if path else [])
