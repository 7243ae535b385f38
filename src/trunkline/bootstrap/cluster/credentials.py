"""Passwords and certificates of the servers on this machine: made once, each in a file that only its owner reads.

They never stand in a command line or in an environment, where other accounts of the machine could read them.
Certificates are of a small authority of the cluster's own (RFC 5280), for 127.0.0.1 and localhost.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS_VALID = 365
CA = "ca.pem"
CA_KEY = "ca.key.pem"


def keep(path: Path, text: str) -> Path:
    """Write a secret (whole, or not at all) so that only its owner reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o711)  # others pass to what is theirs by name, and see no list
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(path)
    return path


def password_file(secrets_folder: Path, name: str) -> Path:
    """The file of a password, made when there is none yet."""
    path = secrets_folder / f"{name}.password"
    return path if path.exists() else keep(path, secrets.token_urlsafe(24))


def password(secrets_folder: Path, name: str) -> str:
    """A password, made when there is none yet."""
    return password_file(secrets_folder, name).read_text("utf-8")


def authority(secrets_folder: Path) -> Path:
    """The certificate of the cluster's own authority, made when there is none yet."""
    path = secrets_folder / CA
    if path.exists():
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("trunkline cluster")
    made = (
        _begun(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    keep(secrets_folder / CA_KEY, _pem(key))
    keep(path, made.public_bytes(Encoding.PEM).decode())
    path.chmod(0o644)  # a certificate is no secret, and every client needs this one
    return path


def issue(secrets_folder: Path, file: str, common_name: str) -> Path:
    """A fresh key with a certificate of the authority, in one PEM file; an earlier one under that name is replaced."""
    issuer = x509.load_pem_x509_certificate(authority(secrets_folder).read_bytes())
    issuer_key = load_pem_private_key((secrets_folder / CA_KEY).read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey), "the authority's key is one of ours"
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = (
        _begun(_name(common_name), issuer.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(uses, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
    chain = made.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM)
    return keep(secrets_folder / file, _pem(key) + chain.decode())


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(now + timedelta(days=DAYS_VALID))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=not signs, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
