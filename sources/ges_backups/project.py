"""The settings of a project, and of many: resolved by dlt from arguments, environment and files.

Many projects are a list in ``[[sources.ges_backups.projects]]`` or, as JSON, in the variable
``SOURCES__GES_BACKUPS__PROJECTS``; what an entry lacks comes from the settings above it. The word
``all`` stands for all projects that the credential can see; where each one's region is its endpoint,
for those that are named after one.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from dlt.common.configuration import configspec, resolve_configuration
from dlt.common.configuration.specs import BaseConfiguration

from .client import GesClient
from .credentials import GesCredentials
from .errors import AnswerError, SettingsError, SourceDown, TransientError
from .settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_FULL_LISTING_INTERVAL,
    DEFAULT_LISTING,
    DEFAULT_PAGE_SIZE,
    DEFAULT_REQUEST_SECONDS,
    check_graph_ids,
    check_listing,
    check_page_size,
    check_project_id,
    check_seconds,
    check_whole_number,
    parse_interval,
    resolve_endpoint,
)

SECTIONS = ("sources", "ges_backups")
_OF_A_REGION = re.compile(r"([a-z]+(?:-[a-z0-9]+)+)(?:_.*)?", re.DOTALL)


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
    listing: str = DEFAULT_LISTING
    page_size: Any = DEFAULT_PAGE_SIZE
    concurrency: int = DEFAULT_CONCURRENCY
    full_listing_interval: str = DEFAULT_FULL_LISTING_INTERVAL
    request_seconds: float = DEFAULT_REQUEST_SECONDS

    def on_resolved(self) -> None:
        """Check everything; raise `SettingsError` with what to do."""
        self.project_id = check_project_id(self.project_id)
        self.graph_ids = check_graph_ids(self.graph_ids)
        self.listing = check_listing(self.listing)
        if self.listing == "project" and self.graph_ids is not None:
            raise SettingsError(
                "graph_ids and listing = project contradict each other: a project is listed whole "
                "(SOURCES__GES_BACKUPS__GRAPH_IDS, SOURCES__GES_BACKUPS__LISTING)."
            )
        check_page_size(self.page_size)
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


@configspec
class _ProjectList(BaseConfiguration):
    """The list of projects, as it is set."""

    projects: Any | None = None


def resolve_projects(
    given: Mapping[str, Any],
    names: Sequence[str] = (),
    *,
    isolated: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> list[ProjectSettings] | None:
    """The settings of each listed project, in the order of the list.

    Args:
        given: Settings that hold for all of them; `projects`, if it is there, is the list.
        names: Names or ids of the wanted ones; empty for all.
        isolated: Take nothing from the configuration.
        say: Takes a line on projects of the account that have no region.

    Returns:
        None where no list is set: then there is one project.

    Raises:
        SettingsError: The list is malformed, or a name is not in it.
        CredentialsError, SourceDown: IAM had to be asked, and did not tell.
    """
    others = {name: value for name, value in given.items() if name != "projects"}
    said = given.get("projects")
    if said is None and not isolated and others.get("project_id") is None:
        said = resolve_configuration(
            _ProjectList(), sections=SECTIONS, accept_partial=True
        ).projects
    if said is None:
        if names:
            raise SettingsError(
                f"There is no project {names[0]!r}: no projects are listed. Set "
                "SOURCES__GES_BACKUPS__PROJECTS, or [[sources.ges_backups.projects]]."
            )
        return None
    entries = _find_projects(others, isolated, say) if said == "all" else _entries(said)
    chosen = _choose(entries, names)
    return [_resolve_entry(entry, others, isolated) for entry in chosen]


def _entries(said: Any) -> list[dict[str, Any]]:
    """The list as it is set, its shape checked."""
    shape = (
        'PROJECTS must be "all" or a list like \'[{"name": "orders", "project_id": "0123..."}]\' '
        "(SOURCES__GES_BACKUPS__PROJECTS, or [[sources.ges_backups.projects]])."
    )
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except ValueError:
            raise SettingsError(shape) from None
    if not isinstance(said, list) or not said or not all(isinstance(one, dict) for one in said):
        raise SettingsError(shape)
    entries = [dict(one) for one in said]
    for entry in entries:
        _check_entry(entry)
    for key in ("name", "project_id"):
        values = [entry[key] for entry in entries]
        if twice := [value for value in values if values.count(value) > 1]:
            raise SettingsError(f"Two of the projects have the {key} {twice[0]!r}.")
    return entries


def _check_entry(entry: dict[str, Any]) -> None:
    known = [name for name in ProjectSettings.get_resolvable_fields() if name != "name"]
    unknown = [name for name in entry if name not in (*known, "name")]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f": there are {', '.join(known)}."
        raise SettingsError(f"A project has no setting {unknown[0]!r}{hint}")
    if not entry.get("project_id"):
        raise SettingsError(
            f"The project {entry.get('name') or '?'!r} of PROJECTS has no project_id."
        )
    entry.setdefault("name", entry["project_id"])
    if not isinstance(entry["name"], str) or not entry["name"].isprintable():
        raise SettingsError("The name of a project must be printable text.")


def _choose(entries: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return entries
    known = {value for entry in entries for value in (entry["name"], entry["project_id"])}
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3) or sorted(
                entry["name"] for entry in entries
            )
            raise SettingsError(f"There is no project {name!r}; there is {', '.join(close)}.")
    return [entry for entry in entries if {entry["name"], entry["project_id"]} & set(names)]


def _resolve_entry(
    entry: dict[str, Any], others: Mapping[str, Any], isolated: bool
) -> ProjectSettings:
    merged = {**others, **entry}
    if "region" in entry and "endpoint" not in entry:
        merged["endpoint"] = resolve_endpoint(None, entry["region"])
    try:
        return resolve_project(merged, isolated=isolated)
    except SettingsError as error:
        raise SettingsError(f"Project {entry['name']}: {error}") from error


def _find_projects(
    given: Mapping[str, Any], isolated: bool, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    """All projects of the account, by IAM's ``GET /v3/auth/projects``.

    Facts: the answer is ``{"projects": [{"id": ..., "name": ..., "enabled": true}]}``; the name of a
    project is its region's, with what the account has added behind an underscore. Others belong to
    no region: each account has ``MOS``, of the object storage.
    """
    account = resolve_project({**given, "project_id": "0"}, isolated=isolated)
    client = GesClient(
        account.credentials.iam_url(account.region),
        concurrency=1,
        request_seconds=account.request_seconds,
    )
    client.authorize(account.credentials, None, account.region)
    try:
        found = client.get("/v3/auth/projects", {}, _parse_projects)
    except AnswerError as error:
        raise SourceDown(f"IAM did not tell the account's projects: {error}") from error
    if not found:
        raise SettingsError("The credential sees no project: list them in PROJECTS.")
    if account.endpoint != _endpoint_of(account.region):
        return found  # an endpoint of one's own serves all of them
    regions = {one["project_id"]: _OF_A_REGION.fullmatch(one["name"]) for one in found}
    if others := [one["name"] for one in found if not regions[one["project_id"]]]:
        say(f"left out, as no region's projects by their names: {', '.join(map(ascii, others))}")
    named = [{**one, "region": at[1]} for one in found if (at := regions[one["project_id"]])]
    if not named:
        raise SettingsError(
            "The credential sees no project that is named after a region: list them in PROJECTS."
        )
    return named


def _endpoint_of(region: str | None) -> str | None:
    return resolve_endpoint(None, region) if region else None


def _parse_projects(body: bytes) -> list[dict[str, Any]]:
    try:
        projects = json.loads(body)["projects"]
        return [
            {"name": str(one.get("name") or one["id"]), "project_id": str(one["id"])}
            for one in projects
            if one.get("enabled", True)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TransientError(
            "the answer holds no list of projects", path="/v3/auth/projects", status=200
        ) from None


def _credentials(given: Any) -> GesCredentials:
    if isinstance(given, GesCredentials):
        if not given.is_resolved():
            given.resolve()
        return given
    credentials = GesCredentials()
    credentials.parse_native_representation(given)
    credentials.resolve()
    return credentials
