"""Loads into PostgreSQL, as the user runs them."""

from pathlib import Path

import pytest

from ges_emulator import Emulator, Fleet
from harness import assert_exact, fill, fleet_of, settings_for, the_graph
from ges_history.loading.run import load
from postgres_server import PostgresDatabase


def test_first(postgres: PostgresDatabase, tmp_path: Path, monkeypatch) -> None:
    for k, v in postgres.environment.items():
        monkeypatch.setenv(k, v)
    fleet = fleet_of(2, 3)
    with Emulator(fleet) as emulator:
        for i in range(3):
            o = load(tmp_path / "x", destination="postgres", **settings_for(emulator))
            print(o)
            if i == 1:
                fill(the_graph(fleet), 2, 10)
    for t in ("backups", "graphs", "listings", "projects", "_dlt_loads", "_dlt_pipeline_state"):
        print(t, postgres.rows(t))
    print(postgres.execute("select table_schema, table_name from information_schema.tables where table_schema not in ('pg_catalog', 'information_schema')"))
