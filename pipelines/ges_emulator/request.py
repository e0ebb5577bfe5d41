"""One request as the emulator saw it."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote


@dataclass
class Request:
    """What was asked and how it was answered; header values are never kept."""

    method: str
    path: str
    query: dict[str, int | str]
    endpoint: str | None
    """``backups``, ``all_backups``, ``graphs``, ``tokens``; None for any other path."""
    project_id: str | None
    graph_id: str | None
    has_credentials: bool
    """Whether a token or a signature came along, good or bad."""
    status: int | None = None
    """None while there is no answer, and if a fault of the connection was in its way."""
    fault: str | None = None
    """The name of the fault that it met."""


def parse_request(method: str, target: str, has_credentials: bool) -> Request:
    """Read a request line's target."""
    path, _, query_text = target.partition("?")
    query = {name: _number(text) for name, text in parse_qsl(query_text, keep_blank_values=True)}
    endpoint: str | None = None
    project_id: str | None = None
    graph_id: str | None = None
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    match [method, *segments]:
        case ["GET", "v2", project_id, "graphs"]:
            endpoint = "graphs"
        case ["GET", "v2", project_id, "graphs", "backups"]:
            endpoint = "all_backups"
        case ["GET", "v2", project_id, "graphs", graph_id, "backups"]:
            endpoint = "backups"
        case ["POST", "v3", "auth", "tokens"]:
            endpoint = "tokens"
    return Request(method, path, query, endpoint, project_id, graph_id, has_credentials)


def _number(text: str) -> int | str:
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else text
