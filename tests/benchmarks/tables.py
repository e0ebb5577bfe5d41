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
