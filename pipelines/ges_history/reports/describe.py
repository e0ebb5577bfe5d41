"""What the tables and the reports are, for catalogues, notebooks and agents."""

from typing import Any

from ges_history.reports.catalogue import (
    HELPERS,
    LISTS,
    column_texts,
    description_of,
    grain_columns,
    grain_of,
    report_names,
    time_column,
    view_names,
    worst_first,
)

TABLES = {
    "backups": ("Every backup that the API ever listed.", "one row per backup", "id"),
    "graphs": ("Every graph of the projects' lists.", "one row per graph", "project_id, id"),
    "listings": (
        "How each graph's latest listing went.",
        "one row per graph that was asked for",
        "project_id, graph_id",
    ),
    "projects": ("The projects that are loaded.", "one row per project", "id"),
    "rejected_backups": (
        "Records that do not fit, whole, with the reason.",
        "one row per version of a record",
        "project_id, record_hash",
    ),
}
_UNITS = {"size": "MB", "duration": "s", "start_timestamp": "ms", "end_timestamp": "ms"}


def describe() -> dict[str, Any]:
    """Names, grain, columns with units and descriptions of all tables and views.

    Returns:
        `{"tables": [...], "reports": [...], "views": [...]}`; each entry has `name`,
        `description`, `grain`, `key` (its columns) and `columns`, a list of `name`, `type`, `unit`
        (null where it has none) and `description`; a report has `time` and `is_about_now`, too.
        `views` are those beside the reports. Types are DuckDB's.
    """
    types = _view_types()
    reports = set(report_names())
    views = {
        view: {
            "name": f"reports.{view}",
            "description": description_of(view),
            "grain": grain_of(view),
            "key": grain_columns(view),
            **(
                {"time": time_column(view), "is_about_now": worst_first(view) is not None}
                if view in reports or view in LISTS
                else {}
            ),
            "columns": [
                {"name": name, "type": type_, "unit": unit, "description": text}
                for name, type_ in types[view].items()
                for unit, text in [column_texts(view)[name]]
            ],
        }
        for view in sorted(view_names())
    }
    return {
        "tables": [_table(name) for name in TABLES],
        "reports": [entry for view, entry in views.items() if view in reports],
        "views": [entry for view, entry in views.items() if view in HELPERS],
    }


def _table(name: str) -> dict[str, Any]:
    from ges_history.reports.views import known_columns  # noqa: PLC0415 - imports dlt

    description, grain, key = TABLES[name]
    return {
        "name": f"ges.{name}",
        "description": description,
        "grain": grain,
        "key": key.split(", "),
        "columns": [
            {
                "name": column,
                "type": hints["type"],
                "unit": "UTC" if hints["type"] == "TIMESTAMPTZ" else _UNITS.get(column),
                "description": hints["description"],
            }
            for column, hints in known_columns()[name].items()
        ],
    }


def _view_types() -> dict[str, dict[str, str]]:
    """{view: {column: DuckDB's type}}, asked of DuckDB over empty tables."""
    import duckdb  # noqa: PLC0415

    from ges_history.reports.views import overlay_statements  # noqa: PLC0415

    with duckdb.connect(":memory:") as connection:
        connection.execute(";\n".join(overlay_statements({})))
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns()"
            " WHERE schema_name = 'reports' ORDER BY table_name, column_index"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for view, column, type_ in rows:
        found.setdefault(view, {})[column] = type_.replace(
            "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"
        )
    return found
