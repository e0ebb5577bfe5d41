"""What the drivers of a lake say, as sentences."""

import re

from ges_backups.redaction import Secrets
from ges_history.errors import DatabaseError, HistoryError
from ges_history.warehouses.lake_storage import LakeStorage

_SECRET = re.compile(r"(?i)(signature|credential|token|key|secret)[^\s,;&]*=[^\s,;&]+")

_NAMES_A_SECRET = re.compile(r"(?i)key|secret|token|password")

_REFUSED = (
    r"AccessDenied|access denied|InvalidAccessKeyId|SignatureDoesNotMatch"
    r"|\(403\)|status( code)?:? 403\b|(?<![\w/.'\"-])forbidden(?![\w/.'\"-])"
)
"""Not 403 or forbidden anywhere: they may be parts of a path or an id."""


def explain(error: BaseException, lake: LakeStorage) -> HistoryError:
    """An error of deltalake, of the bucket or of DuckDB.

    Args:
        error: The error.
        lake: The lake.
    """
    from deltalake.exceptions import DeltaProtocolError, SchemaMismatchError  # noqa: PLC0415

    if isinstance(error, HistoryError):
        return error
    if isinstance(error, OSError) and _is_elsewhere(error, lake):
        return DatabaseError(f"{error.filename}: {error.strerror}.")
    words = str(error)
    is_lasting = isinstance(error, DeltaProtocolError | SchemaMismatchError)
    return DatabaseError(
        _sentence(words, lake)
        or f"The lake {lake.bucket} says: {_first_line(_hidden(words, lake))}",
        is_lasting=is_lasting,
    )


def _is_elsewhere(error: OSError, lake: LakeStorage) -> bool:
    """Whether it is about a file that is none of the lake's."""
    return bool(error.filename) and not str(error.filename).startswith(lake.bucket)


def _sentence(words: str, lake: LakeStorage) -> str | None:
    """What is wrong, where it is one of the things that go wrong with a bucket."""
    credentials = f"DESTINATION__{lake.destination.upper()}__CREDENTIALS__"
    of_a_bucket = {
        "NoSuchBucket|bucket does not exist": "has no such bucket: make it first",
        _REFUSED: f"refuses these credentials: check {credentials}...",
        "connection refused|error sending request|could not connect|connect timeout": (
            f"does not answer: check {credentials}ENDPOINT_URL, or try again"
        ),
    }
    of_any = {
        "no space left": "has no space left",
        "permission denied": "cannot be written or read: permission denied",
    }
    known = of_any if lake.is_local else of_a_bucket | of_any
    for signs, meaning in known.items():
        if re.search(signs, words, re.IGNORECASE):
            return f"The lake {lake.bucket} {meaning}."
    return None


def _hidden(words: str, lake: LakeStorage) -> str:
    """Without the credentials, which a bucket may repeat."""
    secrets = Secrets()
    secrets.add(*(value for name, value in lake.options.items() if _NAMES_A_SECRET.search(name)))
    return secrets.hide(words)


def _first_line(words: str) -> str:
    line = words.strip().splitlines()[0] if words.strip() else "an error without words"
    return _SECRET.sub(r"\1=...", line)[:300]
