"""Printing columns as lines of text at millions a second, so that making usage is never slower than charging it.

A layout is a list of fields; a field prints what stands before its value, the value, and what stands after, or
nothing at all where the value is `MISSING`. The inner loop is one Numba function for every layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]

MISSING = -(2**63)
ROWS_AT_ONCE = 8_192
DIGITS_MOST = 20
TIME_OCTETS = 24


class Form(IntEnum):
    """How a whole number is printed."""

    NUMBER = 0  # decimal digits
    WORD = 1  # the word at that place of the field's list
    TIME = 2  # microseconds UTC as 2026-11-02T08:15:30.250Z


@dataclass(frozen=True)
class Field:
    """One column of a line: the text around it and how its number is printed."""

    column: str
    before: str
    after: str = ""
    form: Form = Form.NUMBER
    width: int = 0  # a NUMBER gets leading zeros up to this width
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What a line looks like; every line ends with `end`."""

    fields: tuple[Field, ...]
    end: str

    def print(self, columns: Mapping[str, Ints]) -> Iterator[tuple[bytes, Ints]]:
        """The lines, some thousands at a time, and where each ends in its part.

        Parts stay small because touching fresh memory costs more than printing does.
        """
        values = np.array([columns[each.column] for each in self.fields], np.int64).reshape(
            len(self.fields), -1
        )
        rows = values.shape[1]
        room = np.empty(min(rows, ROWS_AT_ONCE) * self._line_octets_most, np.uint8)
        for first in range(0, rows, ROWS_AT_ONCE):
            part = np.ascontiguousarray(values[:, first : first + ROWS_AT_ONCE])
            ends = np.empty(part.shape[1], np.int64)
            used = _print(
                part, self._forms, self._texts, self._text_ends, self._words, self._word_ends, room, ends
            )
            yield room[:used].tobytes(), ends

    @cached_property
    def _forms(self) -> Ints:
        """For each field: form, width, and the number of its first word."""
        word_first = np.cumsum([0] + [len(each.words) for each in self.fields[:-1]])
        return np.array(
            [(each.form, each.width, first) for each, first in zip(self.fields, word_first, strict=True)],
            np.int64,
        )

    @cached_property
    def _texts(self) -> Octets:
        return _octets([text for each in self.fields for text in (each.before, each.after)] + [self.end])

    @cached_property
    def _text_ends(self) -> Ints:
        return _ends([text for each in self.fields for text in (each.before, each.after)] + [self.end])

    @cached_property
    def _words(self) -> Octets:
        return _octets([word for each in self.fields for word in each.words])

    @cached_property
    def _word_ends(self) -> Ints:
        return _ends([word for each in self.fields for word in each.words])

    @cached_property
    def _line_octets_most(self) -> int:
        longest_values = (
            max(
                (len(word.encode()) for word in each.words), default=max(DIGITS_MOST, TIME_OCTETS, each.width)
            )
            for each in self.fields
        )
        return len(self._texts) + sum(longest_values)


def _octets(texts: list[str]) -> Octets:
    return np.frombuffer("".join(texts).encode(), np.uint8)


def _ends(texts: list[str]) -> Ints:
    """Where each text begins, and last where all end."""
    return np.cumsum([0] + [len(text.encode()) for text in texts]).astype(np.int64)


# Indices and values are unsigned inside: for signed ones Numba must think of negative indices and of Python's
# rounding of negative quotients, which made every line twice as slow.
_U = np.uint64
_ZERO = np.uint64(48)


@njit(cache=True, nogil=True, error_model="numpy")
def _print(
    values: Ints,
    forms: Ints,
    texts: Octets,
    text_ends: Ints,
    words: Octets,
    word_ends: Ints,
    out: Octets,
    ends: Ints,
) -> int:
    """Print every row into `out`; returns how many octets were used."""
    fields, rows = values.shape
    at = _U(0)
    for row in range(rows):
        for field in range(fields):
            value = values[field, row]
            if value == MISSING:
                continue
            at = _copy(texts, _U(text_ends[2 * field]), _U(text_ends[2 * field + 1]), out, at)
            if forms[field, 0] == 1:
                word = forms[field, 2] + value
                at = _copy(words, _U(word_ends[word]), _U(word_ends[word + 1]), out, at)
            elif forms[field, 0] == 2:
                at = _put_time(_U(value), out, at)
            else:
                at = _put_number(value, forms[field, 1], out, at)
            at = _copy(texts, _U(text_ends[2 * field + 1]), _U(text_ends[2 * field + 2]), out, at)
        at = _copy(texts, _U(text_ends[2 * fields]), _U(text_ends[2 * fields + 1]), out, at)
        ends[row] = at
    return int(at)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _copy(source: Octets, first: np.uint64, last: np.uint64, out: Octets, at: np.uint64) -> np.uint64:
    place = first
    while place < last:
        out[at] = source[place]
        at += _U(1)
        place += _U(1)
    return at


@njit(cache=True, nogil=True, error_model="numpy")
def _put_number(value: int, width: int, out: Octets, at: np.uint64) -> np.uint64:
    """Decimal digits, with leading zeros up to `width`."""
    if value < 0:
        out[at] = 45  # -
        at += _U(1)
        value = -value
    rest = _U(value)
    digits = _U(1)
    bound = _U(10)
    while digits < _U(19) and rest >= bound:
        digits += _U(1)
        bound *= _U(10)
    digits = max(digits, _U(width))
    return _put_digits(rest, digits, out, at)


@njit(cache=True, nogil=True, error_model="numpy")
def _put_digits(rest: np.uint64, digits: np.uint64, out: Octets, at: np.uint64) -> np.uint64:
    """The last `digits` decimal digits."""
    place = at + digits
    while place > at:
        place -= _U(1)
        following = rest // _U(10)
        out[place] = _ZERO + rest - following * _U(10)
        rest = following
    return at + digits


@njit(cache=True, nogil=True, error_model="numpy")
def _put_time(time_us: np.uint64, out: Octets, at: np.uint64) -> np.uint64:
    """ISO 8601 in UTC with milliseconds, from 1970 on; the calendar is Howard Hinnant's `civil_from_days`."""
    ms = time_us // _U(1000)
    days = ms // _U(86_400_000) + _U(719_468)
    ms %= _U(86_400_000)
    era = days // _U(146_097)
    day_of_era = days - era * _U(146_097)
    year_of_era = (
        day_of_era - day_of_era // _U(1_460) + day_of_era // _U(36_524) - day_of_era // _U(146_096)
    ) // _U(365)
    day_of_year = day_of_era - (_U(365) * year_of_era + year_of_era // _U(4) - year_of_era // _U(100))
    shifted_month = (_U(5) * day_of_year + _U(2)) // _U(153)
    day = day_of_year - (_U(153) * shifted_month + _U(2)) // _U(5) + _U(1)
    month = shifted_month + _U(3) if shifted_month < _U(10) else shifted_month - _U(9)
    year = year_of_era + era * _U(400) + (_U(1) if month <= _U(2) else _U(0))
    at = _put_part(year, _U(4), 45, out, at)  # -
    at = _put_part(month, _U(2), 45, out, at)
    at = _put_part(day, _U(2), 84, out, at)  # T
    at = _put_part(ms // _U(3_600_000), _U(2), 58, out, at)  # :
    at = _put_part(ms // _U(60_000) % _U(60), _U(2), 58, out, at)
    at = _put_part(ms // _U(1000) % _U(60), _U(2), 46, out, at)  # .
    return _put_part(ms % _U(1000), _U(3), 90, out, at)  # Z


@njit(cache=True, nogil=True, error_model="numpy")
def _put_part(value: np.uint64, digits: np.uint64, after: int, out: Octets, at: np.uint64) -> np.uint64:
    at = _put_digits(value, digits, out, at)
    out[at] = after
    return at + _U(1)
