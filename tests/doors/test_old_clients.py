"""A database of ours is read by the DuckDB that other people's tools still have."""

import json
import sys
from pathlib import Path

import pytest

from environments import make_environment, run
from ges_history.reports.views import report_names

pytestmark = pytest.mark.integration

TABLES = ("backups", "graphs", "listings", "rejected_backups")
READ = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as history:
    history.execute("SET enable_progress_bar = false")  # 1.2 draws one on stdout
    counts = {
        name: history.execute(f"SELECT count(*) FROM (FROM {name})").fetchone()[0]
        for name in sys.argv[2:]
    }
print(json.dumps(counts))
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo, made by this environment's DuckDB."""
    folder = tmp_path_factory.mktemp("demo")
    run([sys.executable, "-m", "ges_history", "demo"], folder)
    return folder / "ges_demo.duckdb"


@pytest.mark.parametrize("release", ["1.2.2", "1.4.4"])
def test_an_older_duckdb_reads_all_tables_and_views(
    release: str, database: Path, tmp_path: Path
) -> None:
    old = make_environment(tmp_path / "venv", f"duckdb=={release}", "pytz")
    names = [f"ges.{name}" for name in TABLES] + [f"reports.{name}" for name in report_names()]
    counts = json.loads(run([old.python, "-c", READ, str(database), *names], tmp_path).stdout)
    assert set(counts) == set(names)
    assert counts["ges.graphs"] == 13  # one of them deleted
    assert counts["ges.backups"] > 4000
    assert counts["reports.recovery_point"] == 13
    assert counts["reports.size_trend"] > 1000
