"""Tools in turns on one server, round after round, and what came of it."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import measure
from measure import Server, count_rows, say
from tools import Tool, environment_of


@dataclass(frozen=True)
class Step:
    """One load of a tool's round: its name, and settings of the server made before it."""

    name: str
    settings: dict[str, float]


@dataclass(frozen=True)
class Result:
    """One measured process; `pages` is what ges-backups asks for, the others ask for `page_size`."""

    scenario: str
    tool: str
    step: str
    round: int
    graphs: int
    backups: int
    page_size: int
    pages: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    requests: int
    throttled: int
    rows: int
    server_core_share: float


FIRST_AND_SECOND = (
    Step("first", {"reset": 1}),
    Step("second", {"append": 1}),
)


def play(
    scenario: str,
    server: Server,
    tools: Sequence[Tool],
    *,
    rounds: int,
    page_size: int = 100,
    ours_page_size: int | str | None = None,
    steps: Sequence[Step] = FIRST_AND_SECOND,
    keep: Callable[[str], None] = lambda log: None,
) -> list[Result]:
    """Each tool, in turns, does all steps in a fresh folder; a tool that fails ends the run.

    `keep` takes what each tool printed in a round.
    """
    results: list[Result] = []
    for number in range(rounds):
        for tool in tools:
            if number % tool.every:
                continue
            folder = Path(tempfile.mkdtemp(prefix="ges-bench-"))
            try:
                for step in steps:
                    environment = environment_of(tool, server, folder, page_size, ours_page_size)
                    result = _do(
                        scenario, server, tool, step, number, page_size, folder, environment
                    )
                    results.append(result)
                keep((folder / "output.log").read_text(errors="replace"))
            finally:
                shutil.rmtree(folder)
    return results


def _do(
    scenario: str,
    server: Server,
    tool: Tool,
    step: Step,
    number: int,
    page_size: int,
    folder: Path,
    environment: Mapping[str, str],
) -> Result:
    server.control(**step.settings)
    before = server.control()
    cost = measure.run(tool.command, folder, environment)
    asked = server.control()
    if cost.status:
        log = (folder / "output.log").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{tool.name} ended with {cost.status} in {scenario}, {step.name}:\n{log}")
    rows = count_rows(folder / tool.database, tool.table) if tool.database else 0
    expected = server.graphs * (server.backups + int(asked["appended"]))
    if tool.database and rows != expected and not tool.may_lose:
        raise SystemExit(f"{tool.name} has {rows} of {expected} rows in {scenario}, {step.name}")
    result = Result(
        scenario,
        tool.name,
        step.name,
        number,
        server.graphs,
        server.backups,
        page_size,
        environment["SOURCES__GES_BACKUPS__PAGE_SIZE"],
        round(cost.seconds, 3),
        round(cost.cpu_seconds, 3),
        round(cost.peak_mb, 1),
        int(asked["requests"] - before["requests"]),
        int(asked["throttled"] - before["throttled"]),
        rows,
        round((asked["cpu_seconds"] - before["cpu_seconds"]) / cost.seconds, 3),
    )
    say(
        f"{scenario} {server.graphs}x{server.backups} by {page_size}, round {number + 1}: "
        f"{tool.name}, {step.name}: {result.seconds:.2f} s, {result.peak_mb:.0f} MB, "
        f"{result.requests} requests, {rows} rows, server {result.server_core_share:.0%}"
    )
    return result


def of(results: Iterable[Result], **wanted: object) -> list[Result]:
    """The results with these values."""
    return [
        result
        for result in results
        if all(getattr(result, name) == value for name, value in wanted.items())
    ]


def median_ratio(
    results: Sequence[Result], to: Sequence[Result], what: str = "seconds"
) -> float | None:
    """The median of the ratios, pair by pair: both of one round. None where no round has both."""
    base = {result.round: getattr(result, what) for result in to}
    found = [getattr(r, what) / base[r.round] for r in results if r.round in base]
    return median(found) if found else None
