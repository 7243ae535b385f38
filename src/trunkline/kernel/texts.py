"""Many short texts as plain arrays, so that compiled loops can read them and Polars can be given them.

A text is a stretch of one shared array of octets. Scanners find such stretches without copying, converters
read them, and only what travels on becomes a Polars column. The way into Polars is the Arrow C data
interface, a published and stable border (https://arrow.apache.org/docs/format/CDataInterface.html); the
memory handed over is given back by compiled code, which any thread may call without Python's lock.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- the insides of numba's intrinsics have no types; their stubs stand above them
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl
from numba.extending import intrinsic

Octets = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int32]

MISSING = -1
PADDING = 32  # octets behind the last text that compiled loops may look at, whatever they are


@dataclass(frozen=True)
class Texts:
    """Text `i` is `data[starts[i]:starts[i] + lengths[i]]`; a length of -1 says that there is none.

    Behind the last text `data` goes on for PADDING octets, so that texts can be read in whole words.
    """

    data: Octets
    starts: Places
    lengths: Places

    def __post_init__(self) -> None:
        """Hold the octets still: they are shared, and compiled code is made once for arrays of one kind."""
        self.data.setflags(write=False)

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.starts)

    def text(self, at: int) -> str | None:
        """One of them, for tests and messages."""
        if self.lengths[at] < 0:
            return None
        start = int(self.starts[at])
        return self.data[start : start + int(self.lengths[at])].tobytes().decode()


def of_series(series: pl.Series) -> Texts:
    """The texts of a column of strings or categories; null is missing."""
    series = series.cast(pl.String)
    lengths = series.str.len_bytes().fill_null(0).cast(pl.Int32).to_numpy()
    data = padded((series.str.join("").item() or "").encode())
    starts = np.zeros(len(series), np.int32)
    np.cumsum(lengths[:-1], out=starts[1:])
    if series.null_count():
        lengths = np.where(series.is_null().to_numpy(), np.int32(MISSING), lengths)
    return Texts(data, starts, lengths)


def padded(octets: bytes | bytearray) -> Octets:
    """Octets as texts may lie in."""
    data = np.zeros(len(octets) + PADDING, np.uint8)
    data[: len(octets)] = np.frombuffer(octets, np.uint8)
    return data


def to_series(name: str, texts: Texts) -> pl.Series:
    """A string column of the texts, which must be valid UTF-8; missing and empty texts are null."""
    count = len(texts)
    offsets = np.empty(count + 1, np.int64)
    validity = np.zeros((count + 7) // 8, np.uint8)
    nulls = lay_out(texts.lengths, offsets, validity)
    if nulls == count:
        return pl.Series(name, [None], dtype=pl.String).new_from_index(0, count)
    column = _Handover(offsets, validity if nulls else None, int(offsets[-1]))
    gather(texts.data, texts.starts, texts.lengths, column.data)
    return pl.Series(column).alias(name)


def to_categories(name: str, texts: Texts) -> pl.Series:
    """A categorical column of texts of which few are different; missing and empty texts are null.

    Only the different texts are handed over; each row gets the number of its own.
    """
    return categories(name, texts, *numbered(texts))


def categories(
    name: str, texts: Texts, codes: npt.NDArray[np.integer[Any]], firsts: npt.NDArray[np.int64]
) -> pl.Series:
    """The same of texts that are `numbered` already."""
    if len(firsts) == 1:
        return pl.Series(name, [None], dtype=pl.Categorical).new_from_index(0, len(texts))
    return to_series(name, texts_of_numbers(texts, firsts)).cast(pl.Categorical).gather(pl.Series(codes))


def texts_of_numbers(texts: Texts, firsts: npt.NDArray[np.int64]) -> Texts:
    """The different texts by their numbers; number 0 is an empty one."""
    nothing, chosen = np.zeros(1, np.int32), firsts[1:]
    return Texts(
        texts.data,
        np.concatenate([nothing, texts.starts[chosen]]),
        np.concatenate([nothing, texts.lengths[chosen]]),
    )


def numbered(texts: Texts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the different texts from 1 in the order in which they first occur; 0 is no text.

    Returns the number of each text, and where each number first occurs (of number 0 that means nothing).
    """
    codes, firsts = np.empty(len(texts), np.int64), np.empty(len(texts) + 1, np.int64)
    different = number_texts(texts.data, texts.starts, texts.lengths, codes, firsts)
    return codes, firsts[:different]


@nb.njit(nogil=True, cache=True)
def number_texts(
    data: Octets,
    starts: Places,
    lengths: Places,
    codes: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
) -> int:
    """Number all texts; `firsts` has room for one number a text, and one more. How many numbers there are."""
    base = data.ctypes.data
    slots = np.zeros(256, np.uint32)
    known, at = 1, 0
    while True:
        known, at = number_some(data, starts, lengths, at, len(starts), codes, firsts, slots, known)
        if at == len(starts):
            return known
        slots = np.zeros(4 * len(slots), np.uint32)
        for number in range(1, known):
            first = firsts[number]
            slot = _slot_of_text(base, starts[first], lengths[first], len(slots))
            while slots[slot] != 0:
                slot = (slot + 1) & (len(slots) - 1)
            slots[slot] = number


@nb.njit(nogil=True, cache=True)
def number_some(
    data: Octets,
    starts: Places,
    lengths: Places,
    begin: int,
    end: int,
    codes: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    slots: npt.NDArray[np.uint32],
    known: int,
) -> tuple[int, int]:
    """Go on numbering where `known` numbers, 0 included, are given; stops when the table of slots is half full.

    Returns how many numbers there are now, and which text is next.
    """
    base = data.ctypes.data
    known = nb.int64(known)
    for i in range(begin, end):
        length = lengths[i]
        if length <= 0:
            codes[i] = 0
            continue
        slot = _slot_of_text(base, starts[i], length, len(slots))
        while slots[slot] != 0 and not _same_text(
            base, starts[i], starts[firsts[slots[slot]]], length, lengths[firsts[slots[slot]]]
        ):
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] == 0:
            if 2 * known >= len(slots):
                return known, i
            slots[slot] = known
            firsts[known] = i
            known += 1
        codes[i] = slots[slot]
    return known, nb.int64(end)


@nb.njit(inline="always")
def _slot_of_text(base: int, start: int, length: int, room: int) -> int:
    word = np.uint64(length)
    whole = nb.int64(length) & ~7
    for j in range(0, whole, 8):
        word = (word ^ word_at(base, start + j)) * np.uint64(0x9E3779B97F4A7C15)
        word ^= word >> np.uint64(32)
    if length > whole:
        rest = word_at(base, start + whole) << np.uint64(64 - 8 * (length - whole))
        word = (word ^ rest) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    return nb.int64(word >> np.uint64(33)) & (room - 1)


@nb.njit(inline="always")
def _same_text(base: int, one: int, other: int, length: int, other_length: int) -> bool:
    same = length == other_length
    j = nb.int64(0)
    while same and j < length:
        different = word_at(base, one + j) ^ word_at(base, other + j)
        if length - j < 8:
            different <<= np.uint64(64 - 8 * (length - j))
        same = different == np.uint64(0)
        j += 8
    return same


@nb.njit(nogil=True, cache=True)
def lay_out(lengths: Places, offsets: npt.NDArray[np.int64], validity: Octets) -> int:
    """Where each text begins once they stand one behind the other, and which are there at all."""
    total = 0
    nulls = 0
    for i in range(len(lengths)):
        offsets[i] = total
        if lengths[i] > 0:
            total += lengths[i]
            validity[i >> 3] |= np.uint8(1 << (i & 7))
        else:
            nulls += 1
    offsets[len(lengths)] = total
    return nulls


@nb.njit(nogil=True, cache=True)
def gather(data: Octets, starts: Places, lengths: Places, into: Octets) -> None:
    """Copy the texts one behind the other, in words: what a word brings too much the next one covers."""
    base, target = data.ctypes.data, into.ctypes.data
    at = 0
    for i in range(len(starts)):
        start, length = starts[i], lengths[i]
        if length <= 0:
            continue
        for j in range(0, length, 8):
            put_word(target, at + j, word_at(base, start + j))
        at += length


# -- octets eight at a time ----------------------------------------------------------------------------------


if TYPE_CHECKING:

    def word_at(address: int, at: int) -> np.uint64: ...

    def octet_at(address: int, at: int) -> int: ...

    def lowest_octet(word: np.uint64) -> int: ...

    def put_word(address: int, at: int, word: np.uint64) -> None: ...

    def turned_round(word: np.uint64) -> np.uint64: ...

else:

    @intrinsic
    def word_at(_typing, _address, _at):
        """Eight octets behind an address as one little-endian word; the caller sees to it that they are there.

        Taking an address and not the array keeps numba from counting references in the innermost loops,
        where that took most of the time.
        """

        def generate(context, builder, _signature, arguments):
            place = builder.add(arguments[0], arguments[1])
            word = builder.load(builder.inttoptr(place, context.get_value_type(nb.types.uint64).as_pointer()))
            word.align = 1
            return word

        return nb.types.uint64(nb.types.uintp, nb.types.int64), generate

    @intrinsic
    def octet_at(_typing, _address, _at):
        """One octet behind an address."""

        def generate(context, builder, _signature, arguments):
            place = builder.add(arguments[0], arguments[1])
            octet = builder.load(builder.inttoptr(place, context.get_value_type(nb.types.uint8).as_pointer()))
            return builder.zext(octet, context.get_value_type(nb.types.int64))

        return nb.types.int64(nb.types.uintp, nb.types.int64), generate

    @intrinsic
    def lowest_octet(_typing, _word):
        """Number of the first octet with a bit set in a word that is not 0."""

        def generate(context, builder, _signature, arguments):
            zeros = builder.cttz(arguments[0], context.get_constant(nb.types.boolean, 1))
            return builder.lshr(zeros, context.get_constant(nb.types.int64, 3))

        return nb.types.int64(nb.types.uint64), generate

    @intrinsic
    def put_word(_typing, _address, _at, _word):
        """Write eight octets behind an address; the caller sees to it that they are the array's."""

        def generate(context, builder, _signature, arguments):
            place = builder.add(arguments[0], arguments[1])
            pointer = builder.inttoptr(place, context.get_value_type(nb.types.uint64).as_pointer())
            builder.store(arguments[2], pointer).align = 1
            return context.get_dummy_value()

        return nb.types.void(nb.types.uintp, nb.types.int64, nb.types.uint64), generate

    @intrinsic
    def turned_round(_typing, _word):
        """The octets of a word in reverse."""

        def generate(_context, builder, _signature, arguments):
            return builder.bswap(arguments[0])

        return nb.types.uint64(nb.types.uint64), generate


# -- the border to Polars ---------------------------------------------------------------------------------

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.restype = ctypes.c_void_p
_LIBC.malloc.argtypes = [ctypes.c_size_t]
_CAPSULE = ctypes.pythonapi.PyCapsule_New
_CAPSULE.restype = ctypes.py_object
_CAPSULE.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

_free = nb.types.ExternalFunction("free", nb.types.void(nb.types.uintp))
_WORDS = nb.types.CPointer(nb.types.uintp)
_SCHEMA_RELEASE, _ARRAY_RELEASE, _ARRAY_PRIVATE = 7, 8, 9


@nb.cfunc(nb.types.void(_WORDS), cache=True)  # type: ignore[untyped-decorator]
def _release_schema(schema: Any) -> None:  # noqa: ANN401 -- a pointer to words
    schema[_SCHEMA_RELEASE] = 0


@nb.cfunc(nb.types.void(_WORDS), cache=True)  # type: ignore[untyped-decorator]
def _release_array(array: Any) -> None:  # noqa: ANN401
    _free(array[_ARRAY_PRIVATE])
    array[_ARRAY_RELEASE] = 0


class _Handover:
    """One column of large UTF-8 strings on its way over the Arrow C data interface; handed over once.

    One piece of memory holds the three buffer addresses, validity, offsets and octets. Freeing it is all
    that releasing the column takes, so no Python object has to outlive the hand-over.
    """

    def __init__(self, offsets: npt.NDArray[np.int64], validity: Octets | None, octets: int) -> None:
        head = 24
        valid = 0 if validity is None else len(validity) + 7 & ~7
        size = head + valid + offsets.nbytes + octets + PADDING
        self.address: int = _LIBC.malloc(size)
        if not self.address:
            raise MemoryError
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.address))
        addresses = memory[:head].view(np.uint64)
        addresses[0] = 0 if validity is None else self.address + head
        addresses[1] = self.address + head + valid
        addresses[2] = self.address + head + valid + offsets.nbytes
        if validity is not None:
            memory[head : head + len(validity)] = validity
        memory[head + valid : head + valid + offsets.nbytes] = offsets.view(np.uint8)
        self.data: Octets = memory[head + valid + offsets.nbytes :]
        self.count = len(offsets) - 1
        self.format = ctypes.create_string_buffer(b"U")
        self.name = ctypes.create_string_buffer(b"")

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """The column as two capsules; the receiver takes over the memory."""
        nullable = 2
        self.schema = (ctypes.c_uint64 * 9)(
            ctypes.addressof(self.format),
            ctypes.addressof(self.name),
            0,
            nullable,
            0,
            0,
            0,
            _release_schema.address,
            0,
        )
        unknown = 2**64 - 1
        nulls = unknown if ctypes.c_uint64.from_address(self.address).value else 0
        self.array = (ctypes.c_uint64 * 10)(
            self.count, nulls, 0, 3, 0, self.address, 0, 0, _release_array.address, self.address
        )
        return (
            _CAPSULE(ctypes.addressof(self.schema), b"arrow_schema", None),
            _CAPSULE(ctypes.addressof(self.array), b"arrow_array", None),
        )
