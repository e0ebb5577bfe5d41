"""A server on loopback that takes pings and webhooks, and can misbehave."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """A request that came."""

    method: str
    path: str
    content_type: str
    body: bytes


@dataclass
class Listener:
    """Serves on a free port of loopback while it is entered.

    Attributes:
        statuses: What to answer, one request after the other; then 200.
        delays: How long to wait before the first answers.
        delay_seconds: How long to wait before each later one.
        drip: Whether to send headers a byte at a time, for ever.
    """

    statuses: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    delay_seconds: float = 0.0
    drip: bool = False
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> "Listener":
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.received]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kind = self.headers.get("Content-Type", "")
                listener.received.append(Received("POST", self.path, kind, body))
                delay = listener.delays.pop(0) if listener.delays else listener.delay_seconds
                listener._closing.wait(delay)
                if listener.drip:
                    self._drip()
                    return
                status = listener.statuses.pop(0) if listener.statuses else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if 300 <= status < 400:
                    self.send_header("Location", f"{listener.url}/elsewhere")
                self.end_headers()

            def _drip(self) -> None:
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not listener._closing.is_set():
                        self.wfile.write(b"a")
                        time.sleep(0.1)
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
