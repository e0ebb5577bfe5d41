"""From a DuckDB file to PostgreSQL, by the lines of docs/warehouses-postgres.md."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_harness import environment
from ges_emulator import Emulator, Fleet
from harness import Warehouse, assert_exact, the_graph
from postgres_history import PostgresHistory

DOCUMENT = Path(__file__).parents[2] / "docs"


def test_what_the_api_forgot_moves_too(
    tmp_path: Path, history: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    file = Warehouse(tmp_path / "ges_backups.duckdb")
    file.load(emulator)
    the_graph(fleet).delete_backup("g1-b0")
    the_graph(fleet).add_backup(1_700_000_000_000, id="unfit", encrypted="maybe")
    file.load(emulator)
    the_graph(fleet).delete_backup("unfit")
    the_graph(fleet).delete_backup("g1-b1")  # the old file does not know of it
    texts = [path.read_text() for path in sorted(DOCUMENT.glob("warehouses*.md"))]
    (lines,) = re.findall(r"^```sh\n(.+psql.+?)^```", "\n".join(texts), re.MULTILINE | re.DOTALL)
    variables = environment(emulator, tmp_path, **history.database.environment)
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", lines]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_exact(history, fleet)
    assert history.deleted == {"g1-b0", "g1-b1"}
    assert history.backups["g1-b0"]["deleted_at"] == file.backups["g1-b0"]["deleted_at"]
    assert [row["backup_id"] for row in history.rejected] == ["unfit"]
