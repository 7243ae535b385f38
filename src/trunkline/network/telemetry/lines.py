"""Records in blocks: where each lies, when and from whom it came, so that whatever becomes of it can be traced.

A block holds lines as senders wrote them, or lines of a listener's spool with an envelope around each message
(`kernel.envelope`). Empty lines are no records. What a listener refused comes as a notice and is a record, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.envelope import Envelope, unwrap

Longs = npt.NDArray[np.int64]

LONGEST_OCTETS = 1 << 20
NEVER_RECEIVED = 2**62  # a reception time that nothing is ahead of
NEVER_COMMITTED = -(2**62)


@dataclass(frozen=True)
class Places:
    """Where each record lies, and what the engine knew when it came."""

    file: npt.NDArray[np.int32]
    line: Longs
    offset: Longs
    length: npt.NDArray[np.int32]
    source: list[str]
    received_us: Longs  # NEVER_RECEIVED when it is not judged

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.file)


@dataclass
class Lines:
    """Records that are lines: what each says, and who sent it."""

    places: Places
    messages: list[bytes]
    peers: list[str]  # empty when the sender is not known from its envelope
    enveloped: list[bool]
    notices: dict[int, Envelope] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)  # records that no reader of a format has to look at


@dataclass
class Gathering:
    """Collects places block by block."""

    file: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    received_us: list[int] = field(default_factory=list)

    def places(self) -> Places:
        """As arrays."""
        return Places(
            np.array(self.file, np.int32),
            np.array(self.line, np.int64),
            np.array(self.offset, np.int64),
            np.array(self.length, np.int32),
            self.source,
            np.array(self.received_us, np.int64),
        )


def find_lines(blocks: pl.DataFrame, source: str) -> Lines:
    """The lines of a run of blocks that are not empty; `source` stands for blocks that name none."""
    into = Gathering()
    lines = Lines(into.places(), [], [], [])
    columns = ("file", "source", "offset", "line", "bytes", "received_us")
    for file, given, offset, line, octets, received_us in blocks.select(columns).iter_rows():
        received_us = NEVER_RECEIVED if received_us is None else received_us  # noqa: PLW2901 -- null: not judged
        at = offset
        for number, raw in enumerate(octets.split(b"\n"), start=line):
            length = len(raw)
            record = raw[:-1] if raw.endswith(b"\r") else raw
            if record.strip():
                into.file.append(file)
                into.line.append(number)
                into.offset.append(at)
                into.length.append(length)
                into.source.append(given or source)
                _open(record, received_us, into, lines)
            at += length + 1
    lines.places = into.places()
    return lines


def _open(record: bytes, received_us: int, into: Gathering, lines: Lines) -> None:
    """Take a record out of its envelope, if it has one; its reception is then what the envelope says."""
    envelope = unwrap(record) if record[:1] in b"@#" else None
    if envelope is None:
        into.received_us.append(received_us)
        lines.messages.append(record)
        lines.peers.append("")
        lines.enveloped.append(False)
        return
    if envelope.notice:
        lines.notices[len(lines.messages)] = envelope
    into.received_us.append(envelope.received_us)
    lines.messages.append(envelope.message)
    lines.peers.append(envelope.peer)
    lines.enveloped.append(True)


def find_documents(
    blocks: pl.DataFrame, source: str, ends: Sequence[list[int]]
) -> tuple[Places, list[bytes]]:
    """The documents of a run of blocks, which end at `ends[block]`; what is left at a block's end is one more."""
    into = Gathering()
    documents: list[bytes] = []
    columns = ("file", "source", "offset", "line", "bytes", "received_us")
    for (file, given, offset, line, octets, received_us), cuts in zip(
        blocks.select(columns).iter_rows(), ends, strict=True
    ):
        begin = 0
        for end in [*cuts, len(octets)]:
            document = octets[begin:end]
            if document.strip():
                into.file.append(file)
                into.line.append(line + octets.count(b"\n", 0, begin))
                into.offset.append(offset + begin)
                into.length.append(end - begin)
                into.source.append(given or source)
                into.received_us.append(NEVER_RECEIVED if received_us is None else received_us)
                documents.append(document)
            begin = end
    return into.places(), documents
