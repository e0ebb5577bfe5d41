"""The vendor's SDK as a client of the emulator: what it reads is what we serve."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkges.v2 import (
    GesClient,
    ListBackups2Request,
    ListGraphBackups2Request,
    ListGraphs2Request,
)

from ges_emulator import Emulator, Fault, demo_fleet

# The vendor's HTTP client leaves closing its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    fleet = demo_fleet(now=datetime(2025, 3, 1, tzinfo=UTC))
    keys: dict[str, str | tuple[str, str]] = {"AK": "SK", "TEMPORARY": ("SK2", "security-token")}
    with Emulator(fleet, access_keys=keys) as emulator:
        yield emulator


def client_of(emulator: Emulator, credentials: BasicCredentials | None = None) -> Any:
    credentials = credentials or BasicCredentials("AK", "SK", emulator.fleet.project_id)
    return (
        GesClient.new_builder()
        .with_credentials(credentials)
        .with_endpoint(emulator.endpoint)
        .build()
    )


def served(record: dict[str, Any], model: Any) -> dict[str, Any]:
    """The part of ``record`` that the vendor's ``model`` knows."""
    return {field: record.get(field) for field in model.attribute_map}


def read(model: Any) -> dict[str, Any]:
    return {field: getattr(model, field) for field in model.attribute_map}


def test_graph_backups_read_by_the_vendors_client_are_those_served(emulator: Emulator) -> None:
    client = client_of(emulator)
    for graph in emulator.fleet.graphs[:4]:
        objects: list[Any] = []
        while True:
            request = ListGraphBackups2Request(graph_id=graph.id, offset=len(objects), limit=250)
            answer = client.list_graph_backups2(request)
            assert answer.backup_count == len(graph.backups)
            objects += answer.backup_list
            if not answer.backup_list:
                break
        records = [backup.record for backup in graph.backups]
        assert [read(row) for row in objects] == [
            served(record, row) for record, row in zip(records, objects, strict=True)
        ]


def test_all_backups_read_by_the_vendors_client_include_deleted_graphs(emulator: Emulator) -> None:
    client = client_of(emulator)
    answer = client.list_backups2(ListBackups2Request(offset=0, limit=10_000))
    assert answer.backup_count == len(answer.backup_list)
    deleted = {row.graph_id for row in answer.backup_list if row.graph_status == "400"}
    assert deleted == {graph.id for graph in emulator.fleet.deleted_graphs}


def test_graphs_read_by_the_vendors_client_are_those_served(emulator: Emulator) -> None:
    answer = client_of(emulator).list_graphs2(ListGraphs2Request(limit=100))
    records = [graph.record for graph in emulator.fleet.graphs]
    assert answer.graph_count == len(records)
    assert [read(row) for row in answer.graphs] == [
        served(record, row) for record, row in zip(records, answer.graphs, strict=True)
    ]


def test_defaults_of_the_vendors_client_are_ten_rows_from_the_start(emulator: Emulator) -> None:
    graph = emulator.fleet.graphs[0]
    answer = client_of(emulator).list_graph_backups2(ListGraphBackups2Request(graph_id=graph.id))
    assert [row.id for row in answer.backup_list] == [row.id for row in graph.backups[:10]]


def test_temporary_keys_of_the_vendors_client_are_verified(emulator: Emulator) -> None:
    credentials = BasicCredentials("TEMPORARY", "SK2", emulator.fleet.project_id)
    client = client_of(emulator, credentials.with_security_token("security-token"))
    assert client.list_graphs2(ListGraphs2Request()).graph_count == 12


def test_wrong_key_reads_as_the_gateways_error(emulator: Emulator) -> None:
    client = client_of(emulator, BasicCredentials("AK", "wrong", emulator.fleet.project_id))
    with pytest.raises(ClientRequestException) as caught:
        client.list_graphs2(ListGraphs2Request())
    assert (caught.value.status_code, caught.value.error_code) == (401, "APIGW.0301")


def test_missing_graph_reads_as_the_pages_error(emulator: Emulator) -> None:
    with pytest.raises(ClientRequestException) as caught:
        client_of(emulator).list_graph_backups2(ListGraphBackups2Request(graph_id="no"))
    assert (caught.value.status_code, caught.value.error_code) == (404, "GES.0047")


def test_gzip_reads_the_same(emulator: Emulator) -> None:
    emulator.faults.add(Fault.gzip())
    assert client_of(emulator).list_graphs2(ListGraphs2Request()).graph_count == 12
