"""The settings of the source, checked before the first request; nothing here sends anything."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from requests import PreparedRequest

from .errors import SettingsError

DEFAULT_PAGE_SIZE = "auto"
DEFAULT_LISTING = "graphs"
DEFAULT_CONCURRENCY = 8
DEFAULT_FULL_LISTING_INTERVAL = "24h"
DEFAULT_REQUEST_SECONDS = 60.0

_SETTING = "SOURCES__GES_BACKUPS__"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROJECT_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_GRAPH_ID = re.compile(r"(?!\.+$)[A-Za-z0-9._~-]{1,128}")
_API_VERSION = re.compile(r"/v\d+(?:\.\d+)?(?=/|$)")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def check_project_id(project_id: str) -> str:
    """Return the project id, or raise `SettingsError`: 1 to 64 letters and digits (API page, table 1)."""
    if not isinstance(project_id, str) or not _PROJECT_ID.fullmatch(project_id):
        raise SettingsError(
            f"project_id {_shown(project_id)} is not valid: 1 to 64 letters and digits are allowed. "
            "Set SOURCES__GES_BACKUPS__PROJECT_ID to the ID shown under My Credentials."
        )
    return project_id


def is_graph_id(graph_id: str) -> bool:
    """Whether an id can stand as one segment of a path: never empty, a slash, or only dots."""
    return bool(_GRAPH_ID.fullmatch(graph_id))


def check_graph_ids(graph_ids: Sequence[str] | None) -> list[str] | None:
    """Return the distinct graph ids in their order, or None for all graphs; raise `SettingsError`."""
    if graph_ids is None:
        return None
    if isinstance(graph_ids, str) or not isinstance(graph_ids, Sequence):
        raise SettingsError(
            'graph_ids must be a list: SOURCES__GES_BACKUPS__GRAPH_IDS=\'["id", "id"]\'.'
        )
    if not graph_ids:
        raise SettingsError("graph_ids is empty: leave it out to load all graphs of the project.")
    for graph_id in graph_ids:
        if not isinstance(graph_id, str) or not is_graph_id(graph_id):
            raise SettingsError(
                f"graph id {_shown(graph_id)} is not valid: letters, digits and . _ ~ - are allowed. "
                "Set SOURCES__GES_BACKUPS__GRAPH_IDS to ids as ListGraphs answers them."
            )
    return list(dict.fromkeys(graph_ids))


def check_endpoint(endpoint: str, setting: str = "SOURCES__GES_BACKUPS__ENDPOINT") -> str:
    """Return the endpoint without a trailing slash, or raise `SettingsError`.

    https is required except towards loopback; user names, queries and fragments are refused.
    """
    try:
        parts = urlsplit(endpoint.strip())
        host, _ = parts.hostname, parts.port
    except (ValueError, AttributeError) as error:
        raise SettingsError(f"{setting} is not a URL: {_shown(endpoint)}.") from error
    if parts.username or parts.password:
        raise SettingsError(f"{setting} must not hold a user name or password.")
    is_plain = parts.scheme in ("http", "https") and not parts.query and not parts.fragment
    if not is_plain or not host or not _can_be_asked(endpoint.strip(), host):
        raise SettingsError(
            f"{setting} is not a URL like https://ges.eu-west-101.myhuaweicloud.eu: {_shown(endpoint)}."
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(
            f"{setting} uses plain http, which would show the credential to the network: "
            f"use https://{host}."
        )
    if version := _API_VERSION.search(parts.path):
        raise SettingsError(
            f"{setting} goes without {version[0]}, which each request's path begins with: "
            f"use {parts.scheme}://{parts.netloc}{parts.path[: version.start()]}."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _can_be_asked(url: str, host: str) -> bool:
    """Whether requests takes a URL, and its host's parts are neither empty nor too long for a name."""
    try:
        PreparedRequest().prepare_url(url, None)
        host.encode("idna")
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def resolve_endpoint(endpoint: str | None, region: str | None) -> str:
    """Return the API's base URL, from an endpoint or else from a region; raise `SettingsError`."""
    if endpoint:
        return check_endpoint(endpoint)
    if region:
        return region_endpoint("ges", region)
    raise SettingsError(
        "No endpoint: set SOURCES__GES_BACKUPS__ENDPOINT (https://ges.<region>.myhuaweicloud.com) "
        "or SOURCES__GES_BACKUPS__REGION."
    )


def region_endpoint(service: str, region: str) -> str:
    """The public endpoint of a service (``ges``, ``iam``) in a region; European ones end in .eu."""
    if not _REGION.fullmatch(region):
        raise SettingsError(
            f"region {_shown(region)} is not valid: set {_SETTING}REGION to one like eu-west-101."
        )
    domain = "myhuaweicloud.eu" if region.startswith("eu-") else "myhuaweicloud.com"
    return f"https://{service}.{region}.{domain}"


def check_whole_number(name: str, value: int, low: int, high: int) -> int:
    """Return a setting that must be a whole number within bounds, or raise `SettingsError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(
            f"{name} must be a whole number from {low} to {high}, not {_shown(value)}: "
            f"set {_SETTING}{name.upper()}."
        )
    return value


def check_page_size(value: object) -> int | None:
    """Return the rows to ask for in a page, None for ``auto``; raise `SettingsError`."""
    if value == "auto":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise SettingsError(
            f"page_size must be auto or a whole number from 1 to 10000, not {_shown(value)}: "
            f"set {_SETTING}PAGE_SIZE."
        )
    return value


def check_listing(value: object) -> str:
    """Return the listing that backups are read from, or raise `SettingsError`."""
    if value not in ("graphs", "project"):
        raise SettingsError(
            f"listing must be graphs or project, not {_shown(value)}: set {_SETTING}LISTING."
        )
    return str(value)


def check_seconds(name: str, value: float, high: float) -> float:
    """Return a number of seconds above zero and up to a bound, or raise `SettingsError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
        raise SettingsError(
            f"{name} must be a number of seconds up to {high:g}, not {_shown(value)}: "
            f"set {_SETTING}{name.upper()}."
        )
    return float(value)


def parse_interval(value: str | float | timedelta) -> float:
    """Return seconds from a `timedelta`, a number of seconds, or text such as ``24h``, ``30m``, ``7d``."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    match = _INTERVAL.fullmatch(str(value).strip())
    if not match:
        raise SettingsError(
            f"full_listing_interval {_shown(value)} is not valid: use 90s, 30m, 24h or 7d "
            f"for {_SETTING}FULL_LISTING_INTERVAL."
        )
    return float(match[1]) * _UNIT_SECONDS[match[2] or "s"]


def to_stamp(instant: datetime) -> int:
    """The first whole millisecond since 1970 that is not before an instant; UTC where it has no zone.

    In whole numbers throughout: a float is a millisecond off for one instant in 170.
    """
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return -((_EPOCH - aware) // timedelta(milliseconds=1))


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
