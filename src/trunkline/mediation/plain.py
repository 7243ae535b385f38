"""Converting the plain columns of many records at once, chunk by chunk, while their octets lie in the cache.

Most columns of most mappings are one field, read by one of four rules: a decimal number, an ISO 8601 time, a telephone
number, a word out of a list; or a text of which few are different, whose values are numbered. Column after column would
fetch the octets of a batch from memory again for each of them (measured: a third of decoding, docs/decisions/0017).
So a mapping is made into a list of such jobs once, and one compiled loop does all of them for a chunk of records
before it goes on to the next. Whatever is not on the list, or has no plain answer, `columns` reads as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.texts import Octets, Places, number_some
from trunkline.mediation import convert

Longs = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

CHUNK = 2048  # records; their octets and what is found in them fit a core's own cache
NAME_SLOTS = 1 << 13  # room for half as many different names in a batch

DECIMAL, TIME, NUMBER, WORD, NAME = range(5)
_KIND, _FIELD, _FACTOR, _ROUNDING, _OCTETS, _OCTETS_END, _WORDS, _WORDS_END, _WIDTH = range(9)


@dataclass(frozen=True)
class Job:
    """One field to be converted for a column's rule: by factor and rounding, by a list of words, or by its kind alone.

    Of a time, factor 0 says that one without a zone needs no other look.
    """

    column: str
    rule: int
    kind: int
    field: int
    factor: int = 1
    rounding: int = convert.EXACT
    words: tuple[tuple[str, int], ...] = ()


class Numbers(NamedTuple):
    """How telephone numbers are written, as octets: country, international prefixes and their ends, national prefix."""

    country: Octets
    prefixes: Octets
    prefix_ends: Places
    national: Octets


@dataclass(frozen=True)
class Done:
    """What a job found for each record."""

    values: Longs  # of names: their numbers from 1; 0 is no name
    statuses: npt.NDArray[np.uint8]
    all_there: bool
    firsts: Longs  # of names: where each number first occurs


Answers = dict[tuple[str, int], Done]
"""What was done, by column and the number of its rule."""


class Jobs:
    """The jobs of a mapping in the form that compiled code reads."""

    def __init__(self, jobs: Sequence[Job], numbers: Numbers) -> None:
        self.jobs = tuple(jobs)
        self._numbers = numbers
        octets, ends, codes = bytearray(), list[int](), list[int]()
        self._table = np.zeros((len(self.jobs), _WIDTH), np.int64)
        for row, job in zip(self._table, self.jobs, strict=True):
            row[: _ROUNDING + 1] = job.kind, job.field, job.factor, job.rounding
            row[_OCTETS], row[_WORDS] = len(octets), len(ends)
            begin = len(octets)
            for word, code in job.words:
                octets += word.encode()
                ends.append(len(octets) - begin)
                codes.append(code)
            row[_OCTETS_END], row[_WORDS_END] = len(octets), len(ends)
        self._octets = np.frombuffer(bytes(octets) + b"\0", np.uint8)
        self._ends, self._codes = np.array(ends, np.int32), np.array(codes, np.int64)

    def done(self, data: Octets, starts: Matrix, lengths: Matrix, present: Bools) -> Answers:
        """Do the jobs whose fields are there; those without a plain answer are left out."""
        which = [at for at, job in enumerate(self.jobs) if present[job.field]]
        count = starts.shape[1]
        values = np.empty((len(which), count), np.int64)
        statuses = np.empty((len(which), count), np.uint8)
        firsts = np.empty((len(which), NAME_SLOTS), np.int64)
        told = np.zeros((len(which), 3), np.int64)
        _do(
            data, starts, lengths, self._table[which], self._octets, self._ends, self._codes, *self._numbers,
            values, statuses, firsts, told,
        )  # fmt: skip
        return {
            (self.jobs[at].column, self.jobs[at].rule): Done(
                values[row], statuses[row], told[row, 0] == 0, firsts[row, : told[row, 2]]
            )
            for row, at in enumerate(which)
            if told[row, 1] == 0
        }


@nb.njit(nogil=True, cache=True)
def any_there(lengths: Matrix, present: Bools) -> None:
    """Which fields any record has."""
    for field in range(len(present)):
        present[field] = False
        for record in range(lengths.shape[1]):
            if lengths[field, record] > 0:
                present[field] = True
                break


@nb.njit(nogil=True, cache=True)
def _do(
    data: Octets, starts: Matrix, lengths: Matrix, jobs: npt.NDArray[np.int64], known: Octets, known_ends: Places,
    codes: Longs, country: Octets, prefixes: Octets, prefix_ends: Places, national: Octets,
    values: npt.NDArray[np.int64], statuses: npt.NDArray[np.uint8], firsts: npt.NDArray[np.int64],
    told: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    """All jobs for a chunk of records, then for the next.

    `told` counts for each job the records whose status is not THERE, those that need another look, and the numbers
    given to names.
    """
    slots = np.zeros((len(jobs), NAME_SLOTS), np.uint32)
    local = np.zeros(CHUNK, np.bool_)
    told[:, 2] = 1
    count = starts.shape[1]
    for begin in range(0, count, CHUNK):
        end = min(begin + CHUNK, count)
        for job in range(len(jobs)):
            kind, field = jobs[job, _KIND], jobs[job, _FIELD]
            start, length = starts[field, begin:end], lengths[field, begin:end]
            value, status = values[job, begin:end], statuses[job, begin:end]
            if kind == DECIMAL:
                factor, rounding = jobs[job, _FACTOR], jobs[job, _ROUNDING]
                convert.decimals(data, start, length, factor, rounding, value, status)
            elif kind == TIME:
                without_zone = convert.iso_times(data, start, length, value, status, local[: end - begin])
                told[job, 1] += without_zone * jobs[job, _FACTOR]
            elif kind == NUMBER:
                words = value.view(np.uint64)
                convert.numbers(data, start, length, country, prefixes, prefix_ends, national, words, status)
            elif kind == WORD:
                words_begin, words_end = jobs[job, _WORDS], jobs[job, _WORDS_END]
                convert.words(
                    data, start, length, known[jobs[job, _OCTETS] : jobs[job, _OCTETS_END]],
                    known_ends[words_begin:words_end], codes[words_begin:words_end], value, status,
                )  # fmt: skip
            elif told[job, 1] == 0:
                told[job, 2], reached = number_some(
                    data, starts[field], lengths[field], begin, end, values[job], firsts[job], slots[job],
                    told[job, 2],
                )  # fmt: skip
                told[job, 1] += end - reached
                status[:] = 0
            for at in range(end - begin):
                told[job, 0] += status[at] != 0
