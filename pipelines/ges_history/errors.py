"""Errors of the history and its commands.

    HistoryError
    ├── DatabaseError      the warehouse is missing, locked, newer than this version, or cannot be used
    │   └── NoHistory      the warehouse is there, or could be, but holds no history yet
    └── LoadInProgress     another load of the same project works on the same warehouse

Each carries one readable message: what happened, where, and what to do next.
A command ends with it and exit code 1, never with a traceback (unless ``--debug``).
The errors of the source, whose tree `ges_backups.errors` draws, end a command the same way.
"""


class HistoryError(Exception):
    """Nothing could be done; the message says why and what to do next.

    Attributes:
        is_lasting: Whether trying the same again cannot help.
    """

    is_lasting = False


class DatabaseError(HistoryError):
    """The warehouse cannot be opened or is not a backup history of this version."""

    def __init__(self, message: str, *, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class NoHistory(DatabaseError):
    """There is no history where one was looked for."""


class LoadInProgress(HistoryError):
    """Another load of the same project holds the same warehouse."""
