"""``ges-backups notebook``: the trends of chosen graphs, in marimo."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click

import ges_history
from ges_history.commands import options
from ges_history.errors import HistoryError
from ges_history.whole_file import write_whole

NAME = "backup_trends.py"


class MissingMarimoError(HistoryError):
    """The notebook needs packages that are not installed."""


@click.command()
@options.database
@click.option(
    "--destination",
    default="duckdb",
    show_default=True,
    metavar="NAME",
    help="dlt's name of the destination that holds the history.",
)
@click.option(
    "--edit", is_flag=True, help=f"Copy it to {NAME} in this folder, and open that to change it."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it with its charts to FILE.html or FILE.ipynb instead of opening it.",
)
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to serve it on; default: free.")
@click.option("--headless", is_flag=True, help="Serve it without opening a browser.")
def notebook(
    database: Path,
    destination: str,
    edit: bool,
    output: Path | None,
    port: int | None,
    headless: bool,
) -> None:
    """Open the notebook: how chosen graphs grow, slow down and fail."""
    if edit and output:
        raise click.UsageError("--output writes the notebook as it is: leave --edit out.")
    if output and output.suffix.lower() not in (".html", ".ipynb"):
        raise click.UsageError("--output takes a file whose name ends in .html or .ipynb.")
    _require("marimo", *(["nbformat"] if output and output.suffix.lower() == ".ipynb" else []))
    _require_history(database, destination)
    given = ["--", "--database", str(database), "--destination", destination]
    if output:
        with TemporaryDirectory() as folder:
            made = Path(folder) / output.name
            _marimo(*_export(made), str(packaged_notebook()), *given)
            write_whole(output, made.read_bytes())
        click.echo(f"The notebook is in {output}.")
        return
    served = [*(["--port", str(port)] if port else []), *(["--headless"] if headless else [])]
    if edit:
        _marimo("edit", *served, str(_copy_here()), *given)
    else:
        _marimo("run", *served, str(packaged_notebook()), *given)


def packaged_notebook() -> Path:
    """The notebook beside this package, or in `notebooks/` of the clone that it is installed from."""
    package = Path(ges_history.__file__).parent
    beside = package / "notebooks" / NAME
    return beside if beside.exists() else package.parents[1] / "notebooks" / NAME


def _copy_here() -> Path:
    """A copy in the current folder; one that is there is opened as it is."""
    mine = Path(NAME)
    if not mine.exists():
        shutil.copyfile(packaged_notebook(), mine)
    return mine


def _export(output: Path) -> list[str]:
    if output.suffix.lower() == ".html":
        return ["export", "html", "--no-include-code", "--force", "--output", str(output)]
    return ["export", "ipynb", "--include-outputs", "--force", "--output", str(output)]


def _require(*modules: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingMarimoError(
            f"The notebook needs {' and '.join(missing)}:"
            " install what it needs with `pip install 'ges-backup-history[notebook]'`."
        )


def _require_history(database: Path, destination: str) -> None:
    """End with a sentence here, and not in a browser, where there is nothing to show."""
    from ges_history.warehouses import warehouse_for  # noqa: PLC0415

    warehouse_for(database, destination).read("SELECT 1 AS one")


def _marimo(*arguments: str) -> None:
    """Run marimo to its end; its exit code is the command's."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "marimo", *arguments],
        env=os.environ | {"MARIMO_SKIP_UPDATE_CHECK": "1"},
        check=False,
    )
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)
