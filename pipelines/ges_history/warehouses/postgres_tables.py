"""The tables of a history as PostgreSQL has them, and those that it must have."""

from typing import Any

from ges_backups.rows import BACKUP_COLUMNS
from ges_backups.schema import GRAPH_COLUMNS, LISTING_COLUMNS, PROJECT_COLUMNS, REJECTED_COLUMNS
from ges_history.warehouses.seam import DATASET, REPORTS

TABLES: dict[str, dict[str, Any]] = {
    "backups": BACKUP_COLUMNS,
    "graphs": GRAPH_COLUMNS,
    "listings": LISTING_COLUMNS,
    "projects": PROJECT_COLUMNS,
    "rejected_backups": REJECTED_COLUMNS,
}
REQUIRED = frozenset(("backups", "graphs", "listings"))
"""Without them there is no history."""
STAGING = f"{DATASET}_staging"
LOAD_ID = "_dlt_load_id"

_TYPES = {
    "text": "character varying",
    "bigint": "bigint",
    "bool": "boolean",
    "timestamp": "timestamp with time zone",
}
_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind::text, a.attname, format_type(a.atttypid, NULL)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attname = lower(a.attname)
WHERE n.nspname IN (%s, %s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.oid, a.attnum
"""  # of two columns that differ in their case only one is ours, and DuckDB takes no two

Known = dict[str, dict[str, str]]
"""{relation: {column: type}}."""


def wanted_columns(table: str) -> dict[str, str]:
    """{column: PostgreSQL's type} of a table of this version."""
    columns = {name: _TYPES[hint["data_type"]] for name, hint in TABLES[table].items()}
    return columns | {LOAD_ID: _TYPES["text"]}


def read_relations(connection: Any) -> tuple[Known, Known]:
    """The tables of the dataset, and the views of the reports, that are there."""
    tables: Known = {}
    views: Known = {}
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, (DATASET, REPORTS))
        for schema, relation, _kind, column, column_type in cursor.fetchall():
            there = tables if schema == DATASET else views
            there.setdefault(relation, {})[column] = column_type
    return tables, views


def missing_tables(tables: Known) -> list[str]:
    """Statements that make the tables of this version that are not there, empty."""
    return [_create(table) for table in TABLES if table not in tables]


def missing_columns(tables: Known) -> list[str]:
    """Statements that add the columns of this version that the tables lack."""
    return [
        f'ALTER TABLE "{DATASET}".{table} ADD COLUMN {_defined(name, kind)}'
        for table in TABLES
        if table in tables
        for name, kind in wanted_columns(table).items()
        if name not in tables[table]
    ]


def comments() -> str:
    """Statements that describe each column."""
    return ";\n".join(
        f"""COMMENT ON COLUMN "{DATASET}".{table}.{name} IS {literal(hint["description"])}"""
        for table, columns in TABLES.items()
        for name, hint in columns.items()
        if "description" in hint
    )


def leftovers(tables: Known, staged: list[str]) -> list[str]:
    """Statements that drop what the first release needed: the evidence of marks, staged copies.

    Args:
        tables: Those of the dataset.
        staged: Names of those in the staging dataset.
    """
    script = [f'DROP TABLE "{DATASET}".listed_backups'] if "listed_backups" in tables else []
    ours = {*TABLES, "listed_backups", "_dlt_version"}
    if staged and ours.issuperset(staged):
        script += [f'DROP TABLE "{STAGING}".{table}' for table in staged]
        script.append(f'DROP SCHEMA "{STAGING}"')
    return script


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def _create(table: str) -> str:
    needed = {name for name, hint in TABLES[table].items() if hint.get("nullable") is False}
    columns = ", ".join(
        _defined(name, kind) + (" NOT NULL" if name in needed else "")
        for name, kind in wanted_columns(table).items()
    )
    return f'CREATE TABLE "{DATASET}".{table} ({columns})'


def _defined(name: str, kind: str) -> str:
    collation = ' COLLATE "C"' if kind == _TYPES["text"] else ""
    return f"{name} {kind}{collation}"
