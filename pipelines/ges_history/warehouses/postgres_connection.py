"""Connections to a PostgreSQL database, and what its errors mean; nobody else reads its words.

PostgresError        as `DatabaseError`
└── ServerAway       the server does not answer, starts, or is full: waiting may help
"""

import re
from typing import TYPE_CHECKING, Any

import psycopg2

from ges_history.errors import DatabaseError
from ges_history.warehouses.seam import DATASET, Say, quiet
from ges_history.warehouses.waiting import wait_for

if TYPE_CHECKING:
    from dlt.destinations.impl.postgres.configuration import PostgresCredentials

SHOWN = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
CONNECT_SECONDS = 10
RAREST_SECONDS = 8.0
"""Between two tries, at last: a refusal in words that we do not know must not lock a role out."""
KEEP_ALIVE = {
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "40000",
}
"""A host that died without a word is noticed within a minute, by libpq."""
KEPT_ALIVE = {
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "40000",
}
"""And by the server, which gives the lock of such a host free."""
ALWAYS = {"timezone": "UTC", "extra_float_digits": "3", "standard_conforming_strings": "on"}
"""Of each session, whatever the role, the database or the options of a connection set."""
LOCK_SECONDS = 60
"""For how long a load waits for readers, where a table or a view is changed."""

LASTING = ("22", "23", "42", "54")
"""SQLSTATE classes of what is wrong with the data or the tables: trying again cannot help."""
PASSING = ("08", "40", "53", "55", "57", "58")
"""Classes of what may be over soon: the connection, conflicts, resources, locks, operators, disks."""
NO_RIGHT = "42501"
"""A right that is missing can be given: it passes, although it is of class 42."""


class PostgresError(DatabaseError):
    """The database cannot be reached, read or written."""


class ServerAway(PostgresError):
    """The server does not answer; waiting may help."""


class PostgresServer:
    """The database that dlt's configuration names.

    Attributes:
        credentials: dlt's, with what a load needs of a connection where they say nothing of it.
        name: The database, for people; never a secret.

    Raises:
        PostgresError: They are no credentials; the message does not repeat them.
    """

    def __init__(self, destination: str = "postgres") -> None:
        self._variable = f"DESTINATION__{destination.upper()}__CREDENTIALS"
        self.credentials: PostgresCredentials = _resolved(destination, self._variable)
        self.name = f"the PostgreSQL database {self.place}"

    @property
    def place(self) -> str:
        """Server, port and database."""
        known = self.credentials
        return f"{known.host}:{known.port}/{known.database}"

    def connect(self, wait: float = 0.0, say: Say = quiet) -> "psycopg2.extensions.connection":
        """A connection in autocommit; UTC; a server that is away is waited for.

        Each try takes as long as it may; `wait` says for how long there are others.

        Raises:
            PostgresError: The server does not let us in, or did not answer for so long.
        """
        opened: list[Any] = []

        def take() -> str | None:
            try:
                opened.append(psycopg2.connect(**self._arguments()))
            except psycopg2.Error as error:
                explained = self.explain(error)
                if not isinstance(explained, ServerAway):
                    raise explained from None  # the driver's text may repeat what it was given
                return str(explained).rstrip(".")
            return None

        wait_for(take, ServerAway, wait, say, RAREST_SECONDS)
        opened[0].autocommit = True
        return opened[0]

    def _arguments(self) -> dict[str, Any]:
        known = self.credentials
        return {
            **known.get_query(),
            "host": known.host,
            "port": known.port,
            "user": known.username,
            "password": known.password,
            "dbname": known.database,
        }

    def explain(self, error: BaseException) -> PostgresError:
        """What an error of the driver means, in a sentence that holds no secret."""
        code = getattr(error, "pgcode", None)
        if code is None:
            return self._explain_unreached(error)
        reason = self._without_secrets(_first_line(error))
        if code.startswith(("57P", "53")):
            return ServerAway(f"{self._subject} is not available now: {reason}")
        is_lasting = code.startswith(LASTING) and code != NO_RIGHT
        return PostgresError(f"{self._subject} says: {reason}", is_lasting=is_lasting)

    def _explain_unreached(self, error: BaseException) -> PostgresError:
        """There was no answer with a code: the words are libpq's or the server's greeting."""
        text = str(error)
        known = self.credentials
        user, where = known.username, self._subject
        as_written = ", which is taken as it is written" if "%" in str(known.database) else ""
        refusals = {
            "password authentication failed": f"the password of {user} is wrong",
            "no password supplied": f"it wants a password for {user}",
            "role .* does not exist": f"there is no role {user}",
            "database .* does not exist": f"there is no database {known.database}{as_written}",
            "no pg_hba.conf entry": f"it does not let {user} in from this host (pg_hba.conf)",
            "server does not support SSL": "it does not speak TLS, which sslmode asks for",
            "certificate verify failed|root certificate": "its TLS certificate does not hold",
            "permission denied for database": f"{user} may not connect to {known.database}",
            "could not translate host name": f"the name {known.host} is not known",
            "invalid (dsn|connection|percent|port|integer|sslmode|URI)|missing .* in": (
                "an option of the connection is not valid"
            ),
        }
        for words, reason in refusals.items():
            if re.search(words, text):
                return PostgresError(f"{where} cannot be opened: {reason}. Check {self._variable}.")
        reason = self._without_secrets(_first_line(error))
        return ServerAway(f"{where} does not answer: {reason}")

    @property
    def _subject(self) -> str:
        return f"The {self.name.removeprefix('the ')}"

    def _without_secrets(self, text: str) -> str:
        password = self.credentials.password
        return text.replace(password, "***") if password else text


def _resolved(destination: str, variable: str) -> "PostgresCredentials":
    from dlt.common.configuration.exceptions import (  # noqa: PLC0415
        ConfigFieldMissingException,
        ConfigurationException,
    )
    from dlt.destinations import postgres  # noqa: PLC0415 - a second to import
    from dlt.destinations.impl.postgres.configuration import (  # noqa: PLC0415
        PostgresClientConfiguration,
    )

    from ges_history.dlt_environment import sectioned_environment  # noqa: PLC0415

    with sectioned_environment():
        try:
            wanted = PostgresClientConfiguration()._bind_dataset_name(DATASET)
            known = postgres(destination_name=destination)
            credentials = known.configuration(wanted).credentials
        except ConfigFieldMissingException:
            raise PostgresError(f"{variable} is missing, or lacks a part of {SHOWN}.") from None
        except (ConfigurationException, ValueError):
            raise PostgresError(f"{variable} is no connection string like {SHOWN}.") from None
    # What is taken for host and database is of the password.
    if "@" in f"{credentials.host}{credentials.database}":
        raise PostgresError(
            f"{variable} has an @ behind its host: write @ and / in a password as %40 and %2F."
        )
    given = credentials.query or {}
    usual = _options({"lock_timeout": f"{LOCK_SECONDS}s", **KEPT_ALIVE})
    credentials.query = {
        **KEEP_ALIVE,
        "application_name": "ges-backups",
        **given,
        "options": " ".join(filter(None, [usual, given.get("options"), _options(ALWAYS)])),
    }
    credentials.client_encoding = "utf8"
    if "connect_timeout" not in given:
        credentials.connect_timeout = CONNECT_SECONDS
    return credentials


def _options(settings: dict[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
