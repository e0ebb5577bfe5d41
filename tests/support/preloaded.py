"""What the server of `forked` imports before it forks, kept out of the way of Python's collector."""

import gc

import pandas  # noqa: F401 - as pyarrow does in a load
import psycopg2  # noqa: F401
import sqlglot.dialects.postgres  # noqa: F401

import cli_harness  # noqa: F401 - what runs in the processes is in these two
import ges_history.warehouses.duckdb_destination
import ges_history.warehouses.postgres_destination  # noqa: F401
import postgres_history  # noqa: F401

gc.freeze()
