"""PostgreSQL answers as DuckDB does: the same rows, in the same types and the same order."""

import math
from typing import Any

import pyarrow as pa
import pytest

from ges_history.reports.views import HELPERS, report_names
from ges_history.warehouses.duckdb_file import DuckDbFile
from postgres_copy import copy_history
from postgres_server import PostgresServer
from synthetic import write_database

Pair = tuple[Any, Any]


@pytest.fixture(scope="module")
def pair(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same history, edge cases included, in a DuckDB file and in PostgreSQL."""
    file = write_database(tmp_path_factory.mktemp("pair") / "history.duckdb")
    return DuckDbFile(file), copy_history(file, postgres_server.create_database())


def _assert_same(one: pa.Table, other: pa.Table, *, age: frozenset[str] = frozenset()) -> None:
    """Columns and types are the same, and the rows; columns of `age` run on between two reads."""
    assert one.schema.names == other.schema.names
    assert [str(kind) for kind in one.schema.types] == [str(kind) for kind in other.schema.types]
    assert len(one) == len(other)
    for name in one.schema.names:
        slack = 1.0 if name in age else 1e-9
        for left, right in zip(one[name].to_pylist(), other[name].to_pylist(), strict=True):
            if isinstance(left, float) and isinstance(right, float):
                assert math.isclose(left, right, rel_tol=1e-9, abs_tol=slack), name
            elif name in age and left is not None and right is not None:
                assert abs(left - right) < 30, name
            else:
                assert left == right, name


AGES = frozenset(("rpo_age_hours", "stale_hours", "elapsed_s"))


@pytest.mark.parametrize("report", [*report_names(), *HELPERS])
def test_reports_are_the_same(pair: Pair, report: str) -> None:
    duckdb, postgres = pair
    sql = f"FROM reports.{report} ORDER BY ALL"
    _assert_same(duckdb.read(sql), postgres.read(sql), age=AGES)
