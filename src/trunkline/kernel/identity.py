"""Who a record is: digests of (source, record id), of what a record says, and of a session's name.

The digest of bytes is MurmurHash3_x64_128 by Austin Appleby, who placed it in the public domain
(https://github.com/aappleby/smhasher, MurmurHash3.cpp). Its seeds are fixed for ever, because stored
identities were made with them: a record that comes again must get the same 128 bits, in any engine and in
any later version. The digest is not a secret and not a signature; it only has to be free of accidents.

A source's digest is the seed of its record ids', so no separator can be confused with a part of a name.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.dial import to_key
from trunkline.kernel.texts import Octets, Places, Texts, of_series, padded, texts_of_numbers, word_at

Words = npt.NDArray[np.uint64]

SEED = 0x7472756E6B6C696E  # "trunklin"; never to be changed
_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_ADD1, _ADD2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
_F1, _F2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_ALL = np.uint64(2**64 - 1)
_FIVE, _GOLDEN = np.uint64(5), np.uint64(0x9E3779B97F4A7C15)


def digest_of(text: str, seed: tuple[int, int] = (SEED, SEED)) -> tuple[int, int]:
    """The 128-bit digest of one text."""
    octets = text.encode()
    data = padded(octets)
    first, second = digest(data.ctypes.data, 0, len(octets), np.uint64(seed[0]), np.uint64(seed[1]))
    return int(first), int(second)


def identities(source: str | pl.Series | Texts, record_id: pl.Series | Texts) -> tuple[Words, Words]:
    """Both halves of the identity of each record; `source` is one name for all, or a name for each."""
    ids = record_id if isinstance(record_id, Texts) else of_series(record_id)
    first, second = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
    if isinstance(source, str):
        seed = digest_of(source)
        seeds = np.array([seed[0]], np.uint64), np.array([seed[1]], np.uint64)
    else:
        names = source if isinstance(source, Texts) else of_series(source)
        seeds = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
        start = np.array([SEED], np.uint64)
        digest_all(names.data, names.starts, names.lengths, start, start, seeds[0], seeds[1])
    digest_all(ids.data, ids.starts, ids.lengths, seeds[0], seeds[1], first, second)
    return first, second


def identity_of(source: str, record_id: str) -> tuple[int, int]:
    """Both halves of the identity of one record."""
    return digest_of(record_id, digest_of(source))


def session_keys(source: str | pl.Series | Texts, session: pl.Series | Texts) -> Words:
    """The key of each session's state; 0 where there is no session."""
    names = session if isinstance(session, Texts) else of_series(session)
    keys, _ = identities(source, names)
    keys[keys == 0] = 1
    keys[names.lengths <= 0] = 0
    return keys


def name_words(names: pl.Series | Texts) -> Words:
    """The word by which a named thing of the network is known, `digest_of` its name's first half; 0 for no name."""
    texts = names if isinstance(names, Texts) else of_series(names)
    words, second = np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint64)
    start = np.array([SEED], np.uint64)
    digest_all(texts.data, texts.starts, texts.lengths, start, start, words, second)
    words[words == 0] = 1
    words[texts.lengths <= 0] = 0
    return words


def dial_words(series: pl.Series) -> Words:
    """`kernel.dial.to_key` of each text of a column; 0 for null."""
    return dial_words_of(of_series(series))


def dial_words_of(texts: Texts) -> Words:
    """`kernel.dial.to_key` of each text."""
    words = np.empty(len(texts), np.uint64)
    others = np.zeros(len(texts), np.bool_)
    if dial(texts.data, texts.starts, texts.lengths, words, others):
        known: dict[str, int] = {}
        for at in np.flatnonzero(others).tolist():
            text = texts.text(at) or ""
            if text not in known:
                known[text] = to_key(text)
            words[at] = known[text]
    return words


def fold_words(payload: Words, column: int, values: npt.NDArray[np.generic]) -> None:
    """Let the column numbered `column` take part in the payload digests; zeros take no part.

    The parts are added up, so that a column that is absent from a whole batch costs nothing and changes
    nothing, and the digest does not depend on which columns a batch happens to hold.
    """
    fold(payload, np.uint64(column), values.astype(np.uint64, copy=False).view(np.uint64))


def fold_texts(payload: Words, column: int, texts: Texts) -> None:
    """The same for a column of texts; a missing and an empty text are the same."""
    seed = digest_of(str(column))
    fold_digest(texts.data, texts.starts, texts.lengths, np.uint64(seed[0]), np.uint64(seed[1]), payload)


def fold_names(
    payload: Words, column: int, names: Texts, codes: npt.NDArray[np.int64], firsts: npt.NDArray[np.int64]
) -> None:
    """The same for texts that are `numbered`: each different one is digested once."""
    digests = np.zeros(len(firsts), np.uint64)
    fold_texts(digests, column, texts_of_numbers(names, firsts))
    add_chosen(payload, digests, codes)


def finish_payload(payload: Words) -> None:
    """The last mixing of payload digests, once all columns took part."""
    for_each_mix(payload)


@nb.njit(inline="always")
def mix(word: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser."""
    word ^= word >> np.uint64(33)
    word *= _F1
    word ^= word >> np.uint64(33)
    word *= _F2
    word ^= word >> np.uint64(33)
    return word


@nb.njit(inline="always")
def turn(word: np.uint64, bits: int) -> np.uint64:
    """Rotate to the left."""
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@nb.njit(inline="always")
def head_of(word: np.uint64, octets: int) -> np.uint64:
    """The first octets of a word, 1 to 8 of them, the rest 0."""
    return word & (_ALL >> np.uint64(64 - 8 * octets))


@nb.njit(nogil=True, cache=True)
def digest(
    base: int, start: int, length: int, seed1: np.uint64, seed2: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """MurmurHash3_x64_128 of octets behind an address, begun with two seeds instead of one."""
    h1, h2 = seed1, seed2
    at = start
    for _ in range(length >> 4):
        h1 = (turn(h1 ^ turn(word_at(base, at) * _C1, 31) * _C2, 27) + h2) * _FIVE + _ADD1
        h2 = (turn(h2 ^ turn(word_at(base, at + 8) * _C2, 33) * _C1, 31) + h1) * _FIVE + _ADD2
        at += 16
    rest = length & 15
    if rest > 8:
        h2 ^= turn(head_of(word_at(base, at + 8), rest - 8) * _C2, 33) * _C1
    if rest > 0:
        h1 ^= turn(head_of(word_at(base, at), min(rest, 8)) * _C1, 31) * _C2
    h1 ^= np.uint64(length)
    h2 ^= np.uint64(length)
    h1 += h2
    h2 += h1
    h1, h2 = mix(h1), mix(h2)
    h1 += h2
    h2 += h1
    return h1, h2


@nb.njit(nogil=True, cache=True)
def digest_all(
    data: Octets, starts: Places, lengths: Places, seeds1: Words, seeds2: Words, first: Words, second: Words
) -> None:
    """Digest of each text; one seed stands for all, or one for each."""
    base = data.ctypes.data
    each = len(seeds1) > 1
    for i in range(len(starts)):
        s = i if each else 0
        first[i], second[i] = digest(base, starts[i], max(lengths[i], 0), seeds1[s], seeds2[s])


@nb.njit(nogil=True, cache=True)
def fold(payload: Words, column: np.uint64, values: Words) -> None:
    """Add each value's digest, salted with the column's number."""
    salt = mix((column + np.uint64(1)) * _GOLDEN)
    for i in range(len(payload)):
        if values[i] != 0:
            payload[i] += mix(values[i] ^ salt)


@nb.njit(nogil=True, cache=True)
def fold_digest(
    data: Octets, starts: Places, lengths: Places, seed1: np.uint64, seed2: np.uint64, payload: Words
) -> None:
    """Add each text's digest."""
    base = data.ctypes.data
    for i in range(len(starts)):
        if lengths[i] > 0:
            first, _ = digest(base, starts[i], lengths[i], seed1, seed2)
            payload[i] += first


@nb.njit(nogil=True, cache=True)
def add_chosen(payload: Words, digests: Words, codes: npt.NDArray[np.int64]) -> None:
    """Add to each word the digest that its code names."""
    for i in range(len(payload)):
        payload[i] += digests[codes[i]]


@nb.njit(nogil=True, cache=True)
def for_each_mix(words: Words) -> None:
    """Mix every word in place."""
    for i in range(len(words)):
        words[i] = mix(words[i])


@nb.njit(inline="always")
def code_of(octet: int) -> int:
    """The four-bit code of a dialled symbol (see `kernel.dial`); 0 when it is none."""
    if 48 <= octet <= 57:
        return octet - 47
    if octet == 42:
        return 11
    if octet == 35:
        return 12
    if octet == 65:
        return 13
    if octet == 66:
        return 14
    return 0


@nb.njit(nogil=True, cache=True)
def dial(data: Octets, starts: Places, lengths: Places, words: Words, others: npt.NDArray[np.bool_]) -> int:
    """Dial words of numbers; marks the texts that are none and returns how many they are."""
    count = 0
    for i in range(len(starts)):
        word = np.uint64(0)
        length = lengths[i]
        fits = length <= 16
        if fits:
            for k in range(length):
                code = code_of(int(data[starts[i] + k]))
                if code == 0:
                    fits = False
                    break
                word = word << np.uint64(4) | np.uint64(code)
        if fits:
            words[i] = word << np.uint64(4 * (16 - length)) if length > 0 else np.uint64(0)
        else:
            words[i] = 0
            others[i] = True
            count += 1
    return count
