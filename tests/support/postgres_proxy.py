"""A proxy in front of a PostgreSQL server that counts statements and can end things at one of them.

It reads the protocol's messages, so "after" means that the server has answered: a COMMIT is done,
and its client never hears of it.
"""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

STATEMENTS = {b"Q": "", b"E": "EXECUTE", b"c": "COPY DONE"}
"""Messages of a client that make the server work, by their type; a Query carries its text."""
ANSWERED = {b"Z", b"G"}
"""ReadyForQuery, CopyInResponse: the server waits for the client."""
PREAMBLES = {80877103, 80877104}
"""SSLRequest and GSSENCRequest, which the server answers by a single byte."""
SHOWN = 90

When = Literal["before", "after"]


class PostgresProxy:
    """Stands between clients and a server; a context manager.

    Attributes:
        port: Where clients connect.
        statements: The beginnings of all statements since `arm` or the start.
        has_cut: Whether the statement that it was armed for has come.
        seconds_before: How long it takes to let somebody in.
    """

    def __init__(self, server_port: int) -> None:
        self.statements: list[str] = []
        self.has_cut = False
        self.seconds_before = 0.0
        self._server_port = server_port
        self._point: tuple[int | str, When] | None = None
        self._act: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "PostgresProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    def arm(
        self, at: int | str = 0, when: When = "before", act: Callable[[], None] = lambda: None
    ) -> None:
        """Count anew; at one statement do `act`, then cut its connection.

        Args:
            at: Its number, from 1, or how the first such statement begins; 0 is never.
            when: Before the server sees the statement, or when its answer is there.
            act: Kills the client, say.
        """
        with self._lock:
            self.statements = []
            self._numbers = itertools.count(1)
            self._point = (at, when)
            self._act = act
            self.has_cut = False

    def drop_all(self) -> None:
        """Cut every connection."""
        for one in list(self._sockets):
            _cut(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        address = ("127.0.0.1", self._server_port)
        time.sleep(self.seconds_before)
        with (
            contextlib.suppress(OSError, EOFError),
            client,
            socket.create_connection(address) as server,
        ):
            pair = {client, server}
            for one in pair:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets |= pair
            awaited = threading.Event()
            try:
                _greet(client, server)
                threading.Thread(
                    target=self._relay_answers, args=(server, client, awaited), daemon=True
                ).start()
                self._relay_statements(client, server, awaited)
            finally:
                _cut(server)
                self._sockets -= pair

    def _relay_statements(
        self, client: socket.socket, server: socket.socket, awaited: threading.Event
    ) -> None:
        for kind, message in _messages(client):
            if kind in STATEMENTS:
                reached = self._count(STATEMENTS[kind] or _text(message))
                if reached == "before":
                    self._end(client, server)
                    return
                if reached == "after":
                    awaited.set()
            server.sendall(message)

    def _relay_answers(
        self, server: socket.socket, client: socket.socket, awaited: threading.Event
    ) -> None:
        with contextlib.suppress(OSError, EOFError):
            for kind, message in _messages(server):
                if kind in ANSWERED and awaited.is_set():
                    self._end(client, server)
                    return
                client.sendall(message)
        _cut(client)

    def _count(self, text: str) -> When | None:
        """Note a statement down; whether the armed point is reached, and how."""
        with self._lock:
            self.statements.append(text)
            number = next(self._numbers)
            if self._point is None or self.has_cut:
                return None
            at, when = self._point
            self.has_cut = text.startswith(at) if isinstance(at, str) else number == at
            return when if self.has_cut else None

    def _end(self, client: socket.socket, server: socket.socket) -> None:
        self._act()
        _cut(client)
        _cut(server)


def _greet(client: socket.socket, server: socket.socket) -> None:
    """Relay what comes before the first message that has a type."""
    while True:
        head = _exactly(client, 8)
        length, code = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
        server.sendall(head + _exactly(client, length - 8))
        if code not in PREAMBLES:
            return
        client.sendall(_exactly(server, 1))


def _messages(source: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole message), until the other side ends."""
    while True:
        head = _exactly(source, 5)
        yield head[:1], head + _exactly(source, int.from_bytes(head[1:], "big") - 4)


def _exactly(source: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        more = source.recv(count - len(received))
        if not more:
            raise EOFError
        received += more
    return bytes(received)


def _text(query: bytes) -> str:
    return " ".join(query[5:-1].decode(errors="replace").split())[:SHOWN]


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
