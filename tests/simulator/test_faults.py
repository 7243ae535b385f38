"""What goes wrong does so as often as asked, where the truth says, and is counted the way a platform must."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl
import pytest

from tests.rooms.mediation.reading import Mediation, blocks, shipped
from tests.simulator.week import BAD_DAY, Simulated
from trunkline.mediation.decode import decode
from trunkline.records.usage import Kind
from trunkline.simulator import LIVELY_FAULTS, Settings
from trunkline.simulator.simulate import stream

RATES = {
    "duplicate": BAD_DAY.duplicates,
    "late": BAD_DAY.late,
    "corrupt": BAD_DAY.corrupt,
    "conflict": BAD_DAY.conflicts,
    "out_of_order": BAD_DAY.out_of_order,
}


@pytest.fixture(scope="module")
def lines(bad_day: Simulated) -> dict[str, list[bytes]]:
    """Lines by file name."""
    return {part.name: part.read_bytes().splitlines() for part in bad_day.parts}


def line_of(fault: dict[str, Any], lines: dict[str, list[bytes]]) -> bytes:
    """The line that a fault points at."""
    return lines[str(fault["file"])][int(fault["line"]) - 1]


@pytest.mark.parametrize("name", RATES)
def test_rates_are_honoured(name: str, bad_day: Simulated) -> None:
    """Each fault hits the share of records that was asked for, within a tenth."""
    records = sum(bad_day.summary["records"].values())
    assert bad_day.summary["faults"][name] / records == pytest.approx(RATES[name], rel=0.1)
    assert Counter(fault["fault"] for fault in bad_day.faults())[name] == bad_day.summary["faults"][name]


def test_without_rates_nothing_goes_wrong(week: Simulated) -> None:
    """Faults are switched on, never there by default."""
    assert week.faults() == []
    assert set(week.summary["faults"].values()) == {0}
    assert week.summary["delivered_units"] == week.summary["units"]


def test_everything_received_is_accounted_for(bad_day: Simulated) -> None:
    """Received = rated + duplicate + rejected + held, and received is what stands in the files."""
    expected = bad_day.summary["expected"]
    assert expected["received"] == len(bad_day.lines())
    assert expected["received"] == sum(expected[name] for name in ("rated", "duplicate", "rejected", "held"))
    assert expected["rejected"] == sum(expected["rejected_by_reason"].values())


def test_duplicates_repeat_their_first_line_to_the_letter(
    bad_day: Simulated, lines: dict[str, list[bytes]]
) -> None:
    """A duplicate is the same line again, later."""
    firsts = {
        record["id"]: record
        for record in bad_day.truth().iter_rows(named=True)
        if record["fault"] == "duplicate"
    }
    parts = [part.name for part in bad_day.parts]
    for fault in bad_day.faults():
        if fault["fault"] == "duplicate":
            first = firsts[fault["id"]]
            assert (first["part"], first["line"]) < (parts.index(fault["file"]), fault["line"])
            assert lines[parts[first["part"]]][first["line"] - 1] == line_of(fault, lines)


def test_conflicts_say_something_else_under_the_same_id(
    bad_day: Simulated, lines: dict[str, list[bytes]]
) -> None:
    """A conflict comes after its record and differs from it."""
    firsts = {
        record["id"]: record
        for record in bad_day.truth().iter_rows(named=True)
        if record["fault"] == "conflict"
    }
    parts = [part.name for part in bad_day.parts]
    for fault in bad_day.faults():
        if fault["fault"] == "conflict":
            first, second = firsts[fault["id"]], json.loads(line_of(fault, lines))
            one = json.loads(lines[parts[first["part"]]][first["line"] - 1])
            assert (first["part"], first["line"]) < (parts.index(fault["file"]), fault["line"])
            assert one["id"] == second["id"] == fault["id"]
            assert one != second


def test_delays_are_of_the_documented_lengths(bad_day: Simulated) -> None:
    """Late is minutes to days; out of order is half a minute to ten."""
    delays = {
        name: [fault["delay_s"] for fault in bad_day.faults() if fault["fault"] == name] for name in RATES
    }
    assert all(300 <= delay <= 3 * 86_400 + 5 for delay in delays["late"])
    assert max(delays["late"]) > 86_400
    assert all(30 <= delay <= 605 for delay in delays["out_of_order"])


def test_corrupt_lines_are_rejected_for_the_reason_foretold(
    bad_day: Simulated, lines: dict[str, list[bytes]]
) -> None:
    """The platform's own decoder rejects exactly the damaged lines, each for the reason in the truth.

    Only a wrong currency passes it: that is for the tariff to say.
    """
    newest_us = int(bad_day.truth()["end_us"].to_numpy().max())
    for name, of_part in lines.items():
        foretold = {
            fault["line"]: fault["reason"]
            for fault in bad_day.faults()
            if fault["fault"] == "corrupt" and fault["file"] == name and fault["reason"] != "wrong_currency"
        }
        text = b"".join(line + b"\n" for line in of_part)
        usage, rejected = decode(
            blocks("trunkline", text, received_us=newest_us, newest_us=newest_us), shipped()
        ).rows
        assert dict(rejected.select("line", "reason").iter_rows()) == foretold
        assert len(usage) + len(rejected) == len(of_part)


def test_the_platform_counts_what_the_truth_expects(
    bad_day: Simulated, lines: dict[str, list[bytes]]
) -> None:
    """Decoded, deduplicated and metered, the day's duplicates, conflicts and units are those of the summary."""
    room, newest_us = Mediation(), int(bad_day.truth()["end_us"].to_numpy().max())
    duplicate = held = 0
    units: Counter[int] = Counter()
    for of_part in lines.values():
        text = b"".join(line + b"\n" for line in of_part)
        usage, _ = decode(
            blocks("trunkline", text, received_us=newest_us, newest_us=newest_us), shipped()
        ).rows
        known = usage.filter(pl.col("currency").is_null() | (pl.col("currency") == "EUR"))
        unique, twice, quarrels = room.unique(known).rows
        duplicate, held = duplicate + len(twice), held + len(quarrels)
        for kind, used in room.metered(unique).group_by("kind").agg(pl.col("units").sum()).iter_rows():
            units[kind] += used
    assert (duplicate, held) == (
        bad_day.summary["expected"]["duplicate"],
        bad_day.summary["expected"]["held"],
    )
    assert {kind.name.lower(): units[kind] for kind in Kind} == bad_day.summary["delivered_units"]


def test_all_reasons_of_damage_occur(bad_day: Simulated) -> None:
    """A bad day is a good lesson: it shows every reason that damage can have."""
    common = {
        "unreadable", "missing_id", "missing_subscriber", "bad_number", "unknown_kind", "bad_time", "in_the_future",
        "too_old", "bad_quantity",
    }  # fmt: skip
    assert common <= set(bad_day.summary["expected"]["rejected_by_reason"])


def test_the_lively_faults_are_settings() -> None:
    """What the live demonstration switches on is accepted."""
    chunks = stream(Settings(subscribers=100, hours=1, **LIVELY_FAULTS), speed=60)
    assert sum(chunk.records for chunk in chunks) > 0
