"""Tables, comments and views of this version in a PostgreSQL database, made only where they differ."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg2.errors

from ges_history.errors import DatabaseError
from ges_history.reports.catalogue import column_texts, description_of, selects
from ges_history.warehouses.layout import ABOUT, LAYOUT_VERSION, quoted
from ges_history.warehouses.postgres_destination import LOCK_OF_TABLES
from ges_history.warehouses.postgres_keys import ensure_keys
from ges_history.warehouses.postgres_sql import DuckDbTypes, cast_to, to_postgres
from ges_history.warehouses.postgres_tables import (
    STAGING,
    TABLES,
    Known,
    comments,
    leftovers,
    literal,
    missing_columns,
    missing_tables,
    read_relations,
    wanted_columns,
)
from ges_history.warehouses.seam import DATASET, REPORTS

_CREATE = f"CREATE OR REPLACE VIEW {REPORTS}."
MADE_HOW = 1
"""Raised when the views of the same reports are made in another way."""


@dataclass(frozen=True)
class State:
    """What a database has of tables and views.

    Attributes:
        tables: Those of the dataset.
        views: Those of the reports.
        fingerprint: Of the views, None where there are none.
    """

    tables: Known
    views: Known
    fingerprint: str | None

    @property
    def is_current(self) -> bool:
        """Whether all is there, and as this version has it."""
        return (
            self.fingerprint == fingerprint()
            and set(selects()) <= set(self.views)
            and all(
                set(wanted_columns(table)) <= set(self.tables.get(table, ())) for table in TABLES
            )
        )


def fingerprint() -> str:
    """Names the views and comments of this version."""
    views = [f"{name}\n{text}\n{column_texts(name)}" for name, text in selects().items()]
    parts = [str(MADE_HOW), *views, comments()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_state(connection: Any) -> State:
    """Look at a database.

    Raises:
        DatabaseError: A newer version wrote it.
    """
    tables, views = read_relations(connection)
    if ABOUT not in views:
        return State(tables, views, None)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT layout_version, views_fingerprint FROM {REPORTS}.{ABOUT}")
        layout, found = cursor.fetchall()[0]
    if layout > LAYOUT_VERSION:
        raise DatabaseError(
            f"The database was written by a newer version of ges-backup-history (layout {layout},"
            f" this version knows {LAYOUT_VERSION}); upgrade with"
            " `pip install --upgrade ges-backup-history`."
        )
    return State(tables, views, found)


def refuse_others(state: State, name: str) -> None:
    """Let nobody else's tables and views be changed: a history has dlt's tables beside its own.

    Raises:
        DatabaseError: Something else is where a history would be.
    """
    if "_dlt_version" in state.tables:
        return
    others = [f"{DATASET}.{table}" for table in state.tables]
    others += [f"{REPORTS}.{view}" for view in state.views if view in {ABOUT, *selects()}]
    if others:
        raise DatabaseError(
            f"The {name.removeprefix('the ')} holds something else than a backup history"
            f" ({others[0]}): nothing was changed. Give the history a database of its own."
        )


def publish(connection: Any) -> bool:
    """Make tables, keys, comments and views there, in one transaction; whether any was not.

    Raises:
        DatabaseError: A newer version wrote the database, or somebody's view stands on a report
            that has to be made anew.
    """
    if read_state(connection).is_current:
        return False
    with connection, connection.cursor() as cursor:  # one transaction
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (LOCK_OF_TABLES,))
        state = read_state(connection)
        for schema in (DATASET, REPORTS):
            _ensure_schema(cursor, schema)
        for statement in (*missing_tables(state.tables), *missing_columns(state.tables)):
            cursor.execute(statement)
        ensure_keys(connection, DATASET)
        cursor.execute(comments())
        for statement in leftovers(state.tables, _staged(cursor)):
            cursor.execute(statement)
        _make_views(cursor, state)
    return True


def _ensure_schema(cursor: Any, schema: str) -> None:
    """Make it; a role that may not make one may have been given one."""
    cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
    if not cursor.fetchall():
        cursor.execute(f'CREATE SCHEMA "{schema}"')


def _staged(cursor: Any) -> list[str]:
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (STAGING,))
    return [table for (table,) in cursor.fetchall()]


def _make_views(cursor: Any, state: State) -> None:
    script = _view_script()
    cursor.execute("SAVEPOINT views")
    try:
        for statement in script:
            cursor.execute(statement)
    except psycopg2.errors.InvalidTableDefinition:  # columns changed: replacing is not enough
        cursor.execute("ROLLBACK TO views")
        rights = _rights(cursor)
        _drop_views(cursor, state)
        for statement in (*script, *rights):
            cursor.execute(statement)
    about = (
        f"SELECT {LAYOUT_VERSION} AS layout_version, '{fingerprint()}'::text AS views_fingerprint"
    )
    cursor.execute(f"{_CREATE}{ABOUT} AS {about}")


@functools.cache
def _view_script() -> list[str]:
    types = DuckDbTypes({table: wanted_columns(table) for table in TABLES})
    script = []
    for name, select in selects().items():
        schema = types.schema_of(f"FROM {REPORTS}.{name}")
        script.append(f"{_CREATE}{name} AS {cast_to(schema, to_postgres(select))}")
        script.append(f"COMMENT ON VIEW {REPORTS}.{name} IS {literal(description_of(name))}")
        script += [
            f"COMMENT ON COLUMN {REPORTS}.{name}.{column} IS {literal(_told(*it))}"
            for column, it in column_texts(name).items()
        ]
    return script


def _told(unit: str | None, text: str) -> str:
    return text if unit is None else f"{text.removesuffix('.')}, in {unit}."


def _drop_views(cursor: Any, state: State) -> None:
    """Drop the reports, and nothing else that stands on them."""
    try:
        for name in reversed([name for name in selects() if name in state.views]):
            cursor.execute(f"DROP VIEW {REPORTS}.{name}")
    except psycopg2.errors.DependentObjectsStillExist as error:
        found = (error.diag.message_detail or "").splitlines()
        raise DatabaseError(
            "The reports of this version have other columns, and something of yours stands on an"
            f" old one ({found[0] if found else 'see pg_depend'}): drop that, load, and make it anew."
        ) from error


def _rights(cursor: Any) -> list[str]:
    """Statements that give again what others may do with the reports."""
    cursor.execute(
        "SELECT c.relname, x.privilege_type, CASE WHEN x.grantee = 0 THEN 'PUBLIC'"
        " ELSE quote_ident(pg_get_userbyid(x.grantee)) END"
        " FROM pg_class c, aclexplode(c.relacl) x WHERE c.relnamespace = %s::regnamespace"
        " AND c.relkind = 'v' AND x.grantee <> c.relowner",
        (REPORTS,),
    )
    ours = selects()
    return [
        f"GRANT {right} ON {REPORTS}.{quoted(view)} TO {role}"
        for view, right, role in cursor.fetchall()
        if view in ours
    ]
