"""The charts, as Vega-Lite specifications that name their rows and hold none.

One specification serves all graphs: rows come with each graph. Colours are variables of the page's
style sheet, so that charts follow dark, light and print without being drawn again. The script draws
them without evaluating code (`ast: true`).

What a mark says when it is pointed at stands in its row, as the object `tip` of label and text: a
tooltip can only show what the rows hold. The places to point at are bands from `from` to `to`, as
high as the chart. (Vega's nearest point cannot serve: its tooltips say "undefined", and the last
of two layers takes all.)
"""

from typing import Any

import altair as alt

from ges_history.reports.page.stored import LARGEST

Spec = dict[str, Any]

LEVEL_COLOURS = {
    "none": "var(--level-none)",
    "ok": "var(--level-ok)",
    "few": "var(--level-few)",
    "some": "var(--level-some)",
    "most": "var(--level-most)",
}
STACK_COLOURS = [f"var(--stack-{n})" for n in range(LARGEST + 1)]

_TIME = alt.Scale(type="utc")
_DAYS = alt.Axis(
    tickCount=5,
    labelOverlap=True,
    labelSeparation=10,
    labelExpr="utcdate(datum.value) > 1 ? utcFormat(datum.value, '%-d %b')"
    " : utcmonth(datum.value) > 0 ? utcFormat(datum.value, '%b') : utcFormat(datum.value, '%Y')",
)
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
_TIP = alt.Tooltip("tip:N")


def chart_specs() -> dict[str, Spec]:
    """{kind of chart: its specification}; rows go into its `datasets`."""
    return {
        "stored": _stored(),
        "size": _size(),
        "duration": _duration(),
        "calendar": _calendar(),
    }


def _stored() -> Spec:
    """Stored volume, stacked by graph; a rule where the curve begins to be complete."""
    x = alt.X("day:T", scale=_TIME, axis=_DAYS, title=None)
    y = alt.Y("total:Q", title=None, scale=alt.Scale(zero=True, nice=True))
    layers = alt.Chart(alt.NamedData("parts")).mark_area(
        interpolate="step-after", stroke="var(--surface)", strokeWidth=0.5
    )
    ahead = alt.Chart(alt.NamedData("ahead")).mark_line(
        strokeWidth=1.75, strokeDash=[2, 4], strokeCap="round", color="var(--chart-ahead)"
    )
    first = alt.Chart(alt.NamedData("first")).mark_rule(
        strokeWidth=1.5, strokeDash=[5, 3], color="var(--ink)"
    )
    return _finish(
        layers.encode(
            x,
            alt.Y("size:Q", stack=True, title=None),
            alt.Color(
                "part:O",
                legend=None,
                scale=alt.Scale(domain=list(range(LARGEST + 1)), range=STACK_COLOURS),
            ),
            alt.Order("part:O"),
        ),
        ahead.encode(x, y),
        first.encode(x),
        *_pointer(),
        height=230,
    )


def _size() -> Spec:
    x = alt.X("day:T", scale=_TIME, axis=_DAYS, title=None)
    y = alt.Y("size:Q", title=None, scale=alt.Scale(zero=True, nice=True))
    sizes, forecast = alt.NamedData("sizes"), alt.NamedData("forecast")
    each = alt.Chart(sizes).mark_circle(size=9, opacity=0.5, color="var(--chart-1)")
    mean = alt.Chart(sizes).mark_line(strokeWidth=2, color="var(--chart-1)")
    between = alt.Chart(forecast).mark_area(opacity=0.16, color="var(--chart-ahead)")
    ahead = alt.Chart(forecast).mark_line(
        strokeWidth=1.75, strokeDash=[2, 4], strokeCap="round", color="var(--chart-ahead)"
    )
    return _finish(
        between.encode(x, alt.Y("low:Q", title=None), alt.Y2("high:Q")),
        each.encode(x, y),
        mean.encode(x, alt.Y("mean:Q", title=None)),
        _so_far("sizes", "var(--chart-1)").encode(x, y),
        ahead.encode(x, y),
        _odd().encode(x, alt.Y("value:Q", title=None)),
        *_pointer(),
    )


def _duration() -> Spec:
    x = alt.X("day:T", scale=_TIME, axis=_DAYS, title=None)
    p50, p95 = (alt.Y(f"{name}:Q", title=None) for name in ("p50", "p95"))
    weeks = alt.NamedData("weeks")
    band = alt.Chart(weeks).mark_area(opacity=0.14, color="var(--chart-2)")
    high = alt.Chart(weeks).mark_line(strokeWidth=1.5, strokeDash=[5, 3], color="var(--chart-2)")
    middle = alt.Chart(weeks).mark_line(
        strokeWidth=2, color="var(--chart-2)", point=alt.OverlayMarkDef(size=7)
    )
    return _finish(
        band.encode(x, p50, alt.Y2("p95:Q")),
        high.encode(x, p95),
        middle.encode(x, alt.Y("p50:Q", title=None, scale=alt.Scale(zero=True, nice=True))),
        _so_far("weeks", "var(--chart-2)").encode(x, p50),
        _odd().encode(x, alt.Y("value:Q", title=None)),
        *_pointer(),
    )


def _calendar() -> Spec:
    chart = alt.Chart(alt.NamedData("days")).mark_rect(strokeWidth=2, cornerRadius=3)
    months = alt.Axis(format="%b", tickCount="month", labelOverlap=True, domain=False, ticks=False)
    weekdays = alt.Axis(values=["Mon", "Wed", "Fri", "Sun"], domain=False, ticks=False)
    return _finish(
        chart.encode(
            alt.X("week:T", scale=alt.Scale(type="utc", nice=False), axis=months, title=None),
            alt.X2("until:T"),
            alt.Y("weekday:O", sort=None, axis=weekdays, title=None),
            alt.Color(
                "level:N",
                legend=None,
                scale=alt.Scale(domain=list(LEVEL_COLOURS), range=list(LEVEL_COLOURS.values())),
            ),
            alt.Stroke(
                "partial:N",
                legend=None,
                scale=alt.Scale(domain=[False, True], range=["var(--surface)", "var(--muted)"]),
            ),
            tooltip=_TIP,
        ),
        height=112,
    )


def _odd() -> alt.Chart:
    """Rings around what the anomalies report."""
    rings: alt.Chart = alt.Chart(alt.NamedData("marks")).mark_point(
        shape="circle", size=90, strokeWidth=1.75, color="var(--bad)"
    )
    return rings


def _so_far(rows: str, colour: str) -> alt.Chart:
    """A hollow point on a period that still runs."""
    points: alt.Chart = (
        alt.Chart(alt.NamedData(rows))
        .transform_filter("datum.partial")
        .mark_point(shape="circle", size=45, strokeWidth=1.75, color=colour, fill="var(--surface)")
    )
    return points


def _pointer() -> tuple[alt.Chart, alt.Chart]:
    """Bands to point at, each with its tip, and a line on the day that is pointed at."""
    here = alt.selection_point(
        name="here", on="pointerover", clear="pointerout", fields=["day"], empty=False
    )
    line = alt.Chart(alt.NamedData("pointers"), name="line_pointer")
    band = alt.Chart(alt.NamedData("pointers"), name="band_pointer")
    return (
        line.mark_rule(color="var(--muted)", strokeWidth=1).encode(
            alt.X("day:T"), opacity=alt.condition(here, alt.value(0.7), alt.value(0))
        ),
        band.mark_rect(fillOpacity=0)
        .encode(alt.X("from:T"), alt.X2("to:T"), tooltip=_TIP)
        .add_params(here),
    )


def _finish(*layers: alt.Chart, height: int = 190) -> Spec:
    chart = alt.layer(*layers).properties(width="container", height=height)
    chart = chart.configure(
        background="transparent",
        font=_FONT,
        padding=4,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        aria=False,
    )
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor="var(--muted)",
        labelFontSize=11.5,
        gridColor="var(--line)",
        domainColor="var(--line)",
        tickColor="var(--line)",
        labelPadding=6,
    )
    chart = chart.configure_axisX(grid=False).configure_axisY(
        domain=False, ticks=False, tickCount=5
    )
    spec: Spec = chart.to_dict()
    return spec
