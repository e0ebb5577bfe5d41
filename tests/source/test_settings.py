"""What is wrong in the settings is said in words, before any request."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ges_backups import settings as source_settings
from ges_backups.errors import SettingsError
from ges_emulator import Emulator
from harness import Asked, Warehouse

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "project of 65 characters": ({"project_id": "a" * 65}, "1 to 64 letters and digits"),
    "project that leaves its segment": ({"project_id": "../.."}, "1 to 64 letters and digits"),
    "project with a line end": ({"project_id": "abc\n"}, "1 to 64 letters and digits"),
    "project that is empty": ({"project_id": ""}, "1 to 64 letters and digits"),
    "graph id with slashes": ({"graph_ids": ["a/../b"]}, "graph id 'a/../b' is not valid"),
    "graph id of dots": ({"graph_ids": [".."]}, "graph id '..' is not valid"),
    "graph id with a query": ({"graph_ids": ["a?limit=1"]}, "is not valid"),
    "graph id that is empty": ({"graph_ids": [""]}, "is not valid"),
    "graph ids as text": ({"graph_ids": "g1"}, "graph_ids must be a list"),
    "no graph ids": ({"graph_ids": []}, "graph_ids is empty"),
    "endpoint that is no URL": ({"endpoint": "not a url"}, "ENDPOINT is not a URL"),
    "endpoint without a host": ({"endpoint": "https://"}, "ENDPOINT is not a URL"),
    "endpoint of another scheme": ({"endpoint": "ftp://host"}, "ENDPOINT is not a URL"),
    "endpoint with a bad port": ({"endpoint": "https://host:99999"}, "ENDPOINT is not a URL"),
    "endpoint with an empty part": ({"endpoint": "https://ges..eu"}, "ENDPOINT is not a URL"),
    "endpoint with a long part": ({"endpoint": f"https://{'a' * 64}.eu"}, "ENDPOINT is not a URL"),
    "endpoint with a wildcard": ({"endpoint": "https://*.eu"}, "ENDPOINT is not a URL"),
    "endpoint with a space": ({"endpoint": "https://ges eu"}, "ENDPOINT is not a URL"),
    "endpoint with a query": ({"endpoint": "https://host/?a=1"}, "ENDPOINT is not a URL"),
    "plain http": ({"endpoint": "http://ges.example.com"}, "plain http"),
    "plain http, like loopback": ({"endpoint": "http://localhost.example.com"}, "plain http"),
    "password in the endpoint": ({"endpoint": "https://me:secret@host"}, "must not hold a user"),
    "no endpoint": ({"endpoint": None}, "No endpoint: set SOURCES__GES_BACKUPS__ENDPOINT"),
    "region that is none": ({"endpoint": None, "region": "eu/../x"}, "region 'eu/../x'"),
    "a token that is a number": ({"credentials": {"token": 5}}, "CREDENTIALS__TOKEN must be text"),
    "a field that credentials lack": (
        {"credentials": {"tokn": "x"}},
        "fields of their own only: token",
    ),
    "the same as JSON": ({"credentials": '{"tokn": "x"}'}, "fields of their own only: token"),
    "half of a JSON object": ({"credentials": '{"token": "x"'}, "or a JSON object"),
    "credentials that are a list": ({"credentials": ["x"]}, "credentials must be a token, or"),
    "page size 0": ({"page_size": 0}, "page_size must be auto or a whole number from 1 to 10000"),
    "page size too large": ({"page_size": 10_001}, "page_size must be auto or a whole number"),
    "concurrency 0": ({"concurrency": 0}, "concurrency must be a whole number from 1 to 64"),
    "concurrency true": ({"concurrency": True}, "concurrency"),
    "interval in words": ({"full_listing_interval": "daily"}, "use 90s, 30m, 24h or 7d"),
    "interval that is negative": ({"full_listing_interval": "-1h"}, "use 90s, 30m, 24h or 7d"),
    "request seconds 0": ({"request_seconds": 0}, "request_seconds"),
    "request seconds not finite": ({"request_seconds": float("nan")}, "request_seconds"),
    "no credentials": ({"credentials": {}}, "No credentials: set"),
    "two kinds of credentials": (
        {"credentials": {"token": "t", "access_key": "a", "secret_key": "s"}},
        "Contradictory credentials: a token and an access key",
    ),
    "half a password": ({"credentials": {"username": "me"}}, "PASSWORD and .*DOMAIN_NAME missing"),
    "half a key": ({"credentials": {"access_key": "a"}}, "SECRET_KEY missing"),
    "token with a line end": ({"credentials": {"token": "abc\n"}}, "odd characters"),
    "token of two lines": ({"credentials": {"token": "ab\ncd"}}, "TOKEN holds.*odd characters"),
    "access key of two lines": (
        {"credentials": {"access_key": "ab\ncd", "secret_key": "s"}},
        "ACCESS_KEY holds.*odd characters",
    ),
    "security token of two lines": (
        {"credentials": {"access_key": "a", "secret_key": "s", "security_token": "ab\ncd"}},
        "SECURITY_TOKEN holds.*odd characters",
    ),
    "token that is blank": ({"credentials": {"token": " "}}, "credentials|odd characters"),
    "password without IAM": (
        {"credentials": {"username": "u", "password": "p", "domain_name": "d"}},
        "No IAM endpoint",
    ),
    "IAM in plain http": (
        {
            "credentials": {
                "username": "u",
                "password": "hidden-password",
                "domain_name": "d",
                "iam_endpoint": "http://iam.example.com",
            }
        },
        "IAM_ENDPOINT uses plain http",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_setting_is_refused_in_words_before_any_request(
    emulator: Emulator, warehouse: Warehouse, kind: str
) -> None:
    wrong, words = WRONG[kind]
    asked = Asked(emulator)
    arguments = {
        "project_id": emulator.fleet.project_id,
        "endpoint": emulator.endpoint,
        "credentials": {"token": "emulator-token"},
        **wrong,
    }

    with pytest.raises(SettingsError, match=words) as refused:
        warehouse.load_with(**arguments)

    assert asked.total == 0
    assert not warehouse.path.exists()
    message = str(refused.value)
    assert "hidden-password" not in message
    assert "secret@" not in message
    assert "\n" not in message.strip()


@pytest.mark.parametrize("missing", ["project_id", "credentials"])
def test_a_setting_that_is_missing_is_named(
    emulator: Emulator, warehouse: Warehouse, missing: str
) -> None:
    arguments = {
        "project_id": emulator.fleet.project_id,
        "endpoint": emulator.endpoint,
        "credentials": {"token": "emulator-token"},
    }
    del arguments[missing]

    with pytest.raises(SettingsError, match=f"SOURCES__GES_BACKUPS__{missing.upper()}"):
        warehouse.load_with(**arguments)


def test_settings_come_from_the_environment(
    emulator: Emulator, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PROJECT_ID": emulator.fleet.project_id,
        "ENDPOINT": emulator.endpoint,
        "CREDENTIALS__TOKEN": "emulator-token",
        "GRAPH_IDS": '["g2"]',
        "PAGE_SIZE": "2",
    }.items():
        monkeypatch.setenv(f"SOURCES__GES_BACKUPS__{name}", value)

    warehouse.load_with()

    assert {row["graph_id"] for row in warehouse.backups.values()} == {"g2"}
    assert {request.query["limit"] for request in emulator.requests} == {2}


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-101", "https://ges.eu-west-101.myhuaweicloud.eu"),
        ("ap-southeast-1", "https://ges.ap-southeast-1.myhuaweicloud.com"),
    ],
)
def test_a_region_gives_its_endpoint(region: str, url: str) -> None:
    assert source_settings.resolve_endpoint(None, region) == url


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:1",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:1",
        "https://h/a/",
    ],
)
def test_a_good_endpoint_passes(endpoint: str) -> None:
    assert source_settings.check_endpoint(endpoint) == endpoint.rstrip("/")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604_800), ("60", 60), (5, 5), ("0s", 0)],
)
def test_intervals(text: str | int, seconds: float) -> None:
    assert source_settings.parse_interval(text) == seconds
    assert source_settings.parse_interval(timedelta(seconds=seconds)) == seconds


@given(
    st.datetimes(
        datetime(1, 1, 3),
        datetime(9999, 12, 29),
        timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=45))]),
    )
)
def test_an_instant_is_the_first_whole_millisecond_not_before_it(instant: datetime) -> None:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    exact = Fraction(since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds)
    stamp = source_settings.to_stamp(instant)
    assert stamp - 1 < exact / 1000 <= stamp
    whole = aware.replace(microsecond=aware.microsecond // 1000 * 1000)
    assert (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=source_settings.to_stamp(whole))
        == whole
    )


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("page_size", 0),
        ("concurrency", 65),
        ("request_seconds", -1),
        ("full_listing_interval", "daily"),
        ("region", "a/b"),
        ("project_id", "?"),
        ("graph_ids", ["?"]),
        ("endpoint", "ftp://h"),
    ],
)
def test_a_wrong_setting_is_told_by_its_variable(
    emulator: Emulator, warehouse: Warehouse, setting: str, wrong: Any
) -> None:
    arguments = {
        "project_id": emulator.fleet.project_id,
        "endpoint": None if setting == "region" else emulator.endpoint,
        "credentials": {"token": "emulator-token"},
        setting: wrong,
    }
    with pytest.raises(SettingsError, match=f"SOURCES__GES_BACKUPS__{setting.upper()}"):
        warehouse.load_with(**arguments)


@pytest.mark.parametrize(
    "check", [source_settings.check_project_id, source_settings.check_endpoint]
)
@given(text=st.text(max_size=80))
def test_no_text_is_let_through_that_could_leave_its_place(
    check: Callable[[str], str], text: str
) -> None:
    try:
        passed = check(text)
    except SettingsError:
        return
    assert passed.isascii() or check is source_settings.check_endpoint
    assert not set(passed) & set("\r\n\t #?@")
