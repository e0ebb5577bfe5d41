"""Backup trends: size, duration, throughput, reliability, forecast and anomalies of chosen graphs.

    ges-backups notebook
    ges-backups notebook --database FILE
    marimo edit notebooks/backup_trends.py -- --database FILE
    python notebooks/backup_trends.py --database FILE

Without `--database`, the file is named by GES_BACKUPS_DATABASE, else it is ges_backups.duckdb in
the current folder; `--destination`, or GES_BACKUPS_DESTINATION, names another kind of warehouse.
Every figure comes from a report; the history is opened for each question and closed at once, so
that a load never waits for an open notebook.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="medium", app_title="Backup trends")

with app.setup:
    import os
    from datetime import UTC, datetime, timedelta

    import altair as alt
    import marimo as mo
    import numpy as np
    import pandas as pd

    from ges_history import connect
    from ges_history.errors import HistoryError
    from ges_history.reports import words
    from ges_history.warehouses import warehouse_for

    _unbounded = alt.data_transformers.disable_max_rows()


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Backup trends

    How the backups of chosen graphs grow, slow down and fail. All times are UTC.
    """)
    return


@app.cell(hide_code=True)
def _():
    def argument(name, default):
        return str(
            mo.cli_args().get(name) or os.environ.get(f"GES_BACKUPS_{name.upper()}") or default
        )

    database = argument("database", "ges_backups.duckdb")
    destination = argument("destination", "duckdb")
    try:
        history = warehouse_for(database, destination)
        known = history.read("SELECT * FROM reports.recovery_point").to_pandas()
        projects = history.read("SELECT * FROM reports.overview").to_pandas()
        _alike = projects.project_name.duplicated(keep=False)
        _with_id = projects.project_name + " (" + projects.project_id + ")"
        projects = projects.assign(label=projects.project_name.where(~_alike, _with_id))
        problem = "" if len(known) else f"{history.name} knows no graph yet: the project is empty."
    except HistoryError as error:
        problem = str(error)
    if problem and not mo.running_in_notebook():
        print(problem, "`ges-backups demo` makes a history to try.")
    mo.stop(
        bool(problem),
        mo.callout(
            mo.vstack(
                [
                    mo.plain_text(problem),
                    mo.md(
                        "`ges-backups demo` makes a history to try;"
                        " `ges-backups notebook --database FILE` opens another."
                    ),
                ]
            ),
            kind="warn",
        ),
    )
    return database, destination, history, known, projects


@app.cell(hide_code=True)
def _(projects):
    _several = len(projects) > 1
    of_projects = mo.ui.multiselect(
        dict(zip(projects.label, projects.project_id, strict=True)), label="Projects"
    )
    of_regions = mo.ui.multiselect(sorted(projects.region.dropna().unique()), label="Regions")
    mo.hstack([of_projects, of_regions], justify="start", gap=2) if _several else None
    return of_projects, of_regions


@app.cell(hide_code=True)
def _(known, of_projects, of_regions, projects):
    _there = projects
    if of_projects.value:
        _there = _there[_there.project_id.isin(of_projects.value)]
    if of_regions.value:
        _there = _there[_there.region.isin(of_regions.value)]
    graphs = known[known.project_id.isin(_there.project_id)].sort_values(
        ["overdue", "graph_name"], ascending=[False, True], na_position="last"
    )
    _project = graphs.project_id.map(projects.set_index("project_id").label)
    _ambiguous = graphs.graph_name.duplicated(keep=False)
    graphs = graphs.assign(
        label=graphs.graph_name.where(
            ~_ambiguous,
            graphs.graph_name + " (" + _project + " " + graphs.graph_id + ")",
        )
    )
    _never = graphs[(graphs.successes == 0) & graphs.graph_deleted_at.isna()]
    _trends = graphs.loc[graphs.successes >= 3, "label"]
    today = datetime.now(UTC).date()
    chosen = mo.ui.multiselect(
        list(graphs.label),
        value=list(_trends if len(_trends) else graphs.label)[:3],
        label="Graphs",
    )
    window = mo.ui.date_range(value=(today - timedelta(days=180), today), label="From, to")
    scale = mo.ui.radio(
        ["a chart each", "together, logarithmic"], value="a chart each", inline=True
    )
    _controls = mo.hstack([chosen, window, scale], justify="start", gap=2, wrap=True)
    _alarm = f"Without any success: {len(_never)} ({', '.join(_never.label[:10])})"
    mo.vstack([_controls, mo.callout(mo.plain_text(_alarm), kind="danger")]) if len(
        _never
    ) else _controls
    return chosen, graphs, scale, today, window


@app.cell(hide_code=True)
def _(chosen, graphs, history, window):
    mo.stop(not chosen.value, mo.md("Choose at least one graph."))
    picked = graphs[graphs.label.isin(chosen.value)]
    _since, _until = window.value

    def read(report, time=None):
        """A report of the chosen graphs, of a column's window or whole; times are naive UTC."""
        keys = list(zip(picked.project_id, picked.graph_id, strict=True))
        marks = ", ".join("(?, ?)" for _ in keys)
        sql = f"SELECT * FROM reports.{report} WHERE (project_id, graph_id) IN ({marks})"
        values = [part for key in keys for part in key]
        if time:
            sql += f" AND {time} >= ? AND {time} < ? ORDER BY {time}"
            values += [_since, _until + timedelta(days=1)]
        rows = history.read(sql, *values).to_pandas(date_as_object=False)
        for column in rows.select_dtypes("datetimetz"):
            rows[column] = rows[column].dt.tz_localize(None)
        names = picked[["project_id", "graph_id", "label"]]
        return rows.merge(names, on=["project_id", "graph_id"])

    return picked, read


@app.cell(hide_code=True)
def _(scale):
    _colour = alt.Color("label:N", title="Graph").scale(scheme="tableau10")
    _svg = {"embedOptions": {"renderer": "svg", "actions": False}}
    days = alt.Axis(format="%-d %b %Y", tickCount=5, labelOverlap=True)
    each = scale.value == "a chart each"

    def day(column):
        """A time axis that says dates."""
        return alt.X(f"{column}:T", title=None, axis=days)

    def value(column, title):
        """An axis of values: its own for each graph, or a logarithmic one for all."""
        y = alt.Y(f"{column}:Q", title=title)
        return y if each else y.scale(type="symlog", constant=1)

    def show(chart, height=240):
        """A chart as wide as the page."""
        return chart.properties(width="container", height=height, usermeta=_svg)

    def by_graph(*layers, height=240):
        """The layers in a chart for each graph, or all in one."""
        chart = alt.layer(*layers).encode(_colour)
        if not each:
            return show(chart, height)
        small = chart.properties(width=600, height=110).facet(
            row=alt.Row("label:N", title=None, header=alt.Header(labelAngle=0, labelAlign="left"))
        )
        return small.resolve_scale(y="independent").properties(usermeta=_svg)

    def titled(title, note, rows, draw):
        """A heading, a note, and the chart of these rows or the news that there are none."""
        body = draw(rows) if len(rows) else mo.md("*Nothing in this window.*")
        return mo.vstack([mo.md(f"## {title}\n{note}"), body])

    def told(rows, columns, format_):
        """Rows with columns in words beside them, for tooltips."""
        return rows.assign(
            **{
                f"{column}_told": [None if pd.isna(x) else format_(x) for x in rows[column]]
                for column in columns
            }
        )

    def tips(*fields):
        """A tooltip of graph and fields, given as (title, field)."""
        return [alt.Tooltip(field, title=title) for title, field in (("Graph", "label:N"), *fields)]

    def readable(rows, **columns):
        """A table in words: {heading: (column, format)}."""
        return mo.ui.table(
            pd.DataFrame(
                {
                    heading: ["" if pd.isna(x) else format_(x) for x in rows[column]]
                    for heading, (column, format_) in columns.items()
                }
            ),
            selection=None,
        )

    return by_graph, day, readable, show, tips, titled, told, value


@app.cell(hide_code=True)
def _(day, projects, read, show, tips, titled, today, told, window):
    def _carried(rows):
        """Stored volume of each day, also of those on which nothing changed."""
        wide = rows.pivot_table(index="day", columns="label", values="stored_mb", aggfunc="last")
        every = pd.date_range(wide.index.min(), max(wide.index.max(), pd.Timestamp(today)))
        filled = wide.reindex(every).ffill().fillna(0)
        filled = filled[filled.index >= pd.Timestamp(window.value[0])]
        return filled.rename_axis(index="day").stack().rename("stored_mb").reset_index()

    def _draw(rows):
        rows = told(_carried(rows), ["stored_mb"], words.size)
        base = alt.Chart(rows).encode(
            day("day"),
            alt.Y("stored_mb:Q", title="MB", stack="zero"),
            alt.Color("label:N", title="Graph"),
        )
        area = base.mark_area(opacity=0.8)
        points = base.mark_point(opacity=0, filled=True, size=80).encode(
            tooltip=tips(("Day", "day:T"), ("Stored", "stored_mb_told:N"))
        )
        return show(area + points)

    _first = projects.first_listed_at.dropna()
    _since = (
        f" Complete from {_first.max():%-d %b %Y} on; what was deleted before is not known."
        if len(_first)
        else ""
    )
    titled(
        "Stored at the source",
        "Successful backups of the chosen graphs at the end of each day, stacked." + _since,
        read("storage_trend"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(by_graph, day, read, tips, titled, told, value):
    def _draw(rows):
        rows = told(rows, ["size_mb", "avg_7d_mb"], words.size)
        base = alt.Chart(rows).encode(day("day"))
        dots = base.mark_circle(size=22, opacity=0.5).encode(
            value("size_mb", "MB"),
            tooltip=tips(
                ("Day", "day:T"),
                ("Size", "size_mb_told:N"),
                ("7-day mean", "avg_7d_mb_told:N"),
                ("Backups", "backups:Q"),
            ),
        )
        return by_graph(base.mark_line().encode(value("avg_7d_mb", "MB")), dots)

    titled(
        "Size",
        "Of each day's last success, in MB; the line is the 7-day mean.",
        read("size_trend", "day"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(read):
    durations = read("duration_trend", "week")
    return (durations,)


@app.cell(hide_code=True)
def _(by_graph, day, durations, tips, titled, told, value):
    def _draw(rows):
        rows = told(rows, ["p50_duration_s", "p95_duration_s", "max_duration_s"], words.seconds)
        rows = rows.assign(so_far=rows.is_partial.map({True: "yes", False: "no"}))
        base = alt.Chart(rows).encode(day("week"))
        points = base.mark_point(size=30).encode(
            value("p50_duration_s", "Seconds"),
            alt.Fill("label:N", legend=None),
            fillOpacity=alt.condition("datum.is_partial", alt.value(0), alt.value(1)),
            tooltip=tips(
                ("Week from", "week:T"),
                ("So far", "so_far:N"),
                ("Median", "p50_duration_s_told:N"),
                ("95 % within", "p95_duration_s_told:N"),
                ("Longest", "max_duration_s_told:N"),
            ),
        )
        middle = base.mark_line().encode(value("p50_duration_s", "Seconds"))
        high = base.mark_line(strokeDash=[4, 3]).encode(value("p95_duration_s", "Seconds"))
        return by_graph(middle, high, points)

    titled(
        "Duration",
        "Week by week: the median, and dashed the 95 % quantile; hollow: the week still runs.",
        durations,
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(by_graph, day, durations, tips, titled, value):
    def _draw(rows):
        rows = rows.assign(told=[None if pd.isna(x) else f"{x:,.1f} MB/s" for x in rows.mb_per_s])
        return by_graph(
            alt.Chart(rows)
            .mark_line(point=alt.OverlayMarkDef(size=30))
            .encode(
                day("week"),
                value("mb_per_s", "MB/s"),
                tooltip=tips(("Week from", "week:T"), ("Throughput", "told:N")),
            ),
            height=180,
        )

    titled("Throughput", "Total size by total duration of each week's successes.", durations, _draw)
    return


@app.cell(hide_code=True)
def _(day, picked, read, readable, show, tips, titled, today, told):
    def _judged(rows):
        """Days with their verdict against twice the usual gap."""
        targets = picked.assign(target_hours=2 * picked.usual_gap_hours)
        rows = rows.merge(
            targets[["project_id", "graph_id", "target_hours"]], on=["project_id", "graph_id"]
        )
        late = rows.oldest_age_hours > rows.target_hours
        known = rows.oldest_age_hours.notna() & rows.target_hours.notna()
        verdict = np.where(known, np.where(late, "missed", "met"), "not known")
        rows = rows.assign(verdict=verdict, until=rows.day + pd.Timedelta(days=1))
        return told(rows, ["oldest_age_hours", "target_hours"], words.hours)

    def _shares(rows):
        """The share of days met in 30, 90, 365 days, the worst first."""
        ago = (pd.Timestamp(today) - rows.day).dt.days
        known = rows[rows.verdict != "not known"]
        table = pd.DataFrame(
            {
                n: known[ago.reindex(known.index) < n]
                .groupby("label")
                .verdict.apply(lambda verdicts: (verdicts == "met").mean())
                for n in (30, 90, 365)
            }
        )
        return table.sort_values([30, 90, 365]).rename_axis("label").reset_index()

    def _draw(rows):
        rows = _judged(rows)
        shares = _shares(rows)
        recent = rows[rows.day > pd.Timestamp(today) - pd.Timedelta(days=182)]
        order = [*shares.label, *sorted(set(rows.label) - set(shares.label))]
        chart = alt.Chart(recent).mark_rect(stroke=None)
        chart = chart.encode(
            day("day"),
            alt.X2("until:T"),
            alt.Y("label:N", title=None, sort=order),
            alt.Color("verdict:N", title=None).scale(
                domain=["met", "missed", "not known"], range=["#7fc49a", "#c0271b", "#e3e7eb"]
            ),
            tooltip=tips(
                ("Day", "day:T"),
                ("Verdict", "verdict:N"),
                ("Last success, at most", "oldest_age_hours_told:N"),
                ("Target", "target_hours_told:N"),
            ),
        )
        columns = {f"{n} days": (n, words.percent) for n in (30, 90, 365)}
        return mo.vstack(
            [show(chart, alt.Step(24)), readable(shares, Graph=("label", str), **columns)]
        )

    titled(
        "Days on target",
        "Whether the last success was ever older than twice the graph's usual gap on a day,"
        " and the share of days met.",
        read("adherence"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(read, show, tips, titled):
    def _draw(rows):
        rows = rows.assign(
            told=[None if pd.isna(x) else words.percent(x) for x in rows.success_rate],
            so_far=rows.is_partial.map({True: "yes", False: "no"}),
        )
        return show(
            alt.Chart(rows)
            .mark_rect(cornerRadius=3, strokeWidth=2)
            .encode(
                alt.X("yearmonth(month):O", title=None),
                alt.Y("label:N", title=None),
                alt.Color("success_rate:Q", title="Success rate")
                .scale(domain=[0.5, 1], range=["#b42318", "#f7cf94", "#2e8b57"], clamp=True)
                .legend(format="%"),
                alt.Stroke("is_partial:N", legend=None).scale(
                    domain=[False, True], range=["white", "#586472"]
                ),
                tooltip=tips(
                    ("Month", "yearmonth(month):T"),
                    ("So far", "so_far:N"),
                    ("Success rate", "told:N"),
                    ("Succeeded", "succeeded:Q"),
                    ("Failed", "failed:Q"),
                    ("Failures in a row", "longest_failure_streak:Q"),
                ),
            ),
            alt.Step(28),
        )

    titled(
        "Reliability",
        "Successes among the backups that ended, month by month; framed: the month still runs.",
        read("reliability", "month"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(by_graph, day, read, readable, tips, titled, today, told, value):
    def _points(rows):
        """The line of `growth` today, 30 and 90 days ahead, with its interval."""
        known = rows[rows.low_90d_mb.notna()]
        late = (pd.Timestamp(today) - known.last_day).dt.days.clip(lower=0)
        half = known.high_30d_mb - known.projected_30d_mb
        wider = (known.high_90d_mb - known.projected_90d_mb - half) / 60
        parts = []
        for ahead in (0, 30, 90):
            middle = known.projected_30d_mb + (late + ahead - 30) * known.mb_per_day
            spread = (half + (late + ahead - 30) * wider).clip(lower=0)
            parts.append(
                pd.DataFrame(
                    {
                        "label": known.label,
                        "day": pd.Timestamp(today) + pd.Timedelta(days=ahead),
                        "size_mb": middle.clip(lower=0),
                        "low_mb": (middle - spread).clip(lower=0),
                        "high_mb": (middle + spread).clip(lower=0),
                    }
                )
            )
        return told(pd.concat(parts), ["size_mb", "low_mb", "high_mb"], words.size)

    def _draw(rows):
        points = _points(rows)
        base = alt.Chart(points).encode(day("day"))
        chart = by_graph(
            base.mark_area(opacity=0.15).encode(value("low_mb", "MB"), alt.Y2("high_mb:Q")),
            base.mark_line(strokeDash=[2, 4], point=alt.OverlayMarkDef(size=40)).encode(
                value("size_mb", "MB"),
                tooltip=tips(
                    ("Day", "day:T"),
                    ("Forecast", "size_mb_told:N"),
                    ("Lowest", "low_mb_told:N"),
                    ("Highest", "high_mb_told:N"),
                ),
            ),
        )
        table = readable(
            rows,
            Graph=("label", str),
            Newest=("last_size_mb", words.size),
            On=("last_day", words.day),
            Since=("level_since", words.day),
            **{
                "A day": ("mb_per_day", words.change),
                "r²": ("r2", lambda x: words.number(x, 2)),
                "In 30 days": ("projected_30d_mb", words.size),
                "In 90 days": ("projected_90d_mb", words.size),
            },
        )
        return mo.vstack(
            [chart if len(points) else mo.md("*No forecast: fewer than 3 points.*"), table]
        )

    titled(
        "Growth and forecast",
        "Where the growth since the last lasting change leads, from today, with the 95 % interval;"
        " the table counts from the newest backup.",
        read("growth"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(day, read, readable, show, tips, titled):
    def _say(row, column):
        return (words.seconds if row.kind == "slow" else words.size)(row[column])

    def _draw(rows):
        rows = rows.assign(
            value_told=[_say(row, "value") for _, row in rows.iterrows()],
            expected_told=[_say(row, "expected") for _, row in rows.iterrows()],
        )
        chart = alt.Chart(rows).mark_point(size=70, filled=True)
        chart = chart.encode(
            day("started_at"),
            alt.Y("deviation:Q", title="Robust standard deviations"),
            alt.Color("label:N", title="Graph").scale(scheme="tableau10"),
            alt.Shape("kind:N", title="What"),
            tooltip=tips(
                ("Started", "yearmonthdatehoursminutes(started_at):T"),
                ("What", "kind:N"),
                ("Value", "value_told:N"),
                ("Expected", "expected_told:N"),
                ("Backup", "backup_id:N"),
            ),
        )
        table = readable(
            rows.iloc[::-1],
            Graph=("label", str),
            Started=("started_at", words.moment),
            What=("kind", str),
            Value=("value_told", str),
            Expected=("expected_told", str),
            Deviation=("deviation", lambda x: words.number(x, 1)),
            Backup=("backup_id", str),
        )
        return mo.vstack([show(chart, 200), table])

    titled(
        "Anomalies",
        "Successes far from what the ones before them lead to expect.",
        read("anomalies", "started_at"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _():
    question = mo.ui.code_editor(
        "SELECT graph_name, last_success_at, rpo_age_hours, usual_gap_hours, overdue\n"
        "FROM reports.recovery_point\nORDER BY rpo_age_hours DESC\nLIMIT 10",
        language="sql",
        min_height=120,
    ).form(submit_button_label="Run")
    mo.vstack(
        [
            mo.md(
                "## Questions of your own\nDuckDB's SQL over the schemas `reports` and `ges`, read-only."
            ),
            question,
        ]
    )
    return (question,)


@app.cell(hide_code=True)
def _(database, destination, history, question):
    import duckdb

    def ask(sql):
        """The answer as a DataFrame; of a file, it reads this history and no other file."""
        if destination != "duckdb":
            return history.read(sql).to_pandas()
        with connect(database) as connection:
            connection.execute("SET enable_external_access = false; SET lock_configuration = true")
            return connection.sql(sql).df()

    mo.stop(not question.value)
    try:
        _answer = mo.ui.table(ask(question.value), selection=None)
    except (duckdb.Error, HistoryError) as _error:
        _answer = mo.callout(mo.plain_text(str(_error)), kind="danger")
    _answer
    return


@app.cell(hide_code=True)
def _(chosen, read):
    if not mo.running_in_notebook():
        _rows = read("growth")[["label", "last_size_mb", "mb_per_day", "r2"]]
        print(f"Growth of {len(chosen.value)} graphs:\n{_rows.to_string(index=False)}")
    return


if __name__ == "__main__":
    app.run()
