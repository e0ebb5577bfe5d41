"""The emulator: the fleet served over HTTP, from a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from ges_emulator.auth import Incoming
from ges_emulator.bad_wire import WireResponse
from ges_emulator.fault_plan import Faults
from ges_emulator.faults import Fault
from ges_emulator.fleet import Fleet
from ges_emulator.replies import Answer
from ges_emulator.request import Request, parse_request
from ges_emulator.service import DEFAULT_TOKEN, Service

SHUTDOWN_SECONDS = 0.2
"""What an answer under way has at most when the emulator stops."""


class Emulator(Service):
    """The service on loopback; a context manager.

    ``order``, ``page_cap``, ``most_rows`` and who may ask: see ``Service``. ``gzip``: compress for
    clients that accept it. ``port``: 0 takes a free one. ``ssl_context``: serve https.
    """

    def __init__(
        self,
        fleet: Fleet,
        order: str | Callable[[Request], str] = "old_to_new",
        page_cap: int | Callable[[Request], int | None] | None = None,
        *,
        tokens: Iterable[str] = (DEFAULT_TOKEN,),
        access_keys: Mapping[str, str | tuple[str, str]] | None = None,
        users: Mapping[tuple[str, str], str] | None = None,
        rate_limit_per_second: float | None = None,
        most_rows: int | None = None,
        gzip: bool = False,
        latency_seconds: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            fleet,
            order,
            page_cap,
            tokens=tokens,
            access_keys=access_keys,
            users=users,
            rate_limit_per_second=rate_limit_per_second,
            most_rows=most_rows,
        )
        self.gzip = gzip
        self.latency_seconds = latency_seconds
        self.host = host
        self.port = port
        self.requests: list[Request] = []
        self.faults = Faults()
        self.errors: list[Exception] = []
        """What ``before_answer`` raised; leaving the ``with`` block raises the first one."""
        self._ssl_context = ssl_context
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def endpoint(self) -> str:
        """The address to configure, without a slash at its end."""
        return f"{'https' if self._ssl_context else 'http'}://{self.host}:{self.port}"

    @property
    def iam_endpoint(self) -> str:
        """The address of IAM: the same server."""
        return self.endpoint

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None and self.errors:
            raise self.errors[0]

    def start(self) -> None:
        """Serve; a second time on the same port as before."""
        if self._thread is not None:
            if self._stopping is None or not self._stopping.is_set():
                return
            self._thread.join()
        ready = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run, args=(ready, failure), name="ges-emulator", daemon=True
        )
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]

    def stop(self) -> None:
        """Close the port and all connections; hanging answers end. Any thread may call it, a hook's too."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        if thread is threading.current_thread():
            stopping.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop of an earlier stop is closed already
            loop.call_soon_threadsafe(stopping.set)
        thread.join()
        self._thread = None

    def _run(self, ready: threading.Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except OSError as error:
            failure.append(error)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connections = web.Server(self._handle, access_log=None)
        listening = await loop.create_server(
            connections, self.host, self.port, ssl=self._ssl_context, reuse_address=True
        )
        try:
            self.port = listening.sockets[0].getsockname()[1]
            ready.set()
            await self._stopping.wait()
        finally:
            # ``close`` before all that was accepted has become a connection (two turns of the loop)
            # leaves its socket open: asyncio refuses it to a server that is closed.
            for each in listening.sockets:
                loop.remove_reader(each.fileno())
            for _ in range(4):
                await asyncio.sleep(0)
            listening.close()
            connections.pre_shutdown()
            open_ones = [each.transport for each in connections.connections if each.transport]
            await connections.shutdown(SHUTDOWN_SECONDS)
            for transport in open_ones:  # what nobody reads any more would keep it open
                transport.abort()
            await asyncio.sleep(0)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        incoming = Incoming(
            http.method,
            http.raw_path if http.raw_path.startswith("/") else http.rel_url.raw_path_qs,
            {name.lower(): value for name, value in http.headers.items()},
            await http.read() if http.can_read_body else b"",
        )
        request = parse_request(incoming.method, incoming.target, incoming.has_credentials)
        self.requests.append(request)
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        fault = self.faults.take(request)
        try:
            answer = self.answer(request, incoming, fault)
        except Exception as error:
            self.errors.append(error)
            raise
        request.fault = fault.name if fault else None
        return self._response(http, request, answer, fault)

    def _response(
        self, http: web.BaseRequest, request: Request, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        if fault and fault.send:
            stopping = self._stopping
            assert stopping is not None
            return WireResponse(fault.send, answer, stopping)
        if self.gzip and "gzip" in http.headers.get("Accept-Encoding", ""):
            answer = answer.compressed()
        request.status = answer.status
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Content-Type": answer.content_type, **answer.headers},
        )
