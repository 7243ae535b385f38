"""Calls that are told in parts and not over, as people may ask for them: what came, and what is missing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

from trunkline.records.charging import NEVER_S, RowKind

# What is known of a call; numbers of parts that came stand behind, `BITS` of them a row.
START, END, PLACED, PLACE, UNITS, LIST, CHARGED, COVERED, LAST, CAME = range(10)
FACTS = 10
BITS = 60
MOST_TOLD = 100
UNPLACED_US = NEVER_S * 1_000_000  # where a call went is not known yet


class OpenCall(NamedTuple):
    """A call of an account that is not over: what came of it, and what is missing."""

    key: int
    member: int  # who used it, within a shared account
    kind: int  # `Kind`
    begun_us: int
    ended_us: int  # of what came
    units: int
    charged_micros: int
    parts: int  # how many came; 0 for a call that reports its counters
    missing: tuple[int, ...]  # numbers below the highest that came, at most `MOST_TOLD`


def open_calls(rows: npt.NDArray[Any]) -> list[OpenCall]:
    """The calls of an account that are under way or have a gap, by their beginning."""
    facts: dict[tuple[int, int, int], dict[int, int]] = {}
    kinds: dict[tuple[int, int, int], int] = {}
    for row in rows[rows["kind"] == RowKind.CALL]:
        call = int(row["granted"]), int(row["period"]), int(row["member"])
        kinds[call] = kinds.get(call, 0) or int(row["flags"]) % 8
        facts.setdefault(call, {})[int(row["definition"])] = int(row["value"])
    found = []
    for call, of in facts.items():
        came = [
            BITS * (definition - FACTS) + bit + 1
            for definition, bits in of.items()
            if definition >= FACTS
            for bit in range(BITS)
            if bits >> bit & 1
        ]
        highest = max([of[LAST], *came])
        missing = sorted(set(range(1, highest + 1)).difference(came)) if came else []
        found.append(
            OpenCall(
                call[0],
                call[2],
                kinds[call],
                of[START],
                of[END],
                of[UNITS],
                of[CHARGED],
                len(came),
                tuple(missing[:MOST_TOLD]),
            )
        )
    return sorted(found, key=lambda call: (call.begun_us, call.key))
