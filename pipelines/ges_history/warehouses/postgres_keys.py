"""What makes a second copy of a row impossible in PostgreSQL: unique keys; and the other indexes."""

from typing import Any

INSERT_ONLY = "insert-only"
KEYS = {
    "backups": ("id",),
    "graphs": ("project_id", "id"),
    "listings": ("project_id", "graph_id"),
    "rejected_backups": ("project_id", "record_hash"),
    "projects": ("id",),
}
"""Of each table; not null in all of them."""

INDEXES = {"backups": ("project_id, graph_id, start_timestamp",)}
"""Besides the keys: what reports, and loads of one graph, look rows up by."""

_THERE = """
SELECT t.relname, i.relname, (
    SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = i.oid
) FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
RIGHT JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND t.relname = ANY(%s) AND t.relkind IN ('r', 'p')
"""


def ensure_keys(connection: Any, dataset: str) -> None:
    """Make the indexes that are missing, or of other columns, in the transaction that is open.

    Rows that are there twice, as the first release left them after a kill, become one: copies go,
    and where they differ the newest stays and the others move to ``TABLE_duplicates``.

    Args:
        connection: psycopg2's.
        dataset: The schema of the tables.
    """
    with connection.cursor() as cursor:
        cursor.execute(_THERE, (dataset, list(KEYS)))
        rows = cursor.fetchall()
        there = {index: columns for _, index, columns in rows}
        for table in sorted({table for table, *_ in rows}):
            keys = KEYS[table]
            columns = ", ".join(keys)
            if there.get(f"{table}_key") != columns:
                cursor.execute(f'DROP INDEX IF EXISTS "{dataset}".{table}_key')
                _remove_duplicates(cursor, dataset, table, keys)
                cursor.execute(
                    f'CREATE UNIQUE INDEX {table}_key ON "{dataset}".{table} ({columns})'
                )
                if table == "listings":  # each load writes to each row: leave room beside it
                    cursor.execute(f'ALTER TABLE "{dataset}".{table} SET (fillfactor = 50)')
            for number, columns in enumerate(INDEXES.get(table, ()), 1):
                if f"{table}_index_{number}" not in there:
                    cursor.execute(
                        f'CREATE INDEX {table}_index_{number} ON "{dataset}".{table} ({columns})'
                    )


def _remove_duplicates(cursor: Any, dataset: str, table: str, keys: tuple[str, ...]) -> None:
    key = ", ".join(keys)
    place = f'"{dataset}".{table}'
    cursor.execute(f"SELECT count(*) - count(DISTINCT ({key})) FROM {place}")
    if not cursor.fetchall()[0][0]:
        return
    cursor.execute(f"LOCK TABLE {place} IN SHARE ROW EXCLUSIVE MODE")
    cursor.execute(
        "SELECT string_agg(format('t.%%I', attname), ', ') FROM pg_attribute WHERE attrelid ="
        " %s::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_dlt\\_%%'",
        (place,),
    )
    row = f"ROW({cursor.fetchall()[0][0]})::text"
    cursor.execute(
        f"CREATE TEMP TABLE twice ON COMMIT DROP AS SELECT t.ctid AS place, {row} ="
        f" first_value({row}) OVER same AS is_copy, row_number() OVER same AS number"
        f" FROM {place} t WINDOW same AS (PARTITION BY {key}"
        " ORDER BY t._dlt_load_id DESC NULLS LAST, t.ctid DESC)"
    )
    cursor.execute("SELECT 1 FROM twice WHERE number > 1 AND NOT is_copy LIMIT 1")
    if cursor.fetchall():
        aside = f'"{dataset}".{table}_duplicates'
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {aside} (LIKE {place})")
        cursor.execute(
            f"INSERT INTO {aside} SELECT t.* FROM {place} t"
            " WHERE t.ctid IN (SELECT place FROM twice WHERE number > 1 AND NOT is_copy)"
        )
    cursor.execute(f"DELETE FROM {place} WHERE ctid IN (SELECT place FROM twice WHERE number > 1)")
    cursor.execute("DROP TABLE twice")
