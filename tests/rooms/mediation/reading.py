"""What tests of mediation share: the shipped mappings, captures of real software, and blocks of bytes."""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.mediation.decode import decode
from trunkline.mediation.deduplicate import deduplicate
from trunkline.mediation.mapping import SHIPPED, Mapping, parse_mapping
from trunkline.mediation.meter import meter
from trunkline.records.usage import RAW, SEEN, SESSIONS

SOURCES = Path(__file__).parents[2] / "data" / "sources"
NOW_US = 1_795_400_000_000_000


@cache
def shipped() -> dict[str, Mapping]:
    """All mappings of the package."""
    texts = resources.files("trunkline.mediation") / "mappings"
    return {name: parse_mapping(name, (texts / f"{name}.yaml").read_text()) for name in SHIPPED}


def capture(name: str) -> bytes:
    """A capture, unpacked."""
    path = SOURCES / name
    return (
        path.read_bytes()
        if path.exists()
        else gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    )


def blocks(
    mapping: str, *pieces: bytes, received_us: int | None = NOW_US, newest_us: int | None = None
) -> pl.DataFrame:
    """Blocks of one file, as an engine would cut them."""
    rows = []
    offset, line = 0, 1
    for piece in pieces:
        rows.append(
            {"file": 7, "mapping": mapping, "offset": offset, "line": line, "bytes": piece,
             "header": None if line == 1 else pieces[0].split(b"\n")[0],
             "received_us": received_us, "newest_us": newest_us}
        )  # fmt: skip
        offset += len(piece)
        line += piece.count(b"\n")
    return RAW.record.conform(pl.DataFrame(rows, schema_overrides={"header": pl.Binary, "bytes": pl.Binary}))


def read(mapping: str, *pieces: bytes, **clocks: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Usage and rejects of some bytes."""
    usage, rejected = decode(blocks(mapping, *pieces, **clocks), shipped()).rows
    return usage, rejected


def keep(state: dict[int, np.ndarray], new: Grouped | None) -> None:
    """What an engine does with the state that a step returns."""
    if new is not None:
        for at, key in enumerate(new.keys.tolist()):
            state[key] = new.rows[new.offsets[at] : new.offsets[at + 1]]


def given(state: dict[int, np.ndarray], keys: pl.Series, dtype: np.dtype) -> Grouped:
    """What an engine gives a step: the groups of a batch's keys."""
    wanted = np.unique(keys.to_numpy())
    groups = [state.get(key, np.empty(0, dtype)) for key in wanted.tolist()]
    offsets = np.cumsum([0, *map(len, groups)]).astype(np.int64)
    return Grouped(wanted, offsets, np.concatenate([np.empty(0, dtype), *groups]))


class Mediation:
    """The whole room in a row, with its memory."""

    def __init__(self) -> None:
        self.seen: dict[int, np.ndarray] = {}
        self.sessions: dict[int, np.ndarray] = {}

    def unique(self, usage: pl.DataFrame) -> Outcome:
        """Deduplicate one batch."""
        outcome = deduplicate(usage, given(self.seen, usage["identity"], SEEN.dtype))
        keep(self.seen, outcome.state)
        return outcome

    def metered(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Meter one batch of unique usage."""
        outcome = meter(
            usage,
            given(self.sessions, usage["session_key"].filter(usage["session_key"] != 0), SESSIONS.dtype),
        )
        keep(self.sessions, outcome.state)
        return outcome.rows[0]

    def run(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Both."""
        return self.metered(self.unique(usage).rows[0])
