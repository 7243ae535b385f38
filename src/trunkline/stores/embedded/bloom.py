"""A blocked Bloom filter over everything a windowed state remembers: one look tells that a key is new.

Nearly every identity is new. One filter in front of all sorted runs, instead of one a run, makes the common answer
cost one cache line however many runs there are. Keys are only ever added; a merge that forgets old rows builds a
fresh filter.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Keys

BITS_A_KEY = 12
_BLOCK_WORDS = 8  # one cache line of 64 octets
_PROBES = 6

Blocks = npt.NDArray[np.uint64]


class Bloom:
    """Says "surely new" or "perhaps seen"; about one new key in two hundred is only perhaps."""

    def __init__(self, keys: int, *, digests: bool = False) -> None:
        """Room for so many keys. Digests choose their block as they are, so that ascending ones walk through it."""
        self._digests = digests
        blocks = max(1, -(-keys * BITS_A_KEY // 512))
        self.room = keys
        self.keys = 0
        self._words: Blocks = np.zeros(blocks * _BLOCK_WORDS, np.uint64)

    @property
    def octets(self) -> int:
        """Memory in use."""
        return self._words.nbytes

    def add(self, keys: Keys) -> None:
        """Remember that these keys were seen."""
        _add(self._words, self._digests, np.ascontiguousarray(keys))
        self.keys += len(keys)

    def perhaps(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """False for keys that were surely never added."""
        answer = np.empty(len(keys), np.bool_)
        _perhaps(self._words, self._digests, np.ascontiguousarray(keys), answer)
        return answer


@nb.njit(nogil=True, cache=True)
def _mixed(key: np.uint64) -> np.uint64:
    key = (key ^ (key >> np.uint64(31))) * np.uint64(0x7FB5D329728EA185)
    return key ^ (key >> np.uint64(27))


@nb.njit(nogil=True, cache=True)
def _block_of(mixed: np.uint64, blocks: int) -> np.int64:
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(blocks)) >> np.uint64(32)) * _BLOCK_WORDS


@nb.njit(nogil=True, cache=True)
def _add(words: Blocks, digests: bool, keys: Keys) -> None:
    blocks = len(words) // _BLOCK_WORDS
    for at in range(len(keys)):
        mixed = _mixed(keys[at])
        block = _block_of(keys[at] if digests else mixed, blocks)
        bits = mixed * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(_PROBES):
            words[block + np.int64(bits >> np.uint64(61))] |= np.uint64(1) << (
                bits >> np.uint64(55) & np.uint64(63)
            )
            bits <<= np.uint64(9)


@nb.njit(nogil=True, cache=True)
def _perhaps(words: Blocks, digests: bool, keys: Keys, answer: npt.NDArray[np.bool_]) -> None:
    blocks = len(words) // _BLOCK_WORDS
    for at in range(len(keys)):
        mixed = _mixed(keys[at])
        block = _block_of(keys[at] if digests else mixed, blocks)
        bits = mixed * np.uint64(0x9E3779B97F4A7C15)
        seen = True
        for _ in range(_PROBES):
            word = words[block + np.int64(bits >> np.uint64(61))]
            if word >> (bits >> np.uint64(55) & np.uint64(63)) & np.uint64(1) == 0:
                seen = False
                break
            bits <<= np.uint64(9)
        answer[at] = seen
