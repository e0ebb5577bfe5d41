"""The server that the tests make: it lives, dies and comes back with its rows."""

import signal

import psycopg2
import pytest

from postgres_server import PostgresDatabase, PostgresServer


def test_each_test_has_an_empty_database_of_its_own(
    postgres: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    other = postgres_server.create_database()
    postgres.execute("CREATE TABLE public.kept (n int)")
    assert other.rows("kept", "public") == []
    assert other.name != postgres.name


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["shutdown", "crash"])
def test_rows_outlive_a_restart(
    postgres: PostgresDatabase, postgres_server: PostgresServer, how: signal.Signals
) -> None:
    postgres.execute("CREATE TABLE public.kept (n int)")
    postgres.execute("INSERT INTO public.kept VALUES (%s)", 7)
    postgres_server.stop(how)
    with pytest.raises(psycopg2.OperationalError):
        postgres.execute("SELECT 1")
    postgres_server.start()
    assert postgres.rows("kept", "public") == [{"n": 7}]


def test_a_wrong_password_is_refused(postgres: PostgresDatabase) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.seen_by("postgres", "another").url)
