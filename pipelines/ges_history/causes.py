"""An error and what lies under it: libraries wrap what the database or the machine raised."""

from collections.abc import Iterator

from dlt.pipeline.exceptions import PipelineStepFailed

QUERY_INTERRUPTED = "Query interrupted"
"""What DuckDB says where it has noticed a signal, in a `RuntimeError`: nobody else interrupts it."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what lies under it, from outside in."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if type(error).__name__ != "_RemoteTraceback":  # the text of one, from a process of a pool
            yield error
        inner = getattr(error, "exception", None) if isinstance(error, PipelineStepFailed) else None
        error = inner or error.__cause__ or error.__context__


def stop_under(error: BaseException) -> KeyboardInterrupt | None:
    """What a signal raised, Ctrl-C's or another's, where a library took it for an error of its own.

    dlt raises over it where it puts a context back, DuckDB instead of it where a query runs.
    """
    for cause in causes(error):
        if isinstance(cause, KeyboardInterrupt):
            return cause
        if isinstance(cause, RuntimeError) and str(cause) == QUERY_INTERRUPTED:
            return KeyboardInterrupt()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the database ran out of the memory that it was given."""
    return any("Out of Memory" in str(cause) for cause in causes(error))
