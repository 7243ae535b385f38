"""How a person appears outside: masked numbers for eyes, references for addresses.

A reference is the subscriber's dial word behind a keyed permutation of 64-bit words: it can stand in an
address or a log, means nothing without the key, and leads back to the number only in here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

from trunkline.kernel import dial

HIDDEN = "•"
_REFERENCE = re.compile(r"~[0-9a-f]{16}")
_NUMBER = re.compile(r"[0-9*#AB]{1,16}")
_DIGITS = re.compile(r"\d{7,}")
_ROUNDS = 6


def mask(number: str) -> str:
    """A number with its middle hidden: country and network stay, and the last three digits to tell calls apart."""
    if len(number) <= 5:
        return number
    kept_first, kept_last = (4, 3) if len(number) >= 11 else (2, 2)
    return number[:kept_first] + HIDDEN * (len(number) - kept_first - kept_last) + number[-kept_last:]


def mask_text(text: str) -> str:
    """Text with everything that could be a telephone number masked."""
    return _DIGITS.sub(lambda found: mask(found.group()), text)


def mask_address(address: str) -> str:
    """A mailbox, number or webhook with what is personal in it hidden; a webhook's host stays."""
    if "://" in address:
        scheme, _, rest = address.partition("://")
        return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}/{HIDDEN * 3}"
    name, at, host = address.rpartition("@")
    return f"{name[:1]}{HIDDEN * 3}{at}{host}" if at else mask(address)


@dataclass(frozen=True)
class People:
    """Turns dial words into what callers see, and what callers say into dial words."""

    key: bytes

    def reference(self, word: int) -> str:
        """The reference of a subscriber."""
        left, right = word >> 32, word & 0xFFFFFFFF
        for turn in range(_ROUNDS):
            left, right = right, left ^ self._mix(turn, right)
        return f"~{left:08x}{right:08x}"

    def word(self, said: str) -> int | None:
        """The dial word behind a reference or a number; None when it is neither."""
        if _REFERENCE.fullmatch(said):
            left, right = int(said[1:9], 16), int(said[9:], 16)
            for turn in reversed(range(_ROUNDS)):
                left, right = right ^ self._mix(turn, left), left
            return left << 32 | right
        return number_word(said)

    def show(self, word: int, *, full: bool) -> str:
        """A number for eyes: in full or masked; empty when there is none, the reference when it has no digits."""
        if word == 0:
            return ""
        number = dial.to_text(word) or self.reference(word)
        return number if full or number.startswith("~") else mask(number)

    def _mix(self, turn: int, half: int) -> int:
        said = half.to_bytes(4, "big")
        return int.from_bytes(
            blake2b(said, digest_size=4, key=self.key, person=bytes([turn])).digest(), "big"
        )


def number_word(said: str) -> int | None:
    """The dial word of a number as people write it: +, 00 and separators are understood; None when it is no number."""
    number = re.sub(r"[ ().\-/]", "", said)
    number = number.removeprefix("+")
    number = number.removeprefix("00")
    return dial.to_key(number) if _NUMBER.fullmatch(number) else None
