"""Prices that records bring in another currency, as the tariff's own money: by the rate of the moment, rounded by name.

Few records bring such a price, so they are worked out in whole numbers of any size, and nothing is ever cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.exchange_rules import ExchangeRate
from trunkline.kernel.money import HIGHEST, divide

Array = npt.NDArray[Any]
_MICRO_DECIMALS = 6


def exchanged(
    currency: pl.Series, amount_micros: Array, start_us: Array, catalogue: Catalogue
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Amounts in the catalogue's currency, and which rows no rate of their moment can bring into it."""
    foreign = (currency.is_not_null() & (currency != catalogue.currency)).to_numpy()
    rules = catalogue.exchange
    if rules is None or not foreign.any():
        return amount_micros, foreign
    rates: dict[str, list[ExchangeRate]] = {}
    for rate in rules.rates:
        rates.setdefault(rate.currency, []).append(rate)
    step = 10 ** (_MICRO_DECIMALS - rules.decimals)
    ours, unknown = amount_micros.copy(), foreign.copy()
    at = np.flatnonzero(foreign)
    for name in currency.gather(at).cast(pl.String).unique().to_list():
        known = rates.get(name, [])
        moments = np.array([each.since_us for each in known], np.int64)
        mine = at[(currency.gather(at).cast(pl.String) == name).to_numpy()]
        chosen = np.searchsorted(moments, start_us[mine], side="right") - 1
        for row, place in zip(mine.tolist(), chosen.tolist(), strict=True):
            if place < 0:
                continue
            rate = known[place]
            value = divide(int(amount_micros[row]) * rate.ours, rate.theirs * step, rules.mode) * step
            if value <= HIGHEST // 2:
                ours[row], unknown[row] = value, False
    return ours, unknown
