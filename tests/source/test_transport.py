"""TLS, proxies and redirects: what is retried, what a certificate lacks, and which way each host is asked."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ges_backups import client as client_module
from ges_backups.client import GesClient
from ges_backups.credentials import GesCredentials
from ges_backups.errors import RequestRefused, SourceDown, TransientError
from ges_emulator import Emulator
from harness import TOKEN, fleet_of

ASK = {"offset": 0, "limit": 10}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of an authority of our own, for 127.0.0.1."""
    pem = tmp_path_factory.mktemp("tls") / "all.pem"
    key = pem.with_name("key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(pem)),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(pem.read_text() + key.read_text())
    return pem


@pytest.fixture
def https(certificate: Path) -> Iterator[Emulator]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Emulator(fleet_of(backups=5), ssl_context=context) as emulator:
        yield emulator


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port whose connections are given to `serve`, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def forward(one: socket.socket, port: int) -> None:
    """Pass bytes both ways until either end closes."""
    with socket.create_connection(("127.0.0.1", port)) as other:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while chunk := source.recv(65536):
                    sink.sendall(chunk)
                sink.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=pump, args=(other, one), daemon=True)
        back.start()
        pump(one, other)
        back.join(5)


def client_of(endpoint: str, project_id: str, request_seconds: float = 5.0) -> GesClient:
    client = GesClient(endpoint, concurrency=2, request_seconds=request_seconds)
    client.authorize(GesCredentials(token=TOKEN), project_id, None)
    return client


def ask(client: GesClient, project_id: str) -> bytes:
    return client.get(f"/v2/{project_id}/graphs/g1/backups", ASK, lambda body: body)


def test_a_handshake_that_is_closed_is_begun_again(
    https: Emulator, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    hellos: list[int] = []

    def serve(connection: socket.socket) -> None:
        hellos.append(1)
        if len(hellos) <= 2:
            connection.recv(4096)  # the client's hello, then an orderly end
            return
        forward(connection, https.port)

    with listening(serve) as port:
        project_id = https.fleet.project_id
        client = client_of(f"https://127.0.0.1:{port}", project_id)
        assert b"g1-b4" in ask(client, project_id)
        client.cancel()
    assert len(hellos) == 3


@pytest.mark.parametrize(
    "serve",
    [lambda c: c.recv(4096), lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
    ids=["closed", "plain http"],
)
def test_a_handshake_that_never_ends_well_is_no_answer_and_no_bad_certificate(
    serve: Callable[[socket.socket], object],
) -> None:
    with (
        listening(serve) as port,
        pytest.raises(
            TransientError, match=r"^no answer: .+ \(/v2/p/graphs/g1/backups\)$"
        ) as raised,
    ):
        ask(client_of(f"https://127.0.0.1:{port}", "p", 1.0), "p")
    assert "certificate" not in str(raised.value)
    assert "_ssl.c" not in str(raised.value)


def test_a_handshake_that_drips_is_given_up_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    started = time.monotonic()
    with listening(drip) as port, pytest.raises(TransientError):
        ask(client_of(f"https://127.0.0.1:{port}", "p", 1.0), "p")
    assert time.monotonic() - started < 3


def redirect(to: str, body: bytes = b"") -> Callable[[socket.socket], object]:
    """Answers each request on a connection of its own with a redirect, its address in latin-1."""
    head = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: {len(body)}\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(head.encode("latin-1") + body)

    return serve


@pytest.mark.parametrize("address", ["http://[bad/", "/login?\xb5\xc7\xc2\xbc"], ids=ascii)
def test_a_redirect_to_what_is_no_address_is_not_followed_like_any_other(address: str) -> None:
    with (
        listening(redirect(address)) as port,
        pytest.raises(RequestRefused, match="redirects, which is not followed"),
    ):
        ask(client_of(f"http://127.0.0.1:{port}", "p"), "p")


def test_the_body_of_a_redirect_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 2**20)
    with (
        listening(redirect("/x", bytes(3 * 2**20))) as port,
        pytest.raises(RequestRefused, match="larger than 1 MiB"),
    ):
        ask(client_of(f"http://127.0.0.1:{port}", "p"), "p")


def test_a_certificate_that_is_not_trusted_is_said_at_once(https: Emulator) -> None:
    started = time.monotonic()
    with pytest.raises(
        SourceDown, match=r"certificate of 127.* does not hold: self.signed certificate \(code 18\)"
    ):
        ask(client_of(https.endpoint, https.fleet.project_id), https.fleet.project_id)
    assert time.monotonic() - started < 2
    assert https.requests == []


def test_a_bundle_that_holds_no_certificates_is_said_before_any_request(
    https: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(SourceDown, match=r"REQUESTS_CA_BUNDLE.*bundle\.pem"):
        client_of(https.endpoint, "p")


@pytest.mark.parametrize("direct", ["ges", "iam"])
def test_each_host_is_asked_the_way_the_environment_says(
    direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private endpoint goes past the proxy, IAM does not; or the other way round."""
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        asked.append(connection.recv(4096).split(b" HTTP")[0])
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "all_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening(refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", f"{direct}.example.invalid")
        client = GesClient("https://ges.example.invalid", concurrency=1, request_seconds=0.5)
        password = GesCredentials(
            username="me",
            password="p",
            domain_name="d",
            iam_endpoint="https://iam.example.invalid",
        )
        client.authorize(password, "p", None)
        with pytest.raises(SourceDown, match="IAM does not answer"):
            ask(client, "p")
        client.authorize(GesCredentials(token=TOKEN), "p", None)
        with pytest.raises(TransientError):
            ask(client, "p")
    proxied = {"ges": b"iam", "iam": b"ges"}[direct]
    assert set(asked) == {b"CONNECT " + proxied + b".example.invalid:443"}


def test_a_proxy_whose_headers_drip_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 10_000:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    monkeypatch.setenv("NO_PROXY", "")
    with listening(drip) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        with pytest.raises(TransientError):
            ask(client_of("https://ges.example.invalid", "p", 1.0), "p")
    assert time.monotonic() - started < 3
