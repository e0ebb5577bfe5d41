"""Connections whose answers come in time or not at all, and which can be cut while somebody waits.

A timeout of a socket is for one read: a server that drips its headers byte by byte could hold a
load for ever. Here what is left of a request's time bounds each read of an answer, headers and
body; the TLS handshake has the connection's own timeout as a whole.
"""

import io
import socket
import threading
import time
import weakref
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _TimedFile(io.RawIOBase):
    """What a socket brings until the time is over that the socket's timeout gives at the start."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)
        seconds = connection.gettimeout()
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._connection.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedFile(sock))


class Lines:
    """The open connections of a client, over all its threads."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False

    def add(self, connection: Any) -> None:
        """Remember an open connection for as long as it lives."""
        if not isinstance(connection, socket.socket):
            return
        with self._lock:
            self._open.add(connection)
            if self._is_cut:
                _shut(connection)

    def cut(self) -> None:
        """Let everyone who waits for an answer, or will, find that the connection has ended."""
        with self._lock:
            self._is_cut = True
            for connection in self._open:
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    """Not by the method of a TLS socket, which would take its keys from somebody who reads."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def timed_adapter(lines: Lines) -> HTTPAdapter:
    """An adapter of requests with such connections, for http and https, through proxies too."""

    class Plain(HTTPConnection):
        response_class = _TimedResponse

        def connect(self) -> None:
            super().connect()
            lines.add(self.sock)

    class Secure(HTTPSConnection):
        response_class = _TimedResponse

        def connect(self) -> None:
            super().connect()
            lines.add(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = {"http": PlainPool, "https": SecurePool}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*args, **options)
            manager.pool_classes_by_scheme = pools
            return manager

    return Adapter()
