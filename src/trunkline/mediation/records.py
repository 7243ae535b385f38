"""Records in blocks of bytes: where each lies, where its fields lie, and which could not be read.

All blocks of a run lie behind each other in one buffer, and every field of every record is a stretch of it.
What had to be read in plain Python is put behind the blocks, so that nobody later sees a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.texts import MISSING, PADDING, Octets, padded
from trunkline.mediation import readers, scan
from trunkline.mediation.mapping import Format, Mapping

Bools = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int32]
Number = TypeVar("Number", np.int32, np.int64)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class Records:
    """Records in order of arrival; `starts` and `lengths` hold a row for each wanted field."""

    count: int
    data: Octets
    starts: Matrix
    lengths: Matrix
    file: npt.NDArray[np.int32]
    line: Longs
    offset: Longs
    length: npt.NDArray[np.int32]
    block: npt.NDArray[np.int32]
    sources: list[str | None]
    received_us: Longs | None
    newest_us: Longs | None
    unreadable: Bools
    no_mark: Bools
    notes: dict[int, str]


def find_records(blocks: pl.DataFrame, mapping: Mapping) -> Records:
    """The records of a run of blocks, with their fields."""
    data, begins, ends = _joined(blocks["bytes"].to_list())
    header, headed = _header(blocks, mapping.format, data, begins, ends)
    places, lines, block = _places(blocks, mapping.format, data, begins, ends)
    if headed and len(block):
        places, lines, block = places[2:], lines[1:], block[1:]
    count = len(block)
    starts = np.zeros((len(mapping.paths), count), np.int32)
    lengths = np.full((len(mapping.paths), count), MISSING, np.int32)
    statuses = np.zeros(count, np.uint8)
    columns = _table_columns(mapping, header)
    _scan(mapping, columns, data, places, starts, lengths, statuses)

    length = places[1::2] - places[0::2]
    statuses[length > readers.LONGEST_OCTETS] = scan.ODD
    data, unreadable, notes = _read_odd(mapping, columns, data, places, starts, lengths, statuses)
    at = np.asarray(begins, np.int64)
    return Records(
        count=count,
        data=data,
        starts=starts,
        lengths=lengths,
        file=_of_blocks(blocks["file"].cast(pl.Int32).to_numpy(), block),
        line=np.asarray(_of_blocks(blocks["line"].cast(pl.Int64).to_numpy(), block) + lines, np.int64),
        offset=_of_blocks(blocks["offset"].cast(pl.Int64).to_numpy() - at, block) + places[0::2],
        length=length,
        block=block,
        sources=blocks["source"].to_list(),
        received_us=_per_record(blocks, "received_us", block),
        newest_us=_per_record(blocks, "newest_us", block),
        unreadable=unreadable,
        no_mark=statuses == scan.NO_MARK,
        notes=notes,
    )


def _joined(pieces: list[bytes]) -> tuple[Octets, list[int], list[int]]:
    """All blocks in one buffer, each followed by what ends a record; where each begins and ends."""
    gap = b"\n\n"
    begins, ends, at = [], [], 0
    for piece in pieces:
        begins.append(at)
        ends.append(at + len(piece))
        at += len(piece) + len(gap)
    assert at < 2**31, "blocks of a batch are below 2 GiB"
    data = np.empty(at + PADDING, np.uint8)
    data[at:] = 0
    for begin, piece in zip(begins, pieces, strict=True):
        data[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
        data[begin + len(piece) : begin + len(piece) + len(gap)] = 10
    data.setflags(write=False)
    return data, begins, ends


def _places(
    blocks: pl.DataFrame, form: Format, data: Octets, begins: list[int], ends: list[int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Begin and end of every record, the lines before it in its block, and its block."""
    room = scan.count_octets(data, ord("\n"))
    places, lines = np.empty(2 * room, np.int32), np.empty(room, np.int32)
    counts = []
    done = 0
    for begin, end, offset in zip(begins, ends, blocks["offset"].to_list(), strict=True):
        if offset == 0 and data[begin : begin + 3].tobytes() == BYTE_ORDER_MARK:
            begin += 3  # noqa: PLW2901 -- the mark belongs to no record
        into, line = places[2 * done :], lines[done:]
        if form.kind == "blocks":
            found = scan.split_blocks(data, begin, end, into, line)
        elif form.multiline:
            found = scan.split_quoted(data, begin, end, ord(form.quote), into, line)
        else:
            found = scan.split_lines(data, begin, end, into, line)
        counts.append(found)
        done += found
    block = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return places[: 2 * done], lines[:done], block


def _header(
    blocks: pl.DataFrame, form: Format, data: Octets, begins: list[int], ends: list[int]
) -> tuple[bytes | None, bool]:
    """The heading of a table, and whether it stands in the block itself (then it is its first record)."""
    if not form.header:
        return None, False
    if blocks["line"][0] == 1:
        return data[begins[0] : ends[0]].tobytes().removeprefix(BYTE_ORDER_MARK).lstrip().split(b"\n")[
            0
        ], True
    if "header" in blocks.columns and blocks["header"][0] is not None:
        return bytes(blocks["header"][0]).removeprefix(BYTE_ORDER_MARK).strip().split(b"\n")[0], False
    return None, False


def _table_columns(mapping: Mapping, header: bytes | None) -> tuple[int, ...]:
    """Which wanted field stands in each column of a table, or -1."""
    form = mapping.format
    if form.kind != "csv":
        return ()
    names: tuple[str, ...] = form.columns
    if header is not None:
        try:
            every = tuple(range(1 << 12))
            row = readers.read_row(header.rstrip(b"\r"), every, form.delimiter, form.quote, 1, 1 << 12)
        except readers.Unreadable:
            return ()
        names = tuple(name.strip() for name in row if name is not None)
    wanted = {path[0]: index for index, path in enumerate(mapping.paths)}
    found = [wanted.pop(name, -1) for name in names]
    return tuple(found)


def _per_record(blocks: pl.DataFrame, name: str, block: npt.NDArray[np.int32]) -> Longs | None:
    """A clock of the engine for each record; None when it gives none."""
    if name not in blocks.columns or blocks[name].null_count() == len(blocks):
        return None
    late = 2**62 if name == "received_us" else -(2**62)
    return _of_blocks(blocks[name].cast(pl.Int64).fill_null(late).to_numpy(), block)


def _of_blocks(values: npt.NDArray[Number], block: npt.NDArray[np.int32]) -> npt.NDArray[Number]:
    """What a block says, for each of its records; a backlog comes as one block."""
    return values[block] if len(values) > 1 else np.full(len(block), values[0], values.dtype)


def _scan(
    mapping: Mapping,
    columns: tuple[int, ...],
    data: Octets,
    places: npt.NDArray[np.int32],
    starts: Matrix,
    lengths: Matrix,
    statuses: npt.NDArray[np.uint8],
) -> None:
    """Find the fields of all records that are plain."""
    form, keys = mapping.format, mapping.keys
    mark = np.frombuffer(form.mark, np.uint8)
    table = (keys.octets, keys.starts, keys.ends, keys.within, keys.targets, keys.slots)
    if form.kind == "ndjson":
        words = (keys.sizes, keys.patterns, keys.masks)
        scan.scan_objects(data, places, mark, *table, *words, starts, lengths, statuses)
    elif form.kind == "pairs":
        between = np.frombuffer(form.between.encode(), np.uint8)
        scan.scan_pairs(data, places, mark, between, *table, starts, lengths, statuses)
    elif form.kind == "blocks":
        scan.scan_blocks(data, places, *table, starts, lengths, statuses)
    elif columns:
        scan.scan_table(
            data, places, ord(form.delimiter), ord(form.quote), form.fewest or len(columns),
            np.asarray(columns, np.int32), starts, lengths, statuses,
        )  # fmt: skip
    else:
        statuses[:] = scan.ODD


def _read_odd(
    mapping: Mapping,
    columns: tuple[int, ...],
    data: Octets,
    places: npt.NDArray[np.int32],
    starts: Matrix,
    lengths: Matrix,
    statuses: npt.NDArray[np.uint8],
) -> tuple[Octets, Bools, dict[int, str]]:
    """Read the records that are not plain one by one, and put their fields behind the blocks."""
    unreadable = np.zeros(len(statuses), np.bool_)
    notes: dict[int, str] = {}
    more = bytearray()
    for at in np.flatnonzero(statuses == scan.ODD).tolist():
        lengths[:, at] = MISSING
        try:
            fields = _read(mapping, columns, data[places[2 * at] : places[2 * at + 1]].tobytes())
        except readers.NoMark:
            statuses[at] = scan.NO_MARK
            continue
        except readers.Unreadable as fault:
            unreadable[at] = True
            notes[at] = str(fault)
            continue
        for index, value in enumerate(fields):
            if value is not None:
                octets = value.encode()
                starts[index, at] = len(data) + len(more)
                lengths[index, at] = len(octets)
                more += octets
    if more:
        data = np.concatenate([data, padded(more)])
        data.setflags(write=False)
    return data, unreadable, notes


def _read(mapping: Mapping, columns: tuple[int, ...], record: bytes) -> readers.Fields:
    """One record in plain Python."""
    form = mapping.format
    if form.kind == "ndjson":
        return readers.read_object(record, mapping.paths, form.mark)
    if form.kind == "pairs":
        return readers.read_pairs(record, mapping.paths, form.mark, form.between)
    if form.kind == "blocks":
        return readers.read_block(record, mapping.paths)
    if not columns:
        raise readers.Unreadable("the table's heading is not known")
    return readers.read_row(
        record, columns, form.delimiter, form.quote, form.fewest or len(columns), len(mapping.paths)
    )
