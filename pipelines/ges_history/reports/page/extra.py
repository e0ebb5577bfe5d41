"""The packages that the page is made with, which an installation without dependencies lacks."""

from importlib.util import find_spec

from ges_history.errors import HistoryError


class MissingExtraError(HistoryError):
    """The page needs packages that are not installed."""


def require_extra() -> None:
    """Refuse to start a page that could not be finished.

    Raises:
        MissingExtraError: the message names the missing packages and how to install them.
    """
    needed = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}
    missing = [name for module, name in needed.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"The page needs {' and '.join(missing)}, which this Python has not:"
            f" pip install {' '.join(missing)}"
        )
