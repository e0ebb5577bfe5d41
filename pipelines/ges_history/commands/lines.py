"""What a command writes: lines of a log with their time, sentences of errors, output that is lost."""

import errno
from datetime import UTC, datetime
from typing import TextIO

from ges_history.errors import HistoryError


def stamped(line: str, stream: TextIO) -> str:
    """The line as it is on a terminal, else after the time in UTC."""
    return line if stream.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}"


def sentence_of(error: Exception) -> str | None:
    """What an error says to people: one of ours, or a file without rights; None for any other."""
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}."
    if isinstance(error, HistoryError):
        return str(error)
    from ges_backups.errors import GesError  # noqa: PLC0415 - imports dlt

    return str(error) if isinstance(error, GesError) else None


def is_lost_output(error: OSError) -> bool:
    """Whether a stream takes nothing more; an error that concerns a file names it."""
    return error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO)
