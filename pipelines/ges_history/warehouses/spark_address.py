"""Where a Spark Connect server listens, and what is never shown of it."""

import re
from urllib.parse import unquote

from ges_backups.redaction import Secrets
from ges_history.errors import DatabaseError

_URL = re.compile(
    r"sc://(?P<host>[^][/;:@?#\s]+|\[[0-9a-fA-F:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(/(?P<parameters>(;[^/;=?#\s]+=[^/;=?#\s]*)*))?"
)


class SparkAddress:
    """A server's address; its parameters hold its token, and are shown nowhere.

    Args:
        url: ``sc://HOST:PORT``, with ``/;NAME=VALUE`` for each parameter of Spark Connect.

    Raises:
        DatabaseError: It is none.
    """

    def __init__(self, url: str) -> None:
        found = _URL.fullmatch(url)
        if found is None or int(found["port"] or 0) > 65_535:
            raise DatabaseError(
                "The address of a Spark Connect server must be sc://HOST:PORT, where need be with"
                " /;NAME=VALUE;NAME=VALUE after it (in a value %3D, %2F and %3B stand for = / ;)."
            )
        self.url = url
        self.host = found["host"].strip("[]")
        self.port = int(found["port"] or 15002)
        self._shown = url.partition("/;")[0].rstrip("/")
        self._secrets = Secrets()
        for parameter in (found["parameters"] or "").split(";"):
            value = parameter.partition("=")[2]
            self._secrets.add(value, unquote(value))

    def __str__(self) -> str:
        return self._shown

    def hide(self, words: str) -> str:
        """What Spark says, without the values of the parameters."""
        return self._secrets.hide(words)
