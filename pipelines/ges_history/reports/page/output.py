"""Write a file whole or not at all, readable by its owner only."""

import contextlib
import os
import tempfile
from pathlib import Path

from ges_history.errors import HistoryError


def write_privately(path: Path, text: str) -> None:
    """Replace `path` by a new file of mode 0600 that holds `text`; on failure the old one stays.

    Raises:
        HistoryError: it cannot be written there.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise HistoryError(
            f"The page cannot be written to {path}: {error.strerror}; choose another file."
        ) from error
