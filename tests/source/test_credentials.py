"""The three kinds of credentials: fetched, renewed, signed; a refused one is said in words."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from requests import PreparedRequest, Request

from ges_backups.credentials import GesCredentials, KeyAuth, PasswordToken, TokenAuth
from ges_backups.errors import CredentialsError, SourceDown
from ges_backups.redaction import Secrets
from ges_emulator import Emulator, Fault
from ges_emulator import Request as Asking
from harness import Asked, Warehouse, assert_exact, fill, fleet_of
from ledger import Ledger

KEY = {"ACCESS_KEY", "SECRET_KEY"}
SECRETS = ("my-password", "my-secret-key", "my-security-token", "emulator-token")


def guarded_fleet() -> Emulator:
    """A fleet behind a server that knows one user, one key and one temporary key."""
    return Emulator(
        fleet_of(graphs=3, backups=20),
        users={("my-domain", "me"): "my-password"},
        access_keys={"AK": "my-secret-key", "TEMP": ("my-secret-key", "my-security-token")},
    )


@pytest.fixture
def guarded() -> Iterator[Emulator]:
    with guarded_fleet() as emulator:
        yield emulator


def password(emulator: Emulator, **changes: str) -> dict[str, str]:
    return {
        "username": "me",
        "password": "my-password",
        "domain_name": "my-domain",
        "iam_endpoint": emulator.iam_endpoint,
        **changes,
    }


def key(access_key: str = "AK", **more: str) -> dict[str, str]:
    return {"access_key": access_key, "secret_key": "my-secret-key"} | more


def load(warehouse: Warehouse, emulator: Emulator, credentials: Any, **settings: Any) -> Any:
    return warehouse.load_with(
        project_id=emulator.fleet.project_id,
        endpoint=emulator.endpoint,
        credentials=credentials,
        page_size=5,
        **settings,
    )


def read(ledger: Ledger, emulator: Emulator, credentials: dict[str, str], **settings: Any) -> Any:
    """A load without a warehouse, for what happens between the client and the API."""
    return ledger.load(emulator, credentials=GesCredentials(**credentials), page_size=5, **settings)


def test_a_password_becomes_one_token_for_a_run(guarded: Emulator, warehouse: Warehouse) -> None:
    load(warehouse, guarded, password(guarded))

    assert_exact(warehouse, guarded.fleet)
    assert Asked.of(guarded).count("tokens") == 1


@pytest.mark.parametrize("deaths", [1, 3])
def test_a_token_that_dies_in_the_middle_is_renewed_once_for_each_death(
    guarded: Emulator, ledger: Ledger, deaths: int
) -> None:
    died_at = []

    def kill(request: Asking) -> None:
        taken = sum(one.endpoint == "backups" and one.status == 200 for one in guarded.requests)
        if (
            request.endpoint == "backups"
            and len(died_at) < deaths
            and taken >= 3 * (len(died_at) + 1)
        ):
            died_at.append(taken)
            guarded.revoke_tokens()

    guarded.before_answer = kill
    outcome = read(ledger, guarded, password(guarded))

    assert outcome.exit_code == 0
    assert_exact(ledger, guarded.fleet)
    asked = Asked.of(guarded)
    assert asked.count("tokens") == 1 + deaths
    assert outcome.requests == asked.total - asked.count("tokens")


@pytest.mark.parametrize(
    "credentials",
    [key(), key("TEMP", security_token="my-security-token")],
    ids=["key", "temporary key"],
)
def test_a_key_signs_every_request(
    guarded: Emulator, ledger: Ledger, credentials: dict[str, str]
) -> None:
    read(ledger, guarded, credentials)

    assert_exact(ledger, guarded.fleet)
    assert Asked.of(guarded).count("tokens") == 0


@pytest.mark.parametrize("text", ["emulator-token", '{"token": "emulator-token"}'])
def test_a_plain_text_is_a_token_or_an_object_of_json(
    guarded: Emulator, warehouse: Warehouse, text: str
) -> None:
    load(warehouse, guarded, text)
    assert_exact(warehouse, guarded.fleet)


REFUSED: dict[str, Any] = {
    "wrong token": {"token": "my-password"},
    "wrong password": {"password": "my-secret-key"},
    "wrong domain": {"domain_name": "other"},
    "wrong key": key(secret_key="my-password"),
    "unknown key": key("NOBODY"),
    "temporary key without its token": key("TEMP"),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Warehouse]]:
    """A guarded fleet that was loaded."""
    warehouse = Warehouse(tmp_path_factory.mktemp("loaded") / "history.duckdb")
    with guarded_fleet() as emulator:
        load(warehouse, emulator, {"token": "emulator-token"})
        yield emulator, warehouse


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_credential_ends_the_load_in_words_and_changes_nothing(
    loaded: tuple[Emulator, Warehouse], kind: str
) -> None:
    emulator, warehouse = loaded
    before = warehouse.snapshot()
    credentials = REFUSED[kind]
    if "password" in credentials or "domain_name" in credentials:
        credentials = password(emulator, **credentials)
    asked = Asked(emulator)

    with pytest.raises(CredentialsError) as refused:
        load(warehouse, emulator, credentials)

    assert not any(secret in str(refused.value) for secret in SECRETS)
    assert asked.total <= 4
    assert warehouse.snapshot() == before
    assert_exact(warehouse, emulator.fleet)


def test_an_iam_that_is_down_is_said_so(guarded: Emulator, warehouse: Warehouse) -> None:
    guarded.faults.add(Fault.http(503), times=None, path="tokens")

    with pytest.raises(SourceDown, match="IAM does not answer"):
        load(warehouse, guarded, password(guarded), request_seconds=0.5)
    assert not warehouse.rows("backups")


@pytest.mark.parametrize(
    "fault",
    [Fault.http(503), Fault.throttled(0), Fault.reset_before_answer(), Fault.cut_body()],
    ids=lambda fault: fault.name,
)
def test_an_iam_that_stumbles_is_asked_again(
    guarded: Emulator, ledger: Ledger, fault: Fault
) -> None:
    guarded.faults.add(fault, path="tokens")
    read(ledger, guarded, password(guarded))
    assert_exact(ledger, guarded.fleet)


def refused() -> bool:
    """What the list of graphs says to a token that is dead."""
    return False


@pytest.mark.parametrize("kind", ["password", "token", "key"])
def test_graphs_that_refuse_a_good_credential_are_forbidden_and_cost_no_tokens(
    guarded: Emulator, ledger: Ledger, kind: str
) -> None:
    for number in range(4, 41):
        fill(guarded.fleet.add_graph(f"g{number}"), 2)
    bad = [f"g{number}" for number in range(2, 32)]
    for graph_id in bad:
        guarded.faults.add(Fault.http(401), times=None, graph_id=graph_id)
    credentials = {
        "password": password(guarded),
        "token": {"token": "emulator-token"},
        "key": key(),
    }[kind]

    outcome = read(ledger, guarded, credentials)

    assert outcome.exit_code == 3
    outcomes = ledger.last_outcomes
    assert [graph for graph, what in sorted(outcomes.items()) if what == "forbidden"] == sorted(bad)
    assert {what for graph, what in outcomes.items() if graph not in bad} == {"complete"}
    assert ledger.listings["g2"]["error_code"] == "APIGW.0301"
    assert Asked.of(guarded).count("tokens") <= 1
    assert Asked.of(guarded).count("backups", "g2") == 2


def test_a_token_that_dies_while_a_graph_refuses_is_renewed(
    guarded: Emulator, ledger: Ledger
) -> None:
    guarded.faults.add(Fault.http(401), times=None, graph_id="g2")
    died = []

    def kill(request: Asking) -> None:
        if request.graph_id == "g2" and not died:
            died.append(1)
            guarded.revoke_tokens()

    guarded.before_answer = kill
    read(ledger, guarded, password(guarded))

    assert ledger.last_outcomes == {"g1": "complete", "g2": "forbidden", "g3": "complete"}
    assert Asked.of(guarded).count("tokens") == 2


@pytest.mark.parametrize(
    "fault",
    [Fault.http(503), Fault.http(408), Fault.throttled(0)],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_token_that_dies_while_the_list_of_graphs_stumbles_is_no_good_one(
    guarded: Emulator, ledger: Ledger, fault: Fault, kind: str
) -> None:
    died = []

    def kill(request: Asking) -> None:
        if request.graph_id == "g3" and not died:
            died.append(1)
            guarded.revoke_tokens()
            guarded.faults.add(fault, path="graphs", times=2)

    guarded.before_answer = kill
    if kind == "password":
        read(ledger, guarded, password(guarded), concurrency=1)
        assert_exact(ledger, guarded.fleet)
        assert Asked.of(guarded).count("tokens") == 2
    else:
        with pytest.raises(CredentialsError):
            read(ledger, guarded, {"token": "emulator-token"}, concurrency=1)


def test_an_account_whose_tokens_the_api_refuses_ends_the_load_quickly(
    guarded: Emulator, warehouse: Warehouse
) -> None:
    guarded.before_answer = lambda request: request.endpoint == "tokens" or guarded.revoke_tokens()
    for graph_ids in (None, ["g1", "g2", "g3"]):
        asked = Asked(guarded)
        with pytest.raises(CredentialsError, match="refused the credential"):
            load(warehouse, guarded, password(guarded), graph_ids=graph_ids)
        assert asked.count("tokens") == 3
        assert asked.total <= 20
    assert not warehouse.rows("backups")


@pytest.mark.parametrize(
    ("credentials", "named"),
    [
        ({"token": "old"}, {"TOKEN", "USERNAME", "PASSWORD", "DOMAIN_NAME", *KEY}),
        (key(secret_key="old"), KEY),
        (key("TEMP", security_token="old"), KEY | {"SECURITY_TOKEN"}),
        (None, {"USERNAME", "PASSWORD", "ENDPOINT", "IAM_ENDPOINT"}),
    ],
    ids=["token", "key", "temporary key", "password"],
)
def test_what_is_refused_is_told_by_the_settings_in_use(
    guarded: Emulator, ledger: Ledger, credentials: dict[str, str] | None, named: set[str]
) -> None:
    guarded.before_answer = lambda request: request.endpoint == "tokens" or guarded.revoke_tokens()
    with pytest.raises(CredentialsError) as refused:
        read(ledger, guarded, credentials or password(guarded))
    words = (
        str(refused.value).partition("). ")[2].replace("SOURCES__GES_BACKUPS__CREDENTIALS__", "")
    )
    assert set(re.findall(r"[A-Z_]{5,}", words)) == named
    assert "old" not in words


def test_one_refusal_in_passing_is_asked_again(guarded: Emulator, ledger: Ledger) -> None:
    guarded.faults.add(Fault.http(401), times=1, graph_id="g2")
    read(ledger, guarded, password(guarded))
    assert_exact(ledger, guarded.fleet)


def test_many_threads_that_see_one_death_fetch_one_token() -> None:
    fetched: list[str] = []

    def fetch() -> str:
        fetched.append("t")
        return f"token {len(fetched)}"

    tokens = PasswordToken(fetch)
    dead = tokens.auth()
    tokens.accepted(dead)
    threads = [
        threading.Thread(target=lambda: (tokens.judge(dead, refused), tokens.auth()))
        for _ in "x" * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(fetched) == 2


def test_a_token_that_dies_before_its_first_answer_is_renewed() -> None:
    tokens = PasswordToken(lambda: "token")
    for _ in "many deaths":
        assert tokens.judge(tokens.auth(), refused) == "newer"
        tokens.accepted(tokens.auth())


def test_an_account_whose_tokens_are_all_refused_is_given_up() -> None:
    tokens = PasswordToken(lambda: "token")
    tries = 1
    while tokens.judge(tokens.auth(), refused) == "newer":
        tries += 1
    assert tries == 3
    assert tokens.judge(tokens.auth(), refused) == "dead"


def test_what_signs_a_request_shows_no_secret() -> None:
    request = Request("GET", "http://127.0.0.1/v2/p/graphs?offset=0&limit=1").prepare()
    token = TokenAuth("emulator-token")
    signer = KeyAuth("AK", "my-secret-key", "my-security-token")
    credentials = GesCredentials(token="emulator-token")

    assert token(request).headers["X-Auth-Token"] == "emulator-token"
    signed: PreparedRequest = signer(request)
    assert signed.headers["Authorization"].startswith("SDK-HMAC-SHA256 Access=AK")
    assert signed.headers["X-Security-Token"] == "my-security-token"
    assert "my-secret-key" not in str(signed.headers)
    shown = repr((token, signer, str(credentials)))
    assert not any(secret in shown for secret in SECRETS)


def test_a_secret_is_hidden_in_each_form_in_which_a_server_may_repeat_it() -> None:
    secrets = Secrets()
    secrets.add('p"ss/w + é', "p", None, "")
    for form in ('p"ss/w + é', 'p\\"ss/w + \\u00e9', "p%22ss%2Fw%20%2B%20%C3%A9"):
        assert secrets.hide(f"part [{form}]") == "part [***]"
    secrets.add('p"ss/w + é and more')
    assert secrets.hide('p"ss/w + é and more, p"ss/w + é') == "***, ***"
