"""The charts, as Vega-Lite specifications that name their rows and hold none.

One specification serves all graphs: rows come with each graph, names of graphs never enter a
chart. Colours are variables of the page's style sheet, so that charts follow dark, light and
print without being drawn again. The script draws them without evaluating code (`ast: true`).
"""

from typing import Any

import altair as alt

Spec = dict[str, Any]

LEVEL_COLOURS = {
    "none": "var(--level-none)",
    "ok": "var(--level-ok)",
    "few": "var(--level-few)",
    "some": "var(--level-some)",
    "most": "var(--level-most)",
}

_TIME = alt.Scale(type="utc")
_DAYS = alt.Axis(
    tickCount=5,
    labelOverlap=True,
    labelSeparation=10,
    labelExpr="utcdate(datum.value) > 1 ? utcFormat(datum.value, '%-d %b')"
    " : utcmonth(datum.value) > 0 ? utcFormat(datum.value, '%b') : utcFormat(datum.value, '%Y')",
)
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


def chart_specs() -> dict[str, Spec]:
    """{kind of chart: its specification}; rows go into its `datasets`."""
    return {"size": _size(), "duration": _duration(), "calendar": _calendar()}


def _size() -> Spec:
    x = alt.X("day:T", scale=_TIME, axis=_DAYS, title=None)
    y = alt.Y("size:Q", title=None, scale=alt.Scale(zero=True, nice=True))
    sizes, forecast = alt.NamedData("sizes"), alt.NamedData("forecast")
    each = alt.Chart(sizes).mark_circle(size=9, opacity=0.5, color="var(--chart-1)")
    mean = alt.Chart(sizes).mark_line(strokeWidth=2, color="var(--chart-1)")
    ahead = alt.Chart(forecast).mark_line(
        strokeWidth=1.75, strokeDash=[2, 4], strokeCap="round", color="var(--chart-ahead)"
    )
    end = alt.Chart(forecast).mark_point(size=30, strokeWidth=1.5, color="var(--chart-ahead)")
    return _finish(
        each.encode(x, y),
        mean.encode(x, alt.Y("mean:Q", title=None)),
        ahead.encode(x, y),
        end.encode(x, y),
        _odd().encode(x, alt.Y("value:Q", title=None)),
        _pointer("sizes", ["date", "Size", "7-day mean"], "size_pointer").encode(x),
        _pointer("forecast", ["date", "Forecast"], "forecast_pointer").encode(x),
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
        _odd().encode(x, alt.Y("value:Q", title=None)),
        _pointer("weeks", ["Week from", "Median", "95 % within"], "week_pointer").encode(x),
    )


def _calendar() -> Spec:
    chart = alt.Chart(alt.NamedData("days")).mark_rect(
        stroke="var(--surface)", strokeWidth=2, cornerRadius=3
    )
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
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("date", "Succeeded", "Failed")],
        ),
        height=112,
    )


def _odd() -> alt.Chart:
    """Rings around what the anomalies report."""
    rings: alt.Chart = alt.Chart(alt.NamedData("marks")).mark_point(
        shape="circle", size=90, strokeWidth=1.75, color="var(--bad)"
    )
    return rings


def _pointer(rows: str, tooltip: list[str], name: str) -> alt.Chart:
    """A line at the point nearest to the pointer, with its figures."""
    nearest = alt.selection_point(
        name=name, on="pointermove", clear="pointerout", nearest=True, fields=["day"], empty=False
    )
    pointer: alt.Chart = (
        alt.Chart(alt.NamedData(rows), name=f"{name}_layer")
        .mark_rule(color="var(--muted)", strokeWidth=1)
        .encode(
            opacity=alt.condition(nearest, alt.value(0.7), alt.value(0)),
            tooltip=[alt.Tooltip(f"{field}:N") for field in tooltip],
        )
        .add_params(nearest)
    )
    return pointer


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
