"""Settings that nobody reads: a variable with a slip of the pen would else be passed over in silence."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from ges_backups.credentials import GesCredentials
from ges_backups.project import ProjectSettings

PREFIX = "SOURCES__GES_BACKUPS__"
_CREDENTIALS = f"{PREFIX}CREDENTIALS"
_OF_DLT = ("SCHEMA_CONTRACT", "MAX_TABLE_NESTING", "ROOT_KEY", "DATA_WRITER", "BACKUPS", "GRAPHS")
"""What dlt itself reads of a source or of its resources, whatever follows."""


def iter_unknown_settings(variables: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable of the source that means nothing, with what was probably meant."""
    known = [f"{PREFIX}{name.upper()}" for name in ProjectSettings.get_resolvable_fields()]
    known += [f"{_CREDENTIALS}__{name.upper()}" for name in GesCredentials.get_resolvable_fields()]
    known.append(f"{PREFIX}PROJECTS")
    for name in sorted(variables):
        if not name.startswith(PREFIX) or name in known:
            continue
        if name.removeprefix(PREFIX).split("__")[0] in _OF_DLT:
            continue
        close = get_close_matches(name, known, n=1, cutoff=0.8)
        yield f"There is no setting {name}{f'; did you mean {close[0]}?' if close else '.'}"
