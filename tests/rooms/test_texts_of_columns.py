"""Columns of texts, whichever way Polars keeps them."""

from __future__ import annotations

import polars as pl
import pytest

from trunkline.kernel.identity import name_words

NAMES = ["C0001", None, "", "C0002"]


@pytest.mark.parametrize("names", [NAMES, [None], []])
def test_categories_are_named_like_strings(names: list[str | None]) -> None:
    """A column that a store kept as categories gives the same words, even when nothing is in it."""
    strings = pl.Series("cell", names, dtype=pl.String)
    assert name_words(strings.cast(pl.Categorical)).tolist() == name_words(strings).tolist()
