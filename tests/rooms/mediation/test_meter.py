"""Counters become differences: whatever comes late, twice or never, each octet is metered once."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.mediation.reading import Mediation
from trunkline.records.usage import DECODED, Kind, Report

MINUTE_US = 60_000_000
T0 = 1_795_219_200_000_000

REPORTS = st.lists(
    st.tuples(
        st.sampled_from([0, 5, 6, 2**64 - 1]),  # session key
        st.sampled_from([0, 30_000_000, 10 * MINUTE_US]),  # beginning, jittered or another session's
        st.integers(0, 2**40),
        st.integers(0, 2**40),
        st.integers(0, 9),
    ),
    max_size=40,
)


def usage(reports: list[tuple[int, int, int, int, int]]) -> pl.DataFrame:
    rows = [
        {"session_key": key, "session_start_us": T0 + begin if key else None, "start_us": T0 + begin + minute * MINUTE_US,  # noqa: E501 -- as it is written
         "octets_up": up, "octets_down": down, "duration_ms": minute * 60_000, "kind": int(Kind.DATA), "events": 0,
         "report": int(Report.INTERIM) if key else 0}
        for key, begin, up, down, minute in reports
    ]  # fmt: skip
    return DECODED.record.conform(
        pl.DataFrame(rows, schema_overrides={"session_key": pl.UInt64}) if rows else DECODED.record.empty()
    )


@given(REPORTS)
def test_a_session_adds_up_to_its_highest_counters(reports: list[tuple[int, int, int, int, int]]) -> None:
    """For any reports in any order, with jitter and names used again."""
    metered = Mediation().metered(usage(reports))
    highest: dict[tuple[int, bool], list[int]] = defaultdict(lambda: [0, 0])
    whole = 0
    for key, begin, up, down, _ in reports:
        if key:
            counters = highest[key, begin > MINUTE_US]
            counters[0], counters[1] = max(counters[0], up), max(counters[1], down)
        else:
            whole += up + down
    assert metered["units"].sum() == whole + sum(map(sum, highest.values()))
    assert (metered["units"] >= 0).all()


@given(REPORTS, st.integers(1, 40))
def test_batch_borders_change_nothing(reports: list[tuple[int, int, int, int, int]], size: int) -> None:
    """Any cut into batches gives the same rows."""
    batch, mediation = usage(reports), Mediation()
    pieces = [mediation.metered(batch[at : at + size]) for at in range(0, max(len(batch), 1), size)]
    assert pl.concat(pieces).equals(Mediation().metered(batch))


def test_a_stretch_begins_where_the_last_report_ended() -> None:
    """Units are dated by the stretch in which they were used."""
    metered = Mediation().metered(
        usage([(5, 0, 10, 0, 3), (5, 0, 30, 0, 7), (5, 0, 20, 0, 5), (5, 0, 40, 0, 8)])
    )
    assert metered["units"].to_list() == [10, 20, 0, 10]
    assert ((metered["start_us"] - T0) // MINUTE_US).to_list() == [0, 3, 5, 7]


def test_usage_outside_sessions_is_what_it_says() -> None:
    """A call counts ms, data octets, the rest events."""
    rows = pl.DataFrame(
        {"kind": [1, 2, 3, 4, 5], "duration_ms": [61_000, 0, 9, 0, 0], "octets_up": [0, 0, 1, 0, 0],
         "octets_down": [0, 0, 2, 0, 0], "events": [0, 1, 0, 7, 1], "session_key": [0] * 5, "start_us": [T0] * 5,
         "report": [0] * 5}
    )  # fmt: skip
    assert Mediation().metered(DECODED.record.conform(rows))["units"].to_list() == [61_000, 1, 3, 7, 1]


def test_a_call_with_reports_is_metered_by_its_duration() -> None:
    """Sessions of voice grow by their duration."""
    calls = usage([(5, 0, 0, 0, 1), (5, 0, 0, 0, 3)]).with_columns(kind=pl.lit(Kind.VOICE, pl.UInt8))
    assert Mediation().metered(calls)["units"].to_list() == [60_000, 120_000]
