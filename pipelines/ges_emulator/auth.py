"""Who may ask: IAM tokens, user passwords, and AK/SK signatures that are really computed."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from ges_emulator.replies import Answer, iam_error, other_project, unauthorized

ALGORITHM = "SDK-HMAC-SHA256"
CLOCK_SKEW = timedelta(minutes=15)


@dataclass(frozen=True)
class Incoming:
    """The parts of a request that a credential covers; ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def has_credentials(self) -> bool:
        """Whether a token or a signature came along, good or bad."""
        return "x-auth-token" in self.headers or "authorization" in self.headers


class Tokens:
    """The tokens that are accepted now, each with its project and its end."""

    def __init__(self, accepted: Iterable[str], lifetime: timedelta = timedelta(hours=24)) -> None:
        self.lifetime = lifetime
        self._ends: dict[str, tuple[str | None, datetime | None]] = {}
        for token in accepted:
            self.add(token)

    def add(
        self, token: str, project_id: str | None = None, expires_at: datetime | None = None
    ) -> None:
        """Accept ``token``; for any project unless one is given, for ever unless it expires."""
        self._ends[token] = (project_id, expires_at)

    def issue(self, project_id: str | None) -> tuple[str, datetime]:
        """A new token for ``project_id`` and when it expires."""
        token = f"MII{secrets.token_urlsafe(48)}"
        expires_at = datetime.now(UTC) + self.lifetime
        self.add(token, project_id, expires_at)
        return token, expires_at

    def revoke(self, token: str | None = None) -> None:
        """End one token now; without an argument, all of them."""
        if token is None:
            self._ends.clear()
        else:
            self._ends.pop(token, None)

    def refuse(self, token: str, project_id: str) -> Answer | None:
        """The error for a token that is not good for ``project_id``, None for a good one."""
        scope, expires_at = self._ends.get(token, (None, datetime.min.replace(tzinfo=UTC)))
        if expires_at is not None and expires_at <= datetime.now(UTC):
            return unauthorized("decrypt token fail")
        if scope is not None and scope != project_id:
            return other_project()
        return None


class AccessKeys:
    """Verifies signatures; a value is the secret key, or (secret key, security token)."""

    def __init__(self, keys: Mapping[str, str | tuple[str, str]]) -> None:
        self.keys = dict(keys)

    def refuse(self, incoming: Incoming, project_id: str) -> Answer | None:
        """The error for a signature that is not good, None for a good one."""
        reason = self._reason(incoming)
        if reason is not None:
            return unauthorized(reason)
        if incoming.headers.get("x-project-id", project_id) != project_id:
            return other_project()
        return None

    def _reason(self, incoming: Incoming) -> str | None:
        algorithm, _, parameters = incoming.headers.get("authorization", "").partition(" ")
        given = dict(part.strip().partition("=")[::2] for part in parameters.split(","))
        if algorithm != ALGORITHM or not {"Access", "SignedHeaders", "Signature"} <= given.keys():
            return "the Authorization header is malformed"
        signed_headers = given["SignedHeaders"].split(";")
        if "x-sdk-date" not in signed_headers or not set(signed_headers) <= incoming.headers.keys():
            return "the signed headers are incomplete"
        if not _is_fresh(incoming.headers["x-sdk-date"]):
            return "x-sdk-date is expired"
        key = self.keys.get(given["Access"], "")
        secret_key, security_token = (key, None) if isinstance(key, str) else key
        expected = signature(incoming, signed_headers, secret_key)
        if not key or not hmac.compare_digest(expected, given["Signature"]):
            return "verify aksk signature fail"
        if incoming.headers.get("x-security-token") != security_token:
            return "the security token is missing or wrong"
        return None


def signature(incoming: Incoming, signed_headers: list[str], secret_key: str) -> str:
    """The hexadecimal signature that ``incoming`` has to carry.

    Huawei Cloud's documentation "AK/SK signing and authentication algorithm", written down here
    independently of the vendor's signer.
    """
    path, _, query = incoming.target.partition("?")
    segments = [quote(segment, safe="~") for segment in unquote(path).split("/")]
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    content_hash = incoming.headers.get("x-sdk-content-sha256") if incoming.body else None
    canonical_request = "\n".join(
        [
            incoming.method.upper(),
            "/".join(segments).rstrip("/") + "/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs),
            *[f"{name}:{incoming.headers[name].strip()}" for name in signed_headers],
            "",
            ";".join(signed_headers),
            content_hash or hashlib.sha256(incoming.body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{incoming.headers['x-sdk-date']}\n{digest}"
    return hmac.new(secret_key.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _is_fresh(stamp: str) -> bool:
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(datetime.now(UTC) - at) <= CLOCK_SKEW


class Iam:
    """POST /v3/auth/tokens: user name and password for a token."""

    def __init__(
        self, users: Mapping[tuple[str, str], str], tokens: Tokens, project_id: str
    ) -> None:
        self.users = dict(users)
        self.tokens = tokens
        self.project_id = project_id

    def answer(self, body: Any) -> Answer:
        """201 with the token in X-Subject-Token, 400 for another form, 401 for a wrong password."""
        try:
            identity = body["auth"]["identity"]
            user = identity["password"]["user"]
            name, password = user["name"], user["password"]
            domain = user["domain"]["name"]
            methods, scope = identity["methods"], body["auth"].get("scope", {})
            project = scope.get("project", {})
            project_id = project.get("id", self.project_id if "project" in scope else "no project")
        except (KeyError, TypeError, AttributeError):
            return iam_error(400, "Bad Request", "The request body is invalid.")
        if methods != ["password"]:
            return iam_error(400, "Bad Request", "The identity method is not supported.")
        expected = self.users.get((domain, name))
        if expected is None or not hmac.compare_digest(expected.encode(), str(password).encode()):
            return iam_error(401, "Unauthorized", "The username or password is wrong.")
        token, expires_at = self.tokens.issue(project_id)
        payload = {
            "token": {
                "methods": ["password"],
                "issued_at": _iam_time(datetime.now(UTC)),
                "expires_at": _iam_time(expires_at),
                "user": {"name": name, "domain": {"name": domain}},
                "project": {"id": project_id, "name": project.get("name", "emulator")},
                "roles": [{"id": "0", "name": "ges_readonly"}],
                "catalog": [],
            }
        }
        return Answer(201, payload, headers={"X-Subject-Token": token})


def _iam_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
