"""The settings of one project, resolved by dlt from arguments, environment and files, and checked."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.specs import BaseConfiguration

from .credentials import GesCredentials
from .settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_FULL_LISTING_INTERVAL,
    DEFAULT_PAGE_SIZE,
    DEFAULT_REQUEST_SECONDS,
    check_graph_ids,
    check_project_id,
    check_seconds,
    check_whole_number,
    parse_interval,
    resolve_endpoint,
)

SECTIONS = ("sources", "ges_backups")


@configspec
class ProjectSettings(BaseConfiguration):
    """What is listed, where, as whom and how; see the arguments of `ges_backups`.

    Set in ``[sources.ges_backups]`` or ``SOURCES__GES_BACKUPS__*``. Once resolved, everything is
    checked: nothing was sent, and nothing is missing.
    """

    project_id: str = None  # type: ignore[assignment]
    name: str | None = None
    endpoint: str | None = None
    region: str | None = None
    graph_ids: list[str] | None = None
    credentials: GesCredentials = None  # type: ignore[assignment]
    page_size: int = DEFAULT_PAGE_SIZE
    concurrency: int = DEFAULT_CONCURRENCY
    full_listing_interval: str = DEFAULT_FULL_LISTING_INTERVAL
    request_seconds: float = DEFAULT_REQUEST_SECONDS

    def on_resolved(self) -> None:
        """Check everything; raise `SettingsError` with what to do."""
        self.project_id = check_project_id(self.project_id)
        self.graph_ids = check_graph_ids(self.graph_ids)
        self.page_size = check_whole_number("page_size", self.page_size, 1, 10_000)
        self.concurrency = check_whole_number("concurrency", self.concurrency, 1, 64)
        self.request_seconds = check_seconds("request_seconds", self.request_seconds, 3600)
        self.endpoint = resolve_endpoint(self.endpoint, self.region)
        parse_interval(self.full_listing_interval)

    @property
    def full_listing_seconds(self) -> float:
        """`full_listing_interval` in seconds."""
        return parse_interval(self.full_listing_interval)

    @property
    def place(self) -> str | None:
        """The region, or the endpoint's host."""
        return self.region or urlsplit(str(self.endpoint)).hostname


def resolve_project(given: Mapping[str, Any], *, isolated: bool = False) -> ProjectSettings:
    """The settings of a project, what is not given from dlt's configuration.

    Args:
        given: Settings by name; None is not given. Credentials are a token, a dictionary, or
            `GesCredentials`, and replace those of the configuration whole.
        isolated: Take nothing from the configuration.

    Raises:
        SettingsError: Something is malformed or contradictory.
        ConfigFieldMissingException: Something is missing.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if "credentials" in said:
        said["credentials"] = _credentials(said["credentials"])
    if isolated:
        settings = ProjectSettings()
        settings.update(said)
        settings.resolve()
        return settings
    return resolve_configuration(ProjectSettings(), sections=SECTIONS, explicit_value=said)


def _credentials(given: Any) -> GesCredentials:
    if isinstance(given, GesCredentials):
        if not given.is_resolved():
            given.resolve()
        return given
    credentials = GesCredentials()
    if isinstance(given, Mapping):
        credentials.update(dict(given))
    else:
        credentials.parse_native_representation(given)
    credentials.resolve()
    return credentials
