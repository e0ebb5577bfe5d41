"""Lines that a schedule writes into a log: with their time, where no person is watching."""

from datetime import UTC, datetime
from typing import TextIO


def stamped(line: str, stream: TextIO) -> str:
    """The line as it is on a terminal, else after the time in UTC."""
    return line if stream.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}"
