"""What if, whatever the tariffs and the usage: the running side is what was charged, and tables sum to the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import event, given

from tests.charging_room import NOTHING_REGISTERED, Platform, metered
from tests.opinion.pricing import Use
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.charging import balances, rate
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.charging.what_if import (
    BANDS,
    DRAWN,
    EDGES_MICROS,
    REASONS,
    SEGMENTS,
    SIDES,
    Side,
    compare_sides,
    laid_out,
    price_side,
)
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNT_ROW, MOVEMENTS

EVER_US = 2**62


def accounts_of(platform: Platform, usage: pl.DataFrame) -> Grouped:
    """The accounts of whoever used something, as they stand."""
    keys = sorted(set(usage["subscriber"].to_list()))
    groups = [platform.accounts.get(key, np.empty(0, ACCOUNT_ROW)) for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    return Grouped(np.array(keys, np.uint64), offsets, np.concatenate([np.empty(0, ACCOUNT_ROW), *groups]))


def charged_by(platform: Platform) -> dict[int, int]:
    """What the flow charged, by number of arrival."""
    rows = platform.table("charged")
    return dict(zip(rows["seq"].to_list(), rows["charged_micros"].to_list(), strict=True))


def reasons_by(platform: Platform) -> dict[int, str]:
    """Why the flow rejected, by number of arrival (the tests' lines)."""
    rows = platform.table("rejected")
    return dict(zip(rows["line"].to_list(), rows["reason"].to_list(), strict=True))


def assert_side(side: Side, usage: pl.DataFrame, charged: dict[int, int], reasons: dict[int, str]) -> None:
    """Assert that a side is what the flow made of the same usage."""
    seqs = usage["seq"].to_list()
    assert dict(zip(seqs, side.charged.tolist(), strict=True)) == {seq: charged.get(seq, 0) for seq in seqs}
    assert [REASONS[code] for code in side.reason] == [reasons.get(seq, "") for seq in seqs]


@tried(40)
@given(files=tariffs(), others=tariffs(), rows=subscribers(), uses=streams())
def test_random_tariffs(
    files: dict[str, str], others: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]
) -> None:
    """Each side is what the flow charges under its tariff; tables sum to the whole; a tariff against itself is zero."""
    running, register = compile_catalogue(files, NOTHING_REGISTERED)
    draft, _ = compile_catalogue(others, register)
    usage, orders = laid_out(metered(uses), MOVEMENTS.record.empty())
    flows = {}
    for catalogue in (running, draft):
        platform = Platform(catalogue)
        platform.enrol([row | {"opening_micros": 0} for row in rows])
        start = accounts_of(platform, usage)
        side = price_side(usage, orders, start, catalogue)
        platform.charge(uses)
        assert_side(side, usage, charged_by(platform), reasons_by(platform))
        flows[catalogue.fingerprint] = side
    first, second = (running, flows[running.fingerprint]), (draft, flows[draft.fingerprint])
    _assert_sums(usage, first, second)
    same = compare_sides(usage, first[::-1], first[::-1], -EVER_US, EVER_US)
    for table in (same.segments, same.subscribers, same.bands):
        assert table["difference_micros"].to_list() == [0] * len(table)
    assert same.pays(0)[0] == len(same.subscribers)


def _assert_sums(usage: pl.DataFrame, first: tuple[Catalogue, Side], second: tuple[Catalogue, Side]) -> None:
    found = compare_sides(usage, first[::-1], second[::-1], -EVER_US, EVER_US)
    event(f"differs {found.running_micros != found.draft_micros}")
    whole = (int(first[1].charged.sum()), int(second[1].charged.sum()))
    assert (found.running_micros, found.draft_micros) == whole
    for segment in SEGMENTS:
        mine = found.segments.filter(pl.col("segment") == segment)
        assert tuple(mine[side].sum() for side in SIDES) == (*whole, whole[1] - whole[0]), segment
        assert mine["records"].sum() == len(usage)
    assert found.bands["subscribers"].sum() == len(found.subscribers)
    assert sum(found.pays(sign)[0] for sign in (-1, 0, 1)) == len(found.subscribers)
    refused = int(((first[1].reason > 0) | (second[1].reason > 0)).sum())
    assert found.refused["records"].sum() == refused
    for band, count in zip(found.bands["band"], found.bands["subscribers"], strict=True):
        assert count == sum(_band(micros) == band for micros in found.subscribers["difference_micros"])


def _band(micros: int) -> str:
    """The band of a difference, read off the edges one by one."""
    step = sum(abs(micros) > edge for edge in EDGES_MICROS)
    return BANDS[len(BANDS) // 2 + (step if micros > 0 else -step)]


def test_reasons_are_those_of_the_steps() -> None:
    """Numbers of verdicts mean what rating and charging mean by them."""
    assert REASONS[: len(rate._REASONS)] == rate._REASONS
    assert tuple(REASONS[code] for code in DRAWN) == balances._REASONS
