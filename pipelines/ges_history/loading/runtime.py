"""What holds for as long as a load runs: dlt's settings, and files that only their owner can read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.config_providers_context import ConfigProvidersContainer
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.telemetry import stop_telemetry

DLT_SETTINGS: dict[str, Any] = {
    "runtime": {
        "dlthub_telemetry": False,
        "log_level": "CRITICAL",
        "intercept_signals": False,  # Ctrl-C and SIGTERM are for the caller, at once
    },
    "sources": {"data_writer": {"file_max_items": 100_000}},  # a file is merged at once
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": True}},
    "load": {
        "delete_completed_jobs": True,
        "truncate_staging_dataset": True,  # where a destination has one
        "parallelism_strategy": "sequential",
        "raise_on_max_retries": 5,
    },
}


@contextmanager
def dlt_settings(*, isolated: bool = False) -> Iterator[None]:
    """dlt's settings that a history needs, below the user's own, for as long as a load runs.

    Args:
        isolated: Ignore the user's settings, for the demo.
    """
    context = Container()[PluggableRunContext]
    before = context.providers
    provider = CustomLoaderDocProvider("ges_history", lambda: DLT_SETTINGS, supports_secrets=False)
    others = [known for known in before.providers if known.name != provider.name]
    context.providers = ConfigProvidersContainer([*([] if isolated else others), provider])
    _start_runtime(context)
    try:
        yield
    finally:
        context.providers = before
        _start_runtime(context)


def _start_runtime(context: PluggableRunContext) -> None:
    """Let log level and telemetry follow the settings: dlt started both when it was imported."""
    stop_telemetry()
    context.initialize_runtime()


@contextmanager
def for_owner_only() -> Iterator[None]:
    """Files made meanwhile are readable by their owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
