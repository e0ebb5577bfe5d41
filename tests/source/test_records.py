"""A record is accepted exactly or rejected whole; unknown fields become columns."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirty import GRAPH, good_record, is_same, lost, naming, pages, unknown_fields, values
from ges_backups.errors import TransientError
from ges_backups.keys import own_key
from ges_backups.listing import Page
from ges_backups.pages import parse_backups
from ges_backups.records import (
    Backup,
    Rows,
    checked_rows,
    fast_rows,
    find_fault,
    is_unfinished,
    load_exact,
    record_of,
    reject,
)
from ges_backups.rows import MAX_UNKNOWN_COLUMNS, OTHER_FIELDS, backups_table, spread
from harness import FIELDS, Row, examples

PATH = "/v2/p/graphs/g1/backups"


def read_fast(rows: list[Any]) -> Rows | None:
    """Rows as records of known fields, if they are."""
    try:
        return fast_rows(msgspec.json.decode(json.dumps(rows), type=list[Backup]), GRAPH)
    except (msgspec.DecodeError, UnicodeError):
        return None


def parse(rows: list[Any]) -> Page[Rows]:
    """A page out of the bytes of an answer."""
    body = json.dumps({"backup_count": len(rows), "backup_list": rows}).encode()
    return parse_backups(body, PATH, 0, GRAPH)


def table_of(page: Page[Rows], known: dict[str, str] | None = None) -> list[Row]:
    """The rows of `ges.backups` that a page gives."""
    table = backups_table([page.rows.batch], "project", known or {}, naming.normalize_identifier)
    return list(table.to_pylist())


def rejected_of(page: Page[Rows]) -> list[Row]:
    """The rejected rows of a page."""
    return [{"reason": one.reason, "record": one.record} for one in page.rows.rejected.values()]


def reason_for(**fields: Any) -> str | None:
    """Why a record with these fields is rejected; a field that is `...` is left out."""
    record = {name: value for name, value in (good_record(1) | fields).items() if value is not ...}
    page = parse([record])
    return page.rows.rejected[0].reason if page.rows.rejected else None


@examples(120)
@given(pages())
def test_every_record_of_a_page_is_accepted_exactly_or_rejected_whole(rows: list[Any]) -> None:
    page = parse(rows)

    assert len(page.keys) == len(set(page.keys)) == len(rows)
    assert all(
        own_key(key) == row["id"]
        for key, row in zip(page.keys, rows, strict=True)
        if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]
    )
    assert lost(rows, table_of(page), rejected_of(page)) == []
    assert page.rows.batch.num_rows + len(page.rows.rejected) == len(rows)


@examples(80)
@given(st.lists(unknown_fields, min_size=1, max_size=6))
def test_regular_rows_are_read_the_same_way_fast_and_one_by_one(extra: list[Row]) -> None:
    rows = [good_record(number) for number in range(len(extra))]

    fast, exact = read_fast(rows), checked_rows(rows, GRAPH)
    assert fast is not None
    assert fast.batch.equals(exact.batch)
    assert list(fast.index) == list(exact.index)
    assert fast.rejected == exact.rejected == {}

    with_extra = [{**row, **more} for row, more in zip(rows, extra, strict=True)]
    assert (read_fast(with_extra) is None) == any(extra)


@examples(100)
@given(pages(most=4))
def test_what_is_read_fast_would_be_accepted_one_by_one(rows: list[Any]) -> None:
    fast = read_fast(rows)

    if fast is not None:
        assert [find_fault(row, GRAPH) for row in rows] == [None] * len(rows)
        assert fast.batch.equals(checked_rows(rows, GRAPH).batch)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": ...}, "it has no id"),
        ({"id": ""}, "it has no id"),
        ({"id": 7}, "id is 7, a number where text was expected"),
        ({"name": ["x"]}, 'name is ["x"], a list where text was expected'),
        ({"name": "a\0b"}, "name holds a NUL character, which no warehouse can keep"),
        ({"name": "\ud800"}, "name holds a broken character (a lone surrogate)"),
        ({"graph_id": "g2"}, 'its graph_id is "g2", but it was listed for g1'),
        ({"start_timestamp": ...}, "start_timestamp is missing: without it the backup has no time"),
        (
            {"start_timestamp": None},
            "start_timestamp is missing: without it the backup has no time",
        ),
        ({"start_timestamp": -1}, "start_timestamp is -1, less than zero"),
        (
            {"end_timestamp": 253_402_300_800_000},
            "end_timestamp is 253402300800000, later than the year 9999 in milliseconds since 1970",
        ),
        ({"size": 1.5}, "size is 1.5, a number where a whole number was expected"),
        ({"size": True}, "size is true, a true or false where a whole number was expected"),
        ({"size": "12abc"}, 'size is "12abc", a text where a whole number was expected'),
        ({"size": 2**63}, "size is 9223372036854775808, more than 64 bits can hold"),
        ({"duration": -5}, "duration is -5, less than zero"),
        ({"id": "x" * 1001}, "id has more than 1,000 bytes, too many for a key"),
        ({"id": "\U0001f600" * 251}, "id has more than 1,000 bytes, too many for a key"),
        ({"encrypted": "true"}, 'encrypted is "true", where true or false was expected'),
        ({"tags": {"a": "\0"}}, 'the field "tags" holds a NUL character'),
        ({"a\0b": 1}, 'the field "a\\u0000b" holds a NUL character'),
        ({"tag": "\udfff"}, 'the field "tag" holds a broken character'),
        ({"start_timestamp": 253_402_300_800_000}, "start_timestamp is 253402300800000, later"),
        ({"start_timestamp": 10**18}, "start_timestamp is 1000000000000000000, later"),
        ({"end_timestamp": -1}, "end_timestamp is -1, less than zero"),
    ],
)
def test_what_does_not_fit_is_rejected_with_a_reason_for_a_person(fields: Row, reason: str) -> None:
    assert (reason_for(**fields) or "").startswith(reason)


@pytest.mark.parametrize(("text", "kept"), [("b1", "b1"), ("b\0", None), (7, None)])
def test_the_id_of_a_rejected_record_is_kept_where_it_is_text(text: Any, kept: str | None) -> None:
    assert reject({"id": text}, GRAPH, "because").backup_id == kept


@pytest.mark.parametrize("asked", [None, "\u00e9" * 501], ids=["project", "graph"])
def test_a_graph_id_that_no_key_can_hold_is_rejected_with_its_record(asked: str | None) -> None:
    record = good_record(1) | {"graph_id": "\u00e9" * 501}
    body = json.dumps({"backup_count": 1, "backup_list": [record]}).encode()
    page = parse_backups(body, PATH, 0, asked)
    assert [one.reason for one in page.rows.rejected.values()] == [
        "graph_id has more than 1,000 bytes, too many for a key"
    ]


def test_an_accepted_row_stands_for_its_record() -> None:
    records = [good_record(1), good_record(2) | {"new": 1.50, "tags": {"a": [1]}}]
    rows = parse(records).rows.batch.to_pylist()
    found = [reject(record_of(row), GRAPH, "because").record for row in rows]
    assert [json.loads(record) for record in found] == records


@pytest.mark.parametrize("row", [None, 7, "text", [], True, 1.5])
def test_a_row_that_is_no_object_is_rejected_whole(row: Any) -> None:
    page = parse([row])
    assert page.rows.rejected[0].reason.endswith("stands where a backup was expected")
    assert json.loads(page.rows.rejected[0].record) == row


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "brand new"},
        {"backup_method": ""},
        {"product_type": "Quantum"},
        {"graph_id": ...},
        {"graph_id": None},
        {"id": "x" * 1000},
        {"id": "\u00e9" * 500},
        {"size": 2**63 - 1},
        {"start_timestamp": 0},
        {"start_timestamp": 1_623_160_513},
        {"end_timestamp": 1},
        {"end_timestamp": None, "end_time": None},
        {"end_timestamp": 253_402_300_799_999},
        {"name": "\U0001f600 \u202e'\"\n\x1b"},
        {"name": "x" * 1_000_000},
        {"name": "\\u0000"},
    ],
    ids=lambda fields: ascii(fields)[:40],
)
def test_what_fits_is_accepted_as_it_is(fields: Row) -> None:
    assert reason_for(**fields) is None


def test_an_id_twice_in_a_page_is_kept_once_and_the_other_version_is_rejected() -> None:
    first, second = good_record(1), {**good_record(1), "size": 99}
    page = parse([first, second, first])

    assert [row["size"] for row in table_of(page)] == [1, 1]
    assert json.loads(page.rows.rejected[1].record) == second
    assert len(set(page.keys)) == 3


@pytest.mark.parametrize("depth", [10, 99, 100, 101, 900, 1100, 200_000])
def test_a_deeply_nested_field_harms_no_other_record(depth: int) -> None:
    deep = json.dumps({**good_record(1), "deep": 0}).replace(
        '"deep": 0', '"deep": ' + "[" * depth + "]" * depth
    )
    body = f'{{"backup_count": 2, "backup_list": [{deep}, {json.dumps(good_record(2))}]}}'
    try:
        page = parse_backups(body.encode(), PATH, 0, GRAPH)
    except TransientError as error:
        assert depth > 900
        assert "nested too deeply" in str(error)  # noqa: PT017, below that depth nothing is raised
        return
    assert [row["id"] for row in table_of(page)][-1] == "dirty2"
    reasons = [one.reason for one in page.rows.rejected.values()]
    assert reasons == ['the field "deep" is nested more than 100 levels deep'] * (depth > 100)


@pytest.mark.parametrize("digits", [19, 40, 400, 4299, 4301, 50_000])
def test_a_number_of_any_length_keeps_its_digits(digits: int) -> None:
    number = "7" * digits
    body = json.dumps({"backup_count": 2, "backup_list": [good_record(1), good_record(2)]})
    body = body.replace('"size": 1', f'"size": {number}').replace('"size": 2', f'"new": {number}')

    page = parse_backups(body.encode(), PATH, 0, GRAPH)

    if digits == 19:
        assert [row["size"] for row in table_of(page)] == [int(number), None]
    else:
        assert number in page.rows.rejected[0].record
        assert [row["new"] for row in table_of(page)] == [number]


@pytest.mark.parametrize(
    ("literal", "kind", "kept"),
    [
        ("1.5", "double", 1.5),
        ("0.1", "double", 0.1),
        ("1e2", "double", 100.0),
        ("0.1000000000000000055511151231257827", "text", "0.1000000000000000055511151231257827"),
        ("1e400", "text", "1e400"),
        ("1e-400", "text", "1e-400"),
        ("-0.0", "double", -0.0),
        ("9007199254740993", "bigint", 9_007_199_254_740_993),
        ("9223372036854775808", "text", "9223372036854775808"),
        ("true", "bool", True),
        ('"x"', "text", "x"),
        ('{"a": 1.10}', "json", '{"a": 1.10}'),
    ],
)
def test_an_unknown_field_has_the_type_that_keeps_it(literal: str, kind: str, kept: Any) -> None:
    def columns_of(known: dict[str, str]) -> dict[str, list[Any]]:
        columns = spread([f'{{"new": {literal}}}'], known, naming.normalize_identifier)
        return {column.name: values.to_pylist() for column, values in columns.items()}

    assert columns_of({}) == {"new": [kept]}
    other = {"text": "bigint", "json": "bigint"}.get(kind, "text")
    assert columns_of({"new": other}) == {f"new__v_{kind}": [kept]}


@examples(80)
@given(
    st.lists(unknown_fields, min_size=1, max_size=5),
    st.dictionaries(
        st.sampled_from("abc"), st.sampled_from(["text", "bigint", "double", "bool", "json"])
    ),
)
def test_every_unknown_value_is_found_again(extra: list[Row], known: dict[str, str]) -> None:
    rows = [{**good_record(number), **more} for number, more in enumerate(extra)]
    page = parse(rows)

    assert lost(rows, table_of(page, known), rejected_of(page)) == []


NUMBERS = ["1", "1.5", "0", "-0.0", "2e0", "9007199254740993", "9223372036854775808", "1e400"]
NUMBERS += ["0e99999999999999999999", "1e-99999999999999999999", "1e99999999999999999999"]
NUMBERS += ["9" * 400 + ".5", "9" * 5000]
literals = st.sampled_from([*NUMBERS, '"a"', '"1"', "true", "null", '{"a": 1.10}', "[1.5]", "[]"])
literal_batches = st.lists(
    st.lists(st.dictionaries(st.sampled_from(["f", "g", "f g"]), literals), min_size=1, max_size=3),
    min_size=1,
    max_size=5,
)


@examples(300)
@given(literal_batches)
def test_a_field_whose_type_differs_from_batch_to_batch_never_clashes(
    batches: list[list[dict[str, str]]],
) -> None:
    types: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    for batch in batches:
        texts = [
            "{" + ", ".join(f'"{name}": {literal}' for name, literal in row.items()) + "}"
            for row in batch
        ]
        columns = spread(list(texts), types, naming.normalize_identifier)
        for column in columns:
            found.setdefault(column.name, set()).add(str(column.type))
            assert column.metadata[b"data_type"].decode() == types[column.name]
        for number, row in enumerate(batch):
            kept = {column.name: values[number].as_py() for column, values in columns.items()}
            others = load_exact(kept.get(OTHER_FIELDS) or "{}")
            told = {name.split("__v_")[0] for name, value in kept.items() if value is not None}
            missed = [
                name
                for name, literal in row.items()
                if literal != "null" and naming.normalize_identifier(name) not in told
            ]
            assert [name for name in missed if name not in others] == []

    assert [name for name, kinds in found.items() if len(kinds) > 1] == []


@pytest.mark.parametrize(
    ("first", "then", "columns"),
    [
        ("1", '"a"', {"new__v_text": "a"}),
        ("1", "1.5", {"new__v_double": 1.5}),
        ("1.5", "1", {"new": 1.0}),
        ('"a"', "1", {"new__v_bigint": 1}),
        ('{"a": 1}', "1.5", {"new": "1.5"}),
        ("1", '{"a": 1}', {"new__v_json": '{"a": 1}'}),
        ("1", "9223372036854775808", {"new__v_text": "9223372036854775808"}),
        ("true", "0e99999999999999999999", {"new__v_text": "0e99999999999999999999"}),
    ],
)
def test_the_type_of_the_first_batch_holds_for_those_to_come(
    first: str, then: str, columns: Row
) -> None:
    types: dict[str, str] = {}
    for literal in (first, then):
        spreaded = spread([f'{{"new": {literal}}}'], types, naming.normalize_identifier)
    assert {column.name: values[0].as_py() for column, values in spreaded.items()} == columns
    assert types.keys() == {"new", *columns}


def test_a_variant_that_another_tool_made_in_another_type_is_left_alone() -> None:
    types = {"new": "bigint", "new__v_text": "timestamp"}
    columns = spread(['{"new": "a"}'], types, naming.normalize_identifier)
    assert {column.name: values[0].as_py() for column, values in columns.items()} == {
        OTHER_FIELDS: '{"new": "a"}'
    }


def test_more_unknown_fields_than_a_table_should_have_go_into_one_column() -> None:
    many = {f"field_{number}": number for number in range(MAX_UNKNOWN_COLUMNS + 50)}
    page = parse([{**good_record(1), **many}])
    row = table_of(page)[0]

    assert len(row) <= MAX_UNKNOWN_COLUMNS + len(FIELDS) + 5
    assert len(json.loads(row[OTHER_FIELDS])) == 50
    known = dict.fromkeys((f"field_{number}" for number in range(MAX_UNKNOWN_COLUMNS)), "bigint")
    later = table_of(parse([{**good_record(2), "yet_another": 1, "field_0": 2}]), known)[0]
    assert (later["field_0"], json.loads(later[OTHER_FIELDS])) == (2, {"yet_another": 1})


@pytest.mark.parametrize(
    ("status", "end", "unfinished"),
    [
        ("backing_up", None, True),
        ("backing_up", 5, True),
        ("success", None, False),
        ("failed", 0, False),
        ("odd", None, True),
        ("odd", 0, True),
        ("odd", 5, False),
        (None, None, True),
    ],
)
def test_a_backup_has_not_ended_until_its_status_or_its_end_says_so(
    status: str | None, end: int | None, unfinished: bool
) -> None:
    assert is_unfinished(status, end) is unfinished


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"<html>",
        b'{"backup_count": 1, "backup_list": [{"id": "a"',
        b'{"backup_count": 1}',
        b'{"backup_list": []}',
        b'{"backup_count": 1, "backup_list": null}',
        b'{"backup_count": 1, "backup_list": {}}',
        b'{"backup_count": null, "backup_list": []}',
        b'{"backup_count": "0", "backup_list": []}',
        b'{"backup_count": -1, "backup_list": []}',
        b'{"backup_count": 9223372036854775808, "backup_list": [{"id": "a"}]}',
        b'{"backup_count": 1' + b"0" * 400 + b', "backup_list": [{"id": "a"}]}',
        b'{"backup_count": true, "backup_list": []}',
        b'{"backup_count": 1.0, "backup_list": []}',
        b'{"backup_count": NaN, "backup_list": []}',
        b'{"backup_count": 1, "backup_list": []}',
        b'{"backup_count": 0, "backup_list": [{}]}',
        b'{"backup_count": 0, "backup_list": []',
        b"\xff\xfe",
        b"[" * 300_000,
    ],
    ids=lambda body: repr(body[:50]),
)
def test_an_answer_that_is_no_page_is_an_error_never_an_empty_account(body: bytes) -> None:
    with pytest.raises(TransientError):
        parse_backups(body, PATH, 0, GRAPH)


@given(values)
def test_the_model_tells_values_apart(value: Any) -> None:
    assert is_same(json.loads(json.dumps(value)), value)
    assert not is_same(object(), value)
