"""Results as markdown tables."""

from collections.abc import Iterable, Sequence
from statistics import median

from rounds import Result, median_ratio, of

HEADER = (
    "tool",
    "load",
    "seconds",
    "times the floor",
    "CPU s",
    "times its CPU",
    "peak MB",
    "requests",
    "rows",
)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def comparison(results: Sequence[Result]) -> str:
    """Medians of each tool and step, and ratios to the floor pair by pair."""
    rows = []
    for tool, step in dict.fromkeys((result.tool, result.step) for result in results):
        mine = of(results, tool=tool, step=step)
        floor = of(results, tool="floor", step=step)
        wall, cpu = (median_ratio(mine, floor, what) for what in ("seconds", "cpu_seconds"))
        rows.append(
            (
                tool,
                step,
                f"{median(r.seconds for r in mine):.2f}",
                "-" if wall is None else f"{wall:.2f}",
                f"{median(r.cpu_seconds for r in mine):.2f}",
                "-" if cpu is None else f"{cpu:.2f}",
                f"{median(r.peak_mb for r in mine):.0f}",
                f"{median(r.requests for r in mine):,.0f}",
                f"{median(r.rows for r in mine):,.0f}",
            )
        )
    return table(HEADER, rows)


def peers(groups: Iterable[tuple[str, Sequence[Result]]]) -> str:
    """A row for each tool in each group: seconds of each load, and times the floor of its group."""
    rows = []
    steps: list[str] = []
    for words, results in groups:
        steps = steps or list(dict.fromkeys(result.step for result in results))
        for tool in dict.fromkeys(result.tool for result in results):
            cells = []
            for step in steps:
                mine = of(results, tool=tool, step=step)
                ratio = median_ratio(mine, of(results, tool="floor", step=step))
                cells.append(f"{median(r.seconds for r in mine):.2f} ({ratio:.2f})")
            first = of(results, tool=tool, step=steps[0])
            cpu, peak, requests = (
                median(getattr(r, what) for r in first)
                for what in ("cpu_seconds", "peak_mb", "requests")
            )
            rows.append((words, tool, *cells, f"{cpu:.2f}", f"{peak:.0f}", f"{requests:,.0f}"))
    header = [
        "rows in a page",
        "tool",
        *(f"{step}, s" for step in steps),
        "CPU s",
        "peak MB",
        "requests",
    ]
    return table(header, rows)
