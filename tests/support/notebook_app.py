"""The notebook as an app on a free port of loopback, for the tests and the pictures."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "backup_trends.py"


@contextmanager
def served(database: Path) -> Iterator[str]:
    """Serve the notebook over a history; it ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["run", "--headless", "--no-token", "--no-check", "--port", str(port), str(NOTEBOOK)]
    server = subprocess.Popen(
        [sys.executable, "-m", "marimo", *command],
        env=os.environ | {"GES_BACKUPS_DATABASE": str(database)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_served(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_until_served(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            assert server.poll() is None, "marimo ended"
            assert time.monotonic() < deadline, "marimo does not answer"
            time.sleep(0.2)
