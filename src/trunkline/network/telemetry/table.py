"""Wide tables: a row is an object in a period, a column is a counter; a file of all cells is read in compiled loops.

Every value is its own reading: one that is wrong is set aside and the rest of its row is kept. An empty field, or a
word that the mapping calls empty, is no reading at all; the bin is then missing, which the KPIs show.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.texts import MISSING, Octets, Texts, padded, to_series
from trunkline.network.telemetry import clock, names, wide
from trunkline.network.telemetry.lines import LONGEST_OCTETS, NEVER_RECEIVED, Places
from trunkline.network.telemetry.mapping import Column, Counter, Mapping
from trunkline.network.telemetry.numbers import ABSENT, convert, word_list
from trunkline.network.telemetry.readings import Readings, filled, number_up_to, slice_word

Matrix = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_PLAIN, _ODD, _RAGGED = 0, 1, 2
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class _Table:
    """Fields of one block: row `i`, column `j` is `data[starts[i, j]:][:lengths[i, j]]`."""

    data: Octets
    columns: tuple[str, ...]
    starts: Matrix
    lengths: Matrix
    good: Bools

    def texts(self, name: str) -> Texts | None:
        """One column; None when the table has none of that name."""
        if name not in self.columns:
            return None
        at = self.columns.index(name)
        starts, lengths = np.ascontiguousarray(self.starts[:, at]), np.ascontiguousarray(self.lengths[:, at])
        return Texts(self.data, starts, np.where(self.good, lengths, MISSING).astype(np.int32))

    def column(self, name: str) -> pl.Series | None:
        """One column of texts, without the blanks around them."""
        texts = self.texts(name)
        return None if texts is None else to_series(name, texts).str.strip_chars()


def read_tables(blocks: pl.DataFrame, mapping: Mapping) -> tuple[Places, Readings]:
    """The rows of a run of blocks."""
    readings = Readings()
    parts: list[Places] = []
    for block in blocks.iter_rows(named=True):
        first = sum(len(part) for part in parts)
        parts.append(_read_block(block, mapping, readings, first))
    return _joined(parts), readings


def _joined(parts: list[Places]) -> Places:
    if len(parts) == 1:
        return parts[0]
    return Places(
        np.concatenate([part.file for part in parts]),
        np.concatenate([part.line for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.length for part in parts]),
        [source for part in parts for source in part.source],
        np.concatenate([part.received_us for part in parts]),
    )


def _read_block(block: dict[str, object], mapping: Mapping, readings: Readings, first: int) -> Places:
    octets = bytes(block["bytes"])  # type: ignore[call-overload]
    heading, begin, before = _heading(block, octets, mapping)
    data = padded(octets)
    bounds, lines = split_rows(data, begin, len(octets))
    count = len(lines)
    received = block["received_us"]
    offset, line = int(block["offset"]), int(block["line"])  # type: ignore[call-overload]
    places = Places(
        np.full(count, block["file"], np.int32),
        lines + line + before,
        bounds[0::2].astype(np.int64) + offset,
        bounds[1::2] - bounds[0::2],
        [str(block["source"] or mapping.source)] * count,
        np.full(count, NEVER_RECEIVED if received is None else received, np.int64),
    )
    if not count:
        return places
    if heading is None or len(set(heading)) < len(heading):
        what = "the heading is not known" if heading is None else "a name stands twice in the heading"
        readings.reject_all(np.arange(first, first + count), "unreadable", what)
        return places
    table = _fields(data, octets, bounds, heading, mapping, readings, first)
    _read_rows(table, mapping, readings, first)
    return places


def _heading(
    block: dict[str, object], octets: bytes, mapping: Mapping
) -> tuple[tuple[str, ...] | None, int, int]:
    """Names of the columns, where the rows begin in the block, and how many lines stand before them."""
    at = len(BYTE_ORDER_MARK) if block["offset"] == 0 and octets.startswith(BYTE_ORDER_MARK) else 0
    if not mapping.header:
        return mapping.columns, at, 0
    before = 0
    if block["line"] == 1:
        end = octets.find(b"\n", at)
        end = len(octets) if end < 0 else end
        head, at, before = octets[at:end], min(end + 1, len(octets)), 1
    elif block.get("header") is not None:
        head = bytes(block["header"]).removeprefix(BYTE_ORDER_MARK).split(b"\n")[0]  # type: ignore[call-overload]
    else:
        return None, at, 0
    row = _row(head.rstrip(b"\r"), mapping.delimiter)
    return (tuple(name.strip() for name in row) if row else None), at, before


def _row(record: bytes, delimiter: str) -> list[str] | None:
    """One row in plain Python: the judge of every row that is not plain."""
    if len(record) > LONGEST_OCTETS or b"\0" in record:
        return None
    try:
        rows = list(csv.reader(io.StringIO(record.decode(), newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return rows[0] if len(rows) == 1 else None


def _fields(
    data: Octets,
    octets: bytes,
    bounds: npt.NDArray[np.int32],
    heading: tuple[str, ...],
    mapping: Mapping,
    readings: Readings,
    first: int,
) -> _Table:
    """Where every field lies; rows that are not plain are read one by one and put behind the block."""
    count, width = len(bounds) // 2, len(heading)
    starts, lengths = np.zeros((count, width), np.int32), np.full((count, width), MISSING, np.int32)
    statuses = np.zeros(count, np.uint8)
    scan_rows(data, bounds, ord(mapping.delimiter), starts, lengths, statuses)
    statuses[bounds[1::2] - bounds[0::2] > LONGEST_OCTETS] = _ODD
    if not _is_text(octets):
        mark_foreign(data, bounds, statuses)
    good = statuses == _PLAIN
    more = bytearray()
    for at in np.flatnonzero(~good).tolist():
        begin, end = int(bounds[2 * at]), int(bounds[2 * at + 1])
        if end - begin > LONGEST_OCTETS:
            readings.reject(first + at, "too_large", f"longer than {LONGEST_OCTETS} octets")
            continue
        row = _row(octets[begin:end], mapping.delimiter)
        if row is None or len(row) != width:
            what = "not a row of text" if row is None else f"{len(row)} columns instead of {width}"
            readings.reject(first + at, "unreadable", what)
            continue
        good[at] = True
        for column, value in enumerate(row):
            encoded = value.encode()
            starts[at, column], lengths[at, column] = len(octets) + len(more), len(encoded)
            more += encoded
    whole = padded(octets + bytes(more)) if more else data
    return _Table(whole, heading, starts, lengths, good)


def _is_text(octets: bytes) -> bool:
    if b"\0" in octets:
        return False
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_rows(table: _Table, mapping: Mapping, readings: Readings, first: int) -> None:
    """Everything a block's rows say."""
    count = len(table.good)
    objects = _column(table, mapping.object, count)
    slices = _column(table, mapping.slice, count)
    technologies = _column(table, mapping.technology, count)
    words, wrong_slices = _each(slices, slice_word)
    five_qis, wrong_five_qis = _each(
        _column(table, mapping.five_qi, count), lambda text: number_up_to(text, 255)
    )
    period = clock.periods(mapping.times, table.column, count)
    usable = table.good.copy()
    for bad, reason, detail in (
        (names.empty(objects), "missing_object", "the row names nothing that is measured"),
        (wrong_slices, "unreadable", "the slice is no S-NSSAI"),
        (wrong_five_qis, "unreadable", "the 5QI is no number up to 255"),
        (period.wrong, "bad_time", "the time is missing or not in the mapping's format"),
    ):
        found = np.flatnonzero(bad & usable)
        if len(found):
            readings.reject_all(found + first, reason, detail)
            usable[found] = False
    counters = _counters(mapping, table.columns)
    rows = np.flatnonzero(usable)
    if not counters:
        readings.reject_all(rows + first, "missing_counter", "the table has no counter")
    elif len(rows):
        where = wide.Rows(rows + first, objects.gather(rows), technologies.gather(rows), words[rows], five_qis[rows],
                          period.begin_us[rows], period.end_us[rows])  # fmt: skip
        values, statuses = _values(table, mapping, rows, counters)
        nothing = (statuses.reshape(len(rows), len(counters)) == ABSENT).all(axis=1)
        if nothing.any():
            readings.reject_all(rows[nothing] + first, "missing_counter", "the row holds no value")
        wide.spread(readings, where, counters, values, statuses)


def _values(
    table: _Table, mapping: Mapping, rows: npt.NDArray[np.int64], counters: list[Counter]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """All values of some rows, row by row, and their statuses."""
    at = np.array([table.columns.index(counter.field) for counter in counters])
    starts = np.ascontiguousarray(table.starts[np.ix_(rows, at)]).ravel()
    lengths = np.ascontiguousarray(table.lengths[np.ix_(rows, at)]).ravel()
    values, statuses = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.uint8)
    words, ends = word_list(mapping.empty)
    table.data.setflags(write=False)
    convert(table.data, starts, lengths, *wide.factors(counters), words, ends, values, statuses)
    return values, statuses


def _used(mapping: Mapping) -> set[str]:
    """Columns that say what is measured and when, and so are no counters."""
    asked = {*mapping.ignored, mapping.times.begin, mapping.times.end, ""}
    for column in (mapping.object, mapping.technology, mapping.slice, mapping.five_qi):
        asked.update(column.asked)
    return asked


def _counters(mapping: Mapping, columns: tuple[str, ...]) -> list[Counter]:
    """The counters that a table holds."""
    used, found = _used(mapping), []
    for name in columns:
        if name in mapping.counters:
            found.append(mapping.counters[name])
        elif mapping.others and name not in used:
            found.append(Counter(name, name))
    return found


def _column(table: _Table, column: Column, count: int) -> pl.Series:
    """One of the mapping's columns for every row, as texts; each different combination is worked out once."""
    asked = column.asked
    if not asked:
        return pl.Series("filled", [filled(column, lambda _name: None)], dtype=pl.String).new_from_index(
            0, count
        )
    given = {name: table.column(name) for name in asked}
    missing = pl.Series([None], dtype=pl.String).new_from_index(0, count)
    if column.plain:
        only = given[asked[0]]
        return (missing if only is None else only).alias("filled")
    frame = pl.DataFrame({name: missing if series is None else series for name, series in given.items()})
    different = frame.unique(maintain_order=True)
    answers = [filled(column, row.get) for row in different.iter_rows(named=True)]
    table_of = different.with_columns(filled=pl.Series(answers, dtype=pl.String))
    joined = frame.join(table_of, on=list(given), how="left", maintain_order="left", nulls_equal=True)
    return joined.get_column("filled")


def _each(column: pl.Series, read: names.Reader) -> tuple[npt.NDArray[np.int64], Bools]:
    """A small whole number out of each text, and where there is none."""
    if column.null_count() == len(column) or not (column.str.len_bytes() > 0).any():
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    different = column.unique(maintain_order=True)
    known = {text: read(text or "") for text in different.to_list()}
    answers = [known[text] for text in column.to_list()]
    wrong = np.array([answer is None for answer in answers], np.bool_)
    return np.array([answer or 0 for answer in answers], np.int64), wrong


@nb.njit(nogil=True, cache=True)
def split_rows(data: Octets, begin: int, end: int) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Begin and end of every line that is not blank, and how many lines stand before it."""
    room = 1
    for at in range(begin, end):
        room += data[at] == 10
    bounds, lines = np.empty(2 * room, np.int32), np.empty(room, np.int64)
    count, line, start = 0, 0, begin
    for at in range(begin, end + 1):
        if at == end or data[at] == 10:
            stop = at
            if stop > start and data[stop - 1] == 13:
                stop -= 1
            blank = True
            for k in range(start, stop):
                if data[k] != 32 and data[k] != 9 and data[k] != 13:
                    blank = False
                    break
            if not blank:
                bounds[2 * count], bounds[2 * count + 1], lines[count] = start, stop, line
                count += 1
            line += 1
            start = at + 1
    return bounds[: 2 * count].copy(), lines[:count].copy()


@nb.njit(nogil=True, cache=True)
def scan_rows(
    data: Octets,
    bounds: Matrix,
    delimiter: int,
    starts: Matrix,
    lengths: Matrix,
    statuses: npt.NDArray[np.uint8],
) -> None:
    """Fields of rows without quotes; a row with quotes or another number of columns is left to plain Python."""
    width = starts.shape[1]
    for row in range(starts.shape[0]):
        start, end, column = bounds[2 * row], bounds[2 * row + 1], 0
        for at in range(start, end + 1):
            if at == end or data[at] == delimiter:
                if column == width:
                    statuses[row] = _RAGGED
                    break
                starts[row, column], lengths[row, column] = start, at - start
                column += 1
                start = at + 1
            elif data[at] == 34:
                statuses[row] = _ODD
                break
        if column < width and statuses[row] == _PLAIN:
            statuses[row] = _RAGGED


@nb.njit(nogil=True, cache=True)
def mark_foreign(data: Octets, bounds: Matrix, statuses: npt.NDArray[np.uint8]) -> None:
    """Rows that hold a NUL or anything outside ASCII are read one by one when their block is not clean text."""
    for row in range(len(statuses)):
        for at in range(bounds[2 * row], bounds[2 * row + 1]):
            if data[at] == 0 or data[at] >= 128:
                statuses[row] = _ODD
                break
