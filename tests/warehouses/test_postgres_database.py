"""What a load leaves in PostgreSQL: keys, comments, nothing that grows; and what it takes over."""

import psycopg2
import pytest

from ges_emulator import Emulator, Fleet
from ges_history.errors import DatabaseError, NoHistory
from ges_history.reports.views import view_names
from ges_history.warehouses.postgres_connection import LASTING, NO_RIGHT, PASSING, PostgresServer
from harness import NOW, Asked, assert_exact, fill, project_called, the_graph
from postgres_history import PostgresHistory, environment_of
from postgres_server import PostgresDatabase

SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid), c.reltuples FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('ges', 'reports', 'ges_staging') AND c.relkind = 'r' ORDER BY 1
"""


def test_no_second_copy_of_a_row_can_come(begun: PostgresHistory) -> None:
    for table in ("backups", "graphs", "listings", "projects"):
        with pytest.raises(psycopg2.errors.UniqueViolation):
            begun.database.execute(f"INSERT INTO ges.{table} SELECT * FROM ges.{table} LIMIT 1")


def test_a_steady_load_leaves_nothing_that_grows(
    begun: PostgresHistory, emulator: Emulator
) -> None:
    begun.load(emulator)
    before, rows = begun.database.execute(SIZES), begun.rows("backups")
    for _ in range(5):
        assert begun.load(emulator).outcome == "unchanged"
    assert begun.database.execute(SIZES) == before
    assert begun.rows("backups") == rows
    assert len(begun.rows("_dlt_loads")) == 1


def test_states_are_pruned(begun: PostgresHistory, fleet: Fleet, emulator: Emulator) -> None:
    for number in range(3):
        fill(the_graph(fleet), 1, 10 + number)
        begun.load(emulator)
    assert len(begun.rows("_dlt_pipeline_state")) <= 3
    assert_exact(begun, fleet)


def test_what_did_not_change_is_not_rewritten(
    begun: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    place = "SELECT id, ctid, xmin FROM ges.backups WHERE id LIKE 'g2%' ORDER BY id"
    before = begun.database.execute(place)
    fill(the_graph(fleet), 1, 10)
    begun.load(emulator, full=True)
    assert begun.database.execute(place) == before


def test_tables_and_columns_are_described(begun: PostgresHistory) -> None:
    missing = begun.database.execute(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace IN ('ges'::regnamespace, 'reports'::regnamespace)"
        " AND c.relkind IN ('r', 'v') AND c.relname !~ '^(_dlt|about)' AND a.attnum > 0"
        " AND a.attname !~ '^_dlt' AND col_description(c.oid, a.attnum) IS NULL"
    )
    assert missing == []


def test_a_new_column_comes_though_views_stand_on_the_table(
    begun: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    begun.database.execute("CREATE VIEW public.mine AS SELECT * FROM ges.backups")
    the_graph(fleet).add_backup(1_700_000_000_000, id="new", a_new_field=1.5)
    begun.load(emulator)
    assert begun.backups["new"]["a_new_field"] == 1.5


def test_views_are_made_anew_where_they_differ(begun: PostgresHistory) -> None:
    warehouse = begun.seam
    assert not warehouse.publish_reports()
    execute = begun.database.execute
    execute("CREATE ROLE reader_of_reports")
    try:
        execute("DROP VIEW reports.growth CASCADE; DROP VIEW reports.about")
        execute("CREATE VIEW reports.growth AS SELECT 1 AS another")
        execute("GRANT SELECT ON reports.growth TO reader_of_reports")
        assert len(warehouse.read("FROM reports.growth")) == 2  # as this version has it
        assert warehouse.publish_reports()
        assert not warehouse.publish_reports()
        ((may,),) = execute(
            "SELECT has_table_privilege('reader_of_reports', 'reports.growth', 'SELECT')"
        )
        assert may
    finally:
        execute("DROP OWNED BY reader_of_reports; DROP ROLE reader_of_reports")
    there = execute("SELECT viewname FROM pg_views WHERE schemaname = 'reports'")
    assert {name for (name,) in there} == {*view_names(), "about"}


@pytest.mark.parametrize("name", ["Backups per day", "BACKUPS", "user", "a" * 63])
def test_a_table_of_somebody_is_in_no_readers_way(
    begun: PostgresHistory, emulator: Emulator, name: str
) -> None:
    warehouse = begun.seam
    execute = begun.database.execute
    execute(f'CREATE TABLE ges."{name}" (a int, "A" int)')
    assert len(warehouse.read("FROM reports.growth")) == 2
    execute("DROP VIEW reports.growth CASCADE")
    assert len(warehouse.read("FROM reports.growth")) == 2
    assert begun.load(emulator).outcome == "unchanged"


def test_a_view_of_somebody_is_not_dropped(begun: PostgresHistory) -> None:
    execute = begun.database.execute
    execute("DROP VIEW reports.growth CASCADE; DROP VIEW reports.about")
    execute("CREATE VIEW reports.growth AS SELECT 1 AS another")
    execute("CREATE VIEW public.mine AS SELECT * FROM reports.growth")
    with pytest.raises(DatabaseError, match="mine"):
        begun.seam.publish_reports()
    assert execute("SELECT * FROM public.mine") == [(1,)]


def test_a_newer_layout_is_left_alone(begun: PostgresHistory, emulator: Emulator) -> None:
    begun.database.execute(
        "CREATE OR REPLACE VIEW reports.about AS"
        " SELECT 99 AS layout_version, 'x'::text AS views_fingerprint"
    )
    asked = Asked(emulator)
    with pytest.raises(DatabaseError, match="newer version"):
        begun.load(emulator)
    assert asked.total == 0
    with pytest.raises(DatabaseError, match="newer version"):
        begun.seam.read("SELECT 1")


def test_no_history_is_told_so(history: PostgresHistory) -> None:
    with pytest.raises(NoHistory):
        history.seam.read("FROM reports.growth")


def test_a_table_that_was_dropped_comes_back(
    begun: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    begun.database.execute("DROP TABLE ges.listings CASCADE")
    fill(the_graph(fleet), 1, 10)
    begun.load(emulator)
    assert_exact(begun, fleet)
    assert len(begun.rows("listings")) == 2


def test_keys_of_an_earlier_version_are_replaced(
    history: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    the_graph(fleet).add_record({"id": "bad", "graph_id": "g1"})
    history.load(emulator)
    for table, key in (("graphs", "id"), ("rejected_backups", "record_hash")):
        history.database.execute(f"DROP INDEX ges.{table}_key")
        history.database.execute(f"CREATE UNIQUE INDEX {table}_key ON ges.{table} ({key})")
    other = project_called("other", graph_id="g1")
    the_graph(other).add_record({"id": "bad", "graph_id": "g1"})
    with Emulator(other) as another:
        history.load(another)
        assert history.load(another).outcome == "unchanged"
    history.load(emulator)
    assert {row["project_id"] for row in history.rows("graphs") if row["id"] == "g1"} == {
        fleet.project_id,
        other.project_id,
    }
    assert len(history.rejected) == 2
    assert history.repeated() == {}


def test_the_first_release_is_taken_over(
    begun: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    """Without keys, with rows twice, with a staging dataset and the evidence of marks."""
    the_graph(fleet).delete_backup("g1-b0")
    begun.load(emulator)
    execute = begun.database.execute
    execute("DROP SCHEMA reports CASCADE; DROP TABLE ges.projects, ges.rejected_backups")
    execute("DROP INDEX ges.backups_key, ges.graphs_key, ges.listings_key")
    execute("ALTER TABLE ges.listings DROP COLUMN cursor, DROP COLUMN last_read_at")
    execute("INSERT INTO ges.graphs SELECT * FROM ges.graphs")
    execute("INSERT INTO ges.listings SELECT * FROM ges.listings WHERE graph_id = 'g1'")
    execute("INSERT INTO ges.backups SELECT * FROM ges.backups WHERE id = 'g1-b1'")
    execute("UPDATE ges.graphs SET name = 'older', _dlt_load_id = '1' WHERE ctid = '(0,1)'")
    execute("CREATE TABLE ges.listed_backups (id varchar)")
    execute("CREATE SCHEMA ges_staging")
    execute("CREATE TABLE ges_staging.graphs (id varchar)")
    warehouse = begun.seam
    assert len(warehouse.read("FROM reports.graph_names")) >= 2  # before the next load as well
    begun.load(emulator)
    assert begun.repeated() == {}
    assert_exact(begun, fleet)
    assert begun.deleted == {"g1-b0"}
    assert [row["name"] for row in begun.rows("graphs_duplicates")] == ["older"]
    assert execute("SELECT to_regclass('ges.listed_backups')") == [(None,)]
    assert execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'ges_staging'") == [(0,)]
    assert len(begun.rows("listings")) == 2


def test_forget_removes_one_project(begun: PostgresHistory, emulator: Emulator) -> None:
    with Emulator(Fleet(project_id="another")) as other:
        fill(other.fleet.add_graph("kept"), 2)
        begun.load(other)
        gone = begun.seam.forget(emulator.fleet.project_id)
        assert (gone["backups"], gone["graphs"], gone["listings"], gone["projects"]) == (6, 2, 2, 1)
        assert set(begun.backups) == {"kept-b0", "kept-b1"}
        assert begun.load(other).outcome == "unchanged"
    assert begun.load(emulator).backups["new"] == 6


@pytest.mark.parametrize(
    ("statement", "is_lasting"),
    [
        ("SELECT 1 / 0", True),
        ("SELECT 'a'::int", True),
        ("SELECT * FROM no_such_table", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'locked' USING ERRCODE = '55P03'; END $$", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'no right' USING ERRCODE = '42501'; END $$", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'odd' USING ERRCODE = 'XX000'; END $$", False),
    ],
)
def test_what_is_lasting_is_named(
    history: PostgresHistory, statement: str, is_lasting: bool
) -> None:
    with pytest.raises(psycopg2.Error) as raised:
        history.database.execute(statement)
    assert history.seam.explain(raised.value).is_lasting is is_lasting


def test_classes_are_named_once() -> None:
    assert not set(LASTING) & set(PASSING)
    assert NO_RIGHT.startswith(LASTING)
    assert PostgresServer


def test_whatever_a_database_sets_values_are_kept_as_they_are(
    history: PostgresHistory, fleet: Fleet, emulator: Emulator
) -> None:
    """Its encoding, digits and text: of a role, a database, or a connection."""
    name = history.database.name
    for setting in (
        "client_encoding = 'LATIN1'",
        "extra_float_digits = 0",
        "standard_conforming_strings = off",
        "timezone = 'Asia/Tokyo'",
    ):
        history.database.execute(f"ALTER DATABASE {name} SET {setting}")
    graph = the_graph(fleet)
    graph.add_backup(NOW, id="R\\", name="über Nächte", ratio=0.1234567890123456)
    history.load(emulator)
    graph.delete_backup("R\\")
    history.load(emulator)
    history.database.execute(f"ALTER DATABASE {name} RESET ALL")
    assert history.deleted == {"R\\"}
    row = history.backups["R\\"]
    assert (row["name"], row["ratio"]) == ("über Nächte", 0.1234567890123456)
    assert_exact(history, fleet)


@pytest.mark.parametrize(
    "column",
    [
        "note text NOT NULL DEFAULT ''",
        "number bigint GENERATED ALWAYS AS IDENTITY",
        '"Size" text',
    ],
)
def test_a_column_of_somebody_stops_no_load(
    begun: PostgresHistory, fleet: Fleet, emulator: Emulator, column: str
) -> None:
    begun.database.execute(f"ALTER TABLE ges.backups ADD COLUMN {column}")
    fill(the_graph(fleet), 1, first=50)
    assert begun.load(emulator).backups["new"] == 1
    assert_exact(begun, fleet)
    assert len(begun.seam.read("FROM reports.inventory")) == 2


def test_the_server_notices_too_that_a_host_has_died(postgres: PostgresDatabase) -> None:
    with environment_of(postgres):
        connection = PostgresServer().connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setting FROM pg_settings WHERE name LIKE 'tcp_%' ORDER BY name")
            assert cursor.fetchall() == [("3",), ("20",), ("5",), ("40000",)]
    finally:
        connection.close()
