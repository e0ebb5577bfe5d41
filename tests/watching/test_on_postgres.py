"""The same verdicts from PostgreSQL as from a DuckDB file."""

from dataclasses import asdict
from pathlib import Path

import pytest

from ges_history.warehouses.duckdb_file import DuckDbFile
from ges_history.watching.evidence import violations_between
from ges_history.watching.findings import check
from ges_history.watching.policy import DEFAULT_RULES, Policy, Rule
from postgres_copy import copy_history
from postgres_server import PostgresDatabase
from synthetic import write_database

EVERY_KIND = Policy(
    "every kind",
    (
        *DEFAULT_RULES,
        Rule("rpo_hours", 30),
        Rule("min_backups", 20),
        Rule("max_age_days", 40),
        Rule("max_duration_hours", 1),
        Rule("min_success_rate", 0.9),
        Rule("max_size_change_pct", 5),
        Rule("must_be_encrypted", 1),
        Rule("stale_hours", 3),
    ),
)


def test_postgres_finds_what_a_duckdb_file_does(postgres: PostgresDatabase, tmp_path: Path) -> None:
    path = write_database(tmp_path / "fleet.duckdb", graphs=12, backups=1_500)
    found = []
    for warehouse in (DuckDbFile(path), copy_history(path, postgres)):
        with warehouse.reading() as read:
            findings = [asdict(finding) for finding in check(read, EVERY_KIND).findings]
            spans = [asdict(span) for span in violations_between(read, EVERY_KIND)]
        findings.sort(key=lambda f: (f["project_id"], f["graph_id"], f["rule"]))
        found.append((findings, spans))
    (duckdb, duckdb_spans), (other, other_spans) = found
    assert [f["verdict"] for f in other] == [f["verdict"] for f in duckdb]
    for one, two in zip(other, duckdb, strict=True):
        ours, theirs = one.pop("actual"), two.pop("actual")
        assert ours == (None if theirs is None else pytest.approx(theirs, abs=0.1))
        assert one.pop("target") == pytest.approx(two.pop("target"))
        assert one == two
    assert other_spans == duckdb_spans
    assert len(other_spans) > 20
