"""Errors of the source, one small tree on dlt's exceptions.

    GesError
    ├── SettingsError        a setting is missing, malformed or contradicts another; nothing was sent
    ├── CredentialsError     the credential was refused, or no token could be had for it
    ├── SourceDown           nothing answered for as long as a request may be tried
    └── AnswerError          one answer: status, error code, message, path without its query
        ├── GraphMissing     the graph does not exist or was deleted (404, GES.0047, GES.7000)
        ├── Forbidden        the credential may not see it (403, GES.0016)
        ├── RequestRefused   any other answer that asking again cannot mend
        ├── UnsettledListing a listing moved or contradicted itself at each of several tries
        ├── Unforeseen       anything else that went wrong with one graph, in its own words
        └── TransientError   asking again may mend it: 429, 5xx, resets, cut or malformed bodies

No message holds a token, a header or a whole body.
"""

import traceback
from pathlib import Path

from dlt.common.configuration.exceptions import ConfigurationValueError
from dlt.common.exceptions import DltException, TerminalException, TransientException


class GesError(DltException):
    """Base of all errors of this source."""


class SettingsError(GesError, ConfigurationValueError):
    """A setting is missing, malformed or contradicts another; raised before any request."""


class CredentialsError(GesError, TerminalException):
    """The credential was refused by the API or by IAM.

    Args:
        message: What happened and what to do.
        error_code: The API's code (``APIGW.*``), or None where it gave none.
    """

    def __init__(self, message: str, error_code: str | None = None) -> None:
        super().__init__(message)
        self.error_code = error_code


class SourceDown(GesError, TerminalException):
    """The API gave no usable answer to anything for as long as a request may be tried."""


class AnswerError(GesError):
    """One answer of the API that is not a page.

    Args:
        problem: What happened, in words.
        path: The request's path, without its query.
        status: The HTTP status, or None where no answer came.
        error_code: The API's code (``GES.*`` or ``APIGW.*``), or None where it gave none.
        error_msg: The API's own message, or None.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str,
        status: int | None = None,
        error_code: str | None = None,
        error_msg: str | None = None,
    ) -> None:
        self.problem = problem
        self.path = path
        self.status = status
        self.error_code = error_code
        self.error_msg = error_msg
        said = " ".join(part for part in (error_code, error_msg) if part)
        where = f"{path}, HTTP {status}" if status else path
        super().__init__(f"{problem} ({where})" + (f": {said}" if said else ""))


class GraphMissing(AnswerError, TerminalException):
    """The graph does not exist or has been deleted."""


class Forbidden(AnswerError, TerminalException):
    """The credential is known but may not read this."""


class RequestRefused(AnswerError, TerminalException):
    """The API refused the request, and asking again will not change that."""


class UnsettledListing(AnswerError, TerminalException):
    """A listing moved or contradicted itself at each of several tries; a later load may find it still."""


class Unforeseen(AnswerError, TerminalException):
    """What nobody foresaw happened while one graph was listed; the others are not concerned.

    Args:
        error: What was raised; may be without words of its own.
        path: The path of the graph's listing.
    """

    def __init__(self, error: BaseException, *, path: str) -> None:
        super().__init__(describe(error), path=path, error_code="UNFORESEEN")


class TransientError(AnswerError, TransientException):
    """No answer, or one that asking again may mend.

    Args:
        retry_after: Seconds that the server asked to wait, or None.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str,
        status: int | None = None,
        error_code: str | None = None,
        error_msg: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            problem, path=path, status=status, error_code=error_code, error_msg=error_msg
        )
        self.retry_after = retry_after


def describe(error: BaseException) -> str:
    """What happened, in one line that is never empty: the error's kind, its words, and the place."""
    try:
        words = one_line(str(error), 300)
    except Exception:  # an error that cannot even say what it is
        words = None
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {words}' if words else ''}{place}"


def one_line(text: object, length: int) -> str | None:
    """One printable line of at most `length` characters: others' words must not steer a terminal."""
    if not isinstance(text, str) or not text.strip():
        return None
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
