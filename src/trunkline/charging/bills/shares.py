"""Shares of amounts in whole micro-units: the one place where a bill rounds, always by name.

Polars has no whole-number division that rounds by name, and a product of two large numbers would leave 64 bits. So the
amount is taken apart first: a * p / d = (a // d) * p + (a % d) * p / d, and only the last term is rounded.
"""

from __future__ import annotations

import polars as pl

from trunkline.kernel.money import Rounding

MICRO_DECIMALS = 6


def share(amount: pl.Expr, part: pl.Expr, whole: pl.Expr, mode: Rounding, decimals: int) -> pl.Expr:
    """`amount` micro-units times `part` / `whole`, rounded by name to so many decimals of the currency's unit.

    `part` and `whole` are not negative, and (whole * part * 10 ** (6 - decimals)) must stay below 2 ** 63; a negative
    amount is rounded as its absolute value, like `kernel.money.divide`.
    """
    step = 10 ** (MICRO_DECIMALS - decimals)
    divisor = whole.cast(pl.Int64) * step
    size = amount.abs()
    rest = (size % divisor) * part
    left = rest % divisor
    up = {
        Rounding.DOWN: pl.lit(0, pl.Int64),
        Rounding.UP: (left > 0).cast(pl.Int64),
        Rounding.HALF_UP: (2 * left >= divisor).cast(pl.Int64),
        Rounding.HALF_EVEN: (
            (2 * left > divisor)
            | ((2 * left == divisor) & (((size // divisor) * part + rest // divisor) % 2 == 1))
        ).cast(pl.Int64),
    }[mode]
    return amount.sign() * ((size // divisor) * part + rest // divisor + up) * step


def rounded(amount: pl.Expr, mode: Rounding, decimals: int) -> pl.Expr:
    """An amount rounded by name to so many decimals of the currency's unit."""
    one = pl.lit(1, pl.Int64)
    return share(amount, one, one, mode, decimals)
