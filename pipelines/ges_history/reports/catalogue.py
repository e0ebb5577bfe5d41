"""The reports' SQL files, and what their headers say of them.

A file `reports/sql/<name>.sql` is a header comment and one SELECT in DuckDB's SQL. The header's
first line is the report's description, `-- Grain:` says what a row is and `-- Key:` which columns
tell it from others, `-- Columns:` what each column is, with its unit. `-- Time:` names the column
that places rows in time; `-- Now:` marks a report about now and orders its rows, the worst first;
`-- Order:` orders those of a list; `-- Empty:` says why there may be none. The files name tables in
two parts (`ges.backups`, `reports.size_trend`). `(TEXT OF one OVER other)` in a file is the SELECT
of one view over the rows of another in place of `ges.backups`.
"""

import re
from functools import cache, partial
from graphlib import TopologicalSorter
from importlib.resources import files

LISTS = ("backups",)
"""Views that show a table as it is; they can be read like reports."""
HELPERS = (
    "gaps",
    "graph_names",
    "project_names",
    "recent_anomalies",
    "recent_sizes",
    "recent_successes",
    "week_successes",
    *LISTS,
)
"""Views that the reports build on or stand beside; not reports themselves."""

_COMMON = {
    "project_id": "ID of the project.",
    "graph_id": "ID of the graph.",
    "graph_name": "Newest name of the graph; its id where none is known.",
    "project_name": "Name of the project in the settings; its id where it has none.",
}
TABLE = re.compile(r"\b(FROM|JOIN) (ges|reports)\.(\w+)")
"""A table as the files name it: keyword, schema, name."""

_TEXT_OF = re.compile(r"\(TEXT OF (\w+) OVER (\w+)\)")


@cache
def selects() -> dict[str, str]:
    """{view: its file's text}, each after the views that it reads."""
    texts = {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").strip()
        for file in files("ges_history.reports").joinpath("sql").iterdir()
        if file.name.endswith(".sql")
    }
    texts = {name: _TEXT_OF.sub(partial(_over, texts), text) for name, text in texts.items()}
    reads = {name: views_read(text) for name, text in sorted(texts.items())}
    return {name: texts[name] for name in TopologicalSorter(reads).static_order()}


def _over(texts: dict[str, str], found: re.Match[str]) -> str:
    """One view's SELECT over the rows of another in place of `ges.backups`."""
    body = without_header(texts[found[1]])
    return f"(\n{body.replace(' ges.backups ', f' reports.{found[2]} ')}\n)"


def without_header(text: str) -> str:
    """A view's SELECT without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("--"))


def views_read(sql: str) -> set[str]:
    """The views that a query names after FROM or JOIN."""
    return {table for _, schema, table in TABLE.findall(sql) if schema == "reports"}


def views_needed(names: set[str]) -> list[str]:
    """These views and those that they read, each after what it reads."""
    needed: set[str] = set()
    queue = set(names)
    while queue:
        name = queue.pop()
        needed.add(name)
        queue |= views_read(selects()[name]) - needed
    return [name for name in selects() if name in needed]


@cache
def shared_views() -> set[str]:
    """The views that others read, but for those whose one reader is among them."""
    shared: set[str] = set()
    for name in reversed(selects()):
        readers = {reader for reader, text in selects().items() if name in views_read(text)}
        if len(readers) > 1 or readers - shared:
            shared.add(name)
    return shared


def view_names() -> list[str]:
    """The names of all views, helpers too, each after the views that it reads."""
    return list(selects())


def report_names() -> list[str]:
    """The names of the reports, sorted."""
    return sorted(set(selects()) - set(HELPERS))


def descriptions() -> dict[str, str]:
    """{report: its one-line description}, sorted by name."""
    return {name: description_of(name) for name in report_names()}


def description_of(view: str) -> str:
    """The first line of a view's file."""
    return _description(selects()[view])


def grain_of(view: str) -> str:
    """What one row of a view is."""
    text = " ".join(line.removeprefix("-- ") for line in selects()[view].splitlines())
    found = re.search(r"Grain: (.+?)\. (?:[A-Z]|[a-z_]+:)", text)
    return found[1] if found else ""


def column_texts(view: str) -> dict[str, tuple[str | None, str]]:
    """{column: (its unit, what it is)}, as the view's file says, the common ones included."""
    lines = re.findall(r"^--   (\w+)(?: \[(.+?)\])?: (.+)$", selects()[view], re.MULTILINE)
    own = {name: (unit or None, text) for name, unit, text in lines}
    body = without_header(selects()[view])
    common = {
        name: (None, text) for name, text in _COMMON.items() if re.search(rf"\b{name}\b", body)
    }
    if grain_columns(view) == ["project_id"]:
        common = {name: it for name, it in common.items() if name.startswith("project")}
    return {**common, **own}


def time_column(report: str) -> str:
    """The column that places a report's rows in time, named by `-- Time:` in its file."""
    found = _header_line(report, "Time")
    if found is None:
        raise LookupError(f"reports/sql/{report}.sql names no time column")
    return found


def worst_first(report: str) -> str | None:
    """How the rows of a report about now are ordered, the worst first; None for any other."""
    return _header_line(report, "Now")


def grain_columns(report: str) -> list[str]:
    """The columns that tell one row from another."""
    return (_header_line(report, "Key") or "").split(", ")


def order_of(report: str) -> str:
    """How the rows are shown: what is about now the worst first, else by graph and time."""
    grain = grain_columns(report)
    ties = ", ".join(grain)
    first = worst_first(report) or _header_line(report, "Order")
    if first:
        return f"{first}, {ties}"
    others = [column for column in grain if column not in ("project_id", "graph_id")]
    return ", ".join(["graph_name", "project_id", "graph_id", time_column(report), *others])


def why_empty(report: str) -> str | None:
    """What it means that a report has no rows at all."""
    return _header_line(report, "Empty")


def _header_line(view: str, key: str) -> str | None:
    found = re.search(rf"^-- {key}: (.+)$", selects()[view], re.MULTILINE)
    return found[1] if found else None


def _description(text: str) -> str:
    return text.splitlines()[0].removeprefix("--").strip()
