"""What keys hold when some were given anew, whatever is below and above."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trunkline.engines.loop import over
from trunkline.kernel.grouped import Grouped

ROW = np.dtype([("value", "u8"), ("day", "i4"), ("flag", "u1")])
KNOWN = st.dictionaries(
    st.one_of(st.integers(0, 30), st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**64 - 1), max_size=4)
)


def grouped(known: dict[int, list[int]]) -> Grouped:
    """Groups out of a dictionary."""
    keys = sorted(known)
    rows = np.zeros(sum(len(known[key]) for key in keys), ROW)
    rows["value"] = np.array([value for key in keys for value in known[key]], np.uint64)
    rows["day"], rows["flag"] = np.arange(len(rows)), 7
    offsets = np.cumsum([0, *(len(known[key]) for key in keys)]).astype(np.int64)
    return Grouped(np.array(keys, np.uint64), offsets, rows)


@given(KNOWN, KNOWN)
def test_the_upper_one_hides_the_lower_one(lower: dict[int, list[int]], upper: dict[int, list[int]]) -> None:
    """Every key of both is there once, ascending, with the rows of the upper one where it has the key, be they none."""
    found = over(grouped(lower), grouped(upper))
    wanted = lower | upper
    assert found.keys.tolist() == sorted(wanted)
    assert all(found.rows_of(key)["value"].tolist() == wanted[key] for key in wanted)
    assert (found.rows["flag"] == 7).all()


def test_rows_of_a_file_may_be_below_and_above() -> None:
    """Arrays that cannot be written to, such as a mapped file's, are read like others."""
    lower, upper = grouped({1: [1, 2], 2: [3]}), grouped({2: [], 3: [4]})
    for groups in (lower, upper):
        for part in (groups.keys, groups.offsets, groups.rows):
            part.flags.writeable = False
    found = over(lower, upper)
    assert found.keys.tolist() == [1, 2, 3]
    assert found.rows["value"].tolist() == [1, 2, 4]
