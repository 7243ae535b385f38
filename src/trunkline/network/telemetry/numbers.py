"""Values as they are written become whole thousandths of our unit, exactly or rounded half away from zero.

No float takes part, so that every engine and every machine gets the same number. What has more digits than a
thousandth is rounded here and nowhere else; of what lies behind a thousandth six digits are looked
at, and of any number its first eighteen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.texts import Octets, Places, Texts, of_series

Longs = npt.NDArray[np.int64]
Statuses = npt.NDArray[np.uint8]

THERE, ABSENT, WRONG, TOO_LARGE = 0, 1, 2, 3
LARGEST_FACTOR = 1_000_000  # numerator and denominator
_LARGEST = 2**63 - 1
_DIGITS_BEHIND = (
    6  # digits behind a thousandth that still take part when a factor is applied; later ones are cut
)


def word_list(words: Sequence[str]) -> tuple[Octets, Places]:
    """Texts behind each other, and where each ends."""
    octets = [word.encode() for word in words]
    ends = np.cumsum([len(word) for word in octets]).astype(np.int32)
    return np.frombuffer(b"".join(octets) + b"\0", np.uint8), ends


def thousandths(
    texts: pl.Series | Texts,
    numerators: Longs,
    denominators: Longs,
    empty: Sequence[str] = (),
) -> tuple[Longs, Statuses]:
    """Values of texts times their factors, in thousandths; a status each: THERE, ABSENT, WRONG or TOO_LARGE.

    Factor `i` belongs to text `i`, or repeats when there are fewer factors than texts (one for each column of a
    table whose fields stand row by row). The words of `empty` say that there is no value.
    """
    given = texts if isinstance(texts, Texts) else of_series(texts)
    values, statuses = np.zeros(len(given), np.int64), np.zeros(len(given), np.uint8)
    words, ends = word_list(empty)
    convert(given.data, given.starts, given.lengths, numerators, denominators, words, ends, values, statuses)
    return values, statuses


@nb.njit(nogil=True, cache=True)
def convert(
    data: Octets,
    starts: Places,
    lengths: Places,
    numerators: Longs,
    denominators: Longs,
    words: Octets,
    ends: Places,
    values: Longs,
    statuses: Statuses,
) -> None:
    """The loop behind `thousandths`; also used where fields lie in a table."""
    factors = len(numerators)
    factor = 0
    for i in range(len(starts)):
        start, end = starts[i], starts[i] + max(lengths[i], 0)
        while start < end and data[start] == 32:
            start += 1
        while end > start and data[end - 1] == 32:
            end -= 1
        if start == end:
            statuses[i] = ABSENT
        else:
            values[i], statuses[i] = number(data, start, end, numerators[factor], denominators[factor])
            if statuses[i] == WRONG and is_word(data, start, end, words, ends):
                statuses[i] = ABSENT
        factor += 1
        if factor == factors:
            factor = 0


@nb.njit(nogil=True, cache=True)
def is_word(data: Octets, start: int, end: int, words: Octets, ends: Places) -> bool:
    """Whether a stretch is one of the words."""
    begin = 0
    for k in range(len(ends)):
        if ends[k] - begin == end - start:
            same = True
            for j in range(end - start):
                if data[start + j] != words[begin + j]:
                    same = False
                    break
            if same:
                return True
        begin = ends[k]
    return False


@nb.njit(nogil=True, cache=True)
def number(data: Octets, start: int, end: int, numerator: int, denominator: int) -> tuple[int, int]:
    """A decimal number (sign, digits, point, exponent) times a factor, in thousandths, and its status."""
    at = start
    negative = data[at] == 45
    if negative or data[at] == 43:
        at += 1
    mantissa, seen, behind = nb.int64(0), 0, 0
    exponent = nb.int64(3)
    while at < end:
        octet = data[at]
        if 48 <= octet <= 57:
            seen += 1
            if mantissa < _LARGEST // 10:
                mantissa = mantissa * 10 + nb.int64(octet - 48)
                exponent -= behind
            else:
                exponent += 1 - behind
        elif octet == 46 and behind == 0:
            behind = 1
        else:
            break
        at += 1
    if seen == 0:
        return nb.int64(0), WRONG
    if at < end:
        power, whole = exponent_of(data, at, end)
        if not whole:
            return nb.int64(0), WRONG
        exponent += power
    value, fits = scaled(mantissa, exponent, numerator, denominator)
    if not fits:
        return nb.int64(0), TOO_LARGE
    return -value if negative else value, THERE


@nb.njit(nogil=True, cache=True)
def exponent_of(data: Octets, at: int, end: int) -> tuple[int, bool]:
    """The power behind an `e`, and whether that is what stands there."""
    if data[at] != 101 and data[at] != 69:
        return nb.int64(0), False
    at += 1
    negative = at < end and data[at] == 45
    if negative or (at < end and data[at] == 43):
        at += 1
    if at == end or end - at > 6:
        return nb.int64(0), False
    power = nb.int64(0)
    while at < end:
        if not 48 <= data[at] <= 57:
            return nb.int64(0), False
        power = power * 10 + (data[at] - 48)
        at += 1
    return -power if negative else power, True


@nb.njit(nogil=True, cache=True)
def scaled(mantissa: int, exponent: int, numerator: int, denominator: int) -> tuple[int, bool]:
    """The mantissa * 10**exponent * numerator / denominator, rounded half away from zero, and whether it fits.

    Numerator and denominator are at most a million, so that no product below leaves 64 bits.
    """
    if mantissa == 0:
        return nb.int64(0), True
    while exponent > 0:
        if mantissa > _LARGEST // 10:
            return nb.int64(0), False
        mantissa *= 10
        exponent -= 1
    while exponent < -_DIGITS_BEHIND:
        mantissa //= 10
        exponent += 1
    ten = nb.int64(1)
    for _ in range(-exponent):
        ten *= 10
    whole, part = mantissa // ten, mantissa % ten
    many, few = whole // denominator, whole % denominator
    if many > (_LARGEST - LARGEST_FACTOR - 1) // numerator:
        return nb.int64(0), False
    below = few * numerator * ten + part * numerator
    unit = denominator * ten
    rest = below % unit
    return many * numerator + below // unit + (nb.int64(1) if rest >= unit - rest else nb.int64(0)), True
