"""What dlt finds while a load runs: the user's settings as ever, ours below them, no one else's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import dlt
import pytest
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.configuration.providers import environ
from dlt.common.typing import TSecretStrValue

from ges_history.dlt_environment import run_context, sectioned_environment
from ges_history.loading.dlt_settings import SETTINGS, dlt_settings

UNHASHABLE = Annotated[str, {}]


@pytest.fixture(autouse=True)
def while_a_load_runs() -> Iterator[None]:
    with dlt_settings():
        yield


def test_a_variable_counts_under_each_name_that_dlt_has_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["LOAD__WORKERS", "OURS__LOAD__WORKERS"]
    for number, name in enumerate(names):
        monkeypatch.setenv(name, str(number))
        assert dlt.config["ours.load.workers" if number else "load.workers"] == number
        assert environment_of("workers", int, "ours" if number else None, "load") == str(number)


def test_a_variable_that_is_set_while_loads_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment_of("level", str, None, "mine") is None
    monkeypatch.setenv("MINE__LEVEL", "7")
    assert environment_of("level", str, None, "mine") == "7"
    monkeypatch.delenv("MINE__LEVEL")
    assert environment_of("level", str, None, "mine") is None


def test_a_variable_without_a_section_is_anyones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "99")
    assert environment_of("workers", int, None) is None
    with sectioned_environment():
        assert environment_of("workers", int, None) is None


@pytest.mark.parametrize("hint", [TSecretStrValue, Annotated[TSecretStrValue, {}]], ids=str)
def test_a_secret_may_be_in_a_file(
    hint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environ, "SECRET_STORAGE_PATH", f"{tmp_path}/%s")
    monkeypatch.setenv("MINE__TOKEN", "")  # dlt sets it: so it is taken away after the test
    monkeypatch.delenv("MINE__TOKEN")
    (tmp_path / "mine--token").write_text("from-a-file")
    assert environment_of("token", UNHASHABLE, None, "mine") is None
    assert environment_of("token", hint, None, "mine") == "from-a-file"


def test_ours_are_found_below_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    written = SETTINGS["sources"]["data_writer"]["file_max_items"]
    assert dlt.config["sources.data_writer.file_max_items"] == written
    monkeypatch.setenv("SOURCES__DATA_WRITER__FILE_MAX_ITEMS", "5")
    assert dlt.config["sources.data_writer.file_max_items"] == 5
    assert dlt.config["load.raise_on_max_retries"] == SETTINGS["load"]["raise_on_max_retries"]


def test_what_nobody_has_set_is_missing_by_its_name() -> None:
    with pytest.raises(ConfigFieldMissingException, match="SOURCES__NOWHERE"):
        _ = dlt.config["sources.nowhere"]


def environment_of(key: str, hint: Any, pipeline: str | None, *sections: str) -> Any:
    """What the environment says, as dlt asks it."""
    providers = run_context().providers
    return providers["Environment Variables"].get_value(key, hint, pipeline, *sections)[0]
