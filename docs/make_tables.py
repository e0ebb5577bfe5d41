"""Writes docs/tables.md, the reference of all tables and reports, from what the code says of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ges_history import describe

TARGET = Path(__file__).with_name("tables.md")
HEAD = """\
# Tables and reports

Written by `make tables` from the same descriptions that stand as comments in the database and that
`ges-backups reports --format json` and `ges_history.describe()` give to programs. Tables are in the
dataset `ges`, reports are views in the schema `reports`. Instants are UTC, and so are days, weeks
and months. Fields that the API may add later become columns of `ges.backups` by themselves, nested
ones as JSON.
"""
QUESTIONS = """\
## Questions of your own

Which backups failed this year, newest first:

```sql
SELECT graph_name, name, started_at, duration AS duration_s
FROM ges.backups
WHERE status = 'failed' AND started_at >= date_trunc('year', now())
ORDER BY started_at DESC;
```

Which graphs have no successful backup within a day:

```sql
SELECT graph_name, last_success_at, round(rpo_age_hours, 1) AS rpo_age_hours
FROM reports.recovery_point
WHERE rpo_age_hours > 24 OR last_success_at IS NULL
ORDER BY rpo_age_hours DESC;
```

How much each graph stored at the end of each month:

```sql
SELECT project_name, graph_name, date_trunc('month', day) AS month,
       max_by(stored_mb, day) AS stored_mb
FROM reports.storage_trend
GROUP BY project_id, project_name, graph_id, graph_name, month
ORDER BY project_name, graph_name, month;
```

What was deleted at the source, and how old it was:

```sql
SELECT graph_name, name, backup_method, deleted_at,
       date_diff('day', started_at, deleted_at) AS age_days
FROM ges.backups
WHERE deleted_at IS NOT NULL
ORDER BY deleted_at DESC, started_at
LIMIT 20;
```

At which hour backups run slowest:

```sql
SELECT extract(hour FROM started_at AT TIME ZONE 'UTC') AS hour_utc, count(*) AS backups,
       median(duration) AS median_s, round(sum(size) / nullif(sum(duration), 0), 2) AS mb_per_s
FROM ges.backups
WHERE status = 'success'
GROUP BY hour_utc
ORDER BY hour_utc;
```
"""


def tables() -> str:
    """The whole document."""
    described = describe()
    parts = [HEAD]
    for kind in ("tables", "reports", "views"):
        parts += [_part(relation) for relation in described[kind]]
    return "\n".join([*parts, QUESTIONS])


def _part(relation: dict[str, Any]) -> str:
    key = ", ".join(f"`{column}`" for column in relation.get("key") or [])
    grain = relation.get("grain") or "one row"
    lines = [f"## {relation['name']}", "", f"{relation['description']}", ""]
    lines += [f"{grain[0].upper()}{grain[1:]}{f', key {key}' if key else ''}.", ""]
    return "\n".join(
        [*lines, "| column | type | unit | meaning |", "|---|---|---|---|", *_rows(relation), ""]
    )


def _rows(relation: dict[str, Any]) -> Iterator[str]:
    for column in relation["columns"]:
        meaning = str(column["description"] or "").replace("|", "\\|")
        yield f"| `{column['name']}` | {column['type']} | {column['unit'] or ''} | {meaning} |"


if __name__ == "__main__":
    TARGET.write_text(tables(), encoding="utf-8")
