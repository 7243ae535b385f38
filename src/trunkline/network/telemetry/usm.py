"""Who sent an SNMPv3 message: the user-based security model (RFC 3414, RFC 7860 for SHA-2, RFC 3826 for AES).

Passwords become keys of one engine here and nowhere else, and stand in no text. A trap's sender is the authority on
its own clock, so a copy of an old message is not told by a clock but by its identity, as every other copy is.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from trunkline.network.telemetry.mapping import User

# Octets of the digest that travel: RFC 3414 6.3.1 and 7.3.1, RFC 7860 4.2.1.
TRUNCATED = {"md5": 12, "sha": 12, "sha224": 16, "sha256": 24, "sha384": 32, "sha512": 48}
PRIVACIES = ("des", "aes")
SHORTEST_PASSWORD = 8  # RFC 3414 11.2
_HASHED = 1 << 20  # octets of the repeated password that are hashed, RFC 3414 A.2
_NAMES = {"sha": "sha1"}


class NotAuthentic(ValueError):
    """The message is not from whom it says; the text repeats nothing secret."""


@lru_cache(maxsize=1024)
def localized_key(auth: str, password: str, engine: bytes) -> bytes:
    """The key of a password at one engine (RFC 3414 A.2)."""
    name = _NAMES.get(auth, auth)
    octets = password.encode()
    repeated = octets * (_HASHED // len(octets) + 1)
    digest = hashlib.new(name, repeated[:_HASHED], usedforsecurity=False).digest()
    return hashlib.new(name, digest + engine + digest, usedforsecurity=False).digest()


def check(user: User, engine: bytes, message: bytes, given: bytes, at: int) -> None:
    """Raise unless the digest `given`, which stands at octet `at` of the message, is the user's."""
    if not user.auth:
        raise NotAuthentic("the user has no authentication")
    length = TRUNCATED[user.auth]
    if len(given) != length:
        raise NotAuthentic("the digest has another length than the user's")
    blank = message[:at] + bytes(length) + message[at + length :]
    key = localized_key(user.auth, user.auth_password, engine)
    right = hmac.new(key, blank, _NAMES.get(user.auth, user.auth)).digest()[:length]
    if not hmac.compare_digest(right, given):
        raise NotAuthentic("the digest is wrong")


def deciphered(user: User, engine: bytes, boots: int, seconds: int, salt: bytes, octets: bytes) -> bytes:
    """The scoped PDU that was enciphered; raises when it cannot be."""
    if not user.privacy:
        raise NotAuthentic("the user has no privacy")
    if len(salt) != 8:
        raise NotAuthentic("the privacy parameters are not 8 octets")
    key = localized_key(user.auth, user.privacy_password, engine)
    if user.privacy == "aes":  # RFC 3826 3.1.2.1: boots, time, salt
        vector = boots.to_bytes(4, "big") + seconds.to_bytes(4, "big") + salt
        decryptor = Cipher(AES(key[:16]), CFB(vector)).decryptor()
    else:  # RFC 3414 8.1.1.1: the pre-IV is the key's second half
        if len(octets) % 8:
            raise NotAuthentic("DES octets are not whole blocks")
        vector = bytes(one ^ two for one, two in zip(key[8:16], salt, strict=True))
        decryptor = Cipher(TripleDES(key[:8] * 3), CBC(vector)).decryptor()
    return decryptor.update(octets) + decryptor.finalize()
