"""One request of the API: session, retry, answers mapped to errors. Nothing here knows of listings."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from copy import copy
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import orjson
import requests
import tenacity
import urllib3
from dlt.sources.helpers.requests.session import Session
from requests import PreparedRequest, Request, Response
from requests import exceptions as http
from requests.auth import AuthBase
from requests.utils import get_environ_proxies
from urllib3.util import Timeout

from .credentials import (
    Authorizer,
    GesCredentials,
    KeyAuth,
    PasswordToken,
    TokenAuth,
    read_token,
)
from .deadline import Lines, timed_adapter
from .errors import (
    AnswerError,
    CredentialsError,
    Forbidden,
    GraphMissing,
    RequestRefused,
    SourceDown,
    TransientError,
    one_line,
)
from .pace import Cancelled, Gate, Pace, Sent
from .redaction import Hide, Secrets
from .settings import is_loopback

T = TypeVar("T")

MISSING_CODES = frozenset({"GES.0047", "GES.7000"})
FORBIDDEN_CODES = frozenset({"GES.0016"})
_PLACE_IN_SSL = re.compile(r" \(_ssl\.c:\d+\)$")
CONNECT_SECONDS = 10.0
ATTEMPT_SECONDS = 20.0
SHUT_TIMES = 2
"""So many times as long as a request may be tried may the gate be shut: the vendor counts by the minute."""
MAX_BODY_BYTES = 64 * 2**20
MAX_REFUSED_TRIES = 8


class GesClient:
    """Sends GET requests side by side, at most `concurrency` at once, and retries what may mend.

    Args:
        endpoint: Base URL, checked by `settings.resolve_endpoint`.
        concurrency: Requests in flight at once.
        request_seconds: How long one request may be tried, all attempts together. Waiting for its
            turn does not count, nor for a server that throttles: as long as that takes others, and
            then for `SHUT_TIMES` as long, it is waited for.
        gate: Shared with other clients of the endpoint; None for one of its own.
        sent: Counts each request of the API that is sent, also one of which no listing tells; None
            where nobody asks.

    The retried answers are 429 (``Retry-After`` honoured), 5xx, resets, timeouts, cut and
    malformed bodies. Redirects are never followed: the credential must not leave the endpoint.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        concurrency: int,
        request_seconds: float,
        gate: Gate | None = None,
        sent: Sent | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._sent = sent or Sent()
        self.request_seconds = request_seconds
        self.pace = Pace(gate or Gate(concurrency))
        self._authorizer = Authorizer(_NoAuth())
        self._remedy = ""
        self._secrets = Secrets()
        self._local = threading.local()
        self._lines = Lines()
        self._verify = _bundle(endpoint)
        self._proxies: dict[str, dict[str, str]] = {}
        self._template = self._prepare("GET", endpoint)

    def authorize(
        self, credentials: GesCredentials, project_id: str | None, region: str | None
    ) -> None:
        """Sign requests with these credentials; a password is turned into a token when first needed.

        The token is for the project; without one, for the account.
        """
        self._secrets.add(
            credentials.token,
            credentials.password,
            credentials.access_key,
            credentials.secret_key,
            credentials.security_token,
        )
        self._remedy = credentials.remedy
        if credentials.token:
            self._authorizer = Authorizer(TokenAuth(credentials.token))
        elif credentials.access_key and credentials.secret_key:
            auth = KeyAuth(
                credentials.access_key, credentials.secret_key, credentials.security_token
            )
            self._authorizer = Authorizer(auth)
        else:
            iam = credentials.iam_url(region)
            self._authorizer = PasswordToken(lambda: self._ask_iam(iam, credentials, project_id))

    def get(
        self,
        path: str,
        params: dict[str, int],
        read: Callable[[bytes], T],
        on_attempt: Callable[[], object] = lambda: None,
    ) -> T:
        """GET a path and return what `read` makes of the body.

        `read` may raise `TransientError` for a body that is no answer: the request is sent again,
        and the error tells what the body says of one.
        `on_attempt` is called for each request that is sent.

        Raises:
            AnswerError: The last answer, where asking again did not or cannot mend it.
            CredentialsError: The credential was refused.
            SourceDown: TLS does not hold, so nothing can be asked.
        """

        def attempt(tries: _Tries) -> T:
            body = self._send_authorized(path, params, on_attempt, tries)
            try:
                return read(body)
            except TransientError as error:
                code, message = self._read_error_body(body)
                raise TransientError(
                    error.problem,
                    path=path,
                    status=error.status,
                    error_code=code,
                    error_msg=message,
                ) from None

        return self._retry(attempt, self.request_seconds)

    def within(self, seconds: float) -> "GesClient":
        """The same client, which tries each request for no longer than so many seconds."""
        client = copy(self)
        client.request_seconds = min(seconds, self.request_seconds)
        return client

    def answers(self, path: str) -> bool:
        """Whether the API answers at all, be it with a refusal: tells a bad graph from a dead source.

        One that throttles does; to ask it would only lengthen the time that others wait for.
        """
        if self.pace.refused_seconds is not None:
            return True

        def attempt(tries: _Tries) -> None:
            try:
                self._send_authorized(path, {"offset": 0, "limit": 1}, lambda: None, tries)
            except TransientError as error:
                if error.status != 429:
                    raise

        try:
            self._retry(attempt, self.request_seconds / 4)
        except TransientError:
            return False
        except AnswerError:
            return True
        return True

    def _retry(self, attempt: Callable[["_Tries"], T], seconds: float) -> T:
        tries = _Tries(seconds)

        def is_over(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            is_throttled = isinstance(error, TransientError) and error.status == 429
            if is_throttled and self.pace.refused_seconds is not None:
                return self._is_shut(state.upcoming_sleep)
            return tries.are_used_up(state.upcoming_sleep)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            wait=_wait,
            before=lambda _: tries.begin(),
            stop=is_over,
            sleep=self.pace.sleep,
            reraise=True,
        )
        return retrying(attempt, tries)

    def _is_shut(self, pause: float = 0.0) -> bool:
        """Whether, after a pause, the API will have taken nothing for longer than it is waited for."""
        refused = self.pace.refused_seconds
        return refused is not None and refused + pause > SHUT_TIMES * self.request_seconds

    def _send_authorized(
        self,
        path: str,
        params: dict[str, int],
        on_attempt: Callable[[], object],
        tries: "_Tries",
    ) -> bytes:
        refusals = 0
        while True:
            auth = self._authorizer.auth()
            on_attempt()
            with self.pace.slot() as waited:
                tries.leave_out(waited)
                response, body = self._send_signed(path, params, auth)
            error = self._judge_answer(response, body, path)
            if response.status_code != 401:
                break
            refusals += 1
            self._judge_refusal(path, auth, body, refusals)
        if not isinstance(error, TransientError):
            self._authorizer.accepted(auth)
        if error is not None:
            raise error
        return body

    def _judge_answer(self, response: Response, body: bytes, path: str) -> AnswerError | None:
        """The error that an answer stands for, None for a page; the pace learns what was taken."""
        error = None if response.status_code == 200 else self._read_error(response, body, path)
        if not isinstance(error, TransientError):
            self.pace.accepted()
        elif error.status == 429:
            asked = error.retry_after
            self.pace.throttled(None if asked is None else min(asked, self.request_seconds))
        return error

    def _send_signed(
        self, path: str, params: dict[str, int], auth: AuthBase
    ) -> tuple[Response, bytes]:
        request = self._template.copy()  # preparing each anew takes a third of a request's time
        request.url = f"{str(request.url).rstrip('/')}{path}?{urlencode(params)}"
        self._sent.add()
        return self._send(auth(request), path)

    def _judge_refusal(self, path: str, auth: AuthBase, body: bytes, refusals: int) -> None:
        """After a 401: return where asking again can help, or raise what it means.

        A credential that is refused here again, but taken for the list of graphs, is forbidden
        this path.
        """
        elsewhere = _graphs_path(path)

        def is_alive() -> bool:
            if path == elsewhere:
                return False
            with self.pace.slot():
                response, said = self._send_signed(elsewhere, {"offset": 0, "limit": 1}, auth)
            error = self._judge_answer(response, said, elsewhere)
            if isinstance(error, TransientError):
                raise error  # it tells nothing of the credential
            return response.status_code != 401

        match self._authorizer.judge(auth, is_alive):
            case "alive" if refusals > 1:
                code, message = self._read_error_body(body)
                raise Forbidden(
                    "the credential is good for others, but refused here",
                    path=path,
                    status=401,
                    error_code=code,
                    error_msg=message,
                )
            case "dead":
                raise _refused_credential(*self._read_error_body(body), self._remedy)
            case "newer" if refusals > MAX_REFUSED_TRIES:
                raise _refused_credential(*self._read_error_body(body), self._remedy)

    def _ask_iam(self, iam: str, credentials: GesCredentials, project_id: str | None) -> str:
        """POST a password identity with its scope; the token comes in ``X-Subject-Token``."""
        path = "/v3/auth/tokens"
        user = {
            "name": credentials.username,
            "password": credentials.password,
            "domain": {"name": credentials.domain_name},
        }
        request = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": project_id}}
                if project_id
                else {"domain": {"name": credentials.domain_name}},
            }
        }

        def attempt(_tries: _Tries) -> str:
            response, body = self._send(self._prepare("POST", iam + path, json=request), path)
            if response.status_code == 429 or response.status_code >= 500:
                raise self._read_error(response, body, path)
            _, error_msg = self._read_error_body(body)
            token = response.headers.get("X-Subject-Token")
            self._secrets.add(token)
            return read_token(response.status_code, token, error_msg)

        try:
            return self._retry(attempt, self.request_seconds)
        except TransientError as error:
            raise SourceDown(f"IAM does not answer at {urlsplit(iam).netloc}: {error}") from error

    def _read_error(self, response: Response, body: bytes, path: str) -> AnswerError:
        asked, sent_at = response.headers.get("Retry-After"), response.headers.get("Date")
        retry_after = _read_retry_after(asked, sent_at)
        return read_error(response.status_code, retry_after, body, path, self._secrets.hide)

    def _read_error_body(self, body: bytes) -> tuple[str | None, str | None]:
        return read_error_body(body, self._secrets.hide)

    def _prepare(self, method: str, url: str, **options: Any) -> PreparedRequest:
        return self._session().prepare_request(Request(method, url, **options))

    def _send(self, request: PreparedRequest, path: str) -> tuple[Response, bytes]:
        url = str(request.url)
        seconds = min(ATTEMPT_SECONDS, self.request_seconds)
        timeout: Any = Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds, total=seconds)
        try:
            response = self._session().send(
                request,
                allow_redirects=False,
                stream=True,
                timeout=timeout,
                verify=self._verify,
                proxies=self._proxies_for(url),
            )
            with response:
                return response, _read_body(response, path)
        except (http.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if refused := _certificate_fault(error):
                raise SourceDown(
                    f"The TLS certificate of {urlsplit(url).netloc} does not hold: {refused}. "
                    "For a private authority set REQUESTS_CA_BUNDLE to its certificate file."
                ) from None
            raise TransientError(f"no answer: {_reason(error)}", path=path) from None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session(raise_for_status=False)
            session.trust_env = False  # read once by the client, not for each request; no .netrc
            adapter = timed_adapter(self._lines)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._local.session = session
        return session

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The environment's proxies for this host: what goes past them may differ by host."""
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self._proxies:
            on_loopback = is_loopback(parts.hostname or "")
            self._proxies[host] = {} if on_loopback else dict(get_environ_proxies(host))
        return self._proxies[host]

    def cancel(self) -> None:
        """Make every waiting and every further request end at once with `Cancelled`."""
        self.pace.cancel()
        self._lines.cut()


def _graphs_path(path: str) -> str:
    """``/v2/{project_id}/graphs`` of any path of a project."""
    return "/".join(path.split("/")[:4])


def _bundle(endpoint: str) -> bool | str:
    """The file of certificates to trust; requests would find out at each attempt that it is no good."""
    found = Session().merge_environment_settings(endpoint, {}, None, None, None)["verify"]
    if not isinstance(found, str):
        return True
    bundle = Path(found)
    if not bundle.exists():
        raise SourceDown(
            f"The certificates of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE are not there: {found}."
        )
    try:
        _try_bundle(found, bundle.stat().st_mtime_ns)
    except OSError as error:
        raise SourceDown(
            f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE cannot be read as certificates: {found}."
        ) from error
    return found


@lru_cache(maxsize=8)
def _try_bundle(bundle: str, changed_at: int) -> None:  # noqa: ARG001 - a changed one is tried anew
    """Read certificates as a connection will; some hundred of them take 15 ms, so once a process."""
    folder = Path(bundle).is_dir()
    ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)


class _Session(Session):
    """Sends what it is told to: where an answer redirects to is nobody's concern."""

    def get_redirect_target(self, resp: Response) -> None:
        """None, also where redirects are not followed: requests would read the address and the body."""


class _NoAuth(AuthBase):
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


def _read_body(response: Response, path: str) -> bytes:
    """The body, bounded in size: a server must not fill the memory."""
    chunks: list[bytes] = []
    size = 0
    while chunk := response.raw.read1(2**20, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise RequestRefused(
                f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB; "
                "set a smaller SOURCES__GES_BACKUPS__PAGE_SIZE",
                path=path,
                status=response.status_code,
            )
    return b"".join(chunks)


def read_error(
    status: int, retry_after: float | None, body: bytes, path: str, hide: Hide = str
) -> AnswerError:
    """The error that an answer other than a page stands for (API page: status codes; facts: errors)."""
    code, message = read_error_body(body, hide)
    said: dict[str, Any] = {
        "path": path,
        "status": status,
        "error_code": code,
        "error_msg": message,
    }
    if status == 429:
        return TransientError("throttled", retry_after=retry_after, **said)
    if status >= 500 or status == 408 or 200 <= status < 300:
        return TransientError("the API could not answer", retry_after=retry_after, **said)
    if 300 <= status < 400:
        return RequestRefused("the API redirects, which is not followed: check ENDPOINT", **said)
    if code in MISSING_CODES or (status == 404 and not (code or "").startswith("APIGW.")):
        return GraphMissing("not found", **said)
    if status == 403 or code in FORBIDDEN_CODES:
        return Forbidden("not permitted", **said)
    return RequestRefused("the API refused the request", **said)


def read_error_body(body: bytes, hide: Hide) -> tuple[str | None, str | None]:
    """Code and message, cut when no secret is in them any more.

    Older paths say ``errorCode`` and ``errorMessage``, IAM nests them.
    """
    try:
        said = orjson.loads(body[:65536])
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(said, dict):
        return None, None
    if isinstance(said.get("error"), dict):
        said = {"error_msg": said["error"].get("message"), **said}
    code = said.get("error_code") or said.get("errorCode")
    message = said.get("error_msg") or said.get("errorMessage")
    code, message = (hide(text) if isinstance(text, str) else None for text in (code, message))
    return one_line(code, 64), one_line(message, 300)


def _read_retry_after(value: str | None, sent_at: str | None) -> float | None:
    """Seconds to wait; until a date by the server's clock, whatever this machine's says."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    until, now = _read_date(value), _read_date(sent_at)
    return None if until is None else max(0.0, until - (now or time.time()))


def _read_date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError):  # no date, or one that no clock will show
        return None


def _refused_credential(code: str | None, message: str | None, remedy: str) -> CredentialsError:
    said = " ".join(part for part in (code, message) if part)
    return CredentialsError(
        f"The API refused the credential (HTTP 401{', ' + said if said else ''}). {remedy}".strip(),
        code,
    )


def _wait(state: tenacity.RetryCallState) -> float:
    asked = None
    if state.outcome is not None and isinstance(error := state.outcome.exception(), TransientError):
        asked = error.retry_after
    backoff = tenacity.wait_random_exponential(multiplier=0.5, min=0.1, max=8)(state)
    return max(asked, backoff / 8) if asked is not None else backoff


class _Tries:
    """How long one request is tried: its attempts, without the waits for its turn, and the pauses."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._began_at = 0.0

    def begin(self) -> None:
        """Another attempt begins."""
        self._began_at = time.monotonic()

    def leave_out(self, seconds: float) -> None:
        """The attempt has waited for its turn."""
        self._began_at += seconds

    def are_used_up(self, pause: float) -> bool:
        """Whether no time is left for the next attempt, after a pause."""
        self._left -= time.monotonic() - self._began_at + pause
        return self._left < 0


def _reason(error: BaseException) -> str:
    """Why nothing came, without the URL, the query and the object addresses of the libraries' texts."""
    names = {
        http.ConnectTimeout: "the connection timed out",
        http.ReadTimeout: "the server did not answer in time",
        urllib3.exceptions.ReadTimeoutError: "the server did not answer in time",
        urllib3.exceptions.IncompleteRead: "the body was cut",
        http.ChunkedEncodingError: "the body was cut",
        urllib3.exceptions.DecodeError: "the body could not be decoded",
    }
    for kind, text in names.items():
        if isinstance(error, kind):
            return text
    said = [inner.strerror for inner in _causes(error) if isinstance(inner, OSError)]
    return next((_PLACE_IN_SSL.sub("", text) for text in said if text), type(error).__name__)


def _certificate_fault(error: BaseException) -> str | None:
    """Why a certificate was not trusted; None where that is not what happened."""
    for inner in _causes(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"{inner.verify_message} (code {inner.verify_code})"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies under it in the wrappings of requests and urllib3, from outside in."""
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        reason = getattr(inner, "reason", None)
        nested = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        inner = reason if isinstance(reason, BaseException) else nested or inner.__context__


__all__ = ["Cancelled", "GesClient", "read_error"]
