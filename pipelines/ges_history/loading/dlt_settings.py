"""dlt's settings that a history needs, below the user's own, for as long as any load runs."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs.config_providers_context import ConfigProvidersContainer
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.telemetry import stop_telemetry

from ges_backups.batches import BATCH_ROWS
from ges_history.dlt_environment import run_context, sectioned_environment

NAME = "ges_history"
SETTINGS: dict[str, Any] = {
    "runtime": {
        "dlthub_telemetry": False,
        "log_level": "CRITICAL",
        "intercept_signals": False,  # Ctrl-C and SIGTERM are for the caller, at once
    },
    # A file is merged at once, in the warehouse's bounded memory; where rows are wide, fewer of them.
    "sources": {"data_writer": {"file_max_items": 6 * BATCH_ROWS, "file_max_bytes": 12 * 2**20}},
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": True}},
    "load": {
        "delete_completed_jobs": True,
        "parallelism_strategy": "sequential",
        "raise_on_max_retries": 5,
    },
}


class _Settings(CustomLoaderDocProvider):
    """They hold no secret; if they could not, dlt would look at every type for one."""

    def __init__(self) -> None:
        super().__init__(NAME, lambda: SETTINGS, supports_secrets=True, locations=())

    def get_value(
        self, key: str, hint: type[Any], pipeline_name: Any, *sections: str
    ) -> tuple[Any | None, str]:
        """dlt's own; a section that is not there is not looked for part by part."""
        if pipeline_name or not sections or sections[0] not in SETTINGS:
            return None, key
        return super().get_value(key, hint, pipeline_name, *sections)


_lock = threading.Lock()
_running = 0
_environment = ExitStack()


@contextmanager
def dlt_settings() -> Iterator[None]:
    """Let dlt find these settings where the user has none; loads in several threads share them."""
    global _running  # noqa: PLW0603 - dlt's configuration is one for the process
    context = run_context()
    with _lock:
        pa.scalar(
            0
        )  # pyarrow imports pandas now, if ever: dlt in another thread would see half of it
        _running += 1
        if _running == 1:
            _environment.enter_context(sectioned_environment())
            _set_providers(context, [*context.providers.providers, _Settings()])
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                _environment.close()
                others = [one for one in context.providers.providers if one.name != NAME]
                _set_providers(context, others)


def _set_providers(context: PluggableRunContext, providers: list[Any]) -> None:
    """Let log level and telemetry follow the settings: dlt started both when it was imported."""
    context.providers = ConfigProvidersContainer(providers)
    stop_telemetry()
    context.initialize_runtime()
