"""The three kinds of credentials, and how each signs a request.

A token, or a user name and password that IAM turns into a token, or an access key that signs
every request (``SDK-HMAC-SHA256``). Each becomes a `requests.auth.AuthBase`; sessions never hold it.
"""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from dlt.common.configuration import configspec
from dlt.common.configuration.specs import CredentialsConfiguration
from dlt.common.typing import TSecretStrValue
from requests import PreparedRequest
from requests.auth import AuthBase

from .errors import CredentialsError, SettingsError
from .settings import check_endpoint, region_endpoint

_PREFIX = "SOURCES__GES_BACKUPS__CREDENTIALS__"
MAX_REFUSED_UNUSED = 3

Verdict = Literal["newer", "alive", "dead"]
"""After a 401: there is another credential; this one is taken for other things; there is none."""


class Authorizer:
    """What signs requests; this one signs all of them the same way and cannot be renewed."""

    def __init__(self, auth: AuthBase) -> None:
        self._fixed = auth

    def auth(self) -> AuthBase:
        """What signs the next request."""
        return self._fixed

    def accepted(self, auth: AuthBase) -> None:
        """The API took a request that `auth` signed."""

    def judge(self, refused: AuthBase, is_alive: Callable[[], bool]) -> Verdict:  # noqa: ARG002
        """What a 401 to a request that `refused` signed means; `is_alive` asks for something else."""
        return "alive" if is_alive() else "dead"


@configspec
class GesCredentials(CredentialsConfiguration):
    """A token; or user name, password and domain; or access key and secret key.

    Set in ``[sources.ges_backups.credentials]`` or ``SOURCES__GES_BACKUPS__CREDENTIALS__*``.
    A plain string is taken as a token, or as these fields in a JSON object.
    """

    token: TSecretStrValue | None = None
    username: str | None = None
    password: TSecretStrValue | None = None
    domain_name: str | None = None
    iam_endpoint: str | None = None
    access_key: TSecretStrValue | None = None
    secret_key: TSecretStrValue | None = None
    security_token: TSecretStrValue | None = None

    def parse_native_representation(self, native_value: Any) -> None:
        """Take a plain string as an IAM token, which never begins like a JSON object; or fields."""
        given = native_value
        if isinstance(given, str) and given.lstrip().startswith("{"):
            with suppress(ValueError, RecursionError):
                given = json.loads(given)
        elif isinstance(given, str):
            given = {"token": given}
        if not isinstance(given, Mapping):
            raise SettingsError(
                "credentials must be a token, or its fields as a dictionary or a JSON object "
                f"({_PREFIX.removesuffix('__')})."
            )
        names = self.get_resolvable_fields()
        if not given.keys() <= names.keys():  # what else stands there may be a secret
            raise SettingsError(f"credentials have fields of their own only: {', '.join(names)}.")
        self.update(dict(given))

    def on_resolved(self) -> None:
        """Say what is missing or contradictory, by the names of the settings, before any request."""
        for name in self.get_resolvable_fields():
            if not isinstance(getattr(self, name), str | None):
                raise SettingsError(f"{_PREFIX}{name.upper()} must be text.")
        kinds = {
            "a token": [self.token],
            "a user name and password": [self.username, self.password, self.domain_name],
            "an access key": [self.access_key, self.secret_key, self.security_token],
        }
        given = [kind for kind, values in kinds.items() if any(values)]
        if not given:
            raise SettingsError(
                f"No credentials: set {_PREFIX}TOKEN, or {_PREFIX}USERNAME, PASSWORD and "
                "DOMAIN_NAME, or ACCESS_KEY and SECRET_KEY (environment, or .dlt/secrets.toml)."
            )
        if len(given) > 1:
            raise SettingsError(
                f"Contradictory credentials: {' and '.join(given)} are set; keep one of them "
                f"({_PREFIX}* in the environment, [sources.ges_backups.credentials] in "
                ".dlt/secrets.toml)."
            )
        if self.username or self.password or self.domain_name:
            self._require("username", "password", "domain_name")
        if self.access_key or self.secret_key or self.security_token:
            self._require("access_key", "secret_key")
            import_signer()
        for name in ("token", "access_key", "security_token"):
            if (value := getattr(self, name)) and not _fits_into_a_header(value):
                raise SettingsError(
                    f"{_PREFIX}{name.upper()} holds spaces, line ends or other odd characters."
                )
        if self.iam_endpoint:
            self.iam_endpoint = check_endpoint(self.iam_endpoint, f"{_PREFIX}IAM_ENDPOINT")

    @property
    def remedy(self) -> str:
        """What to do where the API refuses it, by the names of the settings in use."""
        if self.token:
            return (
                f"A token lives 24 hours: set a new one ({_PREFIX}TOKEN), or use USERNAME, "
                "PASSWORD and DOMAIN_NAME, or ACCESS_KEY and SECRET_KEY."
            )
        if self.access_key:
            more = ", SECURITY_TOKEN, which ends after a time," if self.security_token else ""
            return (
                f"Check {_PREFIX}ACCESS_KEY and SECRET_KEY{more} and this machine's clock, whose "
                "time is part of each signature."
            )
        return (
            f"IAM takes {_PREFIX}USERNAME and PASSWORD, the API takes no token that it gives: check "
            "that the user may use this project, and that ENDPOINT and IAM_ENDPOINT are of one "
            "cloud."
        )

    def _require(self, *names: str) -> None:
        missing = [f"{_PREFIX}{name.upper()}" for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(f"Incomplete credentials: {' and '.join(missing)} missing.")

    def iam_url(self, region: str | None) -> str:
        """The IAM base URL: as set, or the region's; raise `SettingsError` where neither is known."""
        if self.iam_endpoint:
            return self.iam_endpoint
        if region:
            return region_endpoint("iam", region)
        raise SettingsError(
            f"No IAM endpoint: set {_PREFIX}IAM_ENDPOINT (https://iam.<region>.myhuaweicloud.com) "
            "or SOURCES__GES_BACKUPS__REGION."
        )


def _fits_into_a_header(value: str) -> bool:
    """What does not is refused here: the error of the library that sends it shows it."""
    return value.isascii() and value.isprintable() and value == value.strip()


class TokenAuth(AuthBase):
    """Sends an IAM token as ``X-Auth-Token``."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token's header."""
        request.headers["X-Auth-Token"] = self._token
        return request


class PasswordToken(Authorizer):
    """An `Authorizer` that fetches a token, keeps it for the run, and fetches another when it dies.

    Args:
        fetch: Asks IAM for a token (facts: a POST to ``/v3/auth/tokens`` answers it in the header
            ``X-Subject-Token``); called by one thread at a time.
    """

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._renewal = threading.Lock()
        self._auth: TokenAuth | None = None
        self._refused_unused = 0

    def auth(self) -> AuthBase:
        """The current token; fetches the first one."""
        with self._lock:
            if self._auth is None:
                self._auth = TokenAuth(self._fetch())
            return self._auth

    def accepted(self, auth: AuthBase) -> None:
        """Remember that the API takes these tokens: a later refusal is a death, not a wrong account."""
        if auth is self._auth:
            self._refused_unused = 0

    def judge(self, refused: AuthBase, is_alive: Callable[[], bool]) -> Verdict:
        """Drop a token that died; "dead" where one after the other is refused and none was taken.

        A token that is taken elsewhere is kept: IAM is not asked for each graph that refuses.
        A single fresh token may die before its first answer has come; a wrong account's all do.
        """
        with self._renewal:
            if refused is not self._auth:
                return "newer"
            if is_alive():
                return "alive"
            self._refused_unused += 1
            if self._refused_unused >= MAX_REFUSED_UNUSED:
                return "dead"
            with self._lock:
                self._auth = None
            return "newer"


class KeyAuth(AuthBase):
    """Signs each request with an access key, through the vendor's own signer."""

    def __init__(self, access_key: str, secret_key: str, security_token: str | None) -> None:
        self._signer_class, self._request_class = import_signer()
        self._key = _Key(access_key, secret_key)
        self._security_token = security_token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add ``X-Sdk-Date``, ``Authorization`` and, with a temporary key, ``X-Security-Token``."""
        url = urlsplit(str(request.url))
        headers = {"Content-Type": "application/json"}
        if self._security_token:
            headers["X-Security-Token"] = self._security_token
        signed = self._signer_class(self._key).sign(
            self._request_class(
                method=str(request.method),
                host=url.netloc,
                resource_path=url.path,
                query_params=parse_qsl(url.query, keep_blank_values=True),
                header_params=headers,
                body="",
            )
        )
        request.headers.update(signed.header_params)
        return request


class _Key:
    def __init__(self, ak: str, sk: str) -> None:
        self.ak = ak
        self.sk = sk


def import_signer() -> tuple[Any, Any]:
    """The vendor's signer and request classes; raise `SettingsError` where the extra is missing."""
    try:
        from huaweicloudsdkcore.sdk_request import SdkRequest  # noqa: PLC0415
        from huaweicloudsdkcore.signer.signer import Signer  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "ACCESS_KEY and SECRET_KEY need the vendor's signer: "
            "pip install 'ges-backup-history[aksk]'."
        ) from error
    return Signer, SdkRequest


def read_token(status: int, token: str | None, error_msg: str | None) -> str:
    """The token out of IAM's answer; raise `CredentialsError` with IAM's own words otherwise."""
    if status == 201 and token:
        return token
    said = f": {error_msg.rstrip('.')}" if error_msg else ""
    raise CredentialsError(
        f"IAM gave no token (HTTP {status}){said}. Check {_PREFIX}USERNAME, PASSWORD and DOMAIN_NAME."
    )
