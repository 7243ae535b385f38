"""Customers are told of an incident once when it hits them, and once when it is over."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trunkline.charging.service import tell
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import HIT, HITS

ANN, BEN = 0x5580000000000001, 0x5580000000000002
FIRST, SECOND = "00000000000000aa", "ff000000000000bb"
MINUTE_US = 60_000_000


def hits(*rows: tuple[str, int, str, int]) -> pl.DataFrame:
    """Hits of incident, subscriber, action and minute."""
    return HITS.record.conform(
        pl.DataFrame(
            [
                {"seq": at, "incident_id": incident, "subscriber": who, "action": action, "time_us": minute * MINUTE_US,
                 "severity": 1, "minutes": minute}
                for at, (incident, who, action, minute) in enumerate(rows)
            ],
            schema_overrides={"subscriber": pl.UInt64},
        )
    )  # fmt: skip


def told(*batches: pl.DataFrame) -> pl.DataFrame:
    """The alerts of batches that follow each other."""
    state, alerts = Grouped.empty(HIT.dtype), []
    for batch in batches:
        keys = np.unique(np.concatenate([state.keys, batch["subscriber"].to_numpy()]))
        offsets = np.concatenate([[0], np.cumsum([len(state.rows_of(int(key))) for key in keys])]).astype(
            np.int64
        )
        outcome = tell(batch, Grouped(keys, offsets, state.rows))
        assert outcome.state is not None
        state = outcome.state
        alerts.append(outcome.rows[0])
    return pl.concat(alerts)


def said(alerts: pl.DataFrame) -> list[tuple[int, str, str]]:
    """Whom what is told of which incident."""
    return list(alerts.select("subscriber", "kind", "balance").iter_rows())


def test_once_when_it_hits_and_once_when_it_is_over() -> None:
    """However often the same is offered again, in one batch or in several."""
    begin, end = (FIRST, ANN, "begin", 1), (FIRST, ANN, "end", 61)
    alerts = told(hits(begin, begin), hits(begin), hits(end, end, begin), hits(end, begin))
    assert said(alerts) == [(ANN, "service_issue", FIRST), (ANN, "service_restored", FIRST)]
    assert alerts["value"].to_list() == [1, 61]
    assert alerts["threshold"].to_list() == [1, 1]
    assert alerts["alert_id"].n_unique() == 2


def test_nobody_is_told_the_end_of_what_nobody_was_told() -> None:
    """An end without a beginning is nothing to a customer."""
    assert said(told(hits((FIRST, ANN, "end", 5)))) == []


def test_service_is_not_called_back_while_another_incident_stands() -> None:
    """The end of one of two troubles is told as what it is."""
    alerts = told(
        hits((FIRST, ANN, "begin", 1), (SECOND, ANN, "begin", 2), (FIRST, BEN, "begin", 2)),
        hits((FIRST, ANN, "end", 9), (FIRST, BEN, "end", 9)),
        hits((SECOND, ANN, "end", 12)),
    )
    assert said(alerts) == [
        (ANN, "service_issue", FIRST), (ANN, "service_issue", SECOND), (BEN, "service_issue", FIRST),
        (ANN, "service_goes_on", FIRST), (BEN, "service_restored", FIRST),
        (ANN, "service_restored", SECOND),
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from([FIRST, SECOND]), st.sampled_from([ANN, BEN]), st.sampled_from(["begin", "end"]),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)  # fmt: skip
def test_batches_and_replays_change_nothing(
    rows: list[tuple[str, int, str, int]], data: st.DataObject
) -> None:
    """However the hits are cut, and whichever are offered again at once, the same alerts come out, each once."""
    whole = told(hits(*rows))
    cut = data.draw(st.integers(0, len(rows)))
    again = data.draw(st.integers(1, 3))
    parts = [part for part in (rows[:cut], *([rows[cut:]])) if part]
    repeated = [hits(*(row for row in part for _ in range(again))) for part in parts]
    assert said(told(*repeated)) == said(whole)
    assert whole["alert_id"].n_unique() == len(whole)
    begun = {(who, incident) for who, kind, incident in said(whole) if kind == "service_issue"}
    ended = [(who, incident) for who, kind, incident in said(whole) if kind != "service_issue"]
    assert set(ended) <= begun
    assert len(ended) == len(set(ended))
