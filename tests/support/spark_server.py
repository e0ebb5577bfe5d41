"""A Spark Connect server for tests: Sail, in this process or as one; or another one that is named.

As a program it prints its port, and serves until its input ends.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pysail.spark import SparkConnectServer

_main = sys.modules["__main__"]
if not hasattr(_main, "__file__"):
    _main.__file__ = __file__  # a worker of xdist has none, and pyspark takes it for a doctest

OTHER = "GES_TEST_SPARK"
"""The environment's variable that names a server to run the same tests on: ``sc://HOST:PORT``."""


@contextmanager
def running_sail() -> Iterator[str]:
    """Sail on loopback, until the end of the block; its address."""
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    try:
        yield f"sc://{host}:{port}"
    finally:
        server.stop()


def other_server() -> str | None:
    """Apache Spark, say, where the machine has one."""
    return os.environ.get(OTHER)


if __name__ == "__main__":
    with running_sail() as address:
        print(address.rpartition(":")[2], flush=True)
        sys.stdin.read()
