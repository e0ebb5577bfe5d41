"""What the service answers: status, headers and a JSON body, with the document's error codes."""

import gzip
import json
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson


class Keys(NamedTuple):
    """The names under which a listing endpoint answers its count and its rows."""

    count_key: str
    rows_key: str


BACKUPS = Keys("backup_count", "backup_list")
GRAPHS = Keys("graph_count", "graphs")


@dataclass(frozen=True)
class Answer:
    """One answer. ``keys`` says that ``payload`` is a page; ``body`` overrides ``payload``."""

    status: int
    payload: Any = None
    keys: Keys | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"

    @property
    def page(self) -> bool:
        """Whether this is a page of a listing, not an error."""
        return self.keys is not None

    def encoded(self) -> "Answer":
        """The same with its body as bytes, from now on independent of the fleet."""
        return self if self.body is not None else replace(self, body=to_json(self.payload))

    def compressed(self) -> "Answer":
        """The same, gzipped."""
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return replace(self, body=gzip.compress(self.encoded().body or b""), headers=headers)


def to_json(payload: Any) -> bytes:
    """JSON text; what orjson refuses (integers beyond 64 bits, lone surrogates) by the stdlib."""
    try:
        return orjson.dumps(payload)
    except TypeError:
        return json.dumps(payload).encode()


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error in the form of the API's page."""
    return Answer(status, {"error_msg": message, "error_code": code}, headers=headers)


def iam_error(status: int, title: str, message: str) -> Answer:
    """An error in the form of IAM."""
    return Answer(status, {"error": {"code": status, "message": message, "title": title}})


def no_graph() -> Answer:
    """The page's own example of a failed request."""
    return error(404, "GES.0047", "Cluster does not exist or has been deleted.")


def wrong_parameter(name: str) -> Answer:
    """Offset or limit is no number, or out of range."""
    return error(400, "GES.0001", f"Parameter {name} is invalid.")


def unauthorized(why: str) -> Answer:
    """The gateway's answer to bad or expired credentials."""
    return error(401, "APIGW.0301", f"Incorrect IAM authentication information: {why}")


def other_project() -> Answer:
    """The credentials are good, but for another project."""
    return error(403, "GES.0016", "The token does not belong to the project.")


def forbidden() -> Answer:
    """The user may not read this graph."""
    return error(403, "GES.0016", "No permission to perform the operation.")


def throttled(retry_after: str | None = "1") -> Answer:
    """The gateway's answer to too many requests; ``retry_after`` is the header's text."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return error(429, "APIGW.0308", "The throttling threshold has been reached.", **headers)


def no_such_api() -> Answer:
    """The gateway's answer to a path or method it does not know."""
    return error(404, "APIGW.0101", "The API does not exist or has not been published.")
