"""The source in somebody's own dlt script, with dlt's own settings and no command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from ges_backups import ges_backups
from ges_backups.source import KEYS
from ges_emulator import Emulator, Fault
from harness import (
    TOKEN,
    Row,
    Warehouse,
    assert_exact,
    expected_row,
    fill,
    fleet_of,
    project_called,
    the_graph,
)
from ledger import Ledger


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(fleet_of(graphs=3, backups=12)) as emulator:
        yield emulator


@pytest.fixture
def script(tmp_path: Path) -> Iterator[dlt.Pipeline]:
    """A pipeline as the page of dlt shows it."""
    pipeline = dlt.pipeline(
        "my_script",
        pipelines_dir=str(tmp_path / "pipelines"),
        destination=dlt.destinations.duckdb(str(tmp_path / "mine.duckdb")),
        dataset_name="ges",
    )
    yield pipeline
    if pipeline.is_active:
        pipeline.deactivate()


def source(emulator: Emulator, **settings: Any) -> Any:
    return ges_backups(
        project_id=emulator.fleet.project_id,
        endpoint=emulator.endpoint,
        credentials=TOKEN,
        page_size=5,
        **settings,
    )


def rows_of(pipeline: dlt.Pipeline, table: str = "backups") -> dict[str, Row]:
    with pipeline.sql_client() as client, client.execute_query(f"SELECT * FROM {table}") as cursor:
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {row.get("id", number): row for number, row in enumerate(rows)}


def expected(emulator: Emulator) -> dict[str, Row]:
    fleet = emulator.fleet
    return {
        backup.id: expected_row(backup.record, fleet.project_id)
        for graph in fleet.graphs
        for backup in graph.backups
    }


def assert_holds(pipeline: dlt.Pipeline, emulator: Emulator) -> None:
    rows = rows_of(pipeline)
    found = {key: {n: rows[key][n] for n in row} for key, row in expected(emulator).items()}
    assert found == expected(emulator)


def test_a_plain_script_runs_twice_and_marks_what_has_gone(
    emulator: Emulator, script: dlt.Pipeline
) -> None:
    script.run(source(emulator))
    assert_holds(script, emulator)

    graph = the_graph(emulator.fleet)
    graph.delete_backup("g1-b3")
    fill(graph, 1, first=50)
    script.run(source(emulator))
    assert_holds(script, emulator)

    rows = rows_of(script)
    assert [key for key, row in rows.items() if row["deleted_at"]] == ["g1-b3"]

    script.run(source(emulator))
    assert rows_of(script)["g1-b3"]["deleted_at"] == rows["g1-b3"]["deleted_at"]
    assert_holds(script, emulator)


def test_a_source_whose_run_has_failed_runs_again(emulator: Emulator, script: dlt.Pipeline) -> None:
    again = source(emulator, request_seconds=0.2)
    emulator.faults.add(Fault.http(503), times=None, path="backups")
    emulator.faults.add(Fault.http(503), times=None, path="graphs", at=range(2, 999))
    with pytest.raises(PipelineStepFailed, match="does not answer"):
        script.run(again)
    emulator.faults.clear()
    script.run(again)
    assert_holds(script, emulator)


def test_the_command_takes_over_what_a_script_without_load_ids_has_made(
    emulator: Emulator, script: dlt.Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setenv("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "false")
        script.run(source(emulator))
    assert "_dlt_load_id" not in rows_of(script)["g1-b0"]
    warehouse = Warehouse(tmp_path / "mine.duckdb")
    fill(the_graph(emulator.fleet), 1, first=50)
    outcome = warehouse.load(emulator)
    assert (outcome.exit_code, outcome.backups["new"], outcome.backups["changed"]) == (0, 1, 0)
    assert_exact(warehouse, emulator.fleet)
    assert warehouse.load(emulator).outcome == "unchanged"


def test_a_script_of_an_earlier_version_goes_on_with_the_keys_of_today(
    emulator: Emulator, script: dlt.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setitem(KEYS, "graphs", "id")
        earlier.setitem(KEYS, "rejected_backups", "record_hash")
        script.run(source(emulator))
    with Emulator(project_called("other", graph_id="g1")) as another:
        for one in (another, emulator, another):
            script.run(source(one))
            assert_holds(script, one)
        both = {emulator.fleet.project_id, another.fleet.project_id}
    with script.sql_client() as client:
        graphs = client.execute_sql("SELECT project_id FROM graphs WHERE id = 'g1'") or ()
        marked = client.execute_sql("SELECT count(*) FROM backups WHERE deleted_at IS NOT NULL")
    assert sorted(project for (project,) in graphs) == sorted(both)
    assert marked == [(0,)]


def test_one_resource_can_be_taken_alone(emulator: Emulator, script: dlt.Pipeline) -> None:
    for _ in range(2):
        script.run(source(emulator).with_resources("backups"))
        assert_holds(script, emulator)
        fill(the_graph(emulator.fleet), 2, first=90)
    assert "listings" not in script.default_schema.tables


def test_every_column_is_described_and_no_table_is_nested(
    emulator: Emulator, script: dlt.Pipeline
) -> None:
    script.run(source(emulator))
    tables = {table["name"]: table for table in script.default_schema.data_tables()}
    assert set(tables) == {"backups", "graphs", "listings", "projects", "rejected_backups"}
    for name, table in tables.items():
        undescribed = [
            column
            for column, hints in table["columns"].items()
            if not hints.get("description") and not column.startswith("_dlt")
        ]
        assert (name, undescribed) == (name, [])


def test_a_window_of_a_script_moves_no_cursor(emulator: Emulator, script: dlt.Pipeline) -> None:
    windowed = source(emulator)
    middle = emulator.fleet.graphs[0].backups[6].start_ms
    windowed.backups.apply_hints(
        incremental=dlt.sources.incremental("start_timestamp", initial_value=middle)
    )
    script.run(windowed)
    assert {row["start_timestamp"] >= middle for row in rows_of(script).values()} == {True}
    assert len(rows_of(script)) == 3 * 6

    script.run(source(emulator))
    assert_holds(script, emulator)


def test_chosen_graphs_are_listed_and_described_from_their_backups(
    emulator: Emulator, warehouse: Warehouse
) -> None:
    warehouse.load(emulator, graph_ids=["g3", "g1", "g3"])
    assert {row["graph_id"] for row in warehouse.backups.values()} == {"g1", "g3"}
    assert {row["id"]: row["name"] for row in warehouse.rows("graphs")} == {
        "g1": "graph_1",
        "g3": "graph_3",
    }
    assert not any(request.endpoint == "graphs" for request in emulator.requests)
    warehouse.load(emulator)
    assert_exact(warehouse, emulator.fleet)


def test_a_load_of_chosen_graphs_keeps_what_only_the_list_of_graphs_tells(
    emulator: Emulator, ledger: Ledger
) -> None:
    ledger.load(emulator)
    before = dict(ledger.graphs["g1"])
    assert before["region_code"]
    fill(the_graph(emulator.fleet), 1, first=50)
    ledger.load(emulator, graph_ids=["g1"])
    assert ledger.graphs["g1"] == before


def test_the_graphs_table_says_what_the_codes_mean(emulator: Emulator, ledger: Ledger) -> None:
    the_graph(emulator.fleet).set_status("300")
    the_graph(emulator.fleet, "g2").record["status"] = "77"
    ledger.load(emulator)
    graphs = {row["id"]: row for row in ledger.rows("graphs")}
    assert (graphs["g1"]["status"], graphs["g1"]["status_name"]) == ("300", "faulty")
    assert (graphs["g2"]["status"], graphs["g2"]["status_name"]) == ("77", None)
    assert graphs["g3"]["size_class"] == "a million edges"


def test_a_load_that_finds_nothing_makes_no_package_and_a_changed_graph_is_written(
    emulator: Emulator, warehouse: Warehouse
) -> None:
    warehouse.load(emulator)
    warehouse.load(emulator)
    assert len(warehouse.rows("_dlt_loads")) == 1

    the_graph(emulator.fleet).set_status("900")
    warehouse.load(emulator)
    assert len(warehouse.rows("_dlt_loads")) == 2
    statuses = {row["id"]: row["status_name"] for row in warehouse.rows("graphs")}
    assert statuses == {"g1": "stopped", "g2": "running"} | {"g3": "running"}


def test_descriptions_reach_the_database(emulator: Emulator, warehouse: Warehouse) -> None:
    warehouse.load(emulator)
    with duckdb.connect(str(warehouse.path), read_only=True) as connection:
        comments = dict(
            connection.execute(
                "SELECT column_name, comment FROM duckdb_columns()"
                " WHERE schema_name = 'ges' AND table_name = 'backups'"
            ).fetchall()
        )
    assert comments["size"] == "Size of the backup file, in MB."
    assert [name for name, text in comments.items() if not text and name[:4] != "_dlt"] == []
