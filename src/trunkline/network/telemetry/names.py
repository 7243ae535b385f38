"""Names of counters and of things: what stands behind a counter's name, and how distinguished names are shortened.

TS 28.552 writes what a counter was filtered by behind its name: `DRB.UEThpDl.SNSSAI_1-000001`, `DRB.UEThpDl.5QI_9`
(TS 28.552 3.3 calls them sub-counters). The filter becomes a column and the name stays the standard's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.telemetry.readings import slice_word

Reader = Callable[[str], "int | None"]

_SLICE = re.compile(r"\.S-?NSSAI[_.]?(\d{1,3}(?:[-_][0-9A-Fa-f]{1,6})?)(?=\.|$)", re.IGNORECASE)
_FIVE_QI = re.compile(r"\.5QI[_.]?(\d{1,3})(?=\.|$)", re.IGNORECASE)


@lru_cache(maxsize=65536)
def flow_of(name: str) -> tuple[str, int, int]:
    """A counter's name without its filters, the slice's word and the 5QI (0 where it is not filtered)."""
    word = five_qi = 0
    found = _SLICE.search(name)
    if found:
        given = slice_word(found[1])
        if given is not None:
            word, name = given, name[: found.start()] + name[found.end() :]
    found = _FIVE_QI.search(name)
    if found and int(found[1]) <= 255:
        five_qi, name = int(found[1]), name[: found.start()] + name[found.end() :]
    return name, word, five_qi


def empty(column: pl.Series) -> npt.NDArray[np.bool_]:
    """Where there is no text."""
    return np.asarray((column.is_null() | (column.str.len_bytes() == 0)).fill_null(value=True).to_numpy())


@lru_cache(maxsize=65536)
def parts_of(dn: str) -> tuple[tuple[str, str], ...]:
    """A distinguished name (TS 32.300) as (class, value) from the root down; a text without `=` has no class."""
    parts = []
    for piece in re.split(r"(?<!\\),", dn):
        name, equals, value = piece.partition("=")
        if equals:
            parts.append((name.strip(), value.strip()))
        elif piece.strip():
            parts.append(("", piece.strip()))
    return tuple(parts)
