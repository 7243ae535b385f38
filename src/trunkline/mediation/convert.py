"""Texts into whole numbers: quantities, times, telephone numbers, words out of a list.

Every conversion is exact. A converter writes one value a record and says for each whether it was THERE,
ABSENT or WRONG; what that means for the record is decided in `decode`.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.identity import code_of
from trunkline.kernel.texts import Octets, Places, octet_at, turned_round, word_at

Longs = npt.NDArray[np.int64]
Statuses = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

THERE, ABSENT, WRONG, OTHER = 0, 1, 2, 3

EXACT, UP, DOWN, HALF_UP = 0, 1, 2, 3

_HIGHEST = 2**62
_MOST_DECIMALS = 9


_ZEROS, _PAST_NINE = np.uint64(0x3030303030303030), np.uint64(0x7676767676767676)
_HIGHS, _ONES = np.uint64(0x8080808080808080), np.uint64(0x0101010101010101)
_PAIRS, _FOURS = np.uint64(0x000000FF000000FF), np.uint64(0x0000FFFF0000FFFF)
_TWOS = np.uint64(0x00FF00FF00FF00FF)
_TENS, _HUNDREDS, _UNITS = np.uint64(10), np.uint64(100 + (1_000_000 << 32)), np.uint64(1 + (10_000 << 32))


@nb.njit(inline="always")
def digits_of(base: int, at: int, length: int) -> np.uint64:
    """One to eight digits as a word of their values, the last one in the highest octet, zeros before them."""
    word = word_at(base, at)
    if length < 8:
        word = (word << np.uint64(64 - 8 * length)) | (_ZEROS >> np.uint64(8 * length))
    return word ^ _ZEROS


@nb.njit(inline="always")
def all_digits(word: np.uint64) -> bool:
    """Whether all octets of such a word are 0 to 9."""
    return ((word + _PAST_NINE) | word) & _HIGHS == 0


@nb.njit(inline="always")
def eight_digits(word: np.uint64) -> int:
    """The number that such a word is, two digits at a time, then four, then eight (Daniel Lemire, 2018)."""
    word = word * _TENS + (word >> np.uint64(8))
    word = (word & _PAIRS) * _HUNDREDS + ((word >> np.uint64(16)) & _PAIRS) * _UNITS
    value: int = np.int64(word >> np.uint64(32))  # type: ignore[assignment]
    return value


@nb.njit(inline="always")
def sixteen_digits(base: int, at: int, length: int) -> int:
    """A number of one to sixteen digits, or -1."""
    if length <= 8:
        word = digits_of(base, at, length)
        return eight_digits(word) if all_digits(word) else -1
    high, low = digits_of(base, at, length - 8), digits_of(base, at + length - 8, 8)
    if not (all_digits(high) and all_digits(low)):
        return -1
    return eight_digits(high) * 100_000_000 + eight_digits(low)


@nb.njit(inline="always")
def dialled(base: int, at: int, length: int) -> np.uint64:
    """One to eight digits as four-bit codes, right aligned; 0 when one of them is no digit."""
    word = digits_of(base, at, length)
    if not all_digits(word):
        return np.uint64(0)
    word = turned_round(word + _ONES)
    word = (word | (word >> np.uint64(4))) & _TWOS
    word = (word | (word >> np.uint64(8))) & _FOURS
    word = (word | (word >> np.uint64(16))) & np.uint64(0xFFFFFFFF)
    return word & ((np.uint64(1) << np.uint64(4 * length)) - np.uint64(1))


@nb.njit(nogil=True, cache=True)
def decimals(
    data: Octets,
    starts: Places,
    lengths: Places,
    factor: int,
    rounding: int,
    values: Longs,
    statuses: Statuses,
) -> None:
    """Decimal numbers times a whole factor; what is finer than one is rounded by name, or WRONG when EXACT."""
    base = data.ctypes.data
    most = (_HIGHEST - factor) // factor
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        at, end = starts[i], starts[i] + lengths[i]
        negative = octet_at(base, at) == 45
        if negative:
            at += 1
        if 0 < end - at <= 16:
            value = sixteen_digits(base, at, end - at)
            if 0 <= value <= most:
                values[i] = -value * factor if negative else value * factor
                statuses[i] = THERE
                continue
        whole, begin = 0, at
        while at < end and 48 <= octet_at(base, at) <= 57 and whole < _HIGHEST // 10:
            whole = whole * 10 + (octet_at(base, at) - 48)
            at += 1
        digits = at - begin
        part, scale, rest = 0, 1, False
        if at < end and octet_at(base, at) == 46 and at + 1 < end:
            at += 1
            places = 0
            while at < end and 48 <= octet_at(base, at) <= 57:
                if places < _MOST_DECIMALS:
                    part = part * 10 + (octet_at(base, at) - 48)
                    scale *= 10
                elif octet_at(base, at) != 48:
                    rest = True
                places += 1
                at += 1
        if digits == 0 or at < end or whole > most:
            statuses[i] = WRONG
            continue
        value = whole * factor
        left = 0
        if part != 0:
            value += part * factor // scale
            left = part * factor % scale
        if left != 0 or rest:
            if rounding == EXACT:
                statuses[i] = WRONG
                continue
            if rounding == UP or (rounding == HALF_UP and 2 * left >= scale):
                value += 1
        values[i] = -value if negative else value
        statuses[i] = THERE


@nb.njit(nogil=True, cache=True)
def limit(values: Longs, statuses: Statuses, highest: int) -> None:
    """What is there and negative or higher than it may be is WRONG."""
    for i in range(len(values)):
        if statuses[i] == THERE and (values[i] < 0 or values[i] > highest):
            statuses[i] = WRONG


@nb.njit(nogil=True, cache=True)
def julian_days(data: Octets, starts: Places, lengths: Places, values: Longs, statuses: Statuses) -> None:
    """Julian days (SQLite's real dates) as microseconds since 1970; eight decimals are 0.9 ms."""
    epoch_half_days = 4881175
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        at, end = starts[i], starts[i] + lengths[i]
        days, part, scale, digits = 0, 0, 1, 0
        while at < end and 48 <= octet_at(base, at) <= 57 and digits < 8:
            days = days * 10 + (octet_at(base, at) - 48)
            digits += 1
            at += 1
        if at < end and octet_at(base, at) == 46:
            at += 1
            while at < end and 48 <= octet_at(base, at) <= 57:
                if scale < 100_000_000:
                    part = part * 10 + (octet_at(base, at) - 48)
                    scale *= 10
                at += 1
        if at < end or digits == 0:
            statuses[i] = WRONG
            continue
        values[i] = (2 * days - epoch_half_days) * 43_200_000_000 + (
            part * 86_400_000_000 + scale // 2
        ) // scale
        statuses[i] = THERE


@nb.njit(inline="always")
def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    y = year - 1 if month <= 2 else year
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@nb.njit(inline="always")
def days_in_month(year: int, month: int) -> int:
    """How many days a month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@nb.njit(inline="always")
def _digits(base: int, at: int, count: int) -> int:
    """A number of so many digits, or -1."""
    value = 0
    for k in range(count):
        octet = octet_at(base, at + k)
        if octet < 48 or octet > 57:
            return -1
        value = value * 10 + (octet - 48)
    return value


@nb.njit(inline="always")
def _instant(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Microseconds since 1970, or -2**63 for a date that no calendar has."""
    if year < 1 or month < 1 or month > 12 or day < 1 or day > days_in_month(year, month):
        return -(2**63)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -(2**63)
    days = days_from_civil(year, month, day)
    return ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000


@nb.njit(nogil=True, cache=True)
def iso_times(
    data: Octets,
    starts: Places,
    lengths: Places,
    values: Longs,
    statuses: Statuses,
    local: npt.NDArray[np.bool_],
) -> int:
    """ISO 8601 dates and times; `local` marks those without a zone. Returns how many they are."""
    locals_count = 0
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        length = lengths[i]
        if length <= 0:
            statuses[i] = ABSENT
            continue
        statuses[i] = WRONG
        at, end = starts[i], starts[i] + length
        if (
            length < 19
            or octet_at(base, at + 4) != 45
            or octet_at(base, at + 7) != 45
            or octet_at(base, at + 13) != 58
            or octet_at(base, at + 16) != 58
        ):
            continue
        if octet_at(base, at + 10) != 84 and octet_at(base, at + 10) != 116 and octet_at(base, at + 10) != 32:
            continue
        value = _instant(
            _digits(base, at, 4), _digits(base, at + 5, 2), _digits(base, at + 8, 2),
            _digits(base, at + 11, 2), _digits(base, at + 14, 2), _digits(base, at + 17, 2),
        )  # fmt: skip
        if value == -(2**63):
            continue
        at += 19
        if at < end and (octet_at(base, at) == 46 or octet_at(base, at) == 44):
            at += 1
            scale, begin = 100_000, at
            while at < end and 48 <= octet_at(base, at) <= 57:
                value += (octet_at(base, at) - 48) * scale
                scale //= 10
                at += 1
            if at == begin:
                continue
        offset = _offset_us(base, at, end)
        if offset == _NO_OFFSET:
            continue
        if offset == _LOCAL:
            local[i] = True
            locals_count += 1
            offset = 0
        values[i] = value - offset
        statuses[i] = THERE
    return locals_count


_NO_OFFSET = -(2**62)
_LOCAL = -(2**61)


@nb.njit(inline="always")
def _offset_us(base: int, at: int, end: int) -> int:
    """The offset written at the end of a time: nothing, Z, +hh, +hhmm or +hh:mm."""
    if at == end:
        return _LOCAL
    if octet_at(base, at) == 90 or octet_at(base, at) == 122:
        return 0 if at + 1 == end else _NO_OFFSET
    if octet_at(base, at) != 43 and octet_at(base, at) != 45:
        return _NO_OFFSET
    sign = 1 if octet_at(base, at) == 43 else -1
    length = end - at
    if length not in (3, 5, 6) or (length == 6 and octet_at(base, at + 3) != 58):
        return _NO_OFFSET
    hours = _digits(base, at + 1, 2)
    minutes = _digits(base, end - 2, 2) if length > 3 else 0
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return _NO_OFFSET
    return sign * (hours * 60 + minutes) * 60_000_000


_MONTHS = np.frombuffer(b"janfebmaraprmayjunjulaugsepoctnovdec", np.uint8)


@nb.njit(nogil=True, cache=True)
def pattern_times(
    data: Octets,
    starts: Places,
    lengths: Places,
    pattern: Octets,
    zones: Octets,
    zone_ends: Places,
    zone_offsets: Longs,
    values: Longs,
    statuses: Statuses,
    local: npt.NDArray[np.bool_],
) -> int:
    """Times written after a pattern: %Y %y %m %d %e %b %H %M %S %f %z %Z, and literal octets."""
    locals_count = 0
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        statuses[i] = WRONG
        at, end = starts[i], starts[i] + lengths[i]
        year, month, day, hour, minute, second, fraction_us = 1970, 1, 1, 0, 0, 0, 0
        offset = _LOCAL
        good = True
        p = 0
        while p < len(pattern) and good:
            octet = pattern[p]
            p += 1
            if octet != 37:
                good = at < end and octet_at(base, at) == octet
                at += 1
                continue
            octet = pattern[p]
            p += 1
            if octet == 89:
                good = at + 4 <= end
                year = _digits(base, at, 4) if good else -1
                at += 4
            elif octet == 98:
                month = _month(base, at, end)
                at += 3
            elif octet == 102:
                scale, begin = 100_000, at
                while at < end and 48 <= octet_at(base, at) <= 57:
                    fraction_us += (octet_at(base, at) - 48) * scale
                    scale //= 10
                    at += 1
                good = at > begin
            elif octet == 122:
                stop = at
                while stop < end and octet_at(base, stop) != 32:
                    stop += 1
                offset = _offset_us(base, at, stop)
                good = stop > at and offset != _NO_OFFSET
                at = stop
            elif octet == 90:
                stop = at
                while stop < end and octet_at(base, stop) != 32:
                    stop += 1
                offset = _zone_us(base, at, stop, zones, zone_ends, zone_offsets)
                good = offset != _NO_OFFSET
                at = stop
            else:
                if octet == 101 and at < end and octet_at(base, at) == 32:
                    at += 1
                    number = _digits(base, at, 1) if at < end else -1
                    at += 1
                else:
                    number = _digits(base, at, 2) if at + 2 <= end else -1
                    at += 2
                good = number >= 0
                if octet == 121:
                    year = 2000 + number if number < 69 else 1900 + number
                elif octet == 109:
                    month = number
                elif octet == 100 or octet == 101:
                    day = number
                elif octet == 72:
                    hour = number
                elif octet == 77:
                    minute = number
                else:
                    second = number
        if not good or at != end:
            continue
        value = _instant(year, month, day, hour, minute, second)
        if value == -(2**63):
            continue
        if offset == _LOCAL:
            local[i] = True
            locals_count += 1
            offset = 0
        values[i] = value + fraction_us - offset
        statuses[i] = THERE
    return locals_count


@nb.njit(nogil=True, cache=True)
def _month(base: int, at: int, end: int) -> int:
    """Number of an English month's first three letters, or 0."""
    if at + 3 > end:
        return 0
    for month in range(12):
        if (
            octet_at(base, at) | 32 == _MONTHS[3 * month]
            and octet_at(base, at + 1) | 32 == _MONTHS[3 * month + 1]
            and octet_at(base, at + 2) | 32 == _MONTHS[3 * month + 2]
        ):
            return month + 1
    return 0


@nb.njit(nogil=True, cache=True)
def _zone_us(base: int, at: int, end: int, zones: Octets, zone_ends: Places, zone_offsets: Longs) -> int:
    """Offset of a zone's abbreviation out of the mapping's list."""
    start = 0
    for zone in range(len(zone_ends)):
        if zone_ends[zone] - start == end - at:
            same = True
            for k in range(end - at):
                if zones[start + k] != octet_at(base, at + k):
                    same = False
                    break
            if same:
                return int(zone_offsets[zone])
        start = zone_ends[zone]
    return _NO_OFFSET


@nb.njit(nogil=True, cache=True)
def numbers(
    data: Octets,
    starts: Places,
    lengths: Places,
    country: Octets,
    international: Octets,
    international_ends: Places,
    national: Octets,
    values: Words,
    statuses: Statuses,
) -> int:
    """Telephone numbers as dial words of their international form; returns how many texts are OTHER.

    `sip:+4477...@host`, `tel:+44-77..;phone-context=...`, `+`, the international and the national prefix are
    brought into E.164 digits; anything else that consists of dialled symbols is taken as it is. What starts
    like an international number and is none is WRONG; a name is OTHER, for the mapping to decide.
    """
    others = 0
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        at, end = _inside_brackets(base, starts[i], starts[i] + lengths[i])
        if octet_at(base, at) | 32 >= 97:
            colon = at
            while colon < end and colon < at + 5 and octet_at(base, colon) != 58:
                colon += 1
            if colon < end and octet_at(base, colon) == 58:
                at = colon + 1
                stop = at
                while stop < end and octet_at(base, stop) != 64 and octet_at(base, stop) != 59:
                    stop += 1
                end = stop
        plus = at < end and octet_at(base, at) == 43
        global_form = plus
        if plus:
            at += 1
        else:
            begin = 0
            for prefix in range(len(international_ends)):
                stop = international_ends[prefix]
                if _begins(base, at, end, international, begin, stop):
                    at += stop - begin
                    global_form = True
                    break
                begin = stop
        word, symbols, good = np.uint64(0), 0, True
        if not global_form and len(national) > 0 and _begins(base, at, end, national, 0, len(national)):
            at += len(national)
            global_form = True
            for k in range(len(country)):
                word = word << np.uint64(4) | np.uint64(code_of(int(country[k])))
            symbols = len(country)
        rest = end - at
        if 0 < rest <= 16 - symbols:
            # Nearly all numbers are nothing but digits.
            last = dialled(base, max(at, end - 8), min(rest, 8))
            first = dialled(base, at, rest - 8) if rest > 8 else np.uint64(0)
            if last != 0 and (rest <= 8 or first != 0):
                if rest > 8:
                    word = (word << np.uint64(4 * (rest - 8))) | first
                word = (word << np.uint64(4 * min(rest, 8))) | last
                symbols += rest
                at = end
        while at < end:
            code = code_of(octet_at(base, at))
            if code == 0:
                if plus and (
                    octet_at(base, at) == 45
                    or octet_at(base, at) == 46
                    or octet_at(base, at) == 40
                    or octet_at(base, at) == 41
                    or octet_at(base, at) == 32
                ):
                    at += 1
                    continue
                good = False
                break
            if symbols == 16 or (global_form and code > 10):
                good = False
                break
            word = word << np.uint64(4) | np.uint64(code)
            symbols += 1
            at += 1
        if global_form and (not good or symbols > 15 or symbols < 3):
            statuses[i] = WRONG
        elif not good or symbols == 0:
            statuses[i] = OTHER
            others += 1
        else:
            values[i] = word << np.uint64(4 * (16 - symbols))
            statuses[i] = THERE
    return others


@nb.njit(inline="always")
def _inside_brackets(base: int, at: int, end: int) -> tuple[int, int]:
    """The address of a SIP header value such as `"Ann" <sip:+44...@host>`; else the whole text."""
    if octet_at(base, end - 1) == 62:
        for k in range(at, end):
            if octet_at(base, k) == 60:
                return k + 1, end - 1
    return at, end


@nb.njit(nogil=True, cache=True)
def _begins(base: int, at: int, end: int, text: Octets, begin: int, stop: int) -> bool:
    """Whether a text begins with a prefix, and goes on behind it."""
    if at + (stop - begin) >= end:
        return False
    for k in range(stop - begin):
        if octet_at(base, at + k) != text[begin + k]:
            return False
    return True


@nb.njit(nogil=True, cache=True)
def words(
    data: Octets, starts: Places, lengths: Places, known: Octets, known_ends: Places, codes: Longs,
    values: Longs, statuses: Statuses,
) -> None:  # fmt: skip
    """Words out of a closed list; a word that is not in it is WRONG."""
    last = 0
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        statuses[i] = WRONG
        for turn in range(len(known_ends)):
            word = last + turn
            if word >= len(known_ends):
                word -= len(known_ends)
            start = known_ends[word - 1] if word > 0 else 0
            if known_ends[word] - start != lengths[i]:
                continue
            same = True
            for k in range(lengths[i]):
                if known[start + k] != octet_at(base, starts[i] + k):
                    same = False
                    break
            if same:
                values[i] = codes[word]
                statuses[i] = THERE
                last = word
                break


@nb.njit(nogil=True, cache=True)
def slices(data: Octets, starts: Places, lengths: Places, values: Longs, statuses: Statuses) -> None:
    """S-NSSAI: `1`, `1-000001` or `01000001` as SST in the top 8 bits and SD in the low 24."""
    base = data.ctypes.data
    for i in range(len(values)):
        values[i] = 0
        if lengths[i] <= 0:
            statuses[i] = ABSENT
            continue
        statuses[i] = WRONG
        at, end = starts[i], starts[i] + lengths[i]
        dash = at
        while dash < end and octet_at(base, dash) != 45:
            dash += 1
        if dash == end and lengths[i] == 8:
            value = _hex(base, at, end)
        elif dash == end or end - dash == 7:
            sst = _digits(base, at, dash - at) if 0 < dash - at <= 3 else -1
            sd = _hex(base, dash + 1, end) if dash < end else 0
            value = sst << 24 | sd if 0 <= sst <= 255 and sd >= 0 else -1
        else:
            continue
        if value >= 0:
            values[i] = value
            statuses[i] = THERE


@nb.njit(inline="always")
def _hex(base: int, at: int, end: int) -> int:
    """A hexadecimal number, or -1."""
    value = 0
    while at < end:
        octet = octet_at(base, at)
        if 48 <= octet <= 57:
            digit = octet - 48
        elif 65 <= octet <= 70 or 97 <= octet <= 102:
            digit = (octet | 32) - 87
        else:
            return -1
        value = value * 16 + digit
        at += 1
    return value


@nb.njit(nogil=True, cache=True)
def first_there(
    starts: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int32],
    into_starts: Places,
    into_lengths: Places,
) -> None:
    """The first of several fields that is not empty."""
    for i in range(len(into_starts)):
        into_starts[i] = starts[rows[0], i]
        into_lengths[i] = lengths[rows[0], i]
        for row in rows:
            if lengths[row, i] > 0:
                into_starts[i] = starts[row, i]
                into_lengths[i] = lengths[row, i]
                break


@nb.njit(nogil=True, cache=True)
def blank_out(data: Octets, starts: Places, lengths: Places, known: Octets, known_ends: Places) -> None:
    """Make texts that stand for nothing (such as `anonymous`) empty, in place."""
    for i in range(len(starts)):
        if lengths[i] <= 0:
            continue
        start = 0
        for word in range(len(known_ends)):
            if known_ends[word] - start == lengths[i]:
                same = True
                for k in range(lengths[i]):
                    if known[start + k] != data[starts[i] + k]:
                        same = False
                        break
                if same:
                    lengths[i] = 0
                    break
            start = known_ends[word]


@nb.njit(nogil=True, cache=True)
def joined_lengths(lengths: Places, totals: Places) -> None:
    """Add each text's length to the total of its row."""
    for i in range(len(lengths)):
        totals[i] += max(lengths[i], 0)


@nb.njit(nogil=True, cache=True)
def append(data: Octets, starts: Places, lengths: Places, into: Octets, at: npt.NDArray[np.int32]) -> None:
    """Copy each text behind what its row already holds."""
    for i in range(len(starts)):
        for k in range(lengths[i]):
            into[at[i] + k] = data[starts[i] + k]
        if lengths[i] > 0:
            at[i] += lengths[i]


@nb.njit(nogil=True, cache=True)
def print_numbers(values: Longs, data: Octets, starts: Places, lengths: Places) -> None:
    """Whole numbers as text, twenty octets apart."""
    for i in range(len(values)):
        value = values[i]
        at = 20 * (i + 1)
        rest = -value if value < 0 else value
        while True:
            at -= 1
            data[at] = 48 + rest % 10
            rest //= 10
            if rest == 0:
                break
        if value < 0:
            at -= 1
            data[at] = 45
        starts[i] = at
        lengths[i] = 20 * (i + 1) - at


@nb.njit(nogil=True, cache=True)
def note(reasons: Statuses, details: Statuses, wrong: npt.NDArray[np.bool_], rank: int, detail: int) -> None:
    """Keep the first reason in the written order, and which column it was about."""
    for i in range(len(reasons)):
        if wrong[i] and rank < reasons[i]:
            reasons[i] = rank
            details[i] = detail
