"""A command in a pseudo-terminal, as a person runs it."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

import warm_python


def in_terminal(
    command: Sequence[str] | str,
    folder: Path,
    variables: Mapping[str, str],
    *,
    columns: int = 80,
    seconds: float = 120,
) -> tuple[int, str]:
    """The exit code of a command (a text is the shell's) and what stood on the screen.

    `seconds` is what it may take to end once it has closed the terminal.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        process = warm_python.start(
            ["/bin/sh", "-c", command] if isinstance(command, str) else command,
            {**variables, "TERM": "xterm"},
            cwd=folder,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
    finally:
        os.close(follower)
    shown = _read_all(leader)
    return process.wait(timeout=seconds), shown


def _read_all(leader: int) -> str:
    """What comes until the last writer has closed the terminal."""
    parts = []
    try:
        while part := os.read(leader, 65536):
            parts.append(part)
    except OSError:  # Linux's end of a pseudo-terminal
        pass
    finally:
        os.close(leader)
    return b"".join(parts).decode(errors="replace").replace("\r\n", "\n")
