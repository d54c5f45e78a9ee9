"""Fetches over TLS: the certificate must be valid for the name in the URL."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import addresses
from tests.file_server import IMAGE, Server, file_server, get, named, refused

# For images.example, self-signed, valid from 2020 to 2120.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGRbFEoed9I8pluSn
kqzIkEfkg6XGDfr/Idro68n38JuhRANCAARYWdAA7+iUFW2uZvRTQ80L3mGw2hjR
k8ireod3a/WfCeANpAqijVs/VatSFZsXPh7BcyOlybY+ZuQh5t3PWx69
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBgTCCASagAwIBAgIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5pbWFnZXMu
ZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGTEXMBUG
A1UEAwwOaW1hZ2VzLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARY
WdAA7+iUFW2uZvRTQ80L3mGw2hjRk8ireod3a/WfCeANpAqijVs/VatSFZsXPh7B
cyOlybY+ZuQh5t3PWx69o10wWzAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQE
AwIChDAZBgNVHREEEjAQgg5pbWFnZXMuZXhhbXBsZTAdBgNVHQ4EFgQUK+o/Q6U9
CC9+4QMpql/VjAFsxGswCgYIKoZIzj0EAwIDSQAwRgIhANisUuJU8zSMZWcMWzHN
VD2d9N8q34gMzdmretHsIGugAiEAw7rl0b+PG2bVORztVy5FoRQkghnuyFKIdnEv
1KM7q5o=
-----END CERTIFICATE-----
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with file_server() as server:
        yield server


@pytest.fixture
def trusted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The server speaks TLS as images.example and is trusted; yields the server names that clients send."""
    certificate, asked = tmp_path / "certificate.pem", list[str]()
    certificate.write_text(KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    named(monkeypatch, images=[["127.0.0.1"]], other=[["127.0.0.1"]])
    addresses.tls.cache_clear()
    yield asked
    addresses.tls.cache_clear()


def test_tls_verifies_the_name_and_not_the_address(server: Server, trusted: list[str]) -> None:
    url = server.url(host="images.example", scheme="https")
    assert get(url, allowed_hosts=("images.example",)) == IMAGE
    assert trusted == ["images.example"]
    assert server.asked[0][1]["Host"] == f"images.example:{server.server_port}"


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_is_refused(server: Server) -> None:
    message = refused(server.url(host="other.example", scheme="https"), allowed_hosts=("other.example",))
    assert "TLS certificate" in message
    assert not server.asked


@pytest.mark.usefixtures("trusted")
def test_a_certificate_without_a_trusted_signature_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    message = refused(server.url(host="images.example", scheme="https"), allowed_hosts=("images.example",))
    assert "TLS certificate" in message
    assert not server.asked


def test_a_server_without_tls_is_refused(server: Server) -> None:
    assert "TLS" in refused(server.url(scheme="https"))
