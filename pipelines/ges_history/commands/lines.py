"""What a command writes: lines of a log with their time, and what becomes of output that is lost."""

import errno
from datetime import UTC, datetime
from typing import TextIO


def stamped(line: str, stream: TextIO) -> str:
    """The line as it is on a terminal, else after the time in UTC."""
    return line if stream.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}"


def is_lost_output(error: OSError) -> bool:
    """Whether a stream takes nothing more; an error that concerns a file names it."""
    return error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO)
