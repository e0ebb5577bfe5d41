"""Put measured tables into `docs/performance.md` and draw its picture.

    python tests/benchmarks/document.py RESULTS.json [...]

Each scenario's table stands between `<!-- measured: NAME -->` and `<!-- end -->`, and the goals
that the run can judge under the name `goals`, with the run's origin; only scenarios that the file
holds are replaced. A table of a run without goals tells its origin itself.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import altair as alt
import goals

DOCS = Path(__file__).parents[2] / "docs"


def main(*files: str) -> None:
    """Take every file's tables, and the picture from the one that has the growth."""
    target = DOCS / "performance.md"
    text = target.read_text()
    for file in files:
        report = json.loads(Path(file).read_text())
        measured = {
            name: it for name, it in report.items() if isinstance(it, dict) and "text" in it
        }
        judged = goals.table({name: it["results"] for name, it in measured.items()})
        for name, found in measured.items():
            told = found["text"] if judged else f"{found['text']}\n\n{origin(report)}"
            text = put(text, name, told)
        if judged:
            text = put(text, "goals", f"{judged}\n\n{origin(report)}")
        if "growth" in report:
            draw(report["growth"]["results"])
    target.write_text(text)


def origin(report: dict[str, Any]) -> str:
    """The command, when, and on what."""
    machine = report["machine"]
    return (
        f"`python tests/benchmarks/{report['command']}`, {report['at']} UTC, {machine['cores']} cores "
        f"of {machine['cpu']}, load average {machine['load']:.1f} before the start."
    )


def put(text: str, name: str, table: str) -> str:
    """The document with a scenario's table replaced."""
    start, end = f"<!-- measured: {name} -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: f"{start}\n\n{table}\n\n{end}", text)


def draw(results: list[dict[str, Any]]) -> None:
    """Seconds and memory over backups, both axes logarithmic."""
    values = [
        {
            "tool": result["tool"],
            "backups": result["graphs"] * result["backups"],
            "seconds": result["seconds"],
            "peak MB": result["peak_mb"],
        }
        for result in results
    ]
    base = alt.Chart(alt.Data(values=values)).mark_line(point=True, strokeWidth=2)
    x = alt.X("backups:Q", title="backups").scale(type="log").axis(format="~s")
    color = alt.Color("tool:N", title=None).scale(scheme="tableau10").legend(orient="bottom")
    panels = [
        base.encode(x, alt.Y(f"median({what}):Q", title=what).scale(type="log"), color).properties(
            width=300, height=240, title=title
        )
        for what, title in (("seconds", "First load, seconds"), ("peak MB", "Peak memory, MB"))
    ]
    (DOCS / "pictures").mkdir(exist_ok=True)
    alt.hconcat(*panels, background="white").save(DOCS / "pictures" / "performance_growth.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
