"""What a killed load left of a project: its package is finished first, or set aside, never deleted."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.exceptions import DltException
from dlt.common.schema import Schema
from dlt.common.schema.exceptions import SchemaException
from dlt.common.storages.exceptions import StorageException
from dlt.common.storages.load_package import PackageStorage

from ges_backups.known import Ask
from ges_history.causes import causes, stop_under
from ges_history.warehouses.only_missing import only_missing
from ges_history.warehouses.seam import Say, Warehouse, pipeline_name

KEPT_PACKAGES = 3
HALF_SAVED = re.compile("[0-9a-f]{16}|[0-9a-f]{32}")
"""What dlt calls a file until it is whole."""
BASE = "base.json"
EXTRACTED = Path("normalize", "extracted")
NORMALIZED = Path("load", "normalized")

BROKEN = (
    pa.ArrowInvalid,
    SchemaException,
    StorageException,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What a package raises that is broken itself, before any warehouse is asked."""


class Packages:
    """The packages of one pipeline, in its folder.

    Args:
        warehouse: Where they go.
        project: The project's id.
        say: Takes lines for a person.
    """

    def __init__(self, warehouse: Warehouse, project: str, say: Say) -> None:
        self._warehouse = warehouse
        self._project = project
        self._say = say
        self._folder = warehouse.folder / pipeline_name(project)
        _sweep(self._folder)

    @cached_property
    def pipeline(self) -> dlt.Pipeline:
        """The project's pipeline, made when it is needed; a folder that dlt cannot read is set aside."""
        folder, project = self._folder, self._project
        try:
            pipeline = self._warehouse.pipeline(project)
            pipeline.state  # noqa: B018 - reads the file
        except (ValueError, KeyError, TypeError, AttributeError, DltException) as error:
            if not (folder / "state.json").exists():
                raise
            aside = _set_aside(folder, folder.with_name(f"{folder.name}.aside"))
            self._say(f"The packages in {folder} are broken ({error}): they are kept in {aside}.")
            return self._warehouse.pipeline(project)
        return pipeline

    @property
    def are_pending(self) -> bool:
        """Whether a load was killed that had listed something."""
        is_any = _inside(self._folder / EXTRACTED) or _inside(self._folder / NORMALIZED)
        return bool(is_any and self.pipeline.has_pending_data)

    def fit(self, version: str) -> bool:
        """Whether what is pending was made for what the warehouse holds, or is what it holds in part."""
        pending = (
            *self.pipeline.list_extracted_load_packages(),
            *self.pipeline.list_normalized_load_packages(),
        )
        return version in (self.base, *pending)

    @property
    def base(self) -> str | None:
        """The version that the next package is made for; None where nothing says so."""
        return self._read().get("version")

    def are_older(self, version: str, ask: Ask) -> bool:
        """Whether the warehouse has gone beyond what is pending, which then knows nothing better.

        A copy from before is none such. Versions are times; where a clock was set back, the
        warehouse still has the load that it was made for.
        """
        if self.fit(version):
            return False
        base = self.base or ""
        loads = ask(f"SELECT load_id FROM {{_dlt_loads}} WHERE load_id = '{base}'")
        return version > base or (loads is not None and len(loads) > 0)

    def note(self, version: str | None, *, relist: bool) -> None:
        """Remember what the next package is made for.

        Args:
            version: `Known.version`.
            relist: A package was loaded that was made for another state: until a load is through,
                cursors prove nothing.
        """
        said = {"version": version, "relist": relist}
        if self._read() != said:
            path = Path(self.pipeline.working_dir, BASE)  # dlt empties a folder that it makes
            new = path.with_suffix(".new")
            new.write_text(json.dumps(said))
            new.replace(path)

    @property
    def must_relist(self) -> bool:
        """Whether a load that had to list everything did not come to its end."""
        return bool(self._read().get("relist"))

    def _read(self) -> dict[str, Any]:
        try:
            said = json.loads((self._folder / BASE).read_text())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def finish(self, *, is_older: bool = False) -> list[str]:
        """Load what is pending; what can never be loaded is set aside.

        Args:
            is_older: See `are_older`: only what the warehouse lacks is written.

        Returns:
            The ids of the packages that were loaded.
        """
        self._say("Finishing the load that was interrupted.")
        try:
            self._begin_again()
            self._adopt_schemas()
            with only_missing(self.pipeline.destination, wanted=is_older):
                return self.load()
        except Exception as failed:
            reason = self._lasting_reason(failed)
            if reason is None or stop_under(failed):
                raise
            aside = self._set_pending_aside()
            self._say(
                f"The interrupted load cannot be finished: {reason} Its package is kept in {aside}; "
                "what it held and is still listed is listed again."
            )
            return []

    def _begin_again(self) -> None:
        """All files of the packages once more: the warehouse may be a copy of before they were loaded.

        In a lake the files of a table wait for a reference to them, which alone is loaded.
        """
        for package in _inside(self._folder / NORMALIZED):
            shutil.rmtree(package / PackageStorage.PENDING_TRANSITIONS_FOLDER, ignore_errors=True)
            references = package.glob("*_jobs/*.reference")
            referred = {_table_of(path) for path in references}
            for file in _inside(package / PackageStorage.COMPLETED_JOBS_FOLDER):
                if file.suffix == ".reference" or _table_of(file) not in referred:
                    file.replace(package / PackageStorage.NEW_JOBS_FOLDER / file.name)
            applied = package / PackageStorage.APPLIED_SCHEMA_UPDATES_FILE_NAME
            if applied.exists():
                applied.replace(package / PackageStorage.SCHEMA_UPDATES_FILE_NAME)

    def load(self) -> list[str]:
        """Normalize and load what is pending; the ids of the packages."""
        if not self.pipeline.has_pending_data:
            return []
        if _inside(self._folder / EXTRACTED):
            self.pipeline.normalize()
        pa.default_memory_pool().release_unused()  # the warehouse takes its memory from elsewhere
        loaded = self.pipeline.load(raise_on_failed_jobs=True)
        return list(loaded.loads_ids) if loaded else []

    def _lasting_reason(self, failed: BaseException) -> str | None:
        """Why the package can never be loaded; None where trying again may help, or nobody knows."""
        for cause in causes(failed):
            explained = self._warehouse.explain(cause)
            if isinstance(cause, BROKEN) or explained.is_lasting or self._lacks_a_file(cause):
                text = str(explained)
                return text if text.endswith((".", "!", "?")) else f"{text}."
        return None

    def _lacks_a_file(self, cause: BaseException) -> bool:
        """Whether a file of the package is gone while the folder of the packages is there."""
        if not isinstance(cause, FileNotFoundError) or not cause.filename:
            return False
        return self._folder.is_dir() and Path(cause.filename).is_relative_to(self._folder)

    def _adopt_schemas(self) -> None:
        """Let dlt know the tables of a package that was committed when the process was killed.

        dlt commits a package before its own copy of the schema, and normalizes by the latter.
        """
        pipeline = self.pipeline
        packages = pipeline._get_normalize_storage().extracted_packages
        for load_id in pipeline.list_extracted_load_packages():
            adopt_schema(pipeline, packages.load_schema(load_id))

    def _set_pending_aside(self) -> Path:
        aside = self._folder.with_name(f"{self._folder.name}.aside")
        for place in (EXTRACTED, NORMALIZED):
            for package in _inside(self._folder / place):
                if package.is_dir():
                    aside_now = _set_aside(package, aside)
        return aside_now.parent


def adopt_schema(pipeline: dlt.Pipeline, schema: Schema) -> None:
    """Make a schema the pipeline's own."""
    pipeline.schemas.save_schema(schema)
    if not pipeline.default_schema_name:
        with pipeline.managed_state():
            pipeline.default_schema_name = schema.name  # type: ignore[assignment]


def _table_of(job: Path) -> str:
    return job.name.split(".")[0]


def _set_aside(path: Path, aside: Path) -> Path:
    """Move a folder, never over another one."""
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    to = aside / path.name
    number = 1
    while to.exists():
        number += 1
        to = aside / f"{path.name}-{number}"
    shutil.move(path, to)
    return to


def _sweep(working: Path) -> None:
    """Remove what killed and failed runs left unfinished, and all but the last loaded packages."""
    for packages in (EXTRACTED, NORMALIZED):
        if not (working / packages).is_dir():  # killed while dlt made it: it holds nothing
            shutil.rmtree(working / packages.parent, ignore_errors=True)
    kept = {"extracted", ".version"}
    unfinished = [path for path in _inside(working / "normalize") if path.name not in kept]
    unfinished += _inside(working / "load" / "new")
    loaded = sorted(_inside(working / "load" / "loaded"))[:-KEPT_PACKAGES]
    normalized = {path.name for path in _inside(working / NORMALIZED)}
    extracted = _inside(working / EXTRACTED)
    twice = [path for path in extracted if path.name in normalized]  # dlt would fail on it
    for path in (*unfinished, *loaded, *twice):
        shutil.rmtree(path, ignore_errors=True)
    for path in _files(working):
        if HALF_SAVED.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
