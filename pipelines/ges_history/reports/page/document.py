"""Put the page together from its template, its style, its scripts and the contents."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ges_history.reports import words
from ges_history.reports.attention import KINDS, fleet_alarms, verdict
from ges_history.reports.page import cards
from ges_history.reports.page.adherence import UNKNOWN
from ges_history.reports.page.arranged import EPOCH, Graph, arrange
from ges_history.reports.page.charts import Spec, chart_specs
from ges_history.reports.page.contents import Contents
from ges_history.reports.page.headline import headline, loaded
from ges_history.reports.page.series import (
    CALENDAR_WEEKS,
    FLEET_CALENDAR_WEEKS,
    calendar_datasets,
    calendar_rows,
    day_number,
    duration_datasets,
    first_monday,
    fleet_outcomes,
    forecast,
    packed_calendar,
    packed_graph,
    packed_stored,
    size_datasets,
    stored_datasets,
    stored_unit,
    units,
)
from ges_history.reports.page.stills import WIDTH, day_paths, draw_still, sparkline

UNFOLDED = 6
"""Graphs that are unfolded on the screen."""
WITH_STILLS = 12
"""Graphs that have still pictures, and are unfolded on paper."""
ROWS_SHOWN = 12
"""Rows of a table before the rest is folded."""
ROWS_KEPT = 300
"""Rows of a table that the page carries at all."""
GRAPHS_KEPT = 1_500
"""Graphs, the worst, that have a card of their own: 10 MB hold no more."""
STRIP_DAYS = 7 * CALENDAR_WEEKS
"""Days of a strip of the objectives, at most; half of them where there are not few graphs."""
FEW_GRAPHS = 300


def render(contents: Contents) -> str:
    """The page as text; the same contents always give the same text."""
    fleet = contents.fleet
    graphs = arrange(contents)
    today = day_number(fleet.as_of.date())
    names = Counter(graph.name for graph in graphs)
    specs = chart_specs()
    scripts = {"library": _library(), "page": _asset("page.js")}
    weeks, fleet_weeks = (min(w, contents.weeks) for w in (CALENDAR_WEEKS, FLEET_CALENDAR_WEEKS))
    fleet_days = calendar_rows(fleet_outcomes(graphs), today, fleet_weeks)
    mondays = {"graph": first_monday(today, weeks), "fleet": first_monday(today, fleet_weeks)}
    strip = _strip(contents, today)
    template = _environment(today).get_template("page.html.jinja")
    return template.render(
        scripts={name: Markup(text) for name, text in scripts.items()},  # noqa: S704 - our own
        policy=_policy(list(scripts.values())),
        style=Markup(_asset("page.css")),  # noqa: S704
        packed=_script_json(
            {
                **_packed(contents, graphs, today, strip),
                "specs": specs,
                "mondays": mondays,
                "fleet": packed_calendar(fleet_days),
            }
        ),
        contents=contents,
        fleet=fleet,
        version=version("ges-backup-history"),
        loaded=loaded(fleet.totals),
        verdict=verdict(graphs),
        alarms=fleet_alarms(fleet),
        headline=headline(contents, graphs),
        graphs=graphs[:GRAPHS_KEPT],
        left_out=max(len(graphs) - GRAPHS_KEPT, 0),
        graphs_kept=GRAPHS_KEPT,
        alarmed=[graph for graph in graphs if graph.alarms],
        remarked=[graph for graph in graphs if graph.problems and not graph.alarms],
        judged=_by_adherence(graphs),
        strip_paths=partial(_strip_paths, strip=strip),
        strip=strip,
        growing=_fastest(graphs),
        ambiguous={name for name, amount in names.items() if amount > 1},
        places={graph.key: graph for graph in graphs},
        project_places={row["project_id"]: n for n, row in enumerate(fleet.projects)},
        stills=_stills(graphs[:WITH_STILLS], specs, today, weeks),
        stored_still=_svg(specs["stored"], stored_datasets(contents.stored), 1100),
        stored_unit=stored_unit(contents.stored)[0],
        stored_summary=cards.stored_summary(contents.stored),
        fleet_calendar=_calendar(specs, fleet_days, today, fleet_weeks, 900),
        fleet_summary=cards.calendar_summary(fleet_days),
        calendar_words=partial(_calendar_words, today=today),
        fleet_weeks=fleet_weeks,
        unfolded=UNFOLDED,
        rows_shown=ROWS_SHOWN,
        rows_kept=ROWS_KEPT,
        calendar_weeks=weeks,
        kinds=KINDS,
    )


def _packed(
    contents: Contents,
    graphs: Sequence[Graph],
    today: int,
    strip: dict[str, int],
) -> dict[str, Any]:
    """What the page's script reads of graphs and of what is stored."""
    return {
        "today": today,
        "strip": strip,
        "stored": packed_stored(contents.stored),
        "graphs": [packed_graph(graph, today, strip["first"]) for graph in graphs[:GRAPHS_KEPT]],
    }


def _strip(contents: Contents, today: int) -> dict[str, int]:
    """The days that the strips of the objectives show."""
    few = len(contents.fleet.recovery) <= FEW_GRAPHS
    days = STRIP_DAYS if few else STRIP_DAYS // 2
    first = max(day_number(contents.first_day), today - days + 1)
    return {"first": first, "days": today - first + 1}


def _strip_paths(graph: Graph, strip: dict[str, int]) -> dict[str, str]:
    """A graph's strip: the outlines of its days by verdict."""
    found = graph.adherence
    if found is None:
        return {}
    first = strip["first"]
    days = range(first, first + strip["days"])
    verdicts = [
        found.verdict(day - found.first_day)
        if 0 <= day - found.first_day < len(found.ages)
        else UNKNOWN
        for day in days
    ]
    return day_paths(verdicts)


def _by_adherence(graphs: Sequence[Graph]) -> list[Graph]:
    """The graphs that have days to judge, the worst first."""
    judged = [graph for graph in graphs if graph.adherence and not graph.deleted]
    return sorted(judged, key=lambda graph: (graph.adherence.badness, graph.place))  # type: ignore[union-attr]


def _stills(
    graphs: Sequence[Graph], specs: dict[str, Spec], today: int, weeks: int
) -> list[dict[str, Markup]]:
    """The still pictures of the graphs that are shown first."""
    return [
        {
            "size": _svg(specs["size"], size_datasets(graph, today)) if graph.sizes else Markup(),
            "duration": (
                _svg(specs["duration"], duration_datasets(graph)) if graph.durations else Markup()
            ),
            "calendar": _calendar(specs, graph.outcomes, today, weeks),
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
    known = [graph for graph in graphs if graph.forecast and graph.sizes]
    return sorted(known, key=lambda graph: (-graph.growth["mb_per_day"], graph.place))  # type: ignore[index]


def _environment(today: int) -> Environment:
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
        figures=partial(cards.figures, today=today),
        size_summary=partial(cards.size_summary, today=today),
        duration_summary=cards.duration_summary,
        forecast=partial(forecast, today=today),
        sparkline=sparkline,
        units=units,
        today=EPOCH + timedelta(days=today),
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
