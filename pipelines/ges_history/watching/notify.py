"""Tell others that a load ran: the pings of a dead man's switch, and a webhook.

The pings are those of Healthchecks (healthchecks.io, or one's own): ``URL/start``, then ``URL``
for success or ``URL/<exit code>`` for failure, with the summary as the body. Such a URL is a
secret: whoever has it can keep an alarm silent. It is never shown, only its host is.

Nothing here fails a load or holds it for longer than `PING_SECONDS` and `NOTIFY_SECONDS`: each
request is sent by a thread of its own, which nobody waits for beyond that.
"""

import json
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ges_history.warehouses.seam import Say, quiet

if TYPE_CHECKING:
    import requests

PING_SECONDS = 5.0
NOTIFY_SECONDS = 5.0
ATTEMPTS = 3
BODY_BYTES = 10_000
"""Healthchecks keeps at least so much of a body."""


def host_of(url: str) -> str:
    """What may be shown of a secret URL.

    Raises:
        ValueError: It is no http or https URL; the message does not hold it.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise ValueError("no URL that begins with https://") from None
    return host


class Ping:
    """A dead man's switch around a load: it starts, and ends with an exit code.

    >>> with Ping(url) as ping:
    ...     ping.code, ping.body = 0, "graphs 12 listed"

    An error that leaves the block is a failure with exit code 1 and its message as the body.
    """

    def __init__(self, url: str | None, *, partial_fails: bool = True, say: Say = quiet) -> None:
        """Args.

        url: Where to; None: nowhere.
        partial_fails: Whether exit code 3 is told as a failure.
        say: Is told what did not arrive.
        """
        self._url = url.strip().rstrip("/") if url else None
        self._partial_fails = partial_fails
        self._say = say
        self._start: _Sending | None = None
        self.code = 1
        self.body = ""

    def __enter__(self) -> "Ping":
        if self._url:
            self._start = _Sending(_below(self._url, "start"), b"", "text/plain", PING_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._url is None or self._start is None:
            return
        if error is not None:
            if not isinstance(error, Exception):
                return  # stopped by a person or by the system: no success comes, that is enough
            self.code, self.body = 1, str(error) or type(error).__name__
        began = time.monotonic()
        failed_to_start = self._start.result(PING_SECONDS / 2)
        self._start.give_up()  # a start that comes after the end rings an alarm for nothing
        is_failure = self.code and (self.code != 3 or self._partial_fails)
        address = _below(self._url, str(self.code)) if is_failure else self._url
        left = PING_SECONDS - (time.monotonic() - began)
        end = _Sending(address, _cut(self.body), "text/plain; charset=utf-8", left)
        failed = end.result(left) or failed_to_start
        if failed:
            self._say(f"The ping to {host_of(self._url)} did not arrive: {failed}.")


def _below(url: str, name: str) -> str:
    """A URL with one more part of its path; what it asks for stays behind it (`?create=1`)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def notify(url: str, content: dict[str, Any], say: Say = quiet) -> None:
    """Post JSON to a webhook; whatever goes wrong is told and does no harm.

    Args:
        url: Where to.
        content: What to send.
        say: Is told what did not arrive.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    body = text.encode(errors="replace")  # the name of a file may be no text
    failed = _Sending(url.strip(), body, "application/json", NOTIFY_SECONDS).result(NOTIFY_SECONDS)
    if failed:
        say(f"The notification to {host_of(url)} did not arrive: {failed}.")


class _Sending:
    """A request on its way, in a thread that does not keep the process from ending."""

    def __init__(self, url: str, body: bytes, content_type: str, seconds: float) -> None:
        self._failed: str | None = "no answer in time"
        self._may_pass = True
        self._given_up = threading.Event()
        self._end = time.monotonic() + max(seconds, 0.1)
        self._thread = threading.Thread(
            target=self._send, args=(url, body, content_type), daemon=True, name="ges-notify"
        )
        self._thread.start()

    def result(self, seconds: float) -> str | None:
        """Wait for so long; what went wrong, None where it has arrived."""
        self._thread.join(max(seconds, 0.0))
        return self._failed

    def give_up(self) -> None:
        """Try no further."""
        self._given_up.set()

    def _send(self, url: str, body: bytes, content_type: str) -> None:
        import requests  # noqa: PLC0415

        for attempt in range(ATTEMPTS):
            left = self._end - time.monotonic()
            if left <= 0:
                return
            try:
                with requests.post(
                    url,
                    data=body,
                    headers={"Content-Type": content_type, "User-Agent": "ges-backups"},
                    timeout=left,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    status = answer.status_code
                self._failed = None if status < 300 else f"status {status}"
                self._may_pass = status >= 500 or status == 429
            except requests.RequestException as error:
                self._failed = _reason(error)
            except ValueError:
                self._failed = "its URL cannot be used"
            if self._failed is None or not self._may_pass:
                return
            if self._given_up.wait(min(0.2 * 2**attempt, max(self._end - time.monotonic(), 0))):
                return


def _reason(error: "requests.RequestException") -> str:
    """What happened, without the URL that the error's own text holds."""
    import requests  # noqa: PLC0415

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate does not hold"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return type(error).__name__


def _cut(text: str) -> bytes:
    return text.encode(errors="replace")[:BODY_BYTES].decode(errors="ignore").encode()
