"""The dlt source and its resources: a table of contents."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.runtime.collector import NULL_COLLECTOR
from dlt.common.runtime.collector_base import Collector
from dlt.extract import DltResource, DltSource

from .batches import Batch, Observer, Project, ProjectLoad
from .client import GesClient
from .credentials import GesCredentials
from .graph import PROJECT_WIDE, ListingOptions
from .known import Known, ask_the_pipeline, read_known
from .pace import Gate, Sent
from .page_size import PageSize
from .project import ProjectSettings, resolve_project
from .rows import BACKUP_COLUMNS, json_columns
from .schema import GRAPH_COLUMNS, LISTING_COLUMNS, PROJECT_COLUMNS, REJECTED_COLUMNS
from .settings import (
    DEFAULT_CONCURRENCY,
    DEFAULT_FULL_LISTING_INTERVAL,
    DEFAULT_LISTING,
    DEFAULT_PAGE_SIZE,
    DEFAULT_REQUEST_SECONDS,
    check_page_size,
)

NAME = "ges_backups"
UPSERT: Any = {"disposition": "merge", "strategy": "upsert", "skip_unchanged_rows": True}
INSERT_ONLY: Any = {"disposition": "merge", "strategy": "insert-only"}
KEYS: dict[str, Any] = {
    "backups": "id",
    "graphs": ["project_id", "id"],
    "listings": ["project_id", "graph_id"],
    "projects": "id",
    "rejected_backups": ["project_id", "record_hash"],
}
"""The key of each table."""
EVERYTHING = 10**15  # a lag that no stamp reaches: late graphs and late imports pass, too


@dlt.source(name=NAME)
def ges_backups(
    project_id: str = dlt.config.value,
    endpoint: str | None = None,
    region: str | None = None,
    graph_ids: Sequence[str] | None = None,
    credentials: GesCredentials = dlt.secrets.value,
    listing: str = DEFAULT_LISTING,
    page_size: Any = DEFAULT_PAGE_SIZE,
    concurrency: int = DEFAULT_CONCURRENCY,
    full_listing_interval: str = DEFAULT_FULL_LISTING_INTERVAL,
    request_seconds: float = DEFAULT_REQUEST_SECONDS,
    full: bool = False,
) -> Sequence[DltResource]:
    """The backups of one, some or all graphs of a project, complete and exact.

    Args:
        project_id: 1 to 64 letters and digits.
        endpoint: Base URL of the API, such as ``https://ges.eu-west-101.myhuaweicloud.eu``.
        region: Used where no endpoint is given.
        graph_ids: Graphs to list; None lists all that ListGraphs answers.
        credentials: A token; or user name, password and domain; or access key and secret key.
        listing: ``graphs`` lists each graph, and once per `full_listing_interval` what deleted ones
            have left; ``project`` lists all backups of the project at once, those included.
        page_size: Rows asked for in a page, 1 to 10,000, or ``auto``: as many as the server gives.
        concurrency: Requests in flight at once, 1 to 64.
        full_listing_interval: Age (``24h``, ``30m``, ``7d``) of the last complete listing of a
            graph of several pages from which the whole list is read again.
        request_seconds: How long one request may be tried, all attempts together.
        full: Read everything, whatever the cursors say.

    Returns:
        Resources `backups` (incremental on ``start_timestamp``; marked in `deleted_at` where a
        complete listing did not hold them any more), `graphs`, `listings`, `rejected_backups` and
        `projects`. What the destination holds already is asked of it.

    Raises:
        SettingsError: Something is missing, malformed or contradictory; nothing was sent.
    """
    given = {
        "project_id": project_id,
        "endpoint": endpoint,
        "region": region,
        "graph_ids": graph_ids,
        "credentials": credentials,
        "listing": listing,
        "page_size": page_size,
        "concurrency": concurrency,
        "full_listing_interval": full_listing_interval,
        "request_seconds": request_seconds,
    }
    settings = resolve_project(given, isolated=True)
    client_of(settings)  # says what is wrong with them now

    def batches() -> Iterator[Batch]:
        load = project_load(
            settings,
            client_of(settings),  # one that was cancelled asks no more
            read_known(settings.project_id, ask_the_pipeline),
            full=full,
            is_window=_is_window(),
            collector=dlt.current.pipeline().collector,
        )
        return load.iter_batches(dlt.current.source_schema)

    return _resources(batches)


def client_of(
    settings: ProjectSettings, gate: Gate | None = None, sent: Sent | None = None
) -> GesClient:
    """The client for a project's settings; `gate` is shared with other projects of the endpoint.

    `sent` counts its requests.
    """
    client = GesClient(
        str(settings.endpoint),
        concurrency=settings.concurrency,
        request_seconds=settings.request_seconds,
        gate=gate,
        sent=sent,
    )
    client.authorize(settings.credentials, settings.project_id, settings.region)
    return client


def project_load(
    settings: ProjectSettings,
    client: GesClient,
    known: Known,
    *,
    full: bool,
    is_window: bool,
    collector: Collector = NULL_COLLECTOR,
    observer: Observer | None = None,
) -> ProjectLoad:
    """The listings of one project, as its settings say.

    Args:
        settings: Resolved.
        client: Sends the requests.
        known: What the warehouse holds of the project.
        full: Read everything, whatever the cursors say.
        is_window: Only a window of starts is loaded.
        collector: Shows the progress.
        observer: Is told of each graph's listing.
    """
    names = [PROJECT_WIDE] if settings.listing == "project" else settings.graph_ids
    project = Project(settings.project_id, settings.name, settings.place, names)
    size = PageSize(
        check_page_size(settings.page_size),
        learned=known.learned_size,
        now=time.time(),
        retry_seconds=settings.full_listing_seconds,
    )
    options = ListingOptions(size, full, is_window, settings.full_listing_seconds)
    return ProjectLoad(client, project, options, settings.concurrency, known, observer, collector)


def source_of(batches: Iterator[Batch]) -> DltSource:
    """`ges_backups` for a project that is being listed."""
    source = dlt.source(_resources, name=NAME, spec=BaseConfiguration)
    return source(lambda: batches)


def _resources(batches: Callable[[], Iterator[Batch]]) -> Sequence[DltResource]:
    """The resources, over the batches that a project's load brings."""

    @dlt.resource(selected=False)
    def graph_listings() -> Iterator[Batch]:
        """Lists the graphs; what they brought, in batches."""
        yield from batches()

    @dlt.transformer(
        data_from=graph_listings,
        primary_key=KEYS["backups"],
        write_disposition=UPSERT,
        columns=BACKUP_COLUMNS,
    )
    def backups(
        batch: Batch,
        start_timestamp: Any = dlt.sources.incremental(  # noqa: ARG001, B008
            "start_timestamp", initial_value=0, lag=EVERYTHING, allow_external_schedulers=False
        ),
    ) -> Iterator[Any]:
        """One row per backup ever seen."""
        for table in _some(batch.backups):
            hints = json_columns(table)
            yield dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table

    @dlt.transformer(
        data_from=graph_listings,
        primary_key=KEYS["graphs"],
        write_disposition=UPSERT,
        columns=GRAPH_COLUMNS,
    )
    def graphs(batch: Batch) -> Iterator[pa.Table]:
        """One row per graph ever seen."""
        yield from _some(batch.graphs)

    @dlt.transformer(
        data_from=graph_listings,
        primary_key=KEYS["listings"],
        write_disposition=UPSERT,
        columns=LISTING_COLUMNS,
    )
    def listings(batch: Batch) -> Iterator[pa.Table]:
        """The latest listing of each graph."""
        yield from _some(batch.listings)

    @dlt.transformer(
        data_from=graph_listings,
        primary_key=KEYS["rejected_backups"],
        write_disposition=INSERT_ONLY,
        columns=REJECTED_COLUMNS,
    )
    def rejected_backups(batch: Batch) -> Iterator[pa.Table]:
        """Records that do not fit, whole, once per version."""
        yield from _some(batch.rejected)

    @dlt.transformer(
        data_from=graph_listings,
        primary_key=KEYS["projects"],
        write_disposition=UPSERT,
        columns=PROJECT_COLUMNS,
    )
    def projects(batch: Batch) -> Iterator[pa.Table]:
        """One row per project ever listed."""
        yield from _some(batch.projects)

    return graph_listings, backups, graphs, listings, rejected_backups, projects


def _some(table: pa.Table | None) -> Iterator[pa.Table]:
    if table is not None:
        yield table


def _is_window() -> bool:
    """Whether this run loads only a window of starts, set by hints on the resource `backups`."""
    resource = dlt.current.source().resources.get("backups")
    wrapper = resource.incremental if resource is not None else None
    incremental: Any = getattr(wrapper, "incremental", wrapper)
    if incremental is None:
        return False
    return incremental.end_value is not None or bool(incremental.initial_value)
