"""The files that commands write."""

from pathlib import Path

import click

from ges_history.warehouses.seam import Warehouse


def refuse_own_files(warehouse: Warehouse, *files: Path | None) -> None:
    """End as wrong usage where a file would be written over the history: that would be its end."""
    from ges_history.warehouses.own_files import is_own_file  # noqa: PLC0415

    for file in files:
        if file and is_own_file(warehouse, file):
            raise click.UsageError(f"{file} is the database itself; give another file to write to.")
