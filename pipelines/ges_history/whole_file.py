"""Write a file whole or not at all: beside it, and put in its place by renaming."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from ges_history.errors import HistoryError

FOR_ITS_OWNER = 0o600
LONGEST_BEGIN = 50
"""Characters of a file's name in a temporary one: of four bytes each, 255 hold them and what follows."""


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file by a new one; on failure the old one stays.

    What cannot be replaced is written as it is: a device, a pipe, standard output, a file in a
    folder that takes no new one. Behind a symbolic link it is the link's target that is replaced.

    Args:
        path: The file, or where one is to be.
        content: All of it.
        mode: Its permissions; default: those of the old file, without one for the owner only.

    Raises:
        HistoryError: It cannot be written there.
    """
    try:
        if _is_to_be_kept(path):
            path.write_bytes(content)
        else:
            _replace(path.resolve(), content, mode)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        reason = getattr(error, "strerror", None) or error
        raise HistoryError(f"{path} cannot be written: {reason}.") from error


def _replace(path: Path, content: bytes, mode: int | None) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:LONGEST_BEGIN]}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            new.chmod(mode)
        elif path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _is_to_be_kept(path: Path) -> bool:
    if not path.exists() or path.is_dir():
        return False
    takes_no_new_one = not os.access(path.resolve().parent, os.W_OK)
    return takes_no_new_one or not path.is_file() or _is_output_of_this_process(path)


def _is_output_of_this_process(path: Path) -> bool:
    """Whether it is /dev/stdout or the like, behind which may stand a file that others append to."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return True
    return False
