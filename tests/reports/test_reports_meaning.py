"""Each report says what its definition says: checked against pandas on random fleets."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import report_oracle
from ges_history import read_report
from ges_history.reports.catalogue import grain_columns
from synthetic import DAY_MS, PROJECT, insert_backups, insert_rows, write_database, write_empty

SEEDS = 2 * int(os.environ.get("GES_SOAK", "1"))
NOT_DERIVED = {"error_msg", "backup_count", "requests", "restarts"}
MOVING_WITH_NOW = {
    "rpo_age_hours": 0.02,
    "stale_hours": 0.02,
    "load_age_hours": 0.02,
    "elapsed_s": 60,
}


@pytest.fixture(scope="module", params=range(SEEDS), ids="seed{}".format)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "fleet.duckdb"
    now = datetime.now(UTC)
    write_database(path, graphs=20, backups=3_000, seed=request.param, now=now)
    with duckdb.connect(str(path)) as connection:
        for outcome in ("complete", "forbidden"):
            _add_project_listed_at_once(connection, outcome, now)
    return path


def _add_project_listed_at_once(
    connection: duckdb.DuckDBPyConnection, outcome: str, now: datetime
) -> None:
    """A project listed by `LISTING=project`, of which some graphs were listed one by one before."""
    then = now - timedelta(hours=1)
    listed = [
        {"graph_id": "*", "listed_at": then, "outcome": outcome},
        {"graph_id": "before", "listed_at": now - timedelta(days=20), "outcome": "complete"},
        {"graph_id": "after", "listed_at": then + timedelta(seconds=1), "outcome": "failed"},
        {"graph_id": "left", "listed_at": now - timedelta(days=20), "outcome": "missing"},
    ]
    complete = {"project_id": outcome, "last_complete_at": now - timedelta(days=3)}
    insert_rows(connection, "fleet.ges.listings", [{**row, **complete} for row in listed])
    graphs = [
        {"id": name, "project_id": outcome, "deleted_at": now if name == "left" else None}
        for name in ("before", "after", "left", "never-asked", "level-without-sizes")
    ]
    insert_rows(connection, "fleet.ges.graphs", graphs)
    at = int(now.timestamp() * 1000) - 5 * DAY_MS
    backup = {"project_id": outcome, "status": "success", "size": 100, "duration": 60}
    backups = [
        {
            **backup,
            "graph_id": name,
            "id": f"{outcome}-{name}-{n}",
            "start_timestamp": at - n * DAY_MS,
        }
        for name in ("before", "after", "left", "never-asked")
        for n in range(20)
    ]
    backups += [  # every other day of the new level has no size
        {
            **backup,
            "graph_id": "level-without-sizes",
            "id": f"{outcome}-level-{n}",
            "start_timestamp": at - n * DAY_MS,
            "size": (None if n % 2 else 300) if n < 20 else 100,
        }
        for n in range(40)
    ]
    just_begun = {**backup, "status": "backing_up", "size": None, "duration": None}
    for name in ("before", "after", "left"):
        for ago in (timedelta(minutes=1), timedelta(days=3, minutes=1), timedelta(days=4)):
            start = int((then - ago).timestamp() * 1000)
            row = {"graph_id": name, "id": f"{outcome}-{name}-{start}", "start_timestamp": start}
            backups.append(just_begun | row)
    insert_backups(connection, "fleet", backups)


@pytest.fixture(scope="module")
def history(fleet: Path) -> report_oracle.History:
    return report_oracle.History(str(fleet))


@pytest.mark.parametrize("report", sorted(report_oracle.REPORTS))
def test_report_agrees_with_pandas(
    report: str, fleet: Path, history: report_oracle.History
) -> None:
    keys = grain_columns(report)
    expected = report_oracle.REPORTS[report](history)
    found = read_report(report, fleet)
    assert not found.duplicated(keys).any()
    assert len(expected) > 1
    assert set(expected.columns) == set(found.columns) - NOT_DERIVED
    expected, found = (
        frame[expected.columns].sort_values(keys).reset_index(drop=True)
        for frame in (expected, found)
    )
    for column, tolerance in MOVING_WITH_NOW.items():
        if column in expected:
            difference = (found.pop(column).astype(float) - expected.pop(column)).abs()
            assert (difference.dropna() <= tolerance).all()
    pd.testing.assert_frame_equal(
        _plain(found), _plain(expected), check_dtype=False, rtol=1e-6, atol=1e-6
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats, datetimes and objects only, with one kind of null each."""
    columns = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
            columns[name] = column.astype(
                "datetime64[ms, UTC]" if column.dt.tz else "datetime64[ms]"
            )
        elif pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(
            column.dtype
        ):
            columns[name] = column.astype("Float64").to_numpy(float, na_value=float("nan"))
        else:
            columns[name] = [None if pd.isna(value) else value for value in column]
    return pd.DataFrame(columns)


def test_what_starts_after_the_day_of_the_load_is_not_yet_added(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    path = write_database(
        tmp_path / "ahead.duckdb", graphs=1, backups=30, now=now, edge_cases=False
    )
    before = read_report("overview", path)["added_30d_mb"].tolist()
    ahead = {
        "id": "ahead",
        "graph_id": "g0-0",
        "start_timestamp": int(now.timestamp() * 1000) + 3 * DAY_MS,
        "status": "success",
        "size": 1_000_000,
    }
    with duckdb.connect(str(path)) as connection:
        insert_backups(connection, "ahead", [ahead])
    assert read_report("overview", path)["added_30d_mb"].tolist() == before


def test_the_first_of_the_last_10_000_days_know_what_was_before(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    path = tmp_path / "old.duckdb"
    write_empty(path)
    days_ago = {"old": [12_000, 10_050, 9_950, 1], "older": [12_000, 11_000], "failing": [11_000]}
    backups = [
        {
            "id": f"{graph}-{days}",
            "graph_id": graph,
            "start_timestamp": int(now.timestamp() * 1000) - days * DAY_MS,
            "status": "failed" if graph == "failing" else "success",
        }
        for graph, ago in days_ago.items()
        for days in ago
    ]
    listed = {"project_id": PROJECT, "listed_at": now, "outcome": "complete"}
    with duckdb.connect(str(path)) as connection:
        insert_backups(connection, "old", backups)
        insert_rows(connection, "old.ges.listings", [{**listed, "graph_id": g} for g in days_ago])
    every_day = report_oracle.adherence(report_oracle.History(str(path)))
    expected = every_day.groupby("graph_id").tail(10_000)
    found = read_report("adherence", path)[expected.columns]
    expected, found = (
        frame.sort_values(["graph_id", "day"]).reset_index(drop=True) for frame in (expected, found)
    )
    pd.testing.assert_frame_equal(_plain(found), _plain(expected), check_dtype=False)
