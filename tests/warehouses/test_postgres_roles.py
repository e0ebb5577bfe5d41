"""Roles with few rights: schemas that an administrator made, and readers that may only read."""

from pathlib import Path

import pytest

from ges_emulator import Emulator
from ges_history.errors import DatabaseError
from ges_history.warehouses import warehouse_for
from harness import assert_exact, fill, fleet_of, the_graph
from postgres_history import PostgresHistory, environment_of
from postgres_server import PostgresDatabase

SECRET = "l0ader's p@ss:/?#%20&word"


def _role(postgres: PostgresDatabase, *rights: str) -> PostgresDatabase:
    """The database for a role of its own, which has these rights and no others."""
    user = f"{postgres.name}_loader"
    postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD %s", SECRET)
    postgres.execute(f"REVOKE ALL ON DATABASE {postgres.name} FROM PUBLIC")
    postgres.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {postgres.name} TO {user}")
    for right in rights:
        postgres.execute(right.format(user=user, database=postgres.name))
    return postgres.seen_by(user, SECRET)


OWN_SCHEMAS = (
    "CREATE SCHEMA ges AUTHORIZATION {user}",
    "CREATE SCHEMA reports AUTHORIZATION {user}",
)
GRANTED_SCHEMAS = (
    "CREATE SCHEMA ges",
    "CREATE SCHEMA reports",
    "GRANT USAGE, CREATE ON SCHEMA ges, reports TO {user}",
)
MAY_MAKE_SCHEMAS = ("GRANT CREATE ON DATABASE {database} TO {user}",)


@pytest.mark.parametrize(
    "rights",
    [OWN_SCHEMAS, GRANTED_SCHEMAS, MAY_MAKE_SCHEMAS],
    ids=["owns its schemas", "has rights on schemas", "may make schemas"],
)
def test_a_role_with_rights_on_its_schemas_loads_and_reads(
    postgres: PostgresDatabase, tmp_path: Path, rights: tuple[str, ...]
) -> None:
    fleet = fleet_of(2, 3)
    history = PostgresHistory(tmp_path / "history", database=_role(postgres, *rights))
    with Emulator(fleet) as emulator:
        assert history.load(emulator).outcome == "complete"
        fill(the_graph(fleet), 2, 10)
        the_graph(fleet).add_backup(1_700_000_000_000, id="newer", a_new_field={"deep": [1]})
        assert history.load(emulator).outcome == "complete"
    assert_exact(history, fleet)
    assert history.backups["newer"]["a_new_field"] == {"deep": [1]}
    with environment_of(history.database):
        warehouse = warehouse_for(history.path, "postgres")
    assert len(warehouse.read("FROM reports.size_trend")) == 9


def test_a_role_without_rights_is_told_so(postgres: PostgresDatabase, tmp_path: Path) -> None:
    history = PostgresHistory(tmp_path / "history", database=_role(postgres))
    with Emulator(fleet_of(1, 1)) as emulator, pytest.raises(DatabaseError) as error:
        history.load(emulator, wait=0)
    assert "permission denied" in str(error.value)
    assert SECRET not in str(error.value)


def test_a_reader_may_read_and_nothing_else(postgres: PostgresDatabase, tmp_path: Path) -> None:
    history = PostgresHistory(tmp_path / "history", database=postgres)
    with Emulator(fleet_of(2, 3)) as emulator:
        history.load(emulator)
    reader = _role(
        postgres,
        "GRANT USAGE ON SCHEMA ges, reports TO {user}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA ges, reports TO {user}",
        "REVOKE TEMPORARY ON DATABASE {database} FROM {user}",
    )
    with environment_of(reader):
        warehouse = warehouse_for(history.path, "postgres")
    assert len(warehouse.read("FROM reports.size_trend")) == 6
    assert postgres.execute("SELECT count(*) FROM ges.backups") == [(6,)]
