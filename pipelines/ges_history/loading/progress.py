"""Progress of a load: a bar by graphs on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from dlt.common.runtime.collector_base import Collector

from ges_history.commands.lines import stamped

LINE_SECONDS = 5.0


def collector() -> Collector:
    """The collector for standard error as it is now."""
    return BarCollector() if sys.stderr.isatty() else LineCollector()


class LineCollector(Collector):
    """Prints a plain line every few seconds while graphs are listed."""

    def __init__(self) -> None:
        self._done = 0
        self._next_at = time.monotonic() + LINE_SECONDS
        self.step = ""

    def update(
        self,
        name: str,
        inc: int = 1,
        total: int | None = None,
        inc_total: int | None = None,  # noqa: ARG002
        message: str | None = None,
        label: str | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Count a graph."""
        if name != "Graphs":
            return
        self._done += inc
        self._show(self._done, total or self._done, f"; {message}" if message else "")

    def _show(self, done: int, total: int, more: str) -> None:
        if time.monotonic() >= self._next_at or (done == total and total >= 100):
            self._next_at = time.monotonic() + LINE_SECONDS
            line = stamped(f"listed {done:,} of {total:,} graphs{more}", sys.stderr)
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def _start(self, step: str) -> None:
        self.step = step

    def _stop(self) -> None:
        pass


class BarCollector(LineCollector):
    """Draws a bar by graphs."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def _show(self, done: int, total: int, more: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where there is a terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("listing graphs", total=total)
        self._bar.update(self._task, completed=done, description=f"listing graphs{more}")
        if done == total:
            self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
