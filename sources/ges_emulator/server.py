"""The emulator: the fleet served over HTTP, from a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from ges_emulator import answers
from ges_emulator.answers import Answer
from ges_emulator.auth import AccessKeys, Iam, Incoming, Tokens
from ges_emulator.fault_plan import Faults
from ges_emulator.faults import Fault
from ges_emulator.fleet import Fleet
from ges_emulator.request import Request, parse_request
from ges_emulator.throttle import Throttle
from ges_emulator.wire import WireResponse

DEFAULT_TOKEN = "emulator-token"  # noqa: S105
DEFAULT_LIMIT = 10


class Emulator:
    """Serves ``fleet`` on loopback; a context manager.

    ``order``: ``old_to_new``, ``new_to_old`` or ``shuffled``; ``page_cap``: the most rows of a
    page; either may be a function of the request, and may change at any time. ``access_keys``:
    the secret key, or (secret key, security token), by access key. ``users``: the password by
    (domain, user). ``gzip``: compress for clients that accept it.
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
        gzip: bool = False,
        latency_seconds: float = 0.0,
        rate_limit_per_second: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.fleet = fleet
        self.order = order
        self.page_cap = page_cap
        self.tokens = Tokens(tokens)
        self.access_keys = AccessKeys(access_keys or {})
        self.iam = Iam(users or {}, self.tokens, fleet.project_id)
        self.gzip = gzip
        self.latency_seconds = latency_seconds
        self.throttle = Throttle(rate_limit_per_second)
        self.host = host
        self.port = port
        self.before_answer: Callable[[Request], object] | None = None
        """Runs in the server's thread under ``fleet.lock`` before each answer is computed."""
        self.requests: list[Request] = []
        self.errors: list[Exception] = []
        """What ``before_answer`` raised; leaving the ``with`` block raises the first one."""
        self.faults = Faults()
        self._forbidden: set[str] = set()
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

    def forbid(self, graph_id: str) -> None:
        """Answer 403 for this graph from now on."""
        self._forbidden.add(graph_id)

    def allow(self, graph_id: str) -> None:
        """Take ``forbid`` back."""
        self._forbidden.discard(graph_id)

    def revoke_tokens(self) -> None:
        """End every token now, those given at the start included."""
        self.tokens.revoke()

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
            return
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
        """Close the port and all connections; hanging answers end."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def _run(self, ready: threading.Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except OSError as error:
            failure.append(error)
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self.host, self.port, ssl_context=self._ssl_context, reuse_address=True
            )
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

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
            answer = self._compute(request, incoming, fault)
        except Exception as error:
            self.errors.append(error)
            raise
        request.fault = fault.name if fault else None
        return self._response(http, request, answer, fault)

    def _compute(self, request: Request, incoming: Incoming, fault: Fault | None) -> Answer:
        """The answer as bytes, out of one consistent moment of the fleet."""
        with self.fleet.lock:
            if self.before_answer is not None:
                self.before_answer(request)
            answer = self._answer(request, incoming, fault)
            if fault and fault.change:
                answer = fault.change(answer)
            return answer.encoded()

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

    def _answer(self, request: Request, incoming: Incoming, fault: Fault | None) -> Answer:
        wait_seconds = self.throttle.take()
        if wait_seconds is not None:
            return answers.throttled(str(wait_seconds))
        if request.endpoint == "tokens":
            return self.iam.answer(_json(incoming.body))
        if request.endpoint is None or request.project_id is None:
            return answers.no_such_api()
        return self._refuse(incoming, request.project_id) or self._listing(request, fault)

    def _listing(self, request: Request, fault: Fault | None) -> Answer:
        offset, limit = request.query.get("offset", 0), request.query.get("limit", DEFAULT_LIMIT)
        if not isinstance(offset, int) or offset < 0:
            return answers.wrong_parameter("offset")
        if not isinstance(limit, int) or limit < 1:
            return answers.wrong_parameter("limit")
        page_cap = self.page_cap(request) if callable(self.page_cap) else self.page_cap
        limit = limit if page_cap is None else min(limit, page_cap)
        if fault and fault.page:
            offset = fault.page(offset, limit)
        return self._page(request, offset, limit)

    def _page(self, request: Request, offset: int, limit: int) -> Answer:
        order = self.order(request) if callable(self.order) else self.order
        if request.endpoint == "graphs":
            count, graphs = self.fleet.list_graphs(order, offset, limit)
            return _page_of(answers.GRAPHS, count, [graph.record for graph in graphs])
        if request.endpoint == "all_backups":
            count, backups = self.fleet.list_all_backups(order, offset, limit)
            return _page_of(answers.BACKUPS, count, [backup.record for backup in backups])
        if request.graph_id in self._forbidden:
            return answers.forbidden()
        graph = self.fleet.graph(request.graph_id or "")
        if graph is None:
            return answers.no_graph()
        backups = graph.rows.page(order, offset, limit)
        count = len(graph.rows.natural)
        return _page_of(answers.BACKUPS, count, [backup.record for backup in backups])

    def _refuse(self, incoming: Incoming, project_id: str) -> Answer | None:
        token = incoming.headers.get("x-auth-token")
        if token is not None:
            refusal = self.tokens.refuse(token, project_id)
        elif "authorization" in incoming.headers:
            refusal = self.access_keys.refuse(incoming, project_id)
        else:
            refusal = answers.unauthorized("neither a token nor a signature")
        if refusal is None and project_id != self.fleet.project_id:
            return answers.other_project()
        return refusal


def _page_of(keys: answers.Keys, count: int, rows: list[Any]) -> Answer:
    return Answer(200, {keys.count_key: count, keys.rows_key: rows}, keys)


def _json(body: bytes) -> Any:
    with contextlib.suppress(orjson.JSONDecodeError):
        return orjson.loads(body)
    return None
