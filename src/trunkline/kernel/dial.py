"""Numbers as keys: dialled digits, subscriber numbers and identities as order-keeping 64-bit words.

Sixteen symbols of four bits, left aligned, as in the telephony BCD strings of 3GPP TS 29.002 but with the
digits coded 1 to 10, so that a shorter number sorts before its continuations and leading zeros count:

    symbol   (none)  0..9    *   #   A   B   (other)
    code        0    1..10  11  12  13  14   15

All numbers that begin with a prefix are then one range of words, and longest-prefix match is a search in
disjoint ranges. Numbers of up to sixteen symbols are kept exactly. Anything else becomes a 60-bit digest with
the last symbol 15, which no number has, so the two kinds never meet.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

SYMBOLS = "0123456789*#AB"
CODES = {symbol: code for code, symbol in enumerate(SYMBOLS, start=1)}
LONGEST = 16
DIGEST_MARK = 15


def to_key(text: str) -> int:
    """The 64-bit word of a number or an identity; 0 for empty text."""
    if len(text) <= LONGEST and all(symbol in CODES for symbol in text):
        key = 0
        for symbol in text:
            key = key << 4 | CODES[symbol]
        return key << 4 * (LONGEST - len(text))
    digest = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
    return digest >> 4 << 4 | DIGEST_MARK


def to_text(key: int) -> str:
    """The number behind a word; empty for a digest, whose text only the subscriber's own record keeps."""
    if key & 0xF == DIGEST_MARK:
        return ""
    symbols = []
    for at in range(LONGEST - 1, -1, -1):
        code = key >> 4 * at & 0xF
        if code == 0:
            break
        symbols.append(SYMBOLS[code - 1])
    return "".join(symbols)


def to_texts(keys: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """`to_text` of many words at once, as texts of at most sixteen symbols."""
    letters = np.frombuffer(f"\0{SYMBOLS}\0".encode(), np.uint8)
    shifts = np.arange(4 * (LONGEST - 1), -1, -4, dtype=np.uint64)
    codes = (keys[:, np.newaxis] >> shifts) & np.uint64(0xF)
    codes[codes[:, -1] == DIGEST_MARK] = 0
    return letters[codes].view(f"S{LONGEST}")[:, 0].astype(str)


def prefix_range(prefix: str) -> tuple[int, int]:
    """First and last word of the numbers that begin with `prefix` (all words for an empty prefix)."""
    if len(prefix) > LONGEST or any(symbol not in CODES for symbol in prefix):
        raise ValueError(f"not a prefix of digits, * or #: {prefix!r}")
    first = to_key(prefix)
    return first, first + (1 << 4 * (LONGEST - len(prefix))) - 1
