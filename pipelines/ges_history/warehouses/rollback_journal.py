"""A rollback journal: what a checkpoint of DuckDB writes over, kept beside the file until it is done.

A checkpoint writes into free blocks and then switches the file's header to them, but blocks of
metadata (64 parts each, many of them in use) are written again as a whole, where they stand. A
process that is killed in the middle of that write, or a machine that loses power, leaves a block
that is half old and half new, and a file that no DuckDB opens again ("Corrupt database file:
computed checksum ..."; seen with DuckDB 2.0.1 after a SIGKILL, and made again with each such write
torn, `test_a_torn_write_is_mended`). So these blocks are copied first, with the header. As long as
the header is still the one of the copy, the checkpoint did not happen, and writing the copy back
gives the file as it was; DuckDB's log then brings what was committed since.
"""

import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ges_history.warehouses.layout import database_name, folder_beside

if TYPE_CHECKING:
    import duckdb

NAME = "rollback.journal"
NEVER = "1 TB"
"""DuckDB's `checkpoint_threshold` while a load has the file open: it makes no checkpoint by itself."""
HEADER_BYTES = 3 * 4096
"""Of a DuckDB file: one header of the file, two of the database that take turns; blocks follow."""
_PLACE = struct.Struct("<QQ")
_DESCRIPTORS = Path("/dev/fd")


class RollbackJournal:
    """The journal of one DuckDB file, for the one process that writes to it.

    Args:
        file: The database; its real path.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._journal = folder_beside(file) / NAME
        self.alone = threading.Lock()
        """Held by a thread while it may make a checkpoint: there is one journal."""

    def keep(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Have on disk what a checkpoint of this connection may write over, before it is made.

        A journal that is there stays if no checkpoint came after it: one that failed may have written
        over what it holds. On a system that does not name the open files of a process (Windows) there
        is none.

        Raises:
            OSError: It cannot be written, for want of room say.
        """
        descriptor = self._open_descriptor()
        if descriptor is None:
            return
        header = os.pread(descriptor, HEADER_BYTES, 0)
        if self._is_of(header):
            return
        new = self._journal.with_suffix(".new")
        try:
            with new.open("wb") as journal:
                journal.write(header)
                for offset, size in metadata_blocks(connection):
                    block = os.pread(descriptor, size, offset)
                    journal.write(_PLACE.pack(offset, len(block)) + block)
                journal.flush()
                os.fsync(journal.fileno())
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        new.replace(self._journal)
        _sync_folder(self._journal.parent)

    def drop(self) -> None:
        """The checkpoint is done."""
        self._journal.unlink(missing_ok=True)

    @property
    def is_needed(self) -> bool:
        """Whether a checkpoint may have been cut off."""
        return self._journal.exists()

    def _is_of(self, header: bytes) -> bool:
        """Whether there is a journal of this very state of the file."""
        try:
            with self._journal.open("rb") as journal:
                return journal.read(HEADER_BYTES) == header
        except FileNotFoundError:
            return False

    def roll_back(self) -> bool:
        """Bring back the blocks of a checkpoint that was cut off, before the file is opened.

        Returns:
            Whether there was such a checkpoint; one that had come to its end is left as it is.

        Raises:
            OSError: The journal cannot be read, or the file not be written.
        """
        try:
            journal = self._journal.open("rb")
        except FileNotFoundError:
            return False
        with journal:
            if self._open_descriptor() is not None:
                return False  # a connection of this process would lose its lock, and could open it
            cut_off = self._file.exists() and self._write_back(journal)
        self._journal.unlink()
        return cut_off

    def _write_back(self, journal: BinaryIO) -> bool:
        import fcntl  # noqa: PLC0415 - a journal was written, so this is no Windows

        with self._file.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as DuckDB locks it
            if file.read(HEADER_BYTES) != journal.read(HEADER_BYTES):
                return False
            while place := journal.read(_PLACE.size):
                offset, size = _PLACE.unpack(place)
                file.seek(offset)
                file.write(journal.read(size))
            file.flush()
            os.fsync(file.fileno())
        return True

    def _open_descriptor(self) -> int | None:
        """The descriptor by which this process has the file open.

        Not one of our own: closing that would give up the lock that DuckDB has through its own.
        """
        try:
            wanted = self._file.stat()
            numbers = [int(entry.name) for entry in _DESCRIPTORS.iterdir()]
        except OSError:
            return None
        for number in numbers:
            with suppress(OSError):
                found = os.fstat(number)
                if os.path.samestat(found, wanted):
                    return number
        return None


def metadata_blocks(connection: "duckdb.DuckDBPyConnection") -> list[tuple[int, int]]:
    """(offset, bytes) of each block of metadata."""
    ((size,),) = connection.execute(
        "SELECT block_size FROM pragma_database_size() WHERE database_name = ?",
        [database_name(connection)],
    ).fetchall()
    blocks = connection.execute("SELECT block_id FROM pragma_metadata_info()").fetchall()
    return [(HEADER_BYTES + block * size, size) for (block,) in blocks]


def _sync_folder(folder: Path) -> None:
    """Have a new name on disk, on the file systems that can be asked for it."""
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)
