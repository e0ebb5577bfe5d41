"""The packages: built twice the same, installed into an empty environment, run outside of a clone."""

import hashlib
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from environments import (
    UV,
    Environment,
    Packages,
    attempt,
    build,
    clean,
    copy_repository,
    make_environment,
    run,
)
from terminal import in_terminal

pytestmark = pytest.mark.integration

EXTRAS = "aksk,notebook,excel"


@pytest.fixture(scope="module")
def full(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with the extras that the README names first."""
    return make_environment(tmp_path_factory.mktemp("full") / "venv", f"{packages.wheel}[{EXTRAS}]")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def next_steps(printed: str) -> list[str]:
    """The commands that a demo printed."""
    return re.findall(r"^     (\S.*)$", printed[printed.index("What to do now") :], re.MULTILINE)


def test_packages_are_built_twice_the_same(packages: Packages, tmp_path: Path) -> None:
    wheel, sdist = build(packages.clone, tmp_path)
    assert (wheel.name, digest(wheel)) == (packages.wheel.name, digest(packages.wheel))
    assert (sdist.name, digest(sdist)) == (packages.sdist.name, digest(packages.sdist))


def test_sdist_makes_the_same_wheel(packages: Packages, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    run(["tar", "-xf", str(packages.sdist)], folder)
    (unpacked,) = folder.iterdir()
    wheel, _ = build(unpacked, tmp_path / "dist")
    assert digest(wheel) == digest(packages.wheel)


def test_wheel_holds_the_three_packages_and_what_they_read(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "ges_backups",
        "ges_emulator",
        "ges_history",
    }
    for package in ("ges_backups", "ges_emulator", "ges_history"):
        assert f"{package}/py.typed" in names
    assert "ges_history/reports/sql/size_trend.sql" in names
    assert "ges_history/reports/page/assets/page.css" in names


def test_sdist_holds_no_data_and_no_secret(packages: Packages) -> None:
    with tarfile.open(packages.sdist) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith((".duckdb", "secrets.toml"))] == [
        name for name in names if name.endswith("example.secrets.toml")
    ]


def assert_next_steps_work(shown: str, folder: Path, variables: dict[str, str]) -> None:
    """Each command that a demo printed, as printed; the last one asks for settings of one's own."""
    *steps, last = next_steps(shown)
    assert len(steps) >= 4
    for step in steps:
        code, told = in_terminal(step, folder, variables)
        assert code == 0, f"{step}\n{told}"
        assert "Traceback" not in told
    assert (folder / "ges_demo.html").stat().st_size > 500_000
    code, told = in_terminal(last, folder, variables)
    assert code == 1
    assert "SOURCES__GES_BACKUPS__" in told
    assert not (folder / "ges_backups.duckdb").exists()


@pytest.mark.parametrize("kind", ["plain", "full"])
def test_demo_and_each_of_its_next_steps_work_as_printed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environment: Environment = request.getfixturevalue(kind)
    variables = clean(HOME=str(tmp_path))
    code, shown = in_terminal([environment.program("ges-backups"), "demo"], tmp_path, variables)
    assert code == 0, shown
    assert_next_steps_work(shown, tmp_path, variables)


def test_fresh_clone_shows_the_demo_by_make(tmp_path: Path) -> None:
    clone = copy_repository(tmp_path / "clone")
    variables = clean(HOME=str(tmp_path))
    command = ["make", "demo", f"PYTHON={sys.executable}"]
    code, shown = in_terminal(command, clone, variables, seconds=600)
    assert code == 0, shown
    assert_next_steps_work(shown, clone, variables)


def test_demo_runs_again_and_by_the_module(plain: Environment, tmp_path: Path) -> None:
    for _ in range(2):
        done = run([plain.python, "-m", "ges_history", "demo", "--database", "d.duckdb"], tmp_path)
        assert "12 listed" in done.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["report", "size_trend", "--output", "trend.xlsx"], "excel"),
        (["notebook", "--output", "notebook.html"], "notebook"),
    ],
)
def test_what_is_missing_is_named_where_it_really_is(
    words: list[str], extra: str, plain: Environment, tmp_path: Path
) -> None:
    program, where = plain.program("ges-backups"), ["--database", "d.duckdb"]
    run([program, "demo", *where], tmp_path)
    done = attempt([program, *words, *where], tmp_path)
    assert done.returncode in (1, 2)
    assert f"ges-backup-history[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_extras_bring_works(full: Environment, tmp_path: Path) -> None:
    program, where = full.program("ges-backups"), ["--database", "d.duckdb"]
    run([program, "demo", *where], tmp_path)
    run([program, "report", "growth", "--output", "growth.xlsx", *where], tmp_path)
    assert zipfile.is_zipfile(tmp_path / "growth.xlsx")
    run([program, "notebook", "--output", "notebook.ipynb", *where], tmp_path)
    assert '"cells"' in (tmp_path / "notebook.ipynb").read_text()


def test_runs_without_installing(packages: Packages, tmp_path: Path) -> None:
    command = [UV, "tool", "run", "--from", str(packages.wheel), "ges-backups"]
    assert "recovery_point" in run([*command, "reports"], tmp_path).stdout


def test_installs_by_pipx(packages: Packages, tmp_path: Path) -> None:
    pipx = make_environment(tmp_path / "pipx", "pipx[uv]").program("pipx")
    places = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    run([pipx, "install", "--quiet", "--backend", "uv", str(packages.wheel)], tmp_path, **places)
    done = run([str(tmp_path / "bin" / "ges-backups"), "--version"], tmp_path)
    assert packages.wheel.name.split("-")[1] in done.stdout
