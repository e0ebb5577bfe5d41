"""A report as csv, json, jsonl, markdown, parquet or an Excel sheet; `screen` has what people read.

Machines get every column under its own name and every digit, but for Excel, which has 15. In csv,
text that a spreadsheet would run as a formula (it begins with = + - @) gets an apostrophe before it.
"""

import io
import re
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ges_history.errors import HistoryError
from ges_history.reports.cells import readable

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
    ".parquet": "parquet",
    ".xlsx": "excel",
}
"""The format that a file's name asks for."""
EXCEL_ROWS = 1_048_576
LONGEST_CELL = 32_767
"""Rows of a sheet, its heading included."""


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


def as_jsonl(table: "pa.Table") -> bytes:
    """One object a line and row; instants in ISO 8601 with Z."""
    import orjson  # noqa: PLC0415

    options = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(row, option=options) for row in table.to_pylist())


def as_excel(table: "pa.Table") -> bytes:
    """A workbook with one sheet; instants without a zone, which Excel has not, in UTC.

    Raises:
        HistoryError: the extra is not installed, or there are more rows than a sheet holds.
    """
    if find_spec("openpyxl") is None:
        raise HistoryError(
            "An Excel file needs a package more: pip install 'ges-backup-history[excel]'; csv and"
            " parquet need none."
        )
    if table.num_rows >= EXCEL_ROWS:
        raise HistoryError(
            f"A sheet of Excel holds fewer than the {table.num_rows:,} rows: choose csv or parquet,"
            " or fewer rows with --since or --limit."
        )
    import pandas as pd  # noqa: PLC0415

    frame = table.to_pandas()
    texts = list[int]()
    for place, (name, column) in enumerate(frame.items(), start=1):
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            frame[name] = column.dt.tz_convert("UTC").dt.tz_localize(None)
        elif pd.api.types.is_string_dtype(column.dtype):
            frame[name] = column.map(_printable, na_action="ignore")
            texts.append(place)
    sink = io.BytesIO()
    with pd.ExcelWriter(sink, engine="openpyxl") as writer:
        frame.to_excel(writer, sheet_name="report", index=False, freeze_panes=(1, 0))
        for place in texts:
            _keep_as_text(writer.sheets["report"].iter_cols(place, place, min_row=2))
    return sink.getvalue()


def _printable(value: object) -> object:
    """Text without the signs that a sheet refuses, as long as a cell can be."""
    if not isinstance(value, str):
        return value
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", value)[:LONGEST_CELL]


def _keep_as_text(columns: Iterable[Iterable[Any]]) -> None:
    """Text that openpyxl took for a formula (=1+1) or an error (#N/A) stays text, also once edited."""
    for cells in columns:
        for cell in cells:
            if cell.data_type in ("f", "e"):
                cell.data_type, cell.quotePrefix = "s", True


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
    return "| " + " | ".join(re.sub(r"([\\|<\[`*_~&])", r"\\\1", text) for text in cells) + " |"


WRITERS: dict[str, Callable[["pa.Table"], bytes]] = {
    "csv": as_csv,
    "excel": as_excel,
    "json": as_json,
    "jsonl": as_jsonl,
    "markdown": as_markdown,
    "parquet": as_parquet,
}
