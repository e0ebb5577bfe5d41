"""What dlt takes from the environment's variables, only those that name a section; its files."""

import functools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.configuration.specs.config_providers_context import ConfigProvidersContainer
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from ges_backups.errors import SettingsError

_lock = threading.Lock()
_users = 0


_name_of = functools.lru_cache(4096)(EnvironProvider.get_key_name)
_is_known_secret = functools.lru_cache(1024)(is_secret_hint)


def _is_secret(hint: Any) -> bool:
    """Whether a value of this type may be in a file of secrets."""
    try:
        return _is_known_secret(hint)
    except TypeError:  # annotated with what has no hash
        return is_secret_hint(hint)


class _SectionedEnviron(EnvironProvider):
    """`SOURCES__GES_BACKUPS__PROJECTS` is meant for us; `PROJECTS` or `WORKERS` may be anyone's.

    dlt asks for each setting under some ten names a load and table, most of them of no variable.
    """

    def get_value(
        self, key: str, hint: type[Any], pipeline_name: Any, *sections: str
    ) -> tuple[Any | None, str]:
        name = _name_of(key, pipeline_name, *sections)
        if not (pipeline_name or sections) or not (name in os.environ or _is_secret(hint)):
            return None, name
        return super().get_value(key, hint, pipeline_name, *sections)


def run_context() -> PluggableRunContext:
    """dlt's context of this process, in which its configuration is.

    Raises:
        SettingsError: dlt cannot begin with the log level that is set for it, or read its files.
    """
    try:
        return Container()[PluggableRunContext]
    except TomlProviderReadException as error:
        raise SettingsError(_what_is_wrong(error)) from error
    except ValueError as error:
        raise SettingsError(
            f"dlt cannot begin: {error}. RUNTIME__LOG_LEVEL, or log_level of [runtime] in"
            " .dlt/config.toml, must be DEBUG, INFO, WARNING, ERROR or CRITICAL."
        ) from error


def _what_is_wrong(error: TomlProviderReadException) -> str:
    """Which file of settings, where and what; without a word of it, since it may hold secrets."""
    cause = error.__context__
    if isinstance(cause, OSError):
        return f"The settings {cause.filename} cannot be read: {cause.strerror}."
    there = [path for path in error.full_paths if os.path.lexists(path)]
    what = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(cause).__name__).removesuffix(" Error").lower()
    if "already exists" in str(cause):
        what = "a name that stands there twice"
    line, column = getattr(cause, "line", None), getattr(cause, "col", None)
    place = "" if line is None or column is None else f", line {line}, column {column + 1}"
    return f"The settings {' or '.join(there)} are no TOML{place}: {what}."


@contextmanager
def sectioned_environment() -> Iterator[None]:
    """Let dlt pass over variables without a section; several threads share it."""
    global _users  # noqa: PLW0603 - dlt's configuration is one for the process
    context = run_context()
    with _lock:
        _users += 1
        if _users == 1:
            _exchange(context, EnvironProvider, _SectionedEnviron)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _exchange(context, _SectionedEnviron, EnvironProvider)


def _exchange(
    context: PluggableRunContext, old: type[EnvironProvider], new: type[EnvironProvider]
) -> None:
    known = context.providers.providers
    context.providers = ConfigProvidersContainer(
        [new() if type(one) is old else one for one in known]
    )
