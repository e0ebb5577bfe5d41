"""The proxy that ends things at a statement: what "before" and "after" mean."""

import io

import psycopg2
import pytest

from postgres_proxy import PostgresProxy, When
from postgres_server import PostgresDatabase


def test_statements_pass_and_are_counted(postgres: PostgresDatabase, proxy: PostgresProxy) -> None:
    connection = psycopg2.connect(postgres.through(proxy.port).url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT repeat('x', 100000)")
        assert cursor.fetchall() == [("x" * 100_000,)]
    connection.close()
    assert proxy.statements == ["BEGIN", "SELECT repeat('x', 100000)", "COMMIT"]


@pytest.mark.parametrize(
    ("at", "when", "kept"),
    [
        (3, "before", []),
        ("INSERT", "after", []),
        (4, "before", []),
        ("COMMIT", "after", [{"n": 1}]),
    ],
    ids=["before insert", "after insert", "before commit", "after commit"],
)
def test_a_cut_at_a_statement(
    postgres: PostgresDatabase, proxy: PostgresProxy, at: int | str, when: When, kept: list[object]
) -> None:
    postgres.execute("CREATE TABLE public.kept (n int)")
    acted: list[int | str] = []
    proxy.arm(at, when, lambda: acted.append(at))
    assert not proxy.has_cut
    with pytest.raises(psycopg2.Error):
        _insert_one(postgres.through(proxy.port).url)
    assert proxy.has_cut
    assert acted == [at]
    assert postgres.rows("kept", "public") == kept


def _insert_one(url: str) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("INSERT INTO public.kept VALUES (1)")
    connection.close()


def test_a_copy_counts_twice(postgres: PostgresDatabase, proxy: PostgresProxy) -> None:
    """Its statement, and the end of its rows."""

    postgres.execute("CREATE TABLE public.kept (n int)")
    connection = psycopg2.connect(postgres.through(proxy.port).url)
    with connection, connection.cursor() as cursor:
        cursor.copy_expert("COPY public.kept FROM STDIN", io.StringIO("1\n2\n"))
    connection.close()
    copy = ["COPY public.kept FROM STDIN", "COPY DONE"]
    assert proxy.statements == ["BEGIN", *copy, "COMMIT"]
    assert postgres.rows("kept", "public") == [{"n": 1}, {"n": 2}]
