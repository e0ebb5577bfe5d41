"""One load of a project at a time: a lock file in a folder, a lease in a bucket.

A lease is an object that only conditional puts change: made where none is, replaced where its ETag
is the one that was read. Its holder renews it every few seconds. No clock is compared with another:
who waits takes the lease over when its ETag has stood still for `LEASE_SECONDS` of his own time, or
at once where the holder was a process of this machine that is gone. A holder that was stopped for
longer finds out when it renews, which it does before each commit; see `Fence`.
"""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ges_history.errors import DatabaseError, LoadInProgress
from ges_history.warehouses.lake_storage import LakeStorage
from ges_history.warehouses.seam import Say
from ges_history.warehouses.waiting import POLL_SECONDS, held_file, wait_for

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LOCKS = "_ges_locks"
LEASE_SECONDS = 20.0
RENEW_SECONDS = 4.0
STALE = '"00000000000000000000000000000000"'
"""An ETag that no lease has."""
_OF_THE_BUCKET = re.compile(
    r"(aws_)?(access_key_id|secret_access_key|session_token|token|(default_)?region|endpoint(_url)?"
    r"|virtual_hosted_style_request)$"
)
"""Of all that may be set for `deltalake`, what the lock's library needs and knows."""


class LeaseLost(DatabaseError):
    """Another load took the project over, because this one stood still for too long."""


@dataclass
class Fence:
    """What a load of a project shows before each commit.

    Attributes:
        project: The project's id.
        check: Raises `LeaseLost` where the lock is not held any more.
        due: Tables that have had enough commits to be tidied; see `lake_upkeep`.
    """

    project: str
    check: Callable[[], None] = lambda: None
    due: set[str] = field(default_factory=set)


@contextmanager
def locked(storage: LakeStorage, project: str, wait: float, say: Say) -> Iterator[Fence]:
    """Be the only load of a project; see `Warehouse.lock`."""
    what = f"is loading the project {project} into {storage.bucket}"
    if storage.is_local:
        folder = Path(storage.bucket, LOCKS)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {storage.bucket} cannot be written: {error.strerror}."
            ) from error

        def process(holder: str) -> str:
            return f"Another load (process {holder}) {what}"

        with held_file(folder / f"{project}.lock", process, LoadInProgress, wait, say):
            yield Fence(project)
        return
    lease = Lease(_store(storage), f"{LOCKS}/{project}.json", what)
    try:
        wait_for(lease.take, LoadInProgress, wait, say)
    except LoadInProgress:
        if not lease.outwait():
            raise
    with lease.renewed():
        yield Fence(project, lease.renew)


class Lease:
    """A lease in a bucket.

    Args:
        store: The bucket.
        path: The object's path.
        what: What its holder does, for people.
    """

    def __init__(self, store: "ObjectStore", path: str, what: str) -> None:
        self._store = store
        self._path = path
        self._what = what
        self._me = {"nonce": secrets.token_hex(8), "host": socket.gethostname(), **_this_process()}
        self._tag = ""
        self._seen: dict[str, float] = {}
        self._turn = threading.Lock()
        self._stop = threading.Event()

    def take(self) -> str | None:
        """Take it; what is in the way, or None."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

        found = self._read()
        holder, tag = found or ({"released": True}, "")
        try:
            if holder.get("released") or _is_gone(holder) or self._stands_still(tag):
                self._put({"e_tag": tag} if found else "create")
                self._check_that_puts_are_conditional()
                return None
        except (AlreadyExistsError, PreconditionError):
            return f"Another load {self._what}"
        who = f"process {holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
        return f"Another load ({who}) {self._what}"

    def outwait(self) -> bool:
        """Take it from a holder who has shown no sign of life; whether it is taken.

        For who would not wait until the lease is over: he waits for a sign, else nobody ever took it.
        """
        while len(self._seen) == 1:
            if self.take() is None:
                return True
            time.sleep(POLL_SECONDS)
        return False

    def renew(self) -> None:
        """Show that it is held.

        Raises:
            LeaseLost: Somebody else has it.
        """
        from obstore.exceptions import PreconditionError  # noqa: PLC0415

        with self._turn:
            try:
                self._put({"e_tag": self._tag})
            except PreconditionError as error:
                # A put whose answer was lost is tried again by the library, and then finds itself.
                found = self._read()
                if found is None or found[0].get("nonce") != self._me["nonce"]:
                    raise LeaseLost(
                        "This load stood still for so long that another one took the project over;"
                        " what was listed is kept, and the next load takes it up."
                    ) from error
                self._tag = found[1]

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it meanwhile, then give it back."""
        thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._release()

    def _keep(self) -> None:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        while not self._stop.wait(RENEW_SECONDS):
            try:
                self.renew()
            except LeaseLost:
                return  # the next commit finds out, too
            except BaseError:
                continue  # the bucket may answer again before the lease is over

    def _release(self) -> None:
        """Leave an object that says so: only a put can be made to depend on who holds it."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        self._me["released"] = True
        try:
            self._put({"e_tag": self._tag})
        except BaseError:
            return  # lost, or it will stand still

    def _read(self) -> tuple[dict[str, Any], str] | None:
        try:
            found = self._store.get(self._path)
        except FileNotFoundError:
            return None
        return json.loads(bytes(found.bytes())), str(found.meta["e_tag"])

    def _put(self, mode: Any) -> None:
        """Write who holds it; the beat makes each ETag, a hash of the content, a new one."""
        content = {**self._me, "beat": secrets.token_hex(8)}
        written = self._store.put(self._path, json.dumps(content).encode(), mode=mode)
        self._tag = str(written["e_tag"])

    def _check_that_puts_are_conditional(self) -> None:
        """A bucket that overwrites whatever it is told would lose rows in silence."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415

        stale: Any = {"e_tag": STALE}
        refused: Any = (("create", AlreadyExistsError), (stale, PreconditionError))
        for mode, refusal in refused:
            with suppress(refusal):
                self._store.put(self._path, b"{}", mode=mode)
                raise DatabaseError(
                    "The bucket does not honour If-None-Match and If-Match, so two writers could"
                    " overwrite each other: a lake cannot be kept there.",
                    is_lasting=True,
                )

    def _stands_still(self, tag: str) -> bool:
        now = time.monotonic()
        return now - self._seen.setdefault(tag, now) > LEASE_SECONDS


def _store(storage: LakeStorage) -> "ObjectStore":
    """The bucket, with the credentials, region and endpoint that `deltalake` gets."""
    from obstore.store import from_url  # noqa: PLC0415

    options = {name.lower(): value for name, value in storage.options.items()}
    config: Any = {name: value for name, value in options.items() if _OF_THE_BUCKET.match(name)}
    is_plain = any(options.get(name) == "true" for name in ("allow_http", "aws_allow_http"))
    return from_url(storage.bucket, config=config, client_options={"allow_http": is_plain})


def _this_process() -> dict[str, Any]:
    """What tells this process from any other, ever; empty where the system does not say."""
    try:
        return {"pid": os.getpid(), "started": _started(os.getpid()), "machine": _machine()}
    except OSError:
        return {"pid": os.getpid()}


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine (and container) that has ended."""
    try:
        if holder.get("machine") != _machine():
            return False
    except OSError:
        return False
    try:
        return bool(_started(int(holder["pid"])) != holder["started"])
    except ProcessLookupError:
        return True
    except OSError:  # gone, or hidden from this user
        return _has_no_process(int(holder["pid"]))


def _has_no_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:  # or it is another user's
        return isinstance(error, ProcessLookupError)
    return False


def _machine() -> list[str]:
    """This boot of this machine, and the space of process ids."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return [boot, os.readlink("/proc/self/ns/pid")]  # noqa: PTH115 - a link that is no path


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot; a zombie has ended."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state[0] == "Z":
        raise ProcessLookupError(pid)
    return state[19]
