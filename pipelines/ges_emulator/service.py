"""The service without HTTP: who may ask, and which page of the fleet is the answer."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from ges_emulator import replies
from ges_emulator.auth import AccessKeys, Iam, Incoming, Tokens
from ges_emulator.faults import Fault
from ges_emulator.fleet import Fleet
from ges_emulator.replies import Answer
from ges_emulator.request import Request
from ges_emulator.throttle import Throttle

DEFAULT_TOKEN = "emulator-token"  # noqa: S105
DEFAULT_LIMIT = 10


class Service:
    """Answers requests about ``fleet``.

    ``order``: ``old_to_new``, ``new_to_old`` or ``shuffled``; ``page_cap``: the most rows of a
    page; either may be a function of the request, and may change at any time. ``most_rows``: the
    largest limit that is not refused with 400. ``access_keys``:
    the secret key, or (secret key, security token), by access key. ``users``: the password by
    (domain, user).
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
    ) -> None:
        self.fleet = fleet
        self.order = order
        self.page_cap = page_cap
        self.most_rows = most_rows
        self.tokens = Tokens(tokens)
        self.access_keys = AccessKeys(access_keys or {})
        self.iam = Iam(users or {}, self.tokens, fleet.project_id)
        self.throttle = Throttle(rate_limit_per_second)
        self.before_answer: Callable[[Request], object] | None = None
        """Runs in the server's thread under ``fleet.lock`` before each answer is computed."""
        self.behind_end: Answer | None = None
        """The answer to an offset behind the last row; None answers a page without rows."""
        self.projects: list[dict[str, Any]] = [
            {"id": fleet.project_id, "name": "eu-west-101", "enabled": True}
        ]
        """What IAM names as the projects of a credential: id, name, and what else may be served."""
        self._forbidden: set[str] = set()

    @property
    def iam_endpoint(self) -> str:
        """The address of IAM."""
        return ""

    def forbid(self, graph_id: str) -> None:
        """Answer 403 for this graph from now on."""
        self._forbidden.add(graph_id)

    def allow(self, graph_id: str) -> None:
        """Take ``forbid`` back."""
        self._forbidden.discard(graph_id)

    def revoke_tokens(self) -> None:
        """End every token now, those given at the start included."""
        self.tokens.revoke()

    def answer(self, request: Request, incoming: Incoming, fault: Fault | None) -> Answer:
        """The answer as bytes, out of one consistent moment of the fleet."""
        with self.fleet.lock:
            if self.before_answer is not None:
                self.before_answer(request)
            answer = self._answer(request, incoming, fault)
            if fault and fault.change:
                answer = fault.change(answer)
            return answer.encoded()

    def _answer(self, request: Request, incoming: Incoming, fault: Fault | None) -> Answer:
        wait_seconds = self.throttle.take()
        if wait_seconds is not None:
            return replies.throttled(str(wait_seconds))
        if request.endpoint == "tokens":
            return self.iam.answer(_json(incoming.body))
        if request.endpoint == "projects":
            return self._projects(incoming)
        if request.endpoint is None or request.project_id is None:
            return replies.no_such_api()
        return self._refuse(incoming, request.project_id) or self._listing(request, fault)

    def _projects(self, incoming: Incoming) -> Answer:
        token = incoming.headers.get("x-auth-token")
        if token is None:
            refusal = self.access_keys.refuse(incoming, self.fleet.project_id)
        else:
            refusal = self.tokens.refuse(token, None)
        return refusal or replies.projects(self.projects, self.iam_endpoint)

    def _listing(self, request: Request, fault: Fault | None) -> Answer:
        offset, limit = request.query.get("offset", 0), request.query.get("limit", DEFAULT_LIMIT)
        if not isinstance(offset, int) or offset < 0:
            return replies.wrong_parameter("offset")
        if not isinstance(limit, int) or not 1 <= limit <= (self.most_rows or limit):
            return replies.wrong_parameter("limit")
        page_cap = self.page_cap(request) if callable(self.page_cap) else self.page_cap
        limit = limit if page_cap is None else min(limit, page_cap)
        if fault and fault.page:
            offset = fault.page(offset, limit)
        answer = self._page(request, offset, limit)
        if self.behind_end and offset and answer.keys:
            count = answer.payload[answer.keys.count_key]
            return self.behind_end if offset >= count else answer
        return answer

    def _page(self, request: Request, offset: int, limit: int) -> Answer:
        order = self.order(request) if callable(self.order) else self.order
        if request.endpoint == "graphs":
            count, graphs = self.fleet.list_graphs(order, offset, limit)
            return _page_of(replies.GRAPHS, count, [graph.record for graph in graphs])
        if request.endpoint == "all_backups":
            count, backups = self.fleet.list_all_backups(order, offset, limit)
            return _page_of(replies.BACKUPS, count, [backup.record for backup in backups])
        if request.graph_id in self._forbidden:
            return replies.forbidden()
        graph = self.fleet.graph(request.graph_id or "")
        if graph is None:
            return replies.no_graph()
        backups = graph.rows.page(order, offset, limit)
        count = len(graph.rows.natural)
        return _page_of(replies.BACKUPS, count, [backup.record for backup in backups])

    def _refuse(self, incoming: Incoming, project_id: str) -> Answer | None:
        token = incoming.headers.get("x-auth-token")
        if token is not None:
            refusal = self.tokens.refuse(token, project_id)
        elif "authorization" in incoming.headers:
            refusal = self.access_keys.refuse(incoming, project_id)
        else:
            refusal = replies.unauthorized("neither a token nor a signature")
        if refusal is None and project_id != self.fleet.project_id:
            return replies.other_project()
        return refusal


def _page_of(keys: replies.Keys, count: int, rows: list[Any]) -> Answer:
    return Answer(200, {keys.count_key: count, keys.rows_key: rows}, keys)


def _json(body: bytes) -> Any:
    with contextlib.suppress(orjson.JSONDecodeError):
        return orjson.loads(body)
    return None
