"""From what dlt, DuckDB and the machine raise to one sentence: what happened, and what is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
    LookupTrace,
    NestedLookupTraces,
)
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.exceptions import DltException, MissingDependencyException, TerminalException
from dlt.pipeline.exceptions import PipelineStepFailed

from ges_backups.errors import GesError, SettingsError
from ges_history.errors import DatabaseError, HistoryError

SETTING = "SOURCES__GES_BACKUPS__"
LONGEST_REASON = 300

_PASSING = (
    "No space left",
    "Disk quota",
    "Permission denied",
    "Read-only file system",
    "Out of Memory",
    "Could not set lock",
)
_KEPT = {
    "extract": "Nothing was changed; the next load starts again.",
    "sync": "Nothing was changed; the next load starts again.",
}


@contextmanager
def readable_errors() -> Iterator[None]:
    """Let no error out that is not one of ours; those in the depth of dlt's layers come out first.

    Raises:
        GesError, HistoryError: With a sentence for a person.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (DltException, duckdb.Error, pa.ArrowException, OSError, KeyboardInterrupt) as error:
        readable = _readable(error)
        if readable is error:
            raise
        raise readable from error


def is_lasting(error: BaseException, *, embedded: bool) -> bool:
    """Whether a package cannot be loaded because of itself, so that trying again will not help.

    Args:
        error: What loading it raised.
        embedded: The database is a file, which no network and no server keeps from being written.
    """
    if any(text in str(cause) for cause in _causes(error) for text in _PASSING):
        return False
    return embedded or any(isinstance(cause, TerminalException) for cause in _causes(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the database ran out of the memory that it was given."""
    return any("Out of Memory" in str(cause) for cause in _causes(error))


def reason_of(error: BaseException) -> str:
    """Why it happened, in one line: the innermost cause that the database or the machine raised."""
    inner = [
        cause
        for cause in _causes(error)
        if isinstance(cause, duckdb.Error | pa.ArrowException | OSError)
    ]
    text = _first_line(inner[-1] if inner else error)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _readable(error: BaseException) -> BaseException:
    for cause in _causes(error):
        if isinstance(cause, GesError | HistoryError | KeyboardInterrupt):
            return cause
    for cause in _causes(error):
        if isinstance(cause, ConfigurationException):
            return SettingsError(_configuration(cause))
        if isinstance(cause, UnknownDestinationModule):
            return SettingsError(f"dlt has no destination {cause.ref!r}: check --destination.")
        if isinstance(cause, MissingDependencyException):
            needed = " ".join(f"'{name}'" for name in cause.dependencies)
            return SettingsError(f"{cause.caller} is not installed: pip install {needed}.")
    if isinstance(error, PipelineStepFailed):
        kept = _KEPT.get(
            error.step, "What was listed is kept, and the next load takes it up again."
        )
        return DatabaseError(f"The {error.step} step failed: {reason_of(error)} {kept}")
    return DatabaseError(f"{reason_of(error)} The next load starts where this one ended.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what lies under it, from outside in."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "exception", None) if isinstance(error, PipelineStepFailed) else None
        error = inner or error.__cause__ or error.__context__


def _configuration(error: ConfigurationException) -> str:
    if isinstance(error, ConfigFieldMissingException):
        return (
            f"{' and '.join(_setting(error, field) for field in error.traces)} missing: set it in "
            "the environment, or in .dlt/config.toml or secrets.toml. "
            "`ges-backups demo` shows everything without an account."
        )
    if isinstance(error, ConfigValueCannotBeCoercedException):
        if error.field_name == "graph_ids":
            return f'{SETTING}GRAPH_IDS must be a JSON list of graph ids: \'["id", "id"]\'.'
        kind = {int: "a whole number", float: "a number", bool: "true or false"}
        wanted = kind.get(error.hint, "what it must be")
        return (
            f"The setting {error.field_name} ({SETTING}{error.field_name.upper()}) is not {wanted}."
        )
    return _first_line(error)


def _setting(error: ConfigFieldMissingException, field: str) -> str:
    """The name of a missing setting as a variable of the environment."""
    keys = list(_keys(error.traces[field]))
    for prefix in (SETTING, "DESTINATION__"):
        for key in keys:
            if key.startswith(prefix):
                return key
    return keys[0] if keys else field


def _keys(traces: NestedLookupTraces) -> Iterator[str]:
    for trace in traces:
        if isinstance(trace, LookupTrace):
            yield trace.key
        else:
            for inner in trace.traces.values():
                yield from _keys(inner)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
