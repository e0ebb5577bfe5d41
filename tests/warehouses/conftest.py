"""A lake in a folder, and one on a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake_place import Place, bucket_place, folder_place
from s3_server import S3Server, running_s3


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def folder_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = folder_place(tmp_path)
    place.enter(monkeypatch)
    return place


@pytest.fixture
def bucket_lake(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = bucket_place(s3, tmp_path)
    place.enter(monkeypatch)
    return place


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_lake")
    return found
