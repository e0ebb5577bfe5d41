"""Who may ask the emulator: tokens and their life, IAM, AK/SK signatures."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest

from ges_emulator import Emulator, Fleet, Request

PROJECT = "0123456789abcdef0123456789abcdef"
PATH = f"/v2/{PROJECT}/graphs/g1/backups"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    fleet = Fleet(PROJECT)
    fleet.add_graph("g1", "orders").add_backup(0, id="b0")
    keys: dict[str, str | tuple[str, str]] = {"AK": "SK", "TEMPORARY": ("SK2", "security-token")}
    with Emulator(fleet, access_keys=keys, users={("acme", "reader"): "geheim"}) as emulator:
        yield emulator


def get(
    emulator: Emulator, headers: dict[str, str], path: str = PATH, query: str = ""
) -> requests.Response:
    return requests.get(emulator.endpoint + path + query, headers=headers, timeout=5)


def outcome(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error_code", "")


def signed_headers(
    emulator: Emulator,
    access_key: str = "AK",
    secret_key: str = "SK",
    security_token: str | None = None,
    query: list[tuple[str, Any]] | None = None,
    **headers: str,
) -> dict[str, str]:
    """Headers as the vendor's own signer makes them."""
    request = SdkRequest(
        method="GET",
        schema="http",
        host=emulator.endpoint.removeprefix("http://"),
        resource_path=PATH,
        query_params=query or [],
        header_params={key.replace("_", "-"): value for key, value in headers.items()},
    )
    credentials = BasicCredentials(access_key, secret_key, PROJECT)
    credentials.with_security_token(security_token)
    return dict(credentials.sign_request(request).header_params)


def ask_for_token(
    emulator: Emulator, password: str = "geheim", project: Any = None
) -> requests.Response:
    user = {"name": "reader", "password": password, "domain": {"name": "acme"}}
    scope = {"project": project or {"id": PROJECT}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": scope}}
    return requests.post(f"{emulator.iam_endpoint}/v3/auth/tokens", json=body, timeout=5)


def test_accepted_token_may_read(emulator: Emulator) -> None:
    assert get(emulator, {"X-Auth-Token": "emulator-token"}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "other"}, {"X-Auth-Token": ""}], ids=str)
def test_missing_or_wrong_token_is_401(emulator: Emulator, headers: dict[str, str]) -> None:
    assert outcome(get(emulator, headers)) == (401, "APIGW.0301")


def test_token_of_another_project_is_ges_0016(emulator: Emulator) -> None:
    emulator.tokens.add("theirs", project_id="another")
    assert outcome(get(emulator, {"X-Auth-Token": "theirs"})) == (403, "GES.0016")
    path = "/v2/another/graphs"
    assert outcome(get(emulator, {"X-Auth-Token": "emulator-token"}, path)) == (403, "GES.0016")


def test_forbidden_graph_is_403_until_allowed(emulator: Emulator) -> None:
    headers = {"X-Auth-Token": "emulator-token"}
    emulator.forbid("g1")
    assert outcome(get(emulator, headers)) == (403, "GES.0016")
    assert get(emulator, headers, f"/v2/{PROJECT}/graphs").status_code == 200
    emulator.allow("g1")
    assert get(emulator, headers).status_code == 200


def test_iam_issues_a_token_that_works_and_says_when_it_expires(emulator: Emulator) -> None:
    answer = ask_for_token(emulator)
    assert answer.status_code == 201
    expires_at = datetime.fromisoformat(answer.json()["token"]["expires_at"])
    assert timedelta(hours=23) < expires_at - datetime.now(UTC) <= timedelta(hours=24)
    token = answer.headers["X-Subject-Token"]
    assert get(emulator, {"X-Auth-Token": token}).status_code == 200
    assert token not in repr(emulator.requests)
    assert emulator.requests[0].endpoint == "tokens"


def test_iam_accepts_a_project_by_name(emulator: Emulator) -> None:
    token = ask_for_token(emulator, project={"name": "eu-west-101"}).headers["X-Subject-Token"]
    assert get(emulator, {"X-Auth-Token": token}).status_code == 200


def test_token_for_another_project_is_refused_where_it_is_used(emulator: Emulator) -> None:
    token = ask_for_token(emulator, project={"id": "another"}).headers["X-Subject-Token"]
    assert outcome(get(emulator, {"X-Auth-Token": token})) == (403, "GES.0016")


def test_wrong_password_is_401(emulator: Emulator) -> None:
    answer = ask_for_token(emulator, password="falsch")
    assert answer.status_code == 401
    assert answer.json()["error"]["title"] == "Unauthorized"
    assert "X-Subject-Token" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"auth": {"identity": []}}'])
def test_malformed_identity_is_400(emulator: Emulator, body: bytes) -> None:
    url = f"{emulator.iam_endpoint}/v3/auth/tokens"
    assert requests.post(url, data=body, timeout=5).status_code == 400


def test_token_ends_at_its_time(emulator: Emulator) -> None:
    emulator.tokens.lifetime = timedelta(seconds=-1)
    token = ask_for_token(emulator).headers["X-Subject-Token"]
    assert outcome(get(emulator, {"X-Auth-Token": token})) == (401, "APIGW.0301")


def test_one_token_or_all_can_be_revoked(emulator: Emulator) -> None:
    token = ask_for_token(emulator).headers["X-Subject-Token"]
    emulator.tokens.revoke(token)
    assert get(emulator, {"X-Auth-Token": token}).status_code == 401
    assert get(emulator, {"X-Auth-Token": "emulator-token"}).status_code == 200
    emulator.revoke_tokens()
    assert get(emulator, {"X-Auth-Token": "emulator-token"}).status_code == 401


def test_hook_can_revoke_in_the_middle_of_a_listing(emulator: Emulator) -> None:
    def revoke(request: Request) -> None:
        if request.query.get("offset"):
            emulator.revoke_tokens()

    emulator.before_answer = revoke
    headers = {"X-Auth-Token": "emulator-token"}
    assert get(emulator, headers).status_code == 200
    assert get(emulator, headers, query="?offset=1").status_code == 401


def test_signature_of_the_vendors_signer_is_accepted(emulator: Emulator) -> None:
    query = [("limit", 5), ("offset", 0), ("name", "a b/ü~")]
    headers = signed_headers(emulator, query=query)
    text = "?offset=0&name=a%20b%2F%C3%BC~&limit=5"
    assert get(emulator, headers, query=text).status_code == 200
    assert emulator.requests[0].has_credentials


def test_temporary_key_needs_its_security_token(emulator: Emulator) -> None:
    good = signed_headers(emulator, "TEMPORARY", "SK2", "security-token")
    assert get(emulator, good).status_code == 200
    for token in (None, "another"):
        bad = signed_headers(emulator, "TEMPORARY", "SK2", token)
        assert outcome(get(emulator, bad)) == (401, "APIGW.0301")


def test_wrong_secret_key_is_refused(emulator: Emulator) -> None:
    headers = signed_headers(emulator, secret_key="SK?")
    assert outcome(get(emulator, headers)) == (401, "APIGW.0301")


def test_unknown_access_key_is_refused(emulator: Emulator) -> None:
    headers = signed_headers(emulator, "NOBODY", "SK")
    assert outcome(get(emulator, headers)) == (401, "APIGW.0301")


def test_signature_covers_the_query(emulator: Emulator) -> None:
    headers = signed_headers(emulator, query=[("offset", 0)])
    assert get(emulator, headers, query="?offset=0").status_code == 200
    assert outcome(get(emulator, headers, query="?offset=1")) == (401, "APIGW.0301")


def test_signature_covers_the_path(emulator: Emulator) -> None:
    headers = signed_headers(emulator)
    assert outcome(get(emulator, headers, f"/v2/{PROJECT}/graphs")) == (401, "APIGW.0301")


@pytest.mark.parametrize("minutes", [-16, 16])
def test_expired_signature_is_refused(emulator: Emulator, minutes: int) -> None:
    stamp = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y%m%dT%H%M%SZ")
    headers = signed_headers(emulator, X_Sdk_Date=stamp)
    assert outcome(get(emulator, headers)) == (401, "APIGW.0301")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer x",
        "SDK-HMAC-SHA256",
        "SDK-HMAC-SHA256 Access=AK, SignedHeaders=host, Signature=0",
    ],
)
def test_malformed_authorization_is_refused(emulator: Emulator, authorization: str) -> None:
    headers = {"Authorization": authorization, "X-Sdk-Date": "now"}
    assert outcome(get(emulator, headers)) == (401, "APIGW.0301")
