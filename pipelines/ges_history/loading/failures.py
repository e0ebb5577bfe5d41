"""From what dlt, DuckDB and the machine raise to one sentence: what happened, and what is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigurationException,
    ConfigValueCannotBeCoercedException,
    LookupTrace,
    NestedLookupTraces,
)
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.exceptions import DltException, MissingDependencyException
from dlt.pipeline.exceptions import PipelineStepFailed

from ges_backups.credentials import GesCredentials
from ges_backups.errors import GesError, SettingsError
from ges_backups.project import ProjectSettings
from ges_history.causes import causes, stop_under
from ges_history.errors import DatabaseError, HistoryError
from ges_history.warehouses.duckdb_obstacles import first_line
from ges_history.warehouses.seam import Warehouse

SETTING = "SOURCES__GES_BACKUPS__"
_OURS = ProjectSettings.get_resolvable_fields()

_KEPT = {
    "extract": "Nothing was changed; the next load starts again.",
    "sync": "Nothing was changed; the next load starts again.",
}


@contextmanager
def readable_errors(warehouse: Warehouse) -> Iterator[None]:
    """Let no error out that is not one of ours; those in the depth of dlt's layers come out first.

    Args:
        warehouse: Knows its driver's words.

    Raises:
        GesError, HistoryError: With a sentence for a person.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (
        DltException,
        pa.ArrowException,
        OSError,
        KeyboardInterrupt,
        *warehouse.errors,
    ) as error:
        readable = readable_error(error, warehouse)
        if readable is error:
            raise
        raise readable from error
    except RuntimeError as error:
        if stop := stop_under(error):
            raise stop from error
        raise


def reason_of(error: BaseException, warehouse: Warehouse) -> str:
    """Why it happened, in one line: the innermost cause that is not a library's wrapping."""
    found = list(causes(error))
    inner = [cause for cause in found if not isinstance(cause, DltException)] or found
    text = str(warehouse.explain(inner[-1]))
    return text if text.endswith((".", "!", "?")) else f"{text}."


def readable_error(error: BaseException, warehouse: Warehouse) -> BaseException:
    """The error of ours that stands for an error; the same where it is one."""
    if stop := stop_under(error):
        return stop
    for cause in causes(error):
        if isinstance(cause, GesError | HistoryError):
            return cause
    for cause in causes(error):
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
        return DatabaseError(f"The {error.step} step failed: {reason_of(error, warehouse)} {kept}")
    if isinstance(error, PermissionError) and error.filename:
        return DatabaseError(f"{error.filename} cannot be used: {error.strerror}.")
    return DatabaseError(
        f"{reason_of(error, warehouse)} The next load starts where this one ended."
    )


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
        name = error.field_name.upper()
        if error.field_name in {*GesCredentials.get_resolvable_fields(), *_OURS}:
            return f"The setting {error.field_name} ({SETTING}{name}) is not {wanted}."
        return (
            f"dlt's setting {error.field_name} is not {wanted}: look at the variables that end in"
            f" __{name}, and at .dlt/config.toml."
        )
    return first_line(error)


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
