"""Large plain loads for measuring: calls, messages and data at over a million lines a second, nothing wrong with them.

Lines are shorter than a real day's (about 160 octets) and spread evenly over subscribers and time; who calls whom
has no meaning here. The demonstration tariff prices all of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trunkline.simulator import country as places
from trunkline.simulator.lines import MISSING, Field, Form, Ints, Layout
from trunkline.simulator.people import number_of
from trunkline.simulator.provisioning import CSV_HEADER
from trunkline.simulator.settings import SUBSCRIBERS_MOST, Purpose, chance

START_US = 1_793_574_000_000_000  # 2026-11-02, midnight in Berlin
ROWS_AT_ONCE = 1_000_000
TYPES = ("voice", "sms", "data")
CELLS = 200
PLANS = ("payg", "smart_s", "smart_m", "smart_l")

_QUOTE = '"'
LINE = Layout(
    (
        Field("n", '{"id":"b', _QUOTE, width=9),
        Field("type", ',"type":"', _QUOTE, form=Form.WORD, words=TYPES),
        Field("subscriber", ',"subscriber":"', _QUOTE),
        Field("called", ',"called":"', _QUOTE),
        Field("start_us", ',"start":"', _QUOTE, form=Form.TIME),
        Field("duration_ms", ',"duration_ms":'),
        Field("octets_up", ',"octets_up":'),
        Field("octets_down", ',"octets_down":'),
        Field("service", ',"service":"internet"', words=("",), form=Form.WORD),
        Field("cell", ',"cell":"C', _QUOTE, width=4),
    ),
    end="}\n",
)
SUBSCRIBER = Layout(
    (
        Field("subscriber", ""),
        Field("plan", ",", ",,", form=Form.WORD, words=PLANS),
        Field("plan", "", ",,,1,", form=Form.WORD, words=("prepaid", "postpaid", "postpaid", "postpaid")),
        Field("balance", "", ".00"),
    ),
    end="\n",
)


def bench_lines(
    seed: int, records: int, subscribers: int, out: Path, *, days: int = 1, start_us: int = START_US
) -> int:
    """Write `records` lines of usage by `subscribers` over `days` days from a start; returns the octets of `out`.

    Six of ten are calls, one a message, three data. Times ascend.
    """
    assert 0 < subscribers <= SUBSCRIBERS_MOST, "subscribers have numbers"
    written = 0
    with out.open("wb") as file:
        for first in range(0, records, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, records - first)
            rng = chance(seed, Purpose.BENCH, first // ROWS_AT_ONCE)
            for text, _ in LINE.print(_usage(first, count, records, subscribers, (start_us, days), rng)):
                written += file.write(text)
    return written


def _usage(
    first: int, count: int, records: int, subscribers: int, time: tuple[int, int], rng: np.random.Generator
) -> dict[str, Ints]:
    kind = np.array([0, 0, 0, 0, 0, 0, 1, 2, 2, 2], np.int64)[rng.integers(0, 10, count)]
    n = np.arange(first, first + count)
    talk = kind == 0
    surf = kind == 2
    octets = rng.integers(1_000, 40_000_000, count)
    start_us, days = time
    passed_ms = n * (days * 86_400_000) // max(1, records)
    called = number_of(rng.integers(0, subscribers, count), subscribers)
    elsewhere = np.array(places.OTHER_MOBILE_BASES)[n % 2] + rng.integers(0, 100_000_000, count)
    return {
        "n": n,
        "type": kind,
        "subscriber": number_of(rng.integers(0, subscribers, count), subscribers),
        "called": np.where(surf, MISSING, np.where(rng.random(count) < 0.4, called, elsewhere)),
        "start_us": start_us + passed_ms * 1000,
        "duration_ms": np.where(talk, rng.integers(1_000, 300_000, count), MISSING),
        "octets_up": np.where(surf, octets // 9, MISSING),
        "octets_down": np.where(surf, octets, MISSING),
        "service": np.where(surf, 0, MISSING),
        "cell": rng.integers(0, CELLS, count),
    }


def bench_subscribers(seed: int, subscribers: int, out: Path) -> int:
    """Write the subscribers of `bench_lines` to the CSV file `out`; returns its octets."""
    header = (CSV_HEADER + "\n").encode()
    with out.open("wb") as file:
        written = file.write(header)
        for first in range(0, subscribers, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, subscribers - first)
            rng = chance(seed, Purpose.BENCH, first // ROWS_AT_ONCE, 1)
            columns = {
                "subscriber": number_of(np.arange(first, first + count), subscribers),
                "plan": rng.integers(0, len(PLANS), count),
                "balance": rng.integers(5, 100, count),
            }
            for text, _ in SUBSCRIBER.print(columns):
                written += file.write(text)
    return written
