"""Digests are what they were: compared with a plain twin, published values, and the plain dial words."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.dial import to_key
from trunkline.kernel.identity import SEED, dial_words, digest_of, identities, identity_of, session_keys
from trunkline.kernel.texts import of_series

WORD = 2**64 - 1


def rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & WORD


def mixed(word: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ word >> 33) * factor & WORD
    return word ^ word >> 33


def murmur(data: bytes, h1: int, h2: int) -> tuple[int, int]:
    """MurmurHash3_x64_128 as its author wrote it, in plain Python."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        k1, k2 = (int.from_bytes(data[at + k : at + k + 8], "little") for k in (0, 8))
        h1 ^= rotated(k1 * c1 & WORD, 31) * c2 & WORD
        h1 = ((rotated(h1, 27) + h2) * 5 + 0x52DCE729) & WORD
        h2 ^= rotated(k2 * c2 & WORD, 33) * c1 & WORD
        h2 = ((rotated(h2, 31) + h1) * 5 + 0x38495AB5) & WORD
    tail = data[whole:]
    h2 ^= rotated(int.from_bytes(tail[8:], "little") * c2 & WORD, 33) * c1 & WORD
    h1 ^= rotated(int.from_bytes(tail[:8], "little") * c1 & WORD, 31) * c2 & WORD
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = h1 + h2 & WORD
    h2 = h2 + h1 & WORD
    h1, h2 = mixed(h1), mixed(h2)
    h1 = h1 + h2 & WORD
    return h1, h2 + h1 & WORD


def test_published_value() -> None:
    """The digest is the published one, by a value that its users know."""
    assert digest_of("hello", (0, 0)) == (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19)


def test_seed_is_fixed_for_ever() -> None:
    """A changed seed would make every stored identity strange."""
    assert int.from_bytes(b"trunklin", "big") == SEED
    assert digest_of("d0-000001", digest_of("trunkline")) == IDENTITY_OF_THE_FIRST_RECORD
    assert identity_of("trunkline", "d0-000001") == IDENTITY_OF_THE_FIRST_RECORD


IDENTITY_OF_THE_FIRST_RECORD = murmur(b"d0-000001", *murmur(b"trunkline", SEED, SEED))


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=8))
def test_identities_equal_the_plain_twin(names: list[tuple[str, str]]) -> None:
    """Compiled and plain digests agree for any text."""
    source = pl.Series([source for source, _ in names], dtype=pl.String)
    record_id = pl.Series([record for _, record in names], dtype=pl.String)
    first, second = identities(source, record_id)
    expected = [murmur(record.encode(), *murmur(source.encode(), SEED, SEED)) for source, record in names]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected
    for at, (source_name, _) in enumerate(names):
        alone = identities(source_name, record_id[at : at + 1])
        assert (int(alone[0][0]), int(alone[1][0])) == expected[at]


@given(
    st.lists(st.one_of(st.none(), st.text("0123456789*#AB", max_size=17), st.text(max_size=20)), max_size=8)
)
def test_dial_words_equal_the_plain_ones(numbers: list[str | None]) -> None:
    """Compiled and plain dial words agree for any text."""
    words = dial_words(pl.Series(numbers, dtype=pl.String))
    assert words.tolist() == [to_key(number or "") for number in numbers]


def test_sessions_have_keys_and_the_rest_has_none() -> None:
    """The key is 0 exactly where there is no session."""
    keys = session_keys("pgw", of_series(pl.Series(["s1", None, "", "s2", "s1"])))
    assert keys[1] == keys[2] == 0
    assert keys[0] == keys[4] != keys[3]
    assert keys.dtype == np.uint64
