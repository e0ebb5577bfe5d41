"""Writes that are cut short, with the death of their process: see `torn_write.c`."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("torn_write.c")


@pytest.fixture(scope="session")
def torn_write(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that is preloaded."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, which cuts writes short")
    library = tmp_path_factory.mktemp("torn") / "torn_write.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def torn(
    library: Path, nth: int, percent: int, offset: int | None = None, place: str | None = None
) -> dict[str, str]:
    """The environment of a process whose nth write comes through in part only.

    Args:
        library: Of `torn_write`.
        nth: Which write.
        percent: How much of it comes through.
        offset: Count only writes at this offset of a file.
        place: Count only writes to files whose path holds it; default: to DuckDB's files.
    """
    values = {"LD_PRELOAD": library, "TORN_NTH": nth, "TORN_PERCENT": percent}
    values |= {"TORN_OFFSET": offset, "TORN_PLACE": place}
    return {name: str(value) for name, value in values.items() if value is not None}
