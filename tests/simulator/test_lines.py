"""The printer of lines says what Python's own formatting says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.simulator.lines import MISSING, ROWS_AT_ONCE, Field, Form, Layout

WORDS = ("", "a", "Köln")
LAYOUT = Layout(
    (
        Field("number", "n=", ";"),
        Field("padded", "p=", ";", width=7),
        Field("time", "t=", ";", form=Form.TIME),
        Field("word", "w=", ";", form=Form.WORD, words=WORDS),
    ),
    end="|\n",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_US = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def expected(number: int, padded: int, time_us: int, word: int) -> str:
    """One line by Python's own means."""
    text = "" if number == MISSING else f"n={number};"
    text += f"p={padded:07d};"
    moment = EPOCH + timedelta(microseconds=time_us)
    text += f"t={moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z;".replace(
        "t=", f"t={'0' * (4 - len(str(moment.year)))}"
    )
    return text + f"w={WORDS[word]};|\n"


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(MISSING, 2**63 - 1),
            st.integers(0, 10**12),
            st.integers(0, LAST_US),
            st.integers(0, len(WORDS) - 1),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_lines_read_as_python_would_write_them(rows: list[tuple[int, int, int, int]]) -> None:
    """Numbers of any size, times of any year, words of any alphabet, and nothing where nothing is."""
    columns = dict(zip(("number", "padded", "time", "word"), np.array(rows, np.int64).T, strict=True))
    (printed,) = LAYOUT.print(columns)
    text, ends = printed
    lines = [expected(*row) for row in rows]
    assert text.decode() == "".join(lines)
    assert ends.tolist() == np.cumsum([len(line.encode()) for line in lines]).tolist()


def test_many_rows_come_in_parts() -> None:
    """No part holds more rows than promised, and together they hold all."""
    count = ROWS_AT_ONCE * 2 + 5
    columns = {name: np.zeros(count, np.int64) for name in ("number", "padded", "time", "word")}
    parts = list(LAYOUT.print(columns))
    assert [len(ends) for _, ends in parts] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 5]
    assert b"".join(text for text, _ in parts).count(b"\n") == count
