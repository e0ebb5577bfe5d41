"""The history as metrics in Prometheus' text format: gauges, base units, instants instead of ages.

A graph that was never backed up has its counts of 0; one that has left its project has no series,
and what is not known has none either, as the counts of one that could never be listed. Nothing in
a label changes with a backup.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ges_history.reports.overview import HEALTHY
from ges_history.watching.facts import Graph, Project
from ges_history.watching.findings import Check, violations_by_graph
from ges_history.watching.kinds import Severity
from ges_history.watching.tell import BYTES_PER_MB
from ges_history.whole_file import write_whole

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

PREFIX = "ges_backup_"
LABELS = ("project_id", "graph_id", "graph_name")
SEVERITIES: tuple[Severity, ...] = ("critical", "warning")
READABLE = 0o644
"""Nothing in it is secret, and the collector runs as another user."""


@dataclass(frozen=True)
class _Gauge:
    """A metric of a graph: its name, what it means, and its value, None where it is not known."""

    name: str
    help: str
    value: Callable[[Graph], float | None]


def _counted(count: Callable[[Graph], float | None]) -> Callable[[Graph], float | None]:
    """A count: of a graph that was never listed without an error it is not known."""
    return lambda graph: None if graph.known_until is None else count(graph)


GAUGES = (
    _Gauge(
        "last_success_timestamp_seconds",
        "Start of the newest successful backup, Unix time.",
        lambda graph: _seconds(graph.last_success_at),
    ),
    _Gauge(
        "last_status",
        "How the newest backup that has ended did: 1 success, 0 failed.",
        lambda graph: None if graph.ended_status is None else graph.ended_status == "success",
    ),
    _Gauge(
        "last_size_bytes",
        "Size of the newest successful backup; the API tells MB, taken as 2^20 bytes.",
        lambda graph: _bytes(graph.last_mb),
    ),
    _Gauge(
        "last_duration_seconds",
        "Duration of the newest successful backup.",
        lambda graph: graph.last_s,
    ),
    _Gauge(
        "expected_interval_seconds",
        "Usual time from one success to the next: the median of the last 29.",
        lambda graph: None if graph.usual_gap_hours is None else 3600 * graph.usual_gap_hours,
    ),
    _Gauge(
        "known_until_timestamp_seconds",
        "When the graph was last listed without an error, Unix time; nothing newer is known.",
        lambda graph: _seconds(graph.known_until),
    ),
    _Gauge("source_backups", "Backups at the source.", _counted(lambda g: g.source_backups)),
    _Gauge(
        "source_bytes",
        "Size of the backups at the source; the API tells MB, taken as 2^20 bytes.",
        _counted(lambda graph: _bytes(graph.source_mb)),
    ),
    _Gauge("running", "Backups in progress.", _counted(lambda graph: graph.running)),
    _Gauge(
        "stuck",
        "Backups in progress for more than 3 times the 95th percentile of the durations.",
        _counted(lambda graph: graph.stuck),
    ),
    _Gauge(
        "failures_30d",
        "Failed backups that started in the 30 days before the last listing.",
        _counted(lambda graph: graph.failed_30d),
    ),
)


def as_text(check: Check) -> bytes:
    """The metrics of a history and of the policy held against it.

    What only a load knows of itself is there where the check was held after one.
    """
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - 55 ms, for metrics alone
    from prometheus_client.exposition import generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector([*_of_graphs(check), *_of_projects(check)]))
    return generate_latest(registry)


def write_text(path: Path, content: bytes) -> None:
    """Put a file in its place whole, readable by all; on failure the old one stays.

    Raises:
        HistoryError: It cannot be written there.
    """
    write_whole(path, content, READABLE)


class _Collector:
    """What prometheus-client asks for metrics that are there already."""

    def __init__(self, families: "Iterable[GaugeMetricFamily]") -> None:
        self._families = list(families)

    def collect(self) -> "Iterator[GaugeMetricFamily]":
        yield from self._families


def _of_graphs(check: Check) -> "Iterator[GaugeMetricFamily]":
    graphs = [graph for graph in check.facts.graphs if graph.left_at is None]
    for gauge in GAUGES:
        family = _family(gauge.name, gauge.help, LABELS)
        for graph in graphs:
            value = gauge.value(graph)
            if value is not None:
                family.add_metric(_labels(graph), float(value))
        yield family
    family = _family(
        "rejected_records_30d",
        "Records of the last 30 days that did not fit and were kept aside; without a graph, those"
        " that name none that is known.",
        LABELS,
    )
    subjects: list[Graph | Project] = [*graphs, *check.facts.projects]
    for one in subjects:
        family.add_metric(_labels(one), one.rejected_30d)
    yield family
    family = _family(
        "policy_violations",
        "Rules that are violated; without a graph, those about the project.",
        (*LABELS, "severity"),
    )
    violations = violations_by_graph(check.findings)
    for labels in map(_labels, subjects):
        for severity in SEVERITIES:
            count = violations[labels[0], labels[1], severity]
            family.add_metric([*labels, severity], count)
    yield family


def _of_projects(check: Check) -> "Iterator[GaugeMetricFamily]":
    info = _family(
        "project_info",
        "1, with the project's name and region.",
        ("project_id", "project", "region"),
    )
    graphs = _family("graphs", "Graphs at the source.", ("project_id",))
    listed = _family(
        "last_load_timestamp_seconds", "When a load last listed, Unix time.", ("project_id",)
    )
    failed = _family(
        "last_load_failed_graphs",
        "Graphs whose latest listing ended with an error; 1 where a project without any has failed.",
        ("project_id",),
    )
    requests = _family("last_load_requests", "Requests of the last load.", ("project_id",))
    outcome = _family(
        "last_load_outcome",
        "How the last load ended: 0 all listed, 3 some not; where a load itself writes it, 3 for new"
        " rejected records, too, and 1 where nothing could be done.",
        ("project_id",),
    )
    duration = _family(
        "last_load_duration_seconds",
        "Duration of the last load; only where a load itself writes it.",
        ("project_id",),
    )
    graphs_of: dict[str, list[Graph]] = defaultdict(list)
    for graph in check.facts.graphs:
        if graph.left_at is None:
            graphs_of[graph.project_id].append(graph)
    for project in check.facts.projects:
        labels = [project.project_id]
        own = graphs_of[project.project_id]
        bad = sum(map(_has_failed, own)) or int(_has_failed(project))
        info.add_metric([*labels, project.name, project.region or ""], 1)
        if own or project.loaded_at is not None:
            graphs.add_metric(labels, len(own))
            failed.add_metric(labels, bad)
        if project.loaded_at is not None:
            listed.add_metric(labels, project.loaded_at.timestamp())
        load = project.load
        sent = project.requests + sum(graph.requests for graph in own)
        requests.add_metric(labels, load.requests if load else sent)
        outcome.add_metric(labels, load.exit_code if load else 3 if bad else 0)
        if load:
            duration.add_metric(labels, load.seconds)
    yield from (info, graphs, listed, failed, requests, outcome)
    if any(project.load for project in check.facts.projects):
        yield duration


def _has_failed(listed: Graph | Project) -> bool:
    return listed.outcome is not None and listed.outcome not in HEALTHY


def _family(name: str, text: str, labels: Iterable[str]) -> "GaugeMetricFamily":
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    return GaugeMetricFamily(PREFIX + name, text, labels=list(labels))


def _labels(subject: Graph | Project) -> list[str]:
    """Those of a graph; of a project, the graph's are empty."""
    if isinstance(subject, Project):
        return [subject.project_id, "", ""]
    return [subject.project_id, subject.graph_id, subject.graph_name]


def _seconds(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()


def _bytes(megabytes: int | None) -> int | None:
    return None if megabytes is None else BYTES_PER_MB * megabytes
