"""A real S3 server on loopback: SeaweedFS, from PyPI, with buckets that last as long as it runs."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import s3fs

KEY = "lake-key"
SECRET = "lake-secret-never-shown"
REGION = "us-east-1"
PREFIX = "DESTINATION__FILESYSTEM__CREDENTIALS__"
START_SECONDS = 60.0
STARTS = 4


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str

    def filesystem(self) -> s3fs.S3FileSystem:
        """A client of it, by another library than the product's writers."""
        return s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            client_kwargs={"endpoint_url": self.endpoint, "region_name": REGION},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def settings(self, url: str) -> dict[str, str]:
        """dlt's configuration of a lake there."""
        return {
            "DESTINATION__FILESYSTEM__BUCKET_URL": url,
            f"{PREFIX}AWS_ACCESS_KEY_ID": KEY,
            f"{PREFIX}AWS_SECRET_ACCESS_KEY": SECRET,
            f"{PREFIX}ENDPOINT_URL": self.endpoint,
            f"{PREFIX}REGION_NAME": REGION,
        }


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Start SeaweedFS in a folder; ended with the block."""
    for again in range(STARTS):
        place = folder / str(again)
        place.mkdir()
        server, process = _start(place)
        try:
            if _answers(server, process):
                yield server
                return
        finally:
            process.kill()
            process.wait()
    raise RuntimeError(f"SeaweedFS does not start: {(place / 'weed.log').read_text()[-2000:]}")


def _start(folder: Path) -> "tuple[S3Server, subprocess.Popen[bytes]]":
    config = folder / "s3.json"
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "tests", "credentials": credentials, "actions": actions}
    config.write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(4)
    names = ("s3.port", "master.port", "volume.port", "filer.port")
    weed = Path(sys.executable).with_name("weed")
    data = folder / "data"
    data.mkdir()
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(weed),
                "server",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                f"-s3.config={config}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=64",
                *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
            ],
            stdout=log,
            stderr=log,
            env=_without_proxies(os.environ),
        )
    return S3Server(f"http://127.0.0.1:{ports[0]}"), process


def _answers(server: S3Server, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the server answers; whether it lives, since another may have taken its ports."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(server.endpoint, timeout=5):
                raise RuntimeError("SeaweedFS lets anybody in")
        except HTTPError:
            server.filesystem().mkdir("lake")
            return True
        except OSError:
            time.sleep(0.3)
    return False


def _free_ports(count: int) -> list[int]:
    """Ports that are free, as are those 10,000 above, which SeaweedFS takes for gRPC."""
    found: list[int] = []
    while len(found) < count:
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if port < 50_000 and port not in found:
            with closing(socket.socket()) as twin:
                try:
                    twin.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
            found.append(port)
    return found


def _without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if "proxy" not in name.lower()}
