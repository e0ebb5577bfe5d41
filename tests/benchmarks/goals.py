"""The goals of speed and memory beside what a run has measured, as one table."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import tables
from rounds import Result, median_ratio, of

OURS = "ges-backups"
Found = dict[str, list[dict[str, Any]]]
"""{scenario: its results, as they were written}."""
SIZES = {"reference": "100,000", "million": "1,000,000"}


def table(found: Found) -> str:
    """All goals of scenarios that ran: what, at most, measured, and by how much; empty without any."""
    rows = []
    for words, most, unit, measured in _goals(found):
        left = "met" if measured <= most else f"missed by {measured - most:.{_digits(unit)}f}"
        rows.append((words, f"{most:g}{unit}", f"{measured:.{_digits(unit)}f}{unit}", left))
    return tables.table(["goal", "at most", "measured", ""], rows) if rows else ""


def _digits(unit: str) -> int:
    return {"": 2, " s": 1, " MiB": 1}.get(unit, 0)


def _goals(found: Found) -> list[tuple[str, float, str, float]]:
    goals: list[tuple[str, float, str, float]] = []
    for scenario, size in SIZES.items():
        if scenario in found:
            goals += _of_loads(size, [Result(**one) for one in found[scenario]])
    if "startup" in found:
        goals.append(_of_one_graph([Result(**one) for one in found["startup"]]))
    if "ten-million" in found:
        goals += _of_ten_million([Result(**one) for one in found["ten-million"]])
    if "reports" in found:
        goals += _of_reports(found["reports"])
    return goals


def _of_loads(size: str, results: Sequence[Result]) -> list[tuple[str, float, str, float]]:
    def ratio(step: str, page_size: int, pages: str) -> float:
        group = of(results, step=step, page_size=page_size, pages=pages)
        return median_ratio(of(group, tool=OURS), of(group, tool="floor")) or 0.0

    ways = [("floor by pages of 100, ours by the server's", 0.9, 100, "auto")]
    ways += [("both by 100", 1.3, 100, "100"), ("both by 1,000", 1.2, 1000, "1000")]
    goals = [
        (f"{size}, first load in times of the floor: {words}", most, "", ratio("first", *pages))
        for words, most, *pages in ways
    ]
    peak = max(result.peak_mb for result in of(results, tool=OURS))
    goals.append((f"{size}, memory at its peak", 300, " MB", peak))
    if size == SIZES["reference"]:
        nothing = ratio("nothing new", 100, "auto")
        goals.append((f"{size}, nothing new, in times of the floor", 0.35, "", nothing))
    return goals


def _of_one_graph(results: Sequence[Result]) -> tuple[str, float, str, float]:
    words = "One graph, nothing new, in times of `import dlt, duckdb, pyarrow`"
    ours, base = of(results, tool=OURS, step="nothing new"), of(results, tool="three imports")
    seconds = [median(result.seconds for result in mine) for mine in (ours, base)]
    return words, 1.4, "", seconds[0] / seconds[1]


def _of_ten_million(results: Sequence[Result]) -> list[tuple[str, float, str, float]]:
    first = of(results, tool=OURS, step="first")
    graphs = sorted({result.graphs for result in first})
    seconds = [median(r.seconds for r in of(first, graphs=count)) for count in graphs]
    peak = max(result.peak_mb for result in results)
    return [
        ("10,000,000, memory at its peak", 450, " MB", peak),
        (
            "10,000,000, first load in proportion to 1,000,000",
            1.2,
            "",
            seconds[1] / seconds[0] / (graphs[1] / graphs[0]),
        ),
    ]


def _of_reports(costs: list[dict[str, Any]]) -> list[tuple[str, float, str, float]]:
    large = costs[len(costs) // 2 :]  # the larger history is the second

    def slowest(is_meant: Callable[[str], bool]) -> float:
        return max(one["seconds"] for one in large if is_meant(one["command"]))

    page = next(one for one in large if "html" in one["command"])
    return [
        ("10,000,000, each report", 15, " s", slowest(lambda line: "parquet" in line)),
        ("10,000,000, the screen", 5, " s", slowest(lambda line: line == "report")),
        ("10,000,000, `check`", 10, " s", slowest(lambda line: line == "check")),
        ("10,000,000, `metrics`", 10, " s", slowest(lambda line: line == "metrics")),
        ("10,000,000, the page", 90, " s", page["seconds"]),
        ("10,000,000, the page's size", 10, " MiB", page["written_mb"]),
    ]
