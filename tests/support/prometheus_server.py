"""A real Prometheus on loopback that scrapes a real node-exporter's textfile collector."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

needs_prometheus = pytest.mark.skipif(
    not all(map(shutil.which, ("prometheus", "promtool", "prometheus-node-exporter"))),
    reason="needs Debian's packages prometheus and prometheus-node-exporter",
)

CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{exporter}"]}}]
"""


class Prometheus:
    """What a running Prometheus answers."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1/"

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """An instant query's series with their values; fails where the query is wrong."""
        found = self._get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    def label_values(self, label: str, matching: str) -> list[str]:
        """The values of a label over the series that match."""
        values: list[str] = self._get(f"label/{label}/values", **{"match[]": matching})
        return values

    def alerts(self) -> set[tuple[str, str]]:
        """(alert, graph or project) of those that fire or are about to."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("graph_id", ""))
            for alert in self._get("alerts")["alerts"]
        }

    def wait_for(self, expression: str, seconds: float = 30) -> None:
        """Wait until a query answers something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.query(expression):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"Prometheus never answered {expression}")

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._base}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def scraping(textfiles: Path, rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with rules, over a node-exporter that collects `*.prom` of a folder."""
    exporter, port = _free_port(), _free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=rules, exporter=exporter))
    commands = [
        [
            "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={textfiles}",
            f"--web.listen-address=127.0.0.1:{exporter}",
        ],
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    ]
    quiet = subprocess.DEVNULL
    processes = [subprocess.Popen(command, stdout=quiet, stderr=quiet) for command in commands]
    try:
        yield Prometheus(port)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
