"""Wide tables of counters: every value is a reading of its own, and a table of a whole network takes no time."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from tests.rooms.network.telemetry.reading import NOW_US, Read, block, read, read_with, shipped
from trunkline.kernel.identity import name_words
from trunkline.records.network import MEASURED

BEGIN, END = NOW_US - 31_000_000, NOW_US - 1_000_000
HEAD = b"begin_us,end_us,cell,technology,RRC.ConnEstabAtt,RRU.PrbTotDl,L1M.SS-RSRP.Mean\n"


def row(cell: str, *values: str, begin: int = BEGIN, end: int = END) -> bytes:
    """A row of the shipped form."""
    return f"{begin},{end},{cell},NR,{','.join(values)}\n".encode()


def test_a_row_is_a_reading_a_counter() -> None:
    """Values are thousandths, gauges are told from counts, and everything has its place and word."""
    found = read(HEAD + row("C1", "17", "45.25", "-101.5"), "cells_csv")
    assert found.values() == {
        ("C1", "RRC.ConnEstabAtt"): 17_000,
        ("C1", "RRU.PrbTotDl"): 45_250,
        ("C1", "L1M.SS-RSRP"): -101_500,
    }
    assert found.measured.get_column("kind").to_list() == [1, 3, 3]
    assert found.measured.select("begin_us", "end_us").unique().rows() == [(BEGIN, END)]
    assert found.measured.get_column("object").unique().to_list() == name_words(pl.Series(["C1"])).tolist()
    assert found.measured.select("line", "offset", "source").unique().rows() == [(2, len(HEAD), "ran")]
    assert found.measured.schema == MEASURED.record.schema
    assert found.measured.get_column("identity").n_unique() == 3


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("x", "bad_value"),
        ("-3", "bad_value"),
        ("1e30", "bad_value"),
        ("nan", "bad_value"),
        ("inf", "bad_value"),
    ],
)
def test_one_wrong_value_costs_only_itself(field: str, reason: str) -> None:
    """The rest of the row is kept, and the reject names the counter and repeats no value."""
    found = read(HEAD + row("C1", field, "45", "-101"), "cells_csv")
    assert (len(found.measured), found.reasons) == (2, [reason])
    assert found.rejected.get_column("detail")[0].startswith("RRC.ConnEstabAtt: ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row("", "1", "2", "-3"), "missing_object"),
        (b"x,1,C1,NR,1,2,-3\n", "bad_time"),
        (row("C1", "1", "2"), "unreadable"),
        (row("C1", "1", "2", "-3", "4"), "unreadable"),
        (row('"C1', "1", "2", "-3"), "unreadable"),
        (row("C1", "", "NIL", "-"), "missing_counter"),
        (row("C\0", "1", "2", "-3"), "unreadable"),
        (b"\xff" + row("C1", "1", "2", "-3"), "unreadable"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_reject(line: bytes, reason: str) -> None:
    """It has the row's place, and the rows around it are kept."""
    good = row("C9", "1", "2", "-3")
    found = read(HEAD + good + line + good.replace(b"C9", b"C8"), "cells_csv")
    assert (len(found.measured), found.reasons) == (6, [reason])
    assert found.rejected.select("line", "offset", "length").row(0) == (3, len(HEAD + good), len(line) - 1)


def test_an_empty_field_is_no_reading() -> None:
    """What the sender did not measure is neither zero nor an error: the bin is missing."""
    found = read(HEAD + row("C1", "", "45", "NIL"), "cells_csv")
    assert (list(found.values()), found.reasons) == ([("C1", "RRU.PrbTotDl")], [])


def test_quotes_and_other_letters_are_read() -> None:
    """A quoted name may hold the delimiter, and names are UTF-8."""
    found = read(HEAD + row('"Zürich, Süd ""1"""', "1", "2", "-3") + row("Wien", "1", "2", "-3"), "cells_csv")
    assert found.measured.get_column("name").unique(maintain_order=True).to_list() == [
        'Zürich, Süd "1"',
        "Wien",
    ]


def test_a_clock_that_runs_ahead_shifts_no_bin() -> None:
    """A period that ends more than five minutes after its reception is set aside: no bin could be right for it."""
    ahead = row("C1", "1", "2", "-3", begin=NOW_US + 300_000_001 - 30_000_000, end=NOW_US + 300_000_001)
    near = row("C2", "1", "2", "-3", begin=NOW_US + 270_000_000, end=NOW_US + 300_000_000)
    found = read(HEAD + ahead + near, "cells_csv")
    assert (len(found.measured), found.reasons) == (3, ["in_the_future"] * 3)
    assert read(HEAD + ahead, "cells_csv", received_us=None).reasons == []


def test_a_period_that_ends_before_it_begins_is_none() -> None:
    """Times that cannot be are set aside value by value."""
    assert read(HEAD + row("C1", "1", "2", "-3", end=BEGIN - 1), "cells_csv").reasons == ["bad_time"] * 3


def test_slices_and_flows_are_columns() -> None:
    """A filter behind a counter's name, or a column, becomes slice and 5QI; the name stays the standard's."""
    text = (
        "format: csv\nobject: cell\nslice: slice\ntime: {end: at, format: unix_s, period_s: 30}\n"
        "counters: {DRB.UEThpDl.SNSSAI_1-00000A.5QI_9: {kind: gauge}}\n"
    )
    octets = b"at,cell,slice,DRB.UEThpDl.SNSSAI_1-00000A.5QI_9,Att\n1795334400,C1,2-000001,5,6\n"
    found = read_with(octets, text)
    assert found.measured.select("counter", "slice", "five_qi").rows() == [
        ("DRB.UEThpDl", 1 << 24 | 10, 9), ("Att", 2 << 24 | 1, 0)
    ]  # fmt: skip
    assert found.measured.select("begin_us", "end_us").row(0) == (
        1_795_334_370_000_000,
        1_795_334_400_000_000,
    )


def test_where_blocks_end_makes_no_difference() -> None:
    """A file that is read in parts, with its heading given to the later ones, gives the same rows."""
    rows = [row(f"C{at}", str(at), "x" if at % 3 else "5", "-3") for at in range(9)]
    whole = read(HEAD + b"".join(rows), "cells_csv")
    at = len(HEAD) + sum(map(len, rows[:4]))
    parts = Read(
        pl.concat([
            block(HEAD + b"".join(rows[:4]), "cells_csv"),
            block(b"".join(rows[4:]), "cells_csv", offset=at, line=6, header=HEAD),
        ]), shipped(),
    )  # fmt: skip
    assert parts.measured.equals(whole.measured)
    key = ["line", "offset", "reason", "detail"]
    assert parts.rejected.select(key).sort(key).equals(whole.rejected.select(key).sort(key))


def test_without_its_heading_a_block_is_set_aside() -> None:
    """Nobody guesses what a column is; nor what two of one name are."""
    rows = row("C1", "1", "2", "-3")
    assert Read(block(rows, "cells_csv", offset=100, line=5), shipped()).reasons == ["unreadable"]
    assert read(HEAD.replace(b"RRU.PrbTotDl", b"RRC.ConnEstabAtt") + rows, "cells_csv").reasons == [
        "unreadable"
    ]


def test_a_real_drive_test_flows_through() -> None:
    """The columns of G-NetTrack, with its own times and its dashes for nothing."""
    octets = (
        b"Timestamp,Longitude,Latitude,Speed,Operatorname,CellID,NetworkMode,RSRP,RSRQ,SNR,CQI,RSSI,DL_bitrate,"
        b"UL_bitrate,State,PINGAVG,RAWCELLID\n"
        b"2019.11.25_15.39.41,-8.484686,51.897246,33,B,11,5G,-93,-17,-5.0,10,-76,1463,70,D,-,11119115\n"
        b"2019.11.25_15.39.42,-8.484686,51.897246,33,B,11,5G,-93,-17,-,10,-76,1463,70,D,-,11119115\n"
    )
    found = read(octets, "drive_test_csv")
    assert (len(found.measured), found.reasons) == (13, [])
    assert found.values()[("5G-11119115", "L1M.SS-RSRP")] == -93_000
    assert found.measured.get_column("end_us")[0] == 1_574_696_381_000_000
    assert found.measured.get_column("technology").unique().to_list() == ["NR"]


def test_a_network_of_a_hundred_thousand_cells_is_read_at_once() -> None:
    """100,000 cells of 20 counters are decoded in well under a second of processor time."""
    cells, counters = 100_000, 20
    rng = np.random.default_rng(7)
    frame = pl.DataFrame(
        {
            "begin_us": np.full(cells, BEGIN),
            "end_us": np.full(cells, END),
            "cell": [f"gnb-{n:06d}" for n in range(cells)],
        }
        | {f"Counter.{n}": rng.integers(0, 5000, cells) for n in range(counters)}
    )
    blocks = block(frame.write_csv().encode(), "cells_csv")
    Read(block(HEAD + row("C1", "1", "2", "-3"), "cells_csv"), shipped())  # compile
    began = time.process_time()
    found = Read(blocks, shipped())
    took_s = time.process_time() - began
    assert len(found.measured) == cells * counters
    expected = frame.select(pl.col("^Counter.*$").cast(pl.Int64).sum()).row(0)
    sums = found.measured.group_by("counter", maintain_order=True).agg(pl.col("value_milli").sum() // 1000)
    assert sums.get_column("value_milli").to_list() == list(expected)
    assert took_s < 1.0
