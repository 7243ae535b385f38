"""Finding records and their fields in bytes, fast, without understanding more than is certain.

A scanner walks over whole blocks in compiled code and notes where the wanted fields of each record lie. It
takes only the plain cases; a record with anything unusual in it (escapes, nesting that nobody asked for, a
field that occurs twice, broken syntax, invalid UTF-8) is marked ODD and read again by `readers`, in plain
Python, which alone decides that a record is unreadable. So speed never changes what a record says, and a
bad record never harms its neighbours.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.texts import MISSING, Octets, Places, lowest_octet, octet_at, word_at

Words = npt.NDArray[np.int64]
Statuses = npt.NDArray[np.uint8]

PLAIN, ODD, NO_MARK = 0, 1, 2

_NEWLINE, _RETURN, _TAB, _SPACE, _QUOTE, _BACKSLASH, _COMMA, _COLON, _EQUALS = (
    10,
    13,
    9,
    32,
    34,
    92,
    44,
    58,
    61,
)
_OPEN, _CLOSE, _MINUS, _POINT, _ZERO, _NINE = 123, 125, 45, 46, 48, 57

DEEPEST = 8
LONGEST_PATTERN = 16

_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES, _NEWLINES = np.uint64(0x2020202020202020), np.uint64(0x0A0A0A0A0A0A0A0A)
_NO_WORD = np.uint64(0)


class Keys:
    """Names of the wanted fields in a shape that compiled code can look up: an open hash table of octets.

    A nested field such as `data.id` is the key `id` in the object numbered for `data`; the table holds
    objects under negative numbers. The outermost object is number 0.
    """

    def __init__(self, paths: tuple[tuple[str, ...], ...]) -> None:
        self.paths = paths
        objects: dict[tuple[str, ...], int] = {(): 0}
        entries: list[tuple[int, str, int]] = []
        for index, path in enumerate(paths):
            for depth in range(1, len(path)):
                parent = path[:depth]
                if parent not in objects:
                    objects[parent] = len(objects)
                    entries.append((objects[parent[:-1]], parent[-1], -objects[parent]))
            entries.append((objects[path[:-1]], path[-1], index))
        self.within = np.array([entry[0] for entry in entries], np.int32)
        names = [entry[1].encode() for entry in entries]
        self.octets = np.frombuffer(b"".join(names) + b"\0", np.uint8)
        self.ends = np.cumsum([len(name) for name in names]).astype(np.int32)
        self.starts = (self.ends - [len(name) for name in names]).astype(np.int32)
        self.targets = np.array([entry[2] for entry in entries], np.int32)
        # What stands behind the quote that opens a key, as two words with masks; a key too long has no pattern.
        patterns = [name + b'":' for name in names]
        self.sizes = np.array([len(p) if len(p) <= LONGEST_PATTERN else 0 for p in patterns], np.int64)
        self.patterns = np.array(
            [[int.from_bytes(p[at : at + 8], "little") for at in (0, 8)] for p in patterns], np.uint64
        )
        self.masks = np.array(
            [[int.from_bytes(b"\xff" * len(p[at : at + 8]), "little") for at in (0, 8)] for p in patterns],
            np.uint64,
        )
        self.slots = np.full(_slots(len(entries)), -1, np.int32)
        for entry, name in enumerate(names):
            slot = key_hash(np.frombuffer(name + b"\0", np.uint8), 0, len(name), int(self.within[entry]))
            while self.slots[slot & len(self.slots) - 1] >= 0:
                slot += 1
            self.slots[slot & len(self.slots) - 1] = entry


def _slots(entries: int) -> int:
    """Room in the table: a power of two, at most a quarter full."""
    size = 16
    while size < 4 * entries:
        size *= 2
    return size


@nb.njit(nogil=True, cache=True)
def key_hash(data: Octets, start: int, end: int, within: int) -> int:
    """Where in the table a key would stand."""
    word = np.uint64(14695981039346656037) + np.uint64(within)
    for at in range(start, end):
        word = (word ^ np.uint64(data[at])) * np.uint64(1099511628211)
    slot: int = np.int64((word ^ (word >> np.uint64(29))) & np.uint64(0x7FFFFFFF))  # type: ignore[assignment]
    return slot


@nb.njit(nogil=True, cache=True)
def look_up(
    data: Octets,
    start: int,
    end: int,
    within: int,
    octets: Octets,
    starts: Places,
    ends: Places,
    objects: Places,
    slots: Places,
) -> int:
    """Number of the table's entry for a key within an object, or -1."""
    slot = key_hash(data, start, end, within)
    room = len(slots) - 1
    while slots[slot & room] >= 0:
        entry = slots[slot & room]
        if objects[entry] == within and ends[entry] - starts[entry] == end - start:
            same = True
            for k in range(end - start):
                if octets[starts[entry] + k] != data[start + k]:
                    same = False
                    break
            if same:
                return int(entry)
        slot += 1
    return -1


# -- records ------------------------------------------------------------------------------------------------


@nb.njit(nogil=True, cache=True)
def count_octets(data: Octets, wanted: int) -> int:
    """How often an octet occurs."""
    count = 0
    for at in range(len(data)):
        count += data[at] == wanted
    return count


@nb.njit(nogil=True, cache=True)
def split_lines(data: Octets, begin: int, end: int, places: Places, lines: Places) -> int:
    """Records that are lines: begin, end (line end not counted) and number of line breaks before each.

    Like `scan_objects` it reads in words of eight octets, up to PADDING octets behind the end.
    """
    base = data.ctypes.data
    count = 0
    line = 0
    start = begin
    at = begin
    while start <= end:
        while at < end:
            word = word_at(base, at) ^ _NEWLINES
            found = (word - _ONES) & ~word & _HIGHS
            if found != _NO_WORD:
                at += lowest_octet(found)
                break
            at += 8
        at = min(at, end)
        if at > start and (octet_at(base, start) > _SPACE or not _blank(data, start, at)):
            places[2 * count] = start
            places[2 * count + 1] = at - 1 if octet_at(base, at - 1) == _RETURN else at
            lines[count] = line
            count += 1
        line += 1
        at += 1
        start = at
    return count


@nb.njit(nogil=True, cache=True)
def _blank(data: Octets, start: int, end: int) -> bool:
    """Whether a stretch holds nothing but white space."""
    for at in range(start, end):
        if data[at] != _SPACE and data[at] != _TAB and data[at] != _RETURN:
            return False
    return True


@nb.njit(nogil=True, cache=True)
def split_quoted(data: Octets, begin: int, end: int, quote: int, places: Places, lines: Places) -> int:
    """Records of a table whose quoted fields may hold line breaks."""
    count = 0
    line = 0
    first_line = 0
    inside = False
    start = begin
    for at in range(begin, end + 1):
        if at < end and data[at] == quote:
            inside = not inside
        if at == end or data[at] == _NEWLINE:
            if at == end or not inside:
                stop = at - 1 if at > start and data[at - 1] == _RETURN else at
                if not _blank(data, start, stop):
                    places[2 * count] = start
                    places[2 * count + 1] = stop
                    lines[count] = first_line
                    count += 1
                start = at + 1
                first_line = line + 1
            line += 1
    return count


@nb.njit(nogil=True, cache=True)
def split_blocks(data: Octets, begin: int, end: int, places: Places, lines: Places) -> int:
    """Records that are groups of lines with a blank line behind each."""
    count = 0
    line = 0
    start = begin
    record = -1
    record_line = 0
    record_end = begin
    for at in range(begin, end + 1):
        if at == end or data[at] == _NEWLINE:
            if _blank(data, start, at):
                if record >= 0:
                    places[2 * count] = record
                    places[2 * count + 1] = record_end
                    lines[count] = record_line
                    count += 1
                    record = -1
            else:
                if record < 0:
                    record = start
                    record_line = line
                record_end = at
            line += 1
            start = at + 1
    if record >= 0:
        places[2 * count] = record
        places[2 * count + 1] = record_end
        lines[count] = record_line
        count += 1
    return count


@nb.njit(nogil=True, cache=True)
def find_mark(data: Octets, start: int, end: int, mark: Octets) -> int:
    """Where the text behind the mark begins, or -1."""
    for at in range(start, end - len(mark) + 1):
        k = 0
        while k < len(mark) and data[at + k] == mark[k]:
            k += 1
        if k == len(mark):
            return at + k
    return -1


@nb.njit(nogil=True, cache=True)
def valid_utf8(data: Octets, start: int, end: int) -> bool:
    """Whether a stretch is UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, up to U+10FFFF."""
    at = start
    while at < end:
        head = data[at]
        if head < 0x80:
            at += 1
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= head <= 0xDF:
            more = 1
        elif 0xE0 <= head <= 0xEF:
            more = 2
            if head == 0xE0:
                low = 0xA0
            elif head == 0xED:
                high = 0x9F
        elif 0xF0 <= head <= 0xF4:
            more = 3
            if head == 0xF0:
                low = 0x90
            elif head == 0xF4:
                high = 0x8F
        else:
            return False
        if at + more >= end or data[at + 1] < low or data[at + 1] > high:
            return False
        for k in range(2, more + 1):
            if data[at + k] < 0x80 or data[at + k] > 0xBF:
                return False
        at += more + 1
    return True


# -- fields ------------------------------------------------------------------------------------------------


@nb.njit(nogil=True, cache=True)
def scan_objects(
    data: Octets,
    places: Places,
    mark: Octets,
    octets: Octets,
    key_starts: Places,
    key_ends: Places,
    objects: Places,
    targets: Places,
    slots: Places,
    sizes: Words,
    patterns: npt.NDArray[np.uint64],
    masks: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    statuses: Statuses,
) -> None:
    """Fields of JSON objects, one object a record; `starts` and `lengths` are field by record.

    Records of one sender are much alike, so the two keys that lately followed a key are tried first.
    Reads in words, up to PADDING octets behind the last record.
    """
    base = data.ctypes.data
    stack = np.zeros(DEEPEST, np.int32)
    likely = np.zeros((len(targets) + 1, 2), np.int32)
    for record in range(len(statuses)):
        begin, end = int(places[2 * record]), int(places[2 * record + 1])
        statuses[record] = ODD
        if len(mark) > 0:
            begin = find_mark(data, begin, end, mark)
            if begin < 0:
                statuses[record] = NO_MARK
                continue
            while begin < end and octet_at(base, begin) != _OPEN:
                begin += 1
        at = _skip(base, begin, end)
        if at >= end or octet_at(base, at) != _OPEN:
            continue
        depth = 0
        within = 0
        visited = np.uint64(1)
        high = _NO_WORD
        last = len(targets)
        at = _skip(base, at + 1, end)
        if at < end and octet_at(base, at) == _CLOSE:
            if _skip(base, at + 1, end) == end:
                statuses[record] = PLAIN
            continue
        while at < end and octet_at(base, at) == _QUOTE:
            # A key.
            at += 1
            entry = int(likely[last, 0])
            known = _is_key(
                base, at, within, objects[entry], sizes[entry], masks[entry, 0], patterns[entry, 0],
                masks[entry, 1], patterns[entry, 1],
            )  # fmt: skip
            if not known:
                entry = int(likely[last, 1])
                known = _is_key(
                    base, at, within, objects[entry], sizes[entry], masks[entry, 0], patterns[entry, 0],
                    masks[entry, 1], patterns[entry, 1],
                )  # fmt: skip
            if known:
                at += sizes[entry]
            else:
                start = at
                at, more = _string_end(base, at, end)
                high |= more
                if at >= end or octet_at(base, at) != _QUOTE:
                    break
                entry = look_up(data, start, at, within, octets, key_starts, key_ends, objects, slots)
                if entry >= 0:
                    likely[last, 1] = likely[last, 0]
                    likely[last, 0] = entry
                at = _skip(base, at + 1, end)
                if at >= end or octet_at(base, at) != _COLON:
                    break
                at += 1
            at = _skip(base, at, end)
            if at >= end:
                break
            target = -1
            last = len(targets)
            if entry >= 0:
                last = entry
                target = int(targets[entry])
                if target >= 0:
                    if lengths[target, record] != MISSING:
                        break
                else:
                    bit = np.uint64(1) << np.uint64(-target)
                    if visited & bit:
                        break
                    visited |= bit
            # Its value.
            octet = octet_at(base, at)
            start = at
            if octet == _QUOTE:
                start += 1
                at, more = _string_end(base, start, end)
                high |= more
                if at >= end or octet_at(base, at) != _QUOTE:
                    break
                if target >= 0:
                    starts[target, record] = start
                    lengths[target, record] = at - start
                at += 1
            elif octet == _MINUS or _ZERO <= octet <= _NINE:
                at = _past_number(base, at, end)
                if at < 0:
                    break
                if target >= 0:
                    starts[target, record] = start
                    lengths[target, record] = at - start
            elif octet == _OPEN:
                if entry < 0 or target >= 0 or depth + 1 >= DEEPEST:
                    break
                depth += 1
                within = -target
                stack[depth] = within
                at = _skip(base, at + 1, end)
                if at < end and octet_at(base, at) != _CLOSE:
                    continue
            else:
                word = _literal(base, at, end)
                if word == 0:
                    break
                if target >= 0 and word != _NULL:
                    starts[target, record] = at
                    lengths[target, record] = word
                at += word & 255
            # What follows it.
            at = _skip(base, at, end)
            while at < end and depth > 0 and octet_at(base, at) == _CLOSE:
                depth -= 1
                within = int(stack[depth])
                at = _skip(base, at + 1, end)
            if at >= end:
                break
            octet = octet_at(base, at)
            at = _skip(base, at + 1, end)
            if octet == _CLOSE:
                if at == end and (high == _NO_WORD or valid_utf8(data, begin, end)):
                    statuses[record] = PLAIN
                break
            if octet != _COMMA:
                break


@nb.njit(inline="always")
def _skip(base: int, at: int, end: int) -> int:
    """Past white space."""
    while at < end:
        octet = octet_at(base, at)
        if octet > _SPACE or (octet != _SPACE and octet != _TAB and octet != _RETURN):
            break
        at += 1
    return at


@nb.njit(inline="always")
def _string_end(base: int, at: int, end: int) -> tuple[int, np.uint64]:
    """The first quote, backslash or control character, and a word with a high bit if the text is not ASCII.

    The lowest octet found by such word arithmetic is always right, those above it need not be (Warren,
    Hacker's Delight, 6-1).
    """
    high = _NO_WORD
    while at < end:
        word = word_at(base, at)
        quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
        found = (
            ((quotes - _ONES) & ~quotes) | ((backslashes - _ONES) & ~backslashes) | ((word - _SPACES) & ~word)
        ) & _HIGHS
        if found != _NO_WORD:
            octet = lowest_octet(found)
            if octet > 0:
                high |= word << np.uint64(64 - 8 * octet)
            at += octet
            break
        high |= word
        at += 8
    return at, high & _HIGHS


@nb.njit(inline="always")
def _is_key(
    base: int,
    at: int,
    within: int,
    wanted: int,
    size: int,
    mask1: np.uint64,
    pattern1: np.uint64,
    mask2: np.uint64,
    pattern2: np.uint64,
) -> bool:
    """Whether a certain key begins here, with quote and colon behind it."""
    if size == 0 or wanted != within or word_at(base, at) & mask1 != pattern1:
        return False
    return size <= 8 or word_at(base, at + 8) & mask2 == pattern2


@nb.njit(inline="always")
def _past_number(base: int, at: int, end: int) -> int:
    """Behind a JSON number without exponent, or -1."""
    if octet_at(base, at) == _MINUS:
        at += 1
    start = at
    while at < end and _ZERO <= octet_at(base, at) <= _NINE:
        at += 1
    if at == start or (octet_at(base, start) == _ZERO and at - start > 1):
        return -1
    if at < end and octet_at(base, at) == _POINT:
        at += 1
        start = at
        while at < end and _ZERO <= octet_at(base, at) <= _NINE:
            at += 1
        if at == start:
            return -1
    if at < end and octet_at(base, at) | 32 == 101:
        return -1
    return at


_TRUE, _NULL_WORD, _FALSE = (int.from_bytes(word, "little") for word in (b"true", b"null", b"false"))
_FOUR, _FIVE = np.uint64(2**32 - 1), np.uint64(2**40 - 1)
_TRUE_WORD, _NULL_FOUR, _FALSE_WORD = np.uint64(_TRUE), np.uint64(_NULL_WORD), np.uint64(_FALSE)
_NULL = 4 + 256


@nb.njit(inline="always")
def _literal(base: int, at: int, end: int) -> int:
    """Length of `true` or `false`; 256 more than its length for `null`; 0 for anything else."""
    word = word_at(base, at)
    if at + 4 <= end and word & _FOUR == _TRUE_WORD:
        return 4
    if at + 4 <= end and word & _FOUR == _NULL_FOUR:
        return _NULL
    if at + 5 <= end and word & _FIVE == _FALSE_WORD:
        return 5
    return 0


@nb.njit(nogil=True, cache=True)
def scan_table(
    data: Octets,
    places: Places,
    delimiter: int,
    quote: int,
    fewest: int,
    columns: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    statuses: Statuses,
) -> None:
    """Fields of delimited records; `columns[i]` is the wanted field that stands in column i, or -1."""
    for record in range(len(statuses)):
        at, end = places[2 * record], places[2 * record + 1]
        begin = at
        column = 0
        wide = False
        status = PLAIN
        while status == PLAIN:
            quoted = at < end and data[at] == quote
            if quoted:
                at += 1
            start = at
            doubled = False
            while at < end and (quoted or data[at] != delimiter):
                octet = data[at]
                if octet == quote:
                    if not quoted or at + 1 >= end or data[at + 1] != quote:
                        break
                    doubled = True
                    at += 1
                if octet == 0:
                    status = ODD
                wide |= octet >= 128
                at += 1
            stop = at
            if quoted:
                if at >= end:
                    status = ODD
                at += 1
            if at < end and data[at] != delimiter:
                status = ODD
            if column >= len(columns):
                status = ODD
                break
            if columns[column] >= 0:
                if doubled:
                    status = ODD  # the text is not what lies there
                starts[columns[column], record] = start
                lengths[columns[column], record] = stop - start
            column += 1
            if at >= end:
                break
            at += 1
        if column < fewest or (wide and not valid_utf8(data, begin, end)):
            status = ODD
        statuses[record] = status


@nb.njit(nogil=True, cache=True)
def scan_pairs(
    data: Octets,
    places: Places,
    mark: Octets,
    between: Octets,
    octets: Octets,
    key_starts: Places,
    key_ends: Places,
    objects: Places,
    targets: Places,
    slots: Places,
    starts: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    statuses: Statuses,
) -> None:
    """Fields written as `key=value`, with a separator between them, behind a mark in the line."""
    for record in range(len(statuses)):
        first, end = places[2 * record], places[2 * record + 1]
        at = first
        if len(mark) > 0:
            at = find_mark(data, first, end, mark)
            if at < 0:
                statuses[record] = NO_MARK
                continue
        status = PLAIN
        wide = False
        while at < end:
            start = at
            equals = -1
            while at < end:
                octet = data[at]
                if octet == between[0] and _stands(data, at, end, between):
                    break
                if octet == _EQUALS and equals < 0:
                    equals = at
                if octet == 0:
                    status = ODD
                wide |= octet >= 128
                at += 1
            if equals >= 0:
                entry = look_up(data, start, equals, 0, octets, key_starts, key_ends, objects, slots)
                if entry >= 0:
                    target = targets[entry]
                    if lengths[target, record] != MISSING:
                        status = ODD
                    starts[target, record] = equals + 1
                    lengths[target, record] = at - equals - 1
            at += len(between)
        if wide and not valid_utf8(data, first, end):
            status = ODD
        statuses[record] = status


@nb.njit(nogil=True, cache=True)
def _stands(data: Octets, at: int, end: int, text: Octets) -> bool:
    """Whether a text stands here."""
    if at + len(text) > end:
        return False
    for k in range(len(text)):
        if data[at + k] != text[k]:
            return False
    return True


@nb.njit(nogil=True, cache=True)
def scan_blocks(
    data: Octets,
    places: Places,
    octets: Octets,
    key_starts: Places,
    key_ends: Places,
    objects: Places,
    targets: Places,
    slots: Places,
    starts: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    statuses: Statuses,
) -> None:
    """Fields written as indented lines ` name = value`; lines that are not indented are headings."""
    for record in range(len(statuses)):
        at, end = places[2 * record], places[2 * record + 1]
        first = at
        status = PLAIN
        wide = False
        while at < end:
            indented = data[at] == _TAB or data[at] == _SPACE
            at = _skip(data.ctypes.data, at, end)
            start = at
            equals = -1
            while at < end and data[at] != _NEWLINE:
                octet = data[at]
                if octet == _EQUALS and equals < 0:
                    equals = at
                if octet == _BACKSLASH or octet == 0:
                    status = ODD
                wide |= octet >= 128
                at += 1
            stop = at - 1 if at > start and data[at - 1] == _RETURN else at
            at += 1
            if not indented:
                continue
            if (
                equals < start + 1
                or data[equals - 1] != _SPACE
                or equals + 1 >= stop
                or data[equals + 1] != _SPACE
            ):
                status = ODD
                continue
            entry = look_up(data, start, equals - 1, 0, octets, key_starts, key_ends, objects, slots)
            if entry < 0:
                continue
            start = equals + 2
            if start < stop and data[start] == _QUOTE:
                if stop - start < 2 or data[stop - 1] != _QUOTE:
                    status = ODD
                    continue
                start += 1
                stop -= 1
            target = targets[entry]
            if lengths[target, record] != MISSING:
                status = ODD
            starts[target, record] = start
            lengths[target, record] = stop - start
        if wide and not valid_utf8(data, first, end):
            status = ODD
        statuses[record] = status
