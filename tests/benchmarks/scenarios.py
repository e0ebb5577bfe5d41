"""The scenarios: each a function that measures and returns its results and its markdown."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import tables
from measure import HERE, Server, say
from rounds import FIRST_AND_SECOND, Result, Step, of, play
from tools import DLT_DEFAULT, DLT_PARQUET, FLOOR, VENDOR_SDK, Tool, environment_of


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


PAGES: tuple[tuple[str, int, int | str], ...] = (
    ("floor by 100, ours by what the server gives", 100, "auto"),
    ("all by 100", 100, 100),
    ("all by 1,000", 1000, 1000),
)
"""What is compared: in words, rows in a page of the others, and of ours."""
THEN = (*FIRST_AND_SECOND, Step("nothing new", {}))


def reference(options: Options) -> tuple[list[Result], str]:
    """100 graphs of 1,000 backups: first load, one new backup a graph, nothing new; three page sizes."""
    with Server(20 if options.quick else 100, 1000) as server:
        alone = server.alone(100)
        peers = {100: [VENDOR_SDK, DLT_PARQUET, DLT_DEFAULT], 1000: [DLT_PARQUET], "auto": []}
        results, text = _by_pages("reference", server, options, options.rounds_or(3), peers)
    share = max(result.server_core_share for result in results)
    capacity = alone["pages_per_second"] / alone["server_core_share"]
    alone_words = (
        f"The server alone gave raw sockets {alone['pages_per_second']:,.0f} pages of 100 a second "
        f"with {alone['server_core_share']:.0%} of its core, so about {capacity:,.0f} with all of "
        f"it; in the runs it used {share:.0%} at most."
    )
    return results, f"{text}\n\n{alone_words}"


def million(options: Options) -> tuple[list[Result], str]:
    """1,000 graphs of 1,000 backups, by the same page sizes."""
    with Server(100 if options.quick else 1000, 1000) as server:
        return _by_pages("million", server, options, options.rounds_or(3), {})


def _by_pages(
    scenario: str,
    server: Server,
    options: Options,
    rounds: int,
    peers: Mapping[int | str, Sequence[Tool]],
) -> tuple[list[Result], str]:
    """All of `PAGES` in turn, with other tools by our page size; the results, and their table."""
    groups = []
    for words, theirs, own in PAGES:
        mine = play(
            scenario,
            server,
            options.beside(*peers.get(own, ())),
            rounds=rounds,
            page_size=theirs,
            ours_page_size=own,
            steps=THEN,
        )
        groups.append((words, mine))
    return [result for _, mine in groups for result in mine], tables.peers(groups)


def ten_million(options: Options) -> tuple[list[Result], str]:
    """1,000 and 10,000 graphs of 1,000 backups, by pages of 1,000: ten times the work."""
    results: list[Result] = []
    sizes = (10, 100) if options.quick else (1000, 10_000)
    for graphs in sizes:
        with Server(graphs, 1000, spare=1) as server:
            results += play(
                "ten-million",
                server,
                options.ours,
                rounds=options.rounds_or(1),
                ours_page_size="auto",
                steps=THEN,
            )
    rows = []
    for tool, step in dict.fromkeys((result.tool, result.step) for result in results):
        small, large = (of(results, tool=tool, step=step, graphs=graphs) for graphs in sizes)
        before, after = (median(r.seconds for r in mine) for mine in (small, large))
        rows.append(
            (
                tool,
                step,
                f"{before:.1f}",
                f"{after:.1f}",
                f"{after / before / (sizes[1] / sizes[0]):.2f}",
                f"{median(r.peak_mb for r in large):.0f}",
                f"{median(r.requests for r in large):,.0f}",
            )
        )
    counts = [f"{graphs * 1000:,}" for graphs in sizes]
    header = ["tool", "load", *counts, "times in proportion", "peak MB", "requests"]
    return results, tables.table(header, rows)


def many_graphs(options: Options) -> tuple[list[Result], str]:
    """1,000, 3,000 and 10,000 graphs of 30 backups: first, nothing new, one new a graph."""
    results: list[Result] = []
    rows = []
    steps = [FIRST[0], Step("nothing new", {"append": 0}), Step("one new each", {"append": 1})]
    sizes = (100, 300) if options.quick else (1000, 3000, 10_000)
    for graphs in sizes:
        with Server(graphs, 30) as server:
            rounds = options.rounds_or(1)
            results += play("many-graphs", server, options.beside(), rounds=rounds, steps=steps)
    for tool, step in dict.fromkeys((result.tool, result.step) for result in results):
        runs = [of(results, tool=tool, step=step, graphs=graphs) for graphs in sizes]
        took = [median(r.seconds for r in mine) for mine in runs]
        growth = (took[-1] - took[0]) / (sizes[-1] - sizes[0]) * 1000
        peak = median(r.peak_mb for r in runs[-1])
        rows.append((tool, step, *(f"{s:.2f}" for s in took), f"{growth:.2f}", f"{peak:.0f}"))
    header = ["tool", "load", *(f"{graphs:,}" for graphs in sizes), "ms a graph", "peak MB"]
    return results, f"{tables.table(header, rows)}\n\n{_repeated(options)}"


def _repeated(options: Options) -> str:
    """What the disk holds after 200 loads that find nothing, and after 200 that find some."""
    loads, graphs = (20 if options.quick else 200), 100
    rows = []
    for append in (0, 1):
        with Server(graphs, 30, spare=loads) as server, tempfile.TemporaryDirectory() as folder:
            environment = environment_of(options.ours[0], server, Path(folder), 100)
            script = str(HERE / "repeated_loads.py")
            arguments = [server.endpoint, str(loads), str(append)]
            say(f"many-graphs: {loads} loads of {graphs} graphs, {append} new backups a graph each")
            output = subprocess.check_output(
                [sys.executable, script, *arguments], cwd=folder, env=environment
            )
        lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
        for at in (1, loads // 10, loads // 2, loads):
            line = lines[at - 1]
            database, packages = line["database_bytes"] / 2**20, line["folder_bytes"] / 2**10
            rows.append(
                (
                    append,
                    at,
                    f"{line['backups']:,}",
                    f"{database:.1f}",
                    f"{packages:.0f}",
                    f"{line['seconds']:.2f}",
                )
            )
    header = ["new a graph", "after load", "backups", "database MiB", "folder KiB", "seconds"]
    return f"{graphs} graphs, {loads} loads in one process:\n\n{tables.table(header, rows)}"


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
    parts = [tables.table(header.split(" | "), rows)]
    for graphs in dict.fromkeys(result.graphs for result in results):
        mine = tables.comparison(of(results, graphs=graphs))
        parts.append(f"Graphs: {graphs}\n\n{mine}")
    return [*fixed, *results], "\n\n".join(parts)


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
    rounds = options.rounds_or(11)
    imports = Tool(
        "three imports",
        [sys.executable, "-c", "import dlt, duckdb, pyarrow"],
        "",
        "",
        environment={},
    )
    bare = Tool("python", [sys.executable, "-c", "pass"], "", "", environment={})
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
    lost = [
        f"{r.tool} kept only {r.rows:,} of {r.graphs * r.backups:,} rows."
        for r in results
        if r.rows < r.graphs * r.backups
    ]
    return results, "\n\n".join([tables.table(header, rows), *lost])


STAGES = {
    "import": "import of dlt, duckdb, pyarrow and ourselves",
    "settle": "comments and reports",
    "extract: wait for listings": "in extract: waiting for the threads below",
    "extract: make batches": "in extract: batches of Arrow tables",
    "extract: the rest": "in extract: dlt writes Parquet, state, package",
    "normalize": "normalize",
    "load": "load: merge in DuckDB",
    "the rest": "configuration, locks, connections, counts, exit",
    "in threads: send and wait": "threads, beside the above: requests and waiting for answers",
    "in threads: parse": "threads, beside the above: from bytes to checked Arrow columns",
}


def stages(options: Options) -> tuple[list[Result], str]:
    """Where the time of the reference work goes: a clock at each stage of one load."""
    graphs = 20 if options.quick else 100
    rounds = options.rounds_or(3)
    tool = options.ours[0]
    script = str(HERE / "stages.py")
    clocked = replace(
        tool, name="stages", command=[sys.executable, script, "load", "--database", tool.database]
    )
    logs: list[str] = []
    with Server(graphs, 1000) as server:
        results = play("stages", server, [clocked], rounds=rounds, keep=logs.append)
    told = [json.loads(line)["stages"] for log in logs for line in _json_lines(log)]
    rows = []
    for stage, words in STAGES.items():
        cells = []
        for step in (0, 1):
            runs = [_with_rests(found) for found in told[step::2]]
            cells += [
                f"{median(run[stage][what] for run in runs):.2f}"
                for what in ("seconds", "cpu_seconds")
            ]
        rows.append((words, *cells))
    header = ["stage", "first load s", "CPU s", "second load s", "CPU s"]
    return results, tables.table(header, rows)


def _json_lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if line.startswith('{"stages"')]


def _with_rests(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The stages, and what is left of the larger ones. CPU is that of the stage's own thread."""

    def less(whole: str, *parts: str) -> dict[str, float]:
        return {
            what: found[whole][what] - sum(found[part][what] for part in parts)
            for what in ("seconds", "cpu_seconds")
        }

    batches = "extract: wait and make batches"
    inner = ("extract", "normalize", "load", "settle")
    return {
        **found,
        "extract: make batches": less(batches, "extract: wait for listings"),
        "extract: the rest": less("extract", batches),
        "the rest": less("all but the import", *inner),
    }


SCENARIOS: dict[str, Scenario] = {
    "startup": startup,
    "reference": reference,
    "million": million,
    "growth": growth,
    "ten-million": ten_million,
    "many-graphs": many_graphs,
    "latency": latency,
    "throttled": throttled,
    "stages": stages,
}
