"""Nchf over TLS: network functions meet a server that proves who it is, and nobody speaks to it otherwise."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.online.world import ALICE, API, PATIENCE_S, TOKEN, World, data_request, running, usage
from trunkline.bootstrap.nchf_port import assert_safe
from trunkline.bootstrap.online import OnlineLife
from trunkline.ports import Refused
from trunkline.settings import Online


class Authority:
    """A certificate authority of tests alone."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make one, with its certificate in a PEM file."""
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(_pem(self._signed(self._name, self._key.public_key(), authority=True)))

    def issue(self, name: str) -> tuple[str, str]:
        """A certificate for this machine, and its key: paths of PEM files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(_pem(self._signed(subject, key.public_key(), authority=False)))
        secret.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))  # fmt: skip
        return str(certificate), str(secret)

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        own = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom everybody trusts."""
    return Authority(tmp_path, "operator")


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> Iterator[World]:
    """A platform that network functions reach by TLS, with certificates of their own."""
    certificate, key = authority.issue("chf")
    settings = Online(
        online_port=-1,
        online_certificate=certificate,
        online_key=key,
        online_clients=str(authority.certificate),
    )
    with running(tmp_path, {ALICE: "1.00"}, settings) as world:
        yield world


def client(world: World, trusted: Authority, shown: tuple[str, str] | None, **more: bool) -> httpx.Client:
    """A network function that trusts an authority and shows a certificate."""
    context = ssl.create_default_context(cafile=str(trusted.certificate))
    if shown is not None:
        context.load_cert_chain(*shown)
    return httpx.Client(
        http1=more.get("http1", False), http2=not more.get("http1", False), base_url=world.life.root, verify=context,
        timeout=PATIENCE_S, headers={"Authorization": f"Bearer {TOKEN}"},
    )  # fmt: skip


REQUEST = data_request(1, multipleUnitUsage=[usage(10, wanted={"totalVolume": 1_000_000})])


@pytest.mark.timeout(600)
def test_quota_is_granted_over_tls(world: World, authority: Authority) -> None:
    """HTTP/2 by ALPN, and the session's address says https."""
    with client(world, authority, authority.issue("smf")) as smf:
        created = smf.post(API, json=REQUEST)
        assert (created.status_code, created.http_version) == (201, "HTTP/2")
        assert created.headers["location"].startswith("https://127.0.0.1:")
        released = smf.post(f"{created.headers['location']}/release", json=data_request(2))
        assert released.status_code == 204


@pytest.mark.timeout(600)
def test_strangers_are_refused(world: World, authority: Authority, tmp_path: Path) -> None:
    """Cleartext, another authority on either side, no certificate, and HTTP/1.1: none of them is answered."""
    other = Authority(tmp_path, "stranger")
    mine = authority.issue("smf")
    with (
        client(world, other, mine) as wrong,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        wrong.post(API, json=REQUEST)
    for shown in (other.issue("rogue"), None):
        with client(world, authority, shown) as rogue, pytest.raises(httpx.TransportError):
            rogue.post(API, json=REQUEST)
    with client(world, authority, mine, http1=True) as old, pytest.raises(httpx.TransportError):
        old.post(API, json=REQUEST)
    plain = httpx.Client(http1=False, http2=True, base_url=world.life.root.replace("https", "http"))
    with plain, pytest.raises(httpx.TransportError):
        plain.post(API, json=REQUEST, headers={"Authorization": f"Bearer {TOKEN}"})
    assert not world.counted, "no request came through"


@pytest.mark.timeout(600)
def test_cleartext_stays_on_this_machine(world: World) -> None:
    """Tokens never travel in the clear."""
    with pytest.raises(Refused, match="TRUNKLINE_ONLINE_CERTIFICATE"):
        OnlineLife(world.platform.engine, world.reader, Online(online_port=-1, online_host="0.0.0.0"), ())


def test_who_comes_early_waits(world: World) -> None:
    """An address that was told takes connections, also before anybody answers."""
    life = OnlineLife(world.platform.engine, world.reader, Online(online_port=-1), ())
    with socket.create_connection(("127.0.0.1", life.port), timeout=PATIENCE_S):
        pass


def test_tls_that_cannot_be_is_refused(authority: Authority, tmp_path: Path) -> None:
    """A certificate that is not there, or another one's key, is said before anybody is let in."""
    certificate, key = authority.issue("chf")
    _, others = authority.issue("another")
    for shown in ((str(tmp_path / "none.crt"), key), (certificate, others)):
        with pytest.raises(Refused, match="cannot be set up"):
            assert_safe(Online(online_port=-1, online_certificate=shown[0], online_key=shown[1]))
