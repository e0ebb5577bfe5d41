"""Environments of their own: a copy of this repository, its packages, and Pythons to put them into."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
MINUTES = 60
NO_DLT_CALLS = {"RUNTIME__DLTHUB_TELEMETRY": "false"}


def run(
    command: list[str], folder: Path, *, seconds: float = 5 * MINUTES, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, in an environment with none of this process's settings.

    Raises:
        AssertionError: It ended with another code than 0; holds what it wrote.
    """
    done = attempt(command, folder, seconds=seconds, **variables)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def attempt(
    command: list[str], folder: Path, *, seconds: float = 5 * MINUTES, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, whatever its exit code."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean(**variables),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def clean(**variables: str) -> dict[str, str]:
    """This process's environment without what concerns Python, dlt or this project."""
    ours = (
        "PYTHON",
        "VIRTUAL_ENV",
        "SOURCES__",
        "DESTINATION__",
        "GES_BACKUPS",
        "COVERAGE",
        "COV_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **NO_DLT_CALLS, **variables}


@dataclass(frozen=True)
class Environment:
    """A Python with packages of its own."""

    folder: Path

    @property
    def python(self) -> str:
        return self.program("python")

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def install(self, *requirements: str) -> None:
        """Install by uv, which takes seconds where pip takes minutes.

        Requirements that begin with a dash are options of ``uv pip install``.
        """
        command = [UV, "pip", "install", "--quiet", "--python", self.python, *requirements]
        run(command, ROOT, seconds=10 * MINUTES)

    def megabytes(self) -> float:
        """What it takes on the disk."""
        files = (path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())
        return sum(files) / 1e6


def make_environment(folder: Path, *requirements: str, python: str = sys.executable) -> Environment:
    """A new environment with these packages."""
    run([UV, "venv", "--quiet", "--python", python, str(folder)], folder.parent)
    environment = Environment(folder)
    if requirements:
        environment.install(*requirements)
    return environment


def copy_repository(folder: Path) -> Path:
    """A clone of this repository as it is now, what is not committed included."""
    listed = run(["git", "ls-files", "-z", "-co", "--exclude-standard"], ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    run(["git", "init", "--quiet"], folder)
    run(["git", "add", "--all"], folder)
    run(["git", *who, "commit", "--quiet", "--message", "As it is"], folder)
    return folder


@dataclass(frozen=True)
class Packages:
    """What is published of a clone."""

    clone: Path
    wheel: Path
    sdist: Path


def build(clone: Path, into: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a clone."""
    run([UV, "build", "--quiet", "--out-dir", str(into), str(clone)], clone)
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return wheel, sdist
