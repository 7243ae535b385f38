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
ROWS_AT_ONCE = 65_536
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

    def print(self, columns: Mapping[str, Ints]) -> tuple[Octets, Ints]:
        """The lines of all rows in one array, and where each line ends in it."""
        values = np.array([columns[each.column] for each in self.fields], np.int64).reshape(len(self.fields), -1)
        parts = list(self._print_parts(values))
        if not parts:
            return np.empty(0, np.uint8), np.empty(0, np.int64)
        starts = np.cumsum([0] + [len(text) for text, _ in parts[:-1]])
        ends = np.concatenate([ends + start for (_, ends), start in zip(parts, starts, strict=True)])
        return np.concatenate([text for text, _ in parts]), ends

    def _print_parts(self, values: Ints) -> Iterator[tuple[Octets, Ints]]:
        for first in range(0, values.shape[1], ROWS_AT_ONCE):
            part = np.ascontiguousarray(values[:, first : first + ROWS_AT_ONCE])
            out = np.empty(part.shape[1] * self._line_octets_most, np.uint8)
            ends = np.empty(part.shape[1], np.int64)
            used = _print(part, self._forms, self._texts, self._text_ends, self._words, self._word_ends, out, ends)
            yield out[:used].copy(), ends

    @cached_property
    def _forms(self) -> Ints:
        """For each field: form, width, and the number of its first word."""
        word_first = np.cumsum([0] + [len(each.words) for each in self.fields[:-1]])
        return np.array(
            [(each.form, each.width, first) for each, first in zip(self.fields, word_first, strict=True)], np.int64
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
            max((len(word.encode()) for word in each.words), default=max(DIGITS_MOST, TIME_OCTETS, each.width))
            for each in self.fields
        )
        return len(self._texts) + sum(longest_values)


def _octets(texts: list[str]) -> Octets:
    return np.frombuffer("".join(texts).encode(), np.uint8)


def _ends(texts: list[str]) -> Ints:
    """Where each text begins, and last where all end."""
    return np.cumsum([0] + [len(text.encode()) for text in texts]).astype(np.int64)


@njit(cache=True, nogil=True)
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
    at = 0
    for row in range(rows):
        for field in range(fields):
            value = values[field, row]
            if value == MISSING:
                continue
            at = _copy(texts, text_ends[2 * field], text_ends[2 * field + 1], out, at)
            if forms[field, 0] == 1:
                word = forms[field, 2] + value
                at = _copy(words, word_ends[word], word_ends[word + 1], out, at)
            elif forms[field, 0] == 2:
                at = _put_time(value, out, at)
            else:
                at = _put_number(value, forms[field, 1], out, at)
            at = _copy(texts, text_ends[2 * field + 1], text_ends[2 * field + 2], out, at)
        at = _copy(texts, text_ends[2 * fields], text_ends[2 * fields + 1], out, at)
        ends[row] = at
    return at


@njit(cache=True, nogil=True)
def _copy(source: Octets, first: int, last: int, out: Octets, at: int) -> int:
    for place in range(first, last):
        out[at] = source[place]
        at += 1
    return at


@njit(cache=True, nogil=True)
def _put_number(value: int, width: int, out: Octets, at: int) -> int:
    """Decimal digits, with leading zeros up to `width`."""
    if value < 0:
        out[at] = 45  # -
        at += 1
        value = -value
    digits = 1
    bound = 10
    while digits < 18 and value >= bound:
        digits += 1
        bound *= 10
    if value >= bound:
        digits += 1
    digits = max(digits, width)
    for place in range(at + digits - 1, at - 1, -1):
        out[place] = 48 + value % 10
        value //= 10
    return at + digits


@njit(cache=True, nogil=True)
def _put_time(time_us: int, out: Octets, at: int) -> int:
    """ISO 8601 in UTC with milliseconds; the calendar is Howard Hinnant's `civil_from_days`."""
    ms = time_us // 1000
    days, ms = ms // 86_400_000, ms % 86_400_000
    days += 719_468
    era = days // 146_097
    day_of_era = days - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    at = _put_part(year, 4, 45, out, at)  # -
    at = _put_part(month, 2, 45, out, at)
    at = _put_part(day, 2, 84, out, at)  # T
    at = _put_part(ms // 3_600_000, 2, 58, out, at)  # :
    at = _put_part(ms // 60_000 % 60, 2, 58, out, at)
    at = _put_part(ms // 1000 % 60, 2, 46, out, at)  # .
    return _put_part(ms % 1000, 3, 90, out, at)  # Z


@njit(cache=True, nogil=True)
def _put_part(value: int, width: int, after: int, out: Octets, at: int) -> int:
    for place in range(at + width - 1, at - 1, -1):
        out[place] = 48 + value % 10
        value //= 10
    out[at + width] = after
    return at + width + 1
