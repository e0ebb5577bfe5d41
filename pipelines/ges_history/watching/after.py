"""What a load does around itself: pings, and when it has loaded, all that follows in one opening.

The load is done by then: whatever fails here is told and does not undo it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ges_history.causes import stop_under
from ges_history.errors import HistoryError
from ges_history.warehouses.duckdb_obstacles import first_line
from ges_history.warehouses.seam import Read, Say, Warehouse, quiet
from ges_history.watching.facts import LastLoad
from ges_history.watching.findings import Check, check, recovery_targets
from ges_history.watching.gauges import as_text, write_text
from ges_history.watching.notify import Ping, notify
from ges_history.watching.policy import find_policy
from ges_history.watching.tell import STATES, as_lines
from ges_history.whole_file import FOR_ITS_OWNER, write_whole

if TYPE_CHECKING:
    from ges_history.loading.outcome import LoadOutcome
    from ges_history.reports.page.contents import Contents


PARTIAL = 3
"""Exit code of a load after which something could not be done."""


@dataclass(frozen=True)
class Wishes:
    """What is wanted around a load.

    Attributes:
        check: Whether to hold the policy against the history and tell what is violated.
        metrics: File for the metrics.
        page: File for the page, whose calendar then goes by the policy.
        publish: File for a snapshot.
        policy: File of the policy; default: `ges_policy.toml` in the folder `beside`, if any.
        ping: URL of a dead man's switch.
        partial_fails: Whether a partial load is told to it as a failure.
        notify: Webhook for the outcome and the violations.
    """

    check: bool = False
    metrics: Path | None = None
    page: Path | None = None
    publish: Path | None = None
    policy: Path | None = None
    beside: Path | None = None
    ping: str | None = None
    partial_fails: bool = True
    notify: str | None = None

    @property
    def reads(self) -> bool:
        """Whether anything is wanted that has to read the history."""
        return bool(self.readers)

    @property
    def readers(self) -> str:
        """What is wanted that has to read the history, for people."""
        wanted = {
            "check": self.check,
            "metrics": self.metrics,
            "page": self.page,
            "violations for the webhook": self.notify,
        }
        return ", ".join(name for name, value in wanted.items() if value)


@dataclass(frozen=True)
class Followed:
    """What came of the wishes.

    Attributes:
        exit_code: Of the load with all that follows: what could not be done makes it partial.
        check: The policy held against the history, where people asked for it.
    """

    exit_code: int
    check: Check | None = None

    def lines(self, quiet: bool = False) -> list[str]:
        """What is violated, for people; quiet: nothing where nothing is."""
        if self.check is None or (quiet and not self.check.exit_code):
            return []
        return as_lines(self.check)

    def to_json(self) -> dict[str, Any]:
        """What is violated, for programs; nothing where nobody asked for it."""
        if self.check is None:
            return {}
        return {"violations": [asdict(finding) for finding in self.check.violations]}


class Watched:
    """A load that is watched: its start and its end are told, also where it ends with an error.

    >>> with Watched(wishes, say) as watched:
    ...     outcome = load(...)
    ...     followed = watched.loaded(warehouse, outcome, "graphs 12 listed")

    `warn` takes what could not be done, `say` what is waited for.
    """

    def __init__(self, wishes: Wishes, warn: Say = quiet, say: Say = quiet) -> None:
        self._wishes = wishes
        self._warn = warn
        self._say = say
        self._failed: list[str] = []
        self._done = "The history is loaded"
        self._ping = Ping(wishes.ping, partial_fails=wishes.partial_fails, say=warn)

    def __enter__(self) -> "Watched":
        self._ping.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ping.__exit__(kind, error, trace)
        if isinstance(error, Exception) and self._wishes.notify:
            words = str(error) or type(error).__name__
            content = _content({"outcome": "failed"}, 1, None, [words])
            notify(self._wishes.notify, content, self._warn)

    def loaded(
        self, warehouse: Warehouse, outcome: "LoadOutcome", summary: str = "", wait: float = 60.0
    ) -> Followed:
        """Do what is wanted after a load.

        Args:
            warehouse: Where the history is.
            outcome: Of the load.
            summary: Of the load, for people.
            wait: Seconds to wait for another load that holds the warehouse.
        """
        wishes, failed = self._wishes, self._failed
        if outcome.exit_code == 1:
            self._done = "Nothing could be loaded"
        if wishes.publish and outcome.exit_code != 1:
            with self._told(warehouse, "snapshot"):
                self._publish(warehouse, wishes.publish, wait)
        found = self._follow(warehouse, outcome, wait) if wishes.reads else None
        code = outcome.exit_code or (PARTIAL if failed else 0)
        self._ping.code, self._ping.body = code, "\n".join([summary, *failed])
        if wishes.notify:
            notify(wishes.notify, _content(outcome.to_json(), code, found, failed), self._warn)
        return Followed(code, found if wishes.check else None)

    @contextmanager
    def _told(self, warehouse: Warehouse, what: str) -> Iterator[None]:
        """Whatever keeps this from being done, it is told, and the load and the rest are done."""
        try:
            yield
        except Exception as error:
            if stop := stop_under(error):
                raise stop from error
            why = _reason(error, warehouse)
            self._failed.append(f"{self._done}; what should follow is not done ({what}): {why}")
            self._warn(self._failed[-1])

    def _publish(self, warehouse: Warehouse, path: Path, wait: float) -> None:
        from ges_history.warehouses.snapshot import publish  # noqa: PLC0415

        publish(warehouse, path, wait, self._say)

    def _follow(self, warehouse: Warehouse, outcome: "LoadOutcome", wait: float) -> Check | None:
        wishes = self._wishes
        found, page = self._read(warehouse, outcome, wait)
        if wishes.metrics and found:
            with self._told(warehouse, "metrics"):
                write_text(wishes.metrics, as_text(found))
        if wishes.page and page:
            with self._told(warehouse, "page"):
                self._write_page(wishes.page, page)
        return found

    def _read(
        self, warehouse: Warehouse, outcome: "LoadOutcome", wait: float
    ) -> tuple[Check | None, "Contents | None"]:
        """What one opening of the history is for."""
        found = page = None
        with self._told(warehouse, self._wishes.readers):
            policy = find_policy(self._wishes.policy, self._wishes.beside or Path())
            with warehouse.reading(wait, self._say) as read:
                found = check(read, policy, loads=_last_loads(outcome))
                if self._wishes.page:
                    with self._told(warehouse, "page"):
                        page = _page(read, found)
        return found, page

    def _write_page(self, path: Path, page: "Contents") -> None:
        from ges_history.reports.page.document import render  # noqa: PLC0415

        write_whole(path, render(page).encode(), FOR_ITS_OWNER)


def _reason(error: Exception, warehouse: Warehouse) -> str:
    """Why something was not done; what nobody foresaw is told with its kind."""
    if isinstance(error, HistoryError):
        return str(error)
    if isinstance(error, (OSError, *warehouse.errors)):
        return str(warehouse.explain(error))
    return f"{type(error).__name__}: {first_line(error)}"


def _page(read: Read, found: Check) -> "Contents":
    """What the page shows, its calendar by the policy's targets."""
    from ges_history.reports.page.contents import read_contents  # noqa: PLC0415
    from ges_history.reports.page.extra import require_extra  # noqa: PLC0415

    require_extra()
    return read_contents(read, targets=recovery_targets(found.facts, found.policy))


def _last_loads(outcome: "LoadOutcome") -> dict[str, LastLoad]:
    """What the load knows of itself, by project."""
    projects = outcome.projects or {outcome.project_id: outcome}
    return {
        one.project_id: LastLoad(name, one.seconds, one.requests, one.exit_code, one.error)
        for name, one in projects.items()
    }


def _content(
    outcome: dict[str, Any], exit_code: int, found: Check | None, failed: list[str]
) -> dict[str, Any]:
    """What a webhook gets; `text` is what chats show, in which `<!channel>` would call everybody."""
    text = f"Load of GES backups: {outcome['outcome']}, exit code {exit_code}."
    if found is not None:
        text += f" Policy {STATES[found.exit_code]}: " + "\n".join(as_lines(found)[-1:])
    return {
        "text": escape("\n".join([text, *failed]), quote=False),
        "exit_code": exit_code,
        "outcome": outcome,
        "violations": [asdict(finding) for finding in found.violations] if found else [],
        "problems": failed,
    }
