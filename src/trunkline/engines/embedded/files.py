"""Reading files block by block: plain, gzip or zstd, from any position, whole records only.

A position counts octets after decompression, so that it means the same for every file. A file that is shorter than
it was, or whose compression ends in the middle, is trouble outside: what was whole before stays taken.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numba as nb
import numpy as np
import numpy.typing as npt
import zstandard

from trunkline.ports import SourceFile

Octets = bytes | bytearray

LONGEST_RECORD_OCTETS = 64 << 20
_STEP_OCTETS = 1 << 20


class SourceBroken(Exception):
    """A file cannot be read on: it vanished, shrank, or its compression ends too early."""


class Framing(Protocol):
    """What reading must know of a mapping: where records end, and whether a heading stands before them."""

    @property
    def source(self) -> str:
        """Name of the system that writes such records, when nobody says another."""

    @property
    def header_lines(self) -> int:
        """How many lines at the head of a file are no records but say what its columns are."""

    def record_end(self, data: Octets) -> int:
        """How many octets at the head of `data` are whole records."""


@dataclass(frozen=True)
class Block:
    """Whole records of one file, with their place in it."""

    file: SourceFile
    offset: int
    line: int
    octets: Octets
    lines: int
    header: bytes | None
    last: bool  # nothing follows in this file

    @property
    def end(self) -> int:
        """Where the block ends in its file."""
        return self.offset + len(self.octets)


class FileBlocks:
    """One file, from its committed position to its end."""

    def __init__(self, file: SourceFile, framing: Framing) -> None:
        """Open the file; raises `SourceBroken` when it is not what it was."""
        self.file = file
        self._framing = framing
        self._line = file.line
        self.offset = file.offset
        self.ended = False
        self._rest = bytearray()
        try:
            self._stream = _Stream(file.path, None) if file.kind == "spool" else _open(file.path)
            self._header = heading_of(file.path) if framing.header_lines and file.offset else None
            self._stream.skip(file.offset)
        except FileNotFoundError as error:
            raise SourceBroken(f"{file.path} vanished") from error

    def next(self, octets: int, end: int | None = None) -> Block | None:
        """The next whole records, about `octets` of them; up to `end` where more is not durable yet."""
        data, ended = self._rest, False
        self._rest = bytearray()
        whole = 0
        while not ended and whole == 0 and len(data) < max(octets, LONGEST_RECORD_OCTETS):
            wanted = octets - len(data) if len(data) < octets else octets
            if end is not None:
                wanted = min(wanted, end - self.offset - len(data))
            had = len(data)
            if wanted > 0:
                data = self._stream.read_behind(data, wanted)
            ended = len(data) - had < wanted or wanted <= 0
            whole = self._framing.record_end(data)
        if end is not None and not data:
            return None
        if ended and end is None:
            self._stream.check_whole()
            whole = len(data)  # the last record may lack its newline
        elif whole == 0:
            whole = len(data)  # no record is that long; decoding says so
        self._rest = data[whole:]
        del data[whole:]
        lines = count_lines(data)
        block = Block(self.file, self.offset, self._line, data, lines, self._header, ended and end is None)
        if self._framing.header_lines and self.offset == 0:
            self._header = bytes(data[: data.find(b"\n") + 1])
        self.offset += whole
        self._line += lines
        self.ended = block.last
        return block

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class _Member(Protocol):
    """A decompressor of one member of a compressed file."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes:
        """What these octets hold."""


class _Stream:
    """A file's octets after decompression."""

    def __init__(self, path: Path, member: Callable[[], Any] | None) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._read = 0
        self._new_member = member
        self._member: _Member | None = None
        self._ready = b""

    def read_behind(self, head: bytearray, octets: int) -> bytearray:
        """The head and so many octets behind it, fewer only at the end; read to their place, not copied there."""
        if self._new_member is not None:
            return head + self._unpacked(octets)
        data = bytearray(len(head) + octets)
        data[: len(head)] = head
        at = len(head)
        with memoryview(data) as places:
            while at < len(data):
                taken = self._file.readinto(places[at:])
                if not taken:
                    break
                at += taken
        self._read += at - len(head)
        del data[at:]
        return data

    def _unpacked(self, octets: int) -> bytes:
        while len(self._ready) < octets:
            piece = self._file.read(_STEP_OCTETS)
            if not piece:
                break
            self._read += len(piece)
            self._ready += self._decompressed(piece)
        taken, self._ready = self._ready[:octets], self._ready[octets:]
        return taken

    def skip(self, octets: int) -> None:
        """Go to a position; raises when the file does not reach it."""
        if self._new_member is None:
            if octets > self._size:
                raise SourceBroken(
                    f"{self._path} shrank: {self._size} octets are left, {octets} were read before"
                )
            self._file.seek(octets)
            self._read = octets
            return
        while octets > 0:
            piece = self._unpacked(min(octets, _STEP_OCTETS))
            if not piece:
                raise SourceBroken(f"{self._path} shrank: it ends before what was read of it")
            octets -= len(piece)

    def check_whole(self) -> None:
        """At the end: raises when the file is not all there."""
        if self._read < self._size:
            raise SourceBroken(f"{self._path} shrank while it was read: {self._read} of {self._size} octets")
        if self._member is not None and not self._member.eof:
            raise SourceBroken(f"{self._path} is cut short in the middle of its compression")

    def close(self) -> None:
        self._file.close()

    def _decompressed(self, piece: bytes) -> bytes:
        parts = []
        try:
            while piece:
                if self._member is None or self._member.eof:
                    if self._member is not None and not piece.strip(b"\0"):
                        break  # padding behind the last member
                    assert self._new_member is not None, "plain files are not decompressed"
                    self._member = self._new_member()
                member = self._member
                parts.append(member.decompress(piece))
                piece = member.unused_data if member.eof else b""
        except (zlib.error, zstandard.ZstdError) as error:
            raise SourceBroken(f"{self._path} is damaged: {error}") from error
        return b"".join(parts)


def _open(path: Path) -> _Stream:
    """A file by its first octets, whatever it is called."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        return _Stream(path, lambda: zlib.decompressobj(31))
    if magic == b"\x28\xb5\x2f\xfd":
        return _Stream(path, lambda: zstandard.ZstdDecompressor().decompressobj())
    return _Stream(path, None)


def heading_of(path: Path) -> bytes:
    """The first line of a file."""
    stream = _open(path)
    head = stream.read_behind(bytearray(), _STEP_OCTETS)
    stream.close()
    return bytes(head[: head.find(b"\n") + 1])


def halved(block: Block, framing: Framing) -> list[Block]:
    """A block in two, between records; alone when it holds only one."""
    octets = block.octets
    cut, reach = 0, len(octets) // 2
    while cut == 0 and reach < len(octets):
        cut = framing.record_end(octets[:reach])
        reach = max(reach + 1, min(2 * reach, len(octets)) if reach < len(octets) - 1 else len(octets))
    if cut in (0, len(octets)):
        return [block]
    first, second = octets[:cut], octets[cut:]
    lines = count_lines(first)
    heading = block.header
    if framing.header_lines and block.line == 1:
        heading = bytes(first[: first.find(b"\n") + 1])
    return [
        Block(block.file, block.offset, block.line, first, lines, block.header, last=False),
        Block(
            block.file,
            block.offset + cut,
            block.line + lines,
            second,
            block.lines - lines,
            heading,
            block.last,
        ),
    ]


def count_lines(octets: Octets) -> int:
    """How many lines end in these octets."""
    return int(_count(np.frombuffer(octets, np.uint8)))


@nb.njit(nogil=True, cache=True)
def _count(octets: npt.NDArray[np.uint8]) -> int:
    lines = 0
    for at in range(len(octets)):
        lines += octets[at] == 10
    return lines
