"""Backup trends: size, duration, throughput, reliability, forecast and anomalies of chosen graphs.

    marimo edit notebooks/backup_trends.py
    marimo run notebooks/backup_trends.py -- --database FILE
    python notebooks/backup_trends.py --database FILE

Without `--database`, the file is named by GES_BACKUPS_DATABASE, else it is ges_backups.duckdb in
the current folder. Every figure comes from a report; the file is opened for each question and
closed at once, so that a load never waits for an open notebook.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="medium", app_title="Backup trends")

with app.setup:
    import os
    from datetime import UTC, datetime, timedelta

    import altair as alt
    import marimo as mo
    import pandas as pd

    from ges_history import connect, read_report
    from ges_history.errors import HistoryError


@app.cell(hide_code=True)
def _():
    mo.md("""
    # Backup trends

    How the backups of chosen graphs grow, slow down and fail. All times are UTC.
    """)
    return


@app.cell(hide_code=True)
def _():
    database = str(
        mo.cli_args().get("database")
        or os.environ.get("GES_BACKUPS_DATABASE")
        or "ges_backups.duckdb"
    )
    try:
        graphs = read_report("recovery_point", database)
        problem = "" if len(graphs) else f"The database {database} knows no graph yet."
    except HistoryError as error:
        problem = str(error)
    if problem and not mo.running_in_notebook():
        print(problem, "`ges-backups demo` makes a database to try.")
    mo.stop(
        bool(problem),
        mo.callout(
            mo.vstack(
                [
                    mo.plain_text(problem),
                    mo.md(
                        "`ges-backups demo` makes a database to try;"
                        " `GES_BACKUPS_DATABASE` or `-- --database FILE` names another."
                    ),
                ]
            ),
            kind="warn",
        ),
    )
    return database, graphs


@app.cell(hide_code=True)
def _(graphs):
    named = graphs.sort_values(
        ["overdue", "graph_name"], ascending=[False, True], na_position="last"
    )
    ambiguous = graphs.graph_name.duplicated(keep=False)
    named = named.assign(
        label=named.graph_name.where(
            ~ambiguous.reindex(named.index),
            named.graph_name + " (" + named.project_id + " " + named.graph_id + ")",
        )
    )
    options = dict(zip(named.label, named.graph_id, strict=True))
    with_history = {
        label: id_
        for label, id_ in options.items()
        if id_ in set(graphs.loc[graphs.successes >= 3, "graph_id"])
    }
    today = datetime.now(UTC).date()
    chosen = mo.ui.multiselect(options, value=list(with_history or options)[:3], label="Graphs")
    window = mo.ui.date_range(value=(today - timedelta(days=180), today), label="From, to")
    mo.hstack([chosen, window], justify="start", gap=2, wrap=True)
    return chosen, today, window


@app.cell(hide_code=True)
def _(chosen, database, window):
    mo.stop(not chosen.value, mo.md("Choose at least one graph."))

    def read(report, whole=False):
        """A report of the chosen graphs, in the window or whole; the file is closed again."""
        since, until = window.value
        bounds = {} if whole else {"since": since, "until": until + timedelta(days=1)}
        return read_report(report, database, graph=list(chosen.value), **bounds)

    return (read,)


@app.cell(hide_code=True)
def _():
    graph = alt.Color("graph_name:N", title="Graph").scale(scheme="tableau10")

    def show(chart, height=240):
        """A chart as wide as the page."""
        return chart.properties(width="container", height=height)

    def titled(title, note, rows, draw):
        """A heading, a note, and the chart of these rows or the news that there are none."""
        body = draw(rows) if len(rows) else mo.md("*Nothing in this window.*")
        return mo.vstack([mo.md(f"## {title}\n{note}"), body])

    readable = {
        "last_day": "{:%Y-%m-%d}",
        "started_at": "{:%Y-%m-%d %H:%M}",
        "r2": "{:.2f}",
        "deviation": "{:.1f}",
        **dict.fromkeys(["last_size_mb", "value", "expected"], "{:,}"),
        **dict.fromkeys(["mb_per_day", "projected_30d_mb", "projected_90d_mb"], "{:,.1f}"),
    }
    return graph, readable, show, titled


@app.cell(hide_code=True)
def _(graph, read, show, titled):
    def _draw(rows):
        day = alt.X("day:T", title=None)
        base = alt.Chart(rows).encode(day, graph)
        dots = base.mark_circle(size=18, opacity=0.5).encode(
            alt.Y("size_mb:Q", title="MB"),
            tooltip=["graph_name", "day:T", alt.Tooltip("size_mb", format=","), "backups"],
        )
        return show(dots + base.mark_line().encode(alt.Y("avg_7d_mb:Q")))

    titled(
        "Size",
        "Of each day's last success, in MB; the line is the 7-day mean.",
        read("size_trend"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(read):
    durations = read("duration_trend")
    return (durations,)


@app.cell(hide_code=True)
def _(durations, graph, show, titled):
    def _draw(rows):
        base = alt.Chart(rows).encode(alt.X("week:T", title=None), graph)
        middle = base.mark_line(point=True).encode(
            alt.Y("p50_duration_s:Q", title="Seconds"),
            tooltip=["graph_name", "week:T", "p50_duration_s", "p95_duration_s", "max_duration_s"],
        )
        return show(middle + base.mark_line(strokeDash=[4, 3]).encode(alt.Y("p95_duration_s:Q")))

    titled(
        "Duration",
        "Week by week, in seconds: the median, and dashed the 95 % quantile.",
        durations,
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(durations, graph, show, titled):
    def _draw(rows):
        return show(
            alt.Chart(rows)
            .mark_line(point=True)
            .encode(
                alt.X("week:T", title=None),
                alt.Y("mb_per_s:Q", title="MB/s"),
                graph,
                tooltip=["graph_name", "week:T", alt.Tooltip("mb_per_s", format=",.1f")],
            ),
            180,
        )

    titled("Throughput", "Total size by total duration of each week's successes.", durations, _draw)
    return


@app.cell(hide_code=True)
def _(read, show, titled):
    def _draw(rows):
        return show(
            alt.Chart(rows)
            .mark_rect(cornerRadius=3, stroke="white", strokeWidth=2)
            .encode(
                alt.X("yearmonth(month):O", title=None),
                alt.Y("graph_name:N", title=None),
                alt.Color("success_rate:Q", title="Success rate")
                .scale(domain=[0.5, 1], range=["#b42318", "#f7cf94", "#2e8b57"], clamp=True)
                .legend(format="%"),
                tooltip=[
                    "graph_name",
                    "yearmonth(month):T",
                    alt.Tooltip("success_rate", format=".1%"),
                    "succeeded",
                    "failed",
                    "longest_failure_streak",
                ],
            ),
            alt.Step(28),
        )

    titled(
        "Reliability",
        "Successes among the backups that ended, month by month.",
        read("reliability"),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(graph, read, readable, show, titled):
    def _draw(rows):
        ahead = {0: "last_size_mb", 30: "projected_30d_mb", 90: "projected_90d_mb"}
        points = pd.concat(
            [
                rows[["graph_name"]].assign(
                    day=rows.last_day + pd.Timedelta(days=days), size_mb=rows[column]
                )
                for days, column in ahead.items()
            ]
        )
        line = alt.Chart(points).mark_line(point=True, strokeDash=[2, 4])
        columns = ["graph_name", "points", "last_day", "last_size_mb", "mb_per_day", "r2",
                   "projected_30d_mb", "projected_90d_mb"]  # fmt: skip
        chart = line.encode(
            alt.X("day:T", title=None),
            alt.Y("size_mb:Q", title="MB"),
            graph,
            tooltip=["graph_name", "day:T", alt.Tooltip("size_mb", format=",.0f")],
        )
        return mo.vstack(
            [show(chart, 200), mo.ui.table(rows[columns], selection=None, format_mapping=readable)]
        )

    titled(
        "Growth and forecast",
        "From the newest size to where the last 90 days of growth lead in 30 and 90 days.",
        read("growth", whole=True),
        _draw,
    )
    return


@app.cell(hide_code=True)
def _(graph, read, readable, show, titled):
    def _draw(rows):
        columns = [
            "graph_name",
            "backup_id",
            "started_at",
            "kind",
            "value",
            "expected",
            "deviation",
        ]
        chart = alt.Chart(rows).mark_point(size=70, filled=True)
        chart = chart.encode(
            alt.X("started_at:T", title=None, scale=alt.Scale(type="utc")),
            alt.Y("deviation:Q", title="Robust standard deviations"),
            graph,
            alt.Shape("kind:N", title="What"),
            tooltip=columns,
        )
        return mo.vstack(
            [show(chart, 200), mo.ui.table(rows[columns], selection=None, format_mapping=readable)]
        )

    titled(
        "Anomalies",
        "Successes far from what the ones before them lead to expect.",
        read("anomalies"),
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
def _(database, question):
    import duckdb

    def ask(sql):
        """The answer as a DataFrame; reads this history and no other file, and closes it."""
        with connect(database) as history:
            history.execute("SET enable_external_access = false; SET lock_configuration = true")
            return history.sql(sql).df()

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
        _rows = read("growth", whole=True)[["graph_name", "last_size_mb", "mb_per_day", "r2"]]
        print(f"Growth of {len(chosen.value)} graphs:\n{_rows.to_string(index=False)}")
    return


if __name__ == "__main__":
    app.run()
