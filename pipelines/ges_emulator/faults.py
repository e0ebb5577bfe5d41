"""The ways in which a server can be wrong, one constructor each.

A fault works at one of three places: it asks for another page than the client did, it changes
the answer, or it changes how the answer is sent. Faults of pages leave errors (a 404) alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from ges_emulator import bad_wire
from ges_emulator.replies import Answer, Keys, error, throttled

HTML = b"<html><head><title>%d</title></head><body><h1>%s</h1><hr>nginx</body></html>"
DOCUMENT_ERRORS = {
    400: ("GES.0001", "Parameter error."),
    401: ("APIGW.0301", "Incorrect IAM authentication information: decrypt token fail"),
    403: ("GES.0016", "No permission to perform the operation."),
    404: ("GES.0047", "Cluster does not exist or has been deleted."),
    429: ("APIGW.0308", "The throttling threshold has been reached."),
    500: ("GES.0011", "Internal server error."),
    502: ("APIGW.0201", "Bad gateway."),
    503: ("GES.7005", "Service unavailable."),
}


@dataclass(frozen=True)
class Fault:
    """One way of being wrong. ``page`` gets offset and limit and returns the offset served."""

    name: str
    page: Callable[[int, int], int] | None = None
    change: Callable[[Answer], Answer] | None = None
    send: bad_wire.Send | None = None

    @staticmethod
    def http(
        status: int,
        error_code: str | None = None,
        error_msg: str | None = None,
        html: bool = False,
        old_form: bool = False,
    ) -> "Fault":
        """Another status, with the document's code and message unless given.

        ``html``: the body is a gateway's page. ``old_form``: the keys are errorCode, errorMessage.
        """
        code, message = DOCUMENT_ERRORS.get(status, ("GES.0001", "Request error."))
        answer = error(status, error_code or code, error_msg or message)
        if old_form:
            payload = {"errorMessage": error_msg or message, "errorCode": error_code or code}
            answer = replace(answer, payload=payload)
        if html:
            body = HTML % (status, message.encode())
            answer = Answer(status, body=body, content_type="text/html")
        return Fault(f"http {status}{' html' if html else ''}", change=lambda _: answer)

    @staticmethod
    def throttled(retry_after: float | datetime | str | None = None) -> "Fault":
        """429; Retry-After in seconds, as a date (a datetime in UTC), any text, or none."""
        text = None if retry_after is None else str(retry_after)
        if isinstance(retry_after, datetime):
            text = format_datetime(retry_after, usegmt=True)
        answer = throttled(text)
        return Fault("throttled", change=lambda _: answer)

    @staticmethod
    def redirect(location: str, status: int = 302) -> "Fault":
        """A redirect to ``location``, an absolute address."""
        answer = Answer(status, body=b"", headers={"Location": location})
        return Fault("redirect", change=lambda _: answer)

    @staticmethod
    def reset_before_answer() -> "Fault":
        """The connection is reset before a byte was answered."""
        return Fault("reset before the answer", send=bad_wire.reset_before_answer)

    @staticmethod
    def reset_after_headers() -> "Fault":
        """The connection is reset after the headers."""
        return Fault("reset after the headers", send=bad_wire.reset_after_headers)

    @staticmethod
    def reset_within_body() -> "Fault":
        """The connection is reset in the middle of the body."""
        return Fault("reset within the body", send=bad_wire.reset_within_body)

    @staticmethod
    def reset_after_body() -> "Fault":
        """The answer is whole, and then the kept connection is reset."""
        return Fault("reset after the body", send=bad_wire.reset_after_body)

    @staticmethod
    def cut_body() -> "Fault":
        """The body is shorter than its Content-Length."""
        return Fault("cut body", send=bad_wire.cut_body)

    @staticmethod
    def slow_drip(bytes_at_once: int = 100, interval_seconds: float = 0.05) -> "Fault":
        """The body comes ``bytes_at_once`` every ``interval_seconds``."""
        return Fault("slow drip", send=bad_wire.slow_drip(bytes_at_once, interval_seconds))

    @staticmethod
    def slow_headers(interval_seconds: float = 0.05) -> "Fault":
        """The status line and the headers come a byte at a time."""
        return Fault("slow headers", send=bad_wire.slow_headers(interval_seconds))

    @staticmethod
    def hang() -> "Fault":
        """No answer for as long as the emulator runs."""
        return Fault("hang", send=bad_wire.hang)

    @staticmethod
    def huge_body(total_bytes: int) -> "Fault":
        """A body of ``total_bytes``: blanks, and the right answer at their end."""
        return Fault("huge body", send=bad_wire.huge_body(total_bytes))

    @staticmethod
    def gzip() -> "Fault":
        """A gzipped answer, asked for or not."""
        return Fault("gzip", change=Answer.compressed)

    @staticmethod
    def body(
        text: bytes, name: str = "another body", content_type: str = "application/json"
    ) -> "Fault":
        """Status 200 with any bytes for a body."""
        answer = Answer(200, body=text, content_type=content_type)
        return Fault(name, change=lambda _: answer)

    @staticmethod
    def html_page() -> "Fault":
        """Status 200 with a page of HTML, as a captive portal sends it."""
        return Fault.body(HTML % (200, b"Welcome"), "html with status 200", "text/html")

    @staticmethod
    def broken_json() -> "Fault":
        """Status 200 with the first half of the JSON."""

        def change(answer: Answer) -> Answer:
            body = answer.encoded().body or b""
            return replace(answer, body=body[: len(body) // 2] or b"{")

        return Fault("broken json", change=change)

    @staticmethod
    def empty_object() -> "Fault":
        """Status 200 with ``{}``."""
        return Fault.body(b"{}", "empty object")

    @staticmethod
    def json_list() -> "Fault":
        """Status 200 with the rows alone, as a JSON list."""
        return _of_page("json list", lambda page, keys: page[keys.rows_key])

    @staticmethod
    def list_missing() -> "Fault":
        """The page without its list."""
        return _of_page("list missing", lambda page, keys: {keys.count_key: page[keys.count_key]})

    @staticmethod
    def list_is(value: Any) -> "Fault":
        """The page with ``value`` for its list: null, a text, an object, null among the rows."""
        return _of_page(f"list is {value!r:.20}", lambda page, keys: {**page, keys.rows_key: value})

    @staticmethod
    def count_missing() -> "Fault":
        """The page without its count."""
        return _of_page("count missing", lambda page, keys: {keys.rows_key: page[keys.rows_key]})

    @staticmethod
    def count_is(value: Any) -> "Fault":
        """The page with ``value`` for its count: null, -1, a text, a fraction, true."""
        return _of_page(
            f"count is {value!r:.20}", lambda page, keys: {**page, keys.count_key: value}
        )

    @staticmethod
    def count_off_by(difference: int) -> "Fault":
        """The page with a count that is wrong by ``difference``."""
        return _of_page(
            f"count off by {difference}",
            lambda page, keys: {**page, keys.count_key: page[keys.count_key] + difference},
        )

    @staticmethod
    def empty_page() -> "Fault":
        """The right count, but no rows."""
        return _of_page("empty page", lambda page, keys: {**page, keys.rows_key: []})

    @staticmethod
    def page_repeated() -> "Fault":
        """The page before the one that was asked for."""
        return Fault("page repeated", page=lambda offset, limit: max(offset - limit, 0))

    @staticmethod
    def offset_ignored() -> "Fault":
        """The first page, whatever was asked for: with ``times=None`` it never advances."""
        return Fault("offset ignored", page=lambda *_: 0)

    @staticmethod
    def transient() -> "list[Fault]":
        """Quick faults of one answer, from which a good client recovers by asking again."""
        return [
            Fault.http(500),
            Fault.http(502, html=True),
            Fault.http(503),
            Fault.throttled(),
            Fault.throttled(0),
            Fault.reset_before_answer(),
            Fault.reset_after_headers(),
            Fault.reset_within_body(),
            Fault.reset_after_body(),
            Fault.cut_body(),
            Fault.html_page(),
            Fault.broken_json(),
            Fault.empty_object(),
            Fault.json_list(),
            Fault.list_missing(),
            Fault.list_is(None),
            Fault.count_missing(),
            Fault.count_is(None),
            Fault.count_is(-1),
            Fault.count_is("many"),
            Fault.count_off_by(1),
            Fault.count_off_by(-1),
            Fault.empty_page(),
            Fault.page_repeated(),
        ]


def _of_page(name: str, change: Callable[[Any, Keys], Any]) -> Fault:
    def change_page(answer: Answer) -> Answer:
        if answer.keys is None:
            return answer
        return replace(answer, payload=change(answer.payload, answer.keys))

    return Fault(name, change=change_page)
