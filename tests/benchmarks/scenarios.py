"""The scenarios: each a function that measures and returns its results and its markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import tables
from measure import Server
from rounds import FIRST_AND_SECOND, Result, Step, of, play
from tools import DLT_DEFAULT, DLT_PARQUET, FLOOR, VENDOR_SDK, Tool


@dataclass(frozen=True)
class Options:
    """How much to measure: rounds (None: the scenario's own), small sizes, which of our versions."""

    ours: Sequence[Tool]
    rounds: int | None = None
    quick: bool = False
    competitors: bool = True

    def rounds_or(self, own: int) -> int:
        """Rounds of a scenario that would take so many by itself."""
        return self.rounds or (1 if self.quick else own)

    def beside(self, *others: Tool) -> list[Tool]:
        """The floor, ours, and the other competitors where they are wanted."""
        return [FLOOR, *self.ours, *(others if self.competitors else ())]


FIRST = FIRST_AND_SECOND[:1]
Scenario = Callable[[Options], tuple[list[Result], str]]


def reference(options: Options) -> tuple[list[Result], str]:
    """100 graphs of 1,000 backups, pages of 100: first load, then one new backup a graph."""
    graphs = 20 if options.quick else 100
    with Server(graphs, 1000) as server:
        alone = server.alone(100)
        tools = options.beside(VENDOR_SDK, DLT_PARQUET, DLT_DEFAULT)
        results = play("reference", server, tools, rounds=options.rounds_or(5))
    share = max(result.server_core_share for result in results)
    note = (
        f"The server alone gave raw sockets {alone['pages_per_second']:,.0f} pages/s at "
        f"{alone['server_core_share']:.0%} of its core; in the runs it used {share:.0%} at most."
    )
    return results, f"{tables.comparison(results)}\n\n{note}"


def million(options: Options) -> tuple[list[Result], str]:
    """1,000 graphs of 1,000 backups, by pages of 100 and of 1,000; a steady load on top."""
    graphs = 100 if options.quick else 1000
    results: list[Result] = []
    parts = []
    with Server(graphs, 1000) as server:
        for page_size in (100, 1000):
            mine = play(
                "million",
                server,
                options.beside(),
                rounds=options.rounds_or(3),
                page_size=page_size,
            )
            results += mine
            parts.append(f"Pages of {page_size:,}:\n\n{tables.comparison(mine)}")
    return results, "\n\n".join(parts)


def latency(options: Options) -> tuple[list[Result], str]:
    """50 ms on every answer: 100 graphs of 1,000 backups, and one graph of 100,000."""
    results: list[Result] = []
    rows = []
    seconds = 0.05
    quick = 10 if options.quick else 1
    with Server(1, 1) as server:
        fixed = play("latency", server, options.ours, rounds=options.rounds_or(3), steps=FIRST)
    for graphs, backups in ((100 // quick, 1000), (1, 100_000 // quick)):
        steps = [Step("first", {"reset": 1, "latency": seconds}), Step("second", {"append": 1})]
        with Server(graphs, backups) as server:
            mine = play(
                "latency", server, options.beside(), rounds=options.rounds_or(3), steps=steps
            )
        results += mine
        for tool in options.ours:
            cost = median(r.seconds for r in of(fixed, tool=tool.name))
            for step in ("first", "second"):
                runs = of(mine, tool=tool.name, step=step)
                requests, took = median(r.requests for r in runs), median(r.seconds for r in runs)
                bound = requests / 8 * seconds + cost
                rows.append(
                    (
                        tool.name,
                        f"{graphs} x {backups:,}",
                        step,
                        f"{requests:,.0f}",
                        f"{requests / 8 * seconds:.2f}",
                        f"{cost:.2f}",
                        f"{took:.2f}",
                        f"{took / bound:.2f}",
                    )
                )
    header = "tool | graphs x backups | load | requests | waiting s | fixed s | seconds | ratio"
    text = tables.table(header.split(" | "), rows)
    return [*fixed, *results], f"{text}\n\n{tables.comparison(results)}"


def throttled(options: Options) -> tuple[list[Result], str]:
    """100 requests a second at most, 429 with Retry-After beyond: 100 graphs of 1,000 backups."""
    graphs, rate = (20 if options.quick else 100), 100.0
    with Server(1, 1) as server:
        fixed = play("throttled", server, options.ours, rounds=options.rounds_or(3), steps=FIRST)
    steps = [Step("first", {"reset": 1, "rate": rate}), Step("second", {"append": 1, "rate": rate})]
    others = [DLT_PARQUET] if options.competitors else []
    with Server(graphs, 1000) as server:
        tools = [*options.ours, *others]
        results = play("throttled", server, tools, rounds=options.rounds_or(3), steps=steps)
    rows = []
    for tool in tools:
        own = of(fixed, tool=tool.name)
        cost = median(r.seconds for r in own) if own else None
        for step in ("first", "second"):
            runs = of(results, tool=tool.name, step=step)
            took = median(r.seconds for r in runs)
            accepted = median(r.requests - r.throttled for r in runs)
            best = max(0.0, accepted - rate) / rate
            rows.append(
                (
                    tool.name,
                    step,
                    f"{accepted:,.0f}",
                    f"{median(r.throttled for r in runs):,.0f}",
                    f"{best:.2f}",
                    "-" if cost is None else f"{cost:.2f}",
                    f"{took:.2f}",
                    "-" if cost is None else f"{took / (best + cost):.2f}",
                )
            )
    header = "tool | load | answered | 429s | best s | fixed s | seconds | of best and fixed"
    return [*fixed, *results], tables.table(header.split(" | "), rows)


def startup(options: Options) -> tuple[list[Result], str]:
    """`--help`, and a load that finds nothing new in one graph, beside three imports."""
    from dataclasses import replace  # noqa: PLC0415
    from sys import executable  # noqa: PLC0415

    rounds = options.rounds_or(11)
    imports = Tool(
        "three imports", [executable, "-c", "import dlt, duckdb, pyarrow"], "", "", environment={}
    )
    bare = Tool("python", [executable, "-c", "pass"], "", "", environment={})
    helps = [
        replace(tool, name=f"{tool.name} --help", command=[tool.command[0], "--help"], database="")
        for tool in options.ours
    ]
    with Server(1, 30) as server:
        alone = play(
            "startup", server, [bare, imports, *helps], rounds=rounds, steps=[Step("only", {})]
        )
        steps = [
            Step("first", {"reset": 1}),
            *(Step(name, {}) for name in ("nothing new", "nothing new, again")),
        ]
        loads = play("startup", server, options.ours, rounds=rounds, steps=steps)
    rows = []
    base = median(r.seconds for r in of(alone, tool="three imports"))
    for tool, step in dict.fromkeys((r.tool, r.step) for r in [*alone, *loads]):
        mine = of([*alone, *loads], tool=tool, step=step)
        took = median(r.seconds for r in mine)
        peak = median(r.peak_mb for r in mine)
        rows.append((tool, step, f"{took:.2f}", f"{took / base:.2f}", f"{peak:.0f}"))
    header = "command | load | seconds | times the three imports | peak MB"
    return [*alone, *loads], tables.table(header.split(" | "), rows)


def growth(options: Options) -> tuple[list[Result], str]:
    """First loads of 10,000 to 1,000,000 backups in graphs of 1,000, pages of 100."""
    sizes = (10, 30) if options.quick else (10, 30, 100, 300, 1000)
    results: list[Result] = []
    for graphs in sizes:
        tools = options.beside(VENDOR_SDK)
        if options.competitors and graphs <= 300:
            tools.append(DLT_PARQUET)
        if options.competitors and graphs <= 100:
            tools.append(DLT_DEFAULT)
        with Server(graphs, 1000) as server:
            results += play("growth", server, tools, rounds=options.rounds_or(1), steps=FIRST)
    rows = []
    for tool in dict.fromkeys(result.tool for result in results):
        for what in ("seconds", "peak_mb"):
            cells = []
            for graphs in sizes:
                mine = of(results, tool=tool, graphs=graphs)
                found = median(getattr(r, what) for r in mine) if mine else None
                digits = 1 if what == "seconds" else 0
                cells.append("-" if found is None else f"{found:,.{digits}f}")
            rows.append((tool, {"seconds": "seconds", "peak_mb": "peak MB"}[what], *cells))
    header = ["tool", "", *(f"{graphs * 1000:,}" for graphs in sizes)]
    return results, tables.table(header, rows)


SCENARIOS: dict[str, Scenario] = {
    "reference": reference,
    "million": million,
    "latency": latency,
    "throttled": throttled,
    "startup": startup,
    "growth": growth,
}
