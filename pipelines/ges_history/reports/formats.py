"""A report as csv, json, markdown or parquet; what people read on a screen is in `screen`.

Machines get every column under its own name and every digit. In csv, text that a spreadsheet would
run as a formula (it begins with = + - @) gets an apostrophe before it.
"""

import io
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ges_history.reports.cells import readable

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = {".csv": "csv", ".json": "json", ".md": "markdown", ".parquet": "parquet"}
"""The format that a file's name asks for."""


def as_csv(table: "pa.Table") -> bytes:
    """Comma-separated, UTF-8, with a line of column names; instants in ISO 8601 with Z."""
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import csv, types  # noqa: PLC0415

    for place, field in enumerate(table.schema):
        column = table.column(place)
        if types.is_timestamp(field.type):
            column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
        elif types.is_string(field.type):
            guarded = pc.binary_join_element_wise("'", column, "")
            column = pc.if_else(pc.match_substring_regex(column, r"^[=+\-@\t\r]"), guarded, column)
        table = table.set_column(place, field.name, column)
    sink = io.BytesIO()
    csv.write_csv(table, sink, csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


def as_json(table: "pa.Table") -> bytes:
    """An array with one object a row; instants in ISO 8601 with Z."""
    import orjson  # noqa: PLC0415

    options = orjson.OPT_UTC_Z | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(table.to_pylist(), option=options)


def as_markdown(table: "pa.Table") -> bytes:
    """A table in GitHub's Markdown, as people read it on the screen."""
    columns = readable(table)
    lines = [
        _row(column.heading for column in columns),
        _row("---" for _ in columns),
        *(_row(row) for row in zip(*(column.cells for column in columns), strict=True)),
    ]
    return ("\n".join(lines) + "\n").encode()


def as_parquet(table: "pa.Table") -> bytes:
    """A Parquet file with the view's own types."""
    from pyarrow import parquet  # noqa: PLC0415

    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(re.sub(r"([\\|<\[`*])", r"\\\1", text) for text in cells) + " |"


WRITERS: dict[str, Callable[["pa.Table"], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "parquet": as_parquet,
}
