"""What DuckDB says when a file cannot be opened or written, as one sentence; nobody else reads its words."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ges_history.errors import DatabaseError
from ges_history.warehouses.rollback_journal import RollbackJournal

if TYPE_CHECKING:
    import duckdb


class DatabaseBusy(DatabaseError):
    """Another process holds the file: waiting may help."""


def obstacle(path: Path, error: "duckdb.Error") -> DatabaseError:
    """Why a file cannot be opened; `DatabaseBusy` where another process holds it."""
    message = str(error)
    if "Conflicting lock" in message or "Could not set lock" in message:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", message) or re.search(
            r"()PID (\d+)", message
        )
        who = "another process"
        if holder:
            name = Path(holder[1]).name
            who = f"{name}, process {holder[2]}," if name else f"process {holder[2]}"
        return DatabaseBusy(f"The database {path} is held by {who} which must close it first")
    if "Unique file handle conflict" in message or "different configuration" in message:
        return DatabaseError(
            f"The database {path} is open in this process: close that connection first."
        )
    if path.is_dir():
        return DatabaseError(f"{path} is a folder; give the DuckDB file that holds the history.")
    if path.exists() and path.stat().st_size == 0:
        return DatabaseError(
            f"The database {path} is an empty file; delete it and run `ges-backups load`."
        )
    if "not a valid DuckDB database" in message:
        return DatabaseError(
            f"{path} is not a DuckDB database; give the file that `ges-backups load` wrote."
        )
    if "Corrupt database" in message and RollbackJournal(path.resolve()).is_needed:
        return DatabaseError(
            f"The database {path} is half written: a load was killed. The next load mends it: run "
            "`ges-backups load`."
        )
    return DatabaseError(f"The database {path} cannot be opened: {first_line(error)}")


def first_line(error: BaseException, longest: int = 300) -> str:
    """What an error says first, never nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
