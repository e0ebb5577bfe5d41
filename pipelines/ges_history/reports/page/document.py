"""Put the page together from its template, its style, its scripts and the contents."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ges_history.reports.page import cards, words
from ges_history.reports.page.arranged import EPOCH, KINDS, Graph, arrange
from ges_history.reports.page.charts import Spec, chart_specs
from ges_history.reports.page.contents import Contents
from ges_history.reports.page.headline import headline, loaded, verdict
from ges_history.reports.page.series import (
    CALENDAR_WEEKS,
    FLEET_CALENDAR_WEEKS,
    calendar_datasets,
    calendar_rows,
    duration_datasets,
    first_monday,
    fleet_outcomes,
    packed_calendar,
    packed_graph,
    size_datasets,
    units,
)
from ges_history.reports.page.stills import WIDTH, draw_still, sparkline

SHOWN_FIRST = 6
"""Graphs that are unfolded, with still pictures."""
ROWS_SHOWN = 12
"""Rows of a table before the rest is folded."""
ROWS_KEPT = 300
"""Rows of a table that the page carries at all."""


def render(contents: Contents) -> str:
    """The page as text; the same contents always give the same text."""
    graphs = arrange(contents)
    today = (contents.as_of.date() - EPOCH).days
    names = Counter(graph.name for graph in graphs)
    specs = chart_specs()
    scripts = {"library": _library(), "page": _asset("page.js")}
    fleet_days = calendar_rows(fleet_outcomes(graphs), today, FLEET_CALENDAR_WEEKS)
    template = _environment().get_template("page.html.jinja")
    return template.render(
        scripts={name: Markup(text) for name, text in scripts.items()},  # noqa: S704 - our own
        policy=_policy(list(scripts.values())),
        style=Markup(_asset("page.css")),  # noqa: S704
        packed=_script_json(_packed(graphs, specs, today)),
        contents=contents,
        version=version("ges-backup-history"),
        loaded=loaded(contents),
        verdict=verdict(graphs),
        headline=headline(contents, graphs),
        graphs=graphs,
        alarmed=[graph for graph in graphs if graph.problems],
        growing=_fastest(graphs),
        ambiguous={name for name, amount in names.items() if amount > 1},
        places={graph.key: graph for graph in graphs},
        stills=_stills(graphs[:SHOWN_FIRST], specs, today),
        fleet_calendar=_calendar(specs, fleet_days, today, FLEET_CALENDAR_WEEKS, 900),
        fleet_summary=cards.calendar_summary(fleet_days),
        calendars={graph.key: _calendar_words(graph, today) for graph in graphs},
        shown_first=SHOWN_FIRST,
        rows_shown=ROWS_SHOWN,
        rows_kept=ROWS_KEPT,
        calendar_weeks=CALENDAR_WEEKS,
        kinds=KINDS,
    )


def _packed(graphs: Sequence[Graph], specs: dict[str, Spec], today: int) -> dict[str, Any]:
    """All that the page's script reads."""
    return {
        "specs": specs,
        "today": today,
        "weeks": {"graph": CALENDAR_WEEKS, "fleet": FLEET_CALENDAR_WEEKS},
        "mondays": {
            "graph": first_monday(today, CALENDAR_WEEKS),
            "fleet": first_monday(today, FLEET_CALENDAR_WEEKS),
        },
        "fleet": packed_calendar(
            calendar_rows(fleet_outcomes(graphs), today, FLEET_CALENDAR_WEEKS)
        ),
        "graphs": [packed_graph(graph, today) for graph in graphs],
    }


def _stills(graphs: Sequence[Graph], specs: dict[str, Spec], today: int) -> list[dict[str, Markup]]:
    """The still pictures of the graphs that are shown first."""
    return [
        {
            "size": _svg(specs["size"], size_datasets(graph)) if graph.sizes else Markup(),
            "duration": (
                _svg(specs["duration"], duration_datasets(graph)) if graph.durations else Markup()
            ),
            "calendar": _calendar(specs, graph.outcomes, today, CALENDAR_WEEKS),
        }
        for graph in graphs
    ]


def _calendar(
    specs: dict[str, Spec],
    outcomes: dict[str, Any] | None,
    today: int,
    weeks: int,
    width: int = WIDTH,
) -> Markup:
    rows = calendar_rows(outcomes, today, weeks)
    return _svg(specs["calendar"], calendar_datasets(rows, today, weeks), width)


def _svg(spec: Spec, datasets: dict[str, list[dict[str, Any]]], width: int = WIDTH) -> Markup:
    return Markup(draw_still(spec, datasets, width))  # noqa: S704 - holds no text from the API


def _calendar_words(graph: Graph, today: int) -> str:
    return cards.calendar_summary(calendar_rows(graph.outcomes, today, CALENDAR_WEEKS))


def _fastest(graphs: Sequence[Graph]) -> list[Graph]:
    """The graphs with a forecast, the fastest growing first."""
    known = [g for g in graphs if g.growth and g.growth["mb_per_day"] is not None and not g.deleted]
    return sorted(known, key=lambda graph: (-graph.growth["mb_per_day"], graph.place))  # type: ignore[index]


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_asset),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (words.number, words.size, words.change, words.seconds, words.hours,
                     words.percent, words.day, words.moment, words.count, words.plain):  # fmt: skip
        environment.filters[function.__name__] = function
    environment.globals.update(
        figures=cards.figures,
        size_summary=cards.size_summary,
        duration_summary=cards.duration_summary,
        sparkline=sparkline,
        units=units,
    )
    return environment


def _asset(name: str) -> str:
    return files("ges_history.reports.page").joinpath("assets", name).read_text(encoding="utf-8")


_EXPORTS = "window.vegaEmbed = vegaEmbed;"


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, made fit to stand inside a script element."""
    import vl_convert  # noqa: PLC0415

    bundle: str = vl_convert.javascript_bundle(_EXPORTS)
    return bundle.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _policy(scripts: Sequence[str]) -> str:
    """A content policy under which only these scripts run, and nothing is fetched."""
    digests = (hashlib.sha256(text.encode()).digest() for text in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704
