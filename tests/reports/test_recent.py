"""Reports about now look at each graph's newest successes only, and say what all of them would."""

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ges_history.reports.views import rebuild
from synthetic import write_database
from watched import Backup, Life, write_history

ALL_SUCCESSES = """
SELECT project_id, graph_id, DENSE_RANK() OVER (ORDER BY project_id, graph_id) AS graph, id, status,
    start_timestamp, started_at, size, duration
FROM ges.backups WHERE status = 'success'
"""
OF_NOW = {"recovery_point": "rpo_age_hours", "overview": "load_age_hours"}
"""Columns that run with the clock."""


def random_life(name: str, dice: random.Random) -> Life:
    """Backups hourly or monthly, with outages, failures, unknown sizes, and starts to come."""
    every = dice.choice([1, 3, 8, 24, 24, 24, 48, 168, 720])
    unknown, failed = dice.choice([0, 0, 0.02, 0.4]), dice.choice([0, 0.1, 0.5])
    outages = [
        (dice.uniform(0, 4000), dice.uniform(10, 2500)) for _ in range(dice.choice([0, 1, 2]))
    ]
    age, size, backups = dice.choice([-30.0, 0.1, 5.0, 300.0, 3000.0]), 1000.0, []
    for _ in range(dice.choice([1, 7, 9, 40, 127, 129, 400, 1200])):
        if not any(begin <= age <= begin + length for begin, length in outages):
            backups.append(
                Backup(
                    timedelta(hours=age),
                    "failed" if dice.random() < failed else "success",
                    None
                    if dice.random() < unknown
                    else int(size * dice.choice([1] * 40 + [0.5, 3])),
                    dice.choice([60, 61, 62, 63, 200]),
                )
            )
        age += every * dice.uniform(0.9, 1.1)
        size *= dice.choice([1] * 60 + [0.6, 1.7])
    return Life(name, tuple(backups))


@pytest.fixture(scope="module", params=["random lives", "awkward cases"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recent") / "history.duckdb"
    if request.param == "random lives":
        dice = random.Random(20)
        write_history(path, [random_life(f"g{number}", dice) for number in range(120)])
        with duckdb.connect(str(path)) as connection:
            rebuild(connection)
        return path
    return write_database(path, graphs=30, backups=6_000, seed=3)


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows, fractions to nine digits: sums over another order of rows differ in the last."""
    rows = connection.sql(query).to_arrow_table().to_pylist()
    return [
        {name: float(f"{it:.9g}") if isinstance(it, float) else it for name, it in row.items()}
        for row in rows
    ]


@pytest.mark.parametrize("report", ["recovery_point", "growth", "recent_anomalies", "overview"])
def test_the_newest_successes_say_what_all_would(history: Path, report: str) -> None:
    columns = f"* EXCLUDE ({OF_NOW[report]})" if report in OF_NOW else "*"
    query = f"SELECT {columns} FROM reports.{report} ORDER BY ALL"
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{history}' AS history; USE history")
        connection.execute("BEGIN")  # one instant for all
        assert connection.sql("FROM reports.recent_successes").to_arrow_table().num_rows > 100
        newest = rows_of(connection, query)
        connection.execute(f"CREATE OR REPLACE VIEW reports.recent_successes AS {ALL_SUCCESSES}")
        everything = rows_of(connection, query)
        connection.execute("ROLLBACK")
    assert len(newest) == len(everything) > (0 if report == "overview" else 20)
    assert newest == everything


def test_a_long_history_is_not_read_whole(tmp_path: Path) -> None:
    daily = tuple(Backup(timedelta(days=day, hours=1)) for day in range(1000))
    hourly = tuple(Backup(timedelta(hours=hour)) for hour in range(5000))
    path = tmp_path / "long.duckdb"
    write_history(path, [Life("daily", daily), Life("hourly", hourly)])
    with duckdb.connect(str(path)) as connection:
        rebuild(connection)
        counts = dict(
            connection.execute(
                "SELECT graph_id, count(*) FROM reports.recent_successes GROUP BY graph_id"
            ).fetchall()
        )
    assert 128 <= counts["daily"] <= 129
    assert 120 * 24 <= counts["hourly"] <= 121 * 24 + 1
