"""A proxy before an S3 server that counts what is written, and kills the writer at one of them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Moment = Literal["before", "after"]
HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Proxy:
    """What passes, and at which writing request whom to kill.

    Attributes:
        endpoint: Where it listens.
        written: Methods and paths of the requests that write, in order.
        victim: The process to kill.
        at: The number of the request, from 0; None: nobody is killed.
        moment: Before it reaches the server, or after it did, and before the writer knows.
    """

    endpoint: str = ""
    written: list[str] = field(default_factory=list)
    victim: int | None = None
    at: int | None = None
    moment: Moment = "before"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def aim(self, at: int | None, moment: Moment = "before") -> None:
        """Forget what was counted, and kill at this request."""
        with self.lock:
            self.written.clear()
            self.victim, self.at, self.moment = None, at, moment

    def count(self, what: str) -> bool:
        """Count a request; whether it is the one."""
        with self.lock:
            self.written.append(what)
            return self.at is not None and len(self.written) > self.at

    def kill(self) -> None:
        """End the victim, at once."""
        if self.victim is not None:
            os.kill(self.victim, signal.SIGKILL)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self.netloc = urlsplit(server).netloc


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # or each answer waits 40 ms for an acknowledgement of its headers
    )
    server: _Server

    def pass_on(self) -> None:
        """Pass a request on and its answer back, unless somebody is to die."""
        proxy = self.server.proxy
        body = self._body()
        writes = self.command not in ("GET", "HEAD")
        is_fatal = writes and proxy.count(f"{self.command} {urlsplit(self.path).path}")
        if is_fatal and proxy.moment == "before":
            proxy.kill()
            self.close_connection = True
            return
        status, headers, answer = self._ask(body)
        if is_fatal:
            proxy.kill()
            self.close_connection = True
            return
        self._answer(status, headers, answer)

    def _answer(self, status: int, headers: list[tuple[str, str]], answer: bytes) -> None:
        self.send_response_only(status)
        has_body = self.command != "HEAD"
        for name, value in headers:
            if name.lower() not in HOP and not (has_body and name.lower() == "content-length"):
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if has_body:
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection(self.server.netloc, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            headers["Content-Length"] = str(len(body))
            headers.pop("Expect", None)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """One request; a client that is gone is no news."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True


for _verb in ("GET", "HEAD", "PUT", "POST", "DELETE"):
    setattr(_Handler, f"do_{_verb}", _Handler.pass_on)


@contextmanager
def running_proxy(server: str) -> Iterator[Proxy]:
    """Stand before a server until the end of the block."""
    proxy = Proxy()
    with _Server(proxy, server) as listener:
        proxy.endpoint = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()
