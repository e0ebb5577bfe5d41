"""Speed and memory of `ges-backups load` beside other tools: `make bench`.

    python tests/benchmarks/run.py [scenario ...] [--runs N] [--quick] [--ours-only]

Each tool is a whole process, all on one server, in turns; ratios are taken pair by pair. The
server has one core, the measured process the other. Prints markdown tables, says progress on
stderr, and writes every single result to `tests/benchmarks/results/`, from where `document.py`
takes it into `docs/performance.md`. All traffic is loopback.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asked
import histories
from measure import HERE, machine, say
from scenarios import SCENARIOS as OF_LOADS
from scenarios import Options
from tools import ours

IN_THE_DOCUMENT = ("startup", "reference", "million", "growth", "ten-million")
SCENARIOS: dict[str, Any] = {
    **{name: OF_LOADS[name] for name in IN_THE_DOCUMENT},
    "requests": asked.requests,
    "reports": histories.reports,
    "lake": histories.lake,
}
"""What the document tells: some 40 minutes."""
ALL: dict[str, Any] = {**SCENARIOS, **OF_LOADS, "large-lake": histories.large_lake}
"""Those, too, that run only where they are named."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(ALL))
    parser.add_argument("--runs", type=int, help="Rounds of each scenario.")
    parser.add_argument("--quick", action="store_true", help="Small sizes, one round: a trial.")
    parser.add_argument("--ours-only", action="store_true", help="The floor and ours only.")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="Measure another checkout of this project, too: before and after in turns.",
    )
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(ALL):
        parser.error(f"no scenario {', '.join(sorted(unknown))}: {', '.join(ALL)}")
    versions = [ours()]
    for other in options.also:
        name, _, folder = other.partition("=")
        versions.append(ours(name, Path(folder).absolute()))
    chosen = Options(versions, options.runs, options.quick, not options.ours_only)
    command = " ".join(["run.py", *sys.argv[1:]])
    report: dict[str, object] = {
        "command": command,
        "machine": machine(),
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }
    (HERE / "results").mkdir(exist_ok=True)
    target = HERE / "results" / time.strftime("%Y%m%d-%H%M%S.json")
    print(f"{report['at']}, {report['machine']}\n")
    start = time.monotonic()
    for name in options.scenarios or SCENARIOS:
        scenario = ALL[name]
        say(f"{name}: {scenario.__doc__}")
        results, text = scenario(chosen)
        report[name] = {"text": text, "results": [asdict(result) for result in results]}
        target.write_text(json.dumps(report, indent=1))
        print(f"## {name}\n\n{scenario.__doc__}\n\n{text}\n", flush=True)
    say(f"done in {time.monotonic() - start:.0f} s; every result is in {target.name}")


if __name__ == "__main__":
    main()
