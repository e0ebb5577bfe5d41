"""Errors of the pipeline and its commands.

    HistoryError
    ├── DatabaseError      the database is missing, locked, newer than this version, or no history
    └── LoadInProgress     another load works on the same database

Each carries one readable message: what happened, where, and what to do next.
A command ends with it and exit code 1, never with a traceback (unless ``--debug``).
"""


class HistoryError(Exception):
    """Nothing could be done; the message says why and what to do next."""


class DatabaseError(HistoryError):
    """The database cannot be opened or is not a backup history of this version."""


class LoadInProgress(HistoryError):
    """Another load holds the same database."""
