"""Converters agree with plain arithmetic on any text: nothing is nearly right."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil, floor

import numpy as np
import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from trunkline.kernel.dial import to_key
from trunkline.kernel.texts import Texts, of_series, to_categories
from trunkline.mediation import convert
from trunkline.mediation.columns import read_time, word_list
from trunkline.mediation.mapping import Moment


def texts_of(texts: list[str]) -> Texts:
    """Texts as a scanner leaves them."""
    return of_series(pl.Series(texts, dtype=pl.String))


def answers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Room for values and statuses."""
    return np.empty(len(texts), np.int64), np.empty(len(texts), np.uint8)


DECIMALS = st.one_of(
    st.text("0123456789", max_size=20),
    st.integers(-(10**19), 10**19).map(str),
    st.decimals(-(10**12), 10**12, allow_nan=False, places=3).map(str),
    st.text("0123456789.-+e ", max_size=12),
    st.text(max_size=3),
)


@given(
    st.lists(DECIMALS, max_size=6), st.sampled_from([1, 1000, 60_000, 1_000_000, 2**30]), st.integers(0, 3)
)
@example(
    ["12345678", "123456789", "1234567890123456", "12345678901234567", "00000000", "9/", "1:345678"], 1, 0
)
def test_decimals_are_exact(texts: list[str], factor: int, rounding: int) -> None:
    """Value times factor, rounded by its name, or refused."""
    values, statuses = answers(texts)
    there = texts_of(texts)
    convert.decimals(there.data, there.starts, there.lengths, factor, rounding, values, statuses)
    for text, value, status in zip(texts, values.tolist(), statuses.tolist(), strict=True):
        if text == "":
            assert status == convert.ABSENT
            continue
        if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII) is None:
            assert status == convert.WRONG, text
            continue
        size = abs(Fraction(text)) * factor
        rounded = {
            convert.EXACT: int(size),
            convert.UP: ceil(size),
            convert.DOWN: floor(size),
            convert.HALF_UP: floor(size + Fraction(1, 2)),
        }[rounding]
        if (rounding == convert.EXACT and size != rounded) or size > 2**62:
            assert status == convert.WRONG, text
        elif status == convert.THERE:
            assert value == (-rounded if text.startswith("-") else rounded)
        else:
            assert size > 2**62 // 10 - 1, text


NUMBERS = st.one_of(
    st.text("0123456789", max_size=18),
    st.text("0123456789", max_size=14).map("+".__add__),
    st.text("0123456789*#AB+- ", max_size=10),
    st.builds(
        "{}:{}@{}".format,
        st.sampled_from(["sip", "sips", "tel"]),
        st.text("+0123456789a", max_size=14),
        st.just("x"),
    ),
    st.builds('"A" <sip:{}@h;x=1>'.format, st.text("+0123456789", max_size=14)),
)


def plainly(text: str) -> int | None:
    """The rules of numbers in plain Python; None where the number is refused, -1 where it is a name."""
    if text.endswith(">") and "<" in text:
        text = text[text.index("<") + 1 : -1]
    address = re.match(r"[A-Za-z]\w{0,3}:([^@;]*)", text, re.ASCII)
    text = address[1] if address else text
    plus = text.startswith("+")
    whole = plus
    if plus:
        text = re.sub(r"[-.() ]", "", text[1:])
    elif text.startswith("00") and len(text) > 2:
        text, whole = text[2:], True
    elif text.startswith("0") and len(text) > 1:
        text, whole = "44" + text[1:], True
    dialled = re.fullmatch(r"[0-9*#AB]*", text) is not None
    if whole:
        return to_key(text) if re.fullmatch(r"[0-9]{3,15}", text, re.ASCII) else None
    return to_key(text) if dialled and 0 < len(text) <= 16 else -1


@given(st.lists(NUMBERS, max_size=6))
@example(
    ["+447700900001", "0303", "00493012345678", "1234567890123456", "112", "+", "00", "0", "44770090000a"]
)
def test_numbers_follow_their_rules(texts: list[str]) -> None:
    """International forms agree with the rules written down plainly."""
    values, statuses = answers(texts)
    there = texts_of(texts)
    country, national = (np.frombuffer(digits, np.uint8) for digits in (b"44", b"0"))
    prefixes, ends = word_list(("00",))
    words = values.view(np.uint64)
    convert.numbers(
        there.data, there.starts, there.lengths, country, prefixes, ends, national, words, statuses
    )
    for text, word, status in zip(texts, words.tolist(), statuses.tolist(), strict=True):
        expected = 0 if text == "" else plainly(text)
        if text == "":
            assert status == convert.ABSENT
        elif expected is None:
            assert status == convert.WRONG, text
        elif expected == -1:
            assert status == convert.OTHER, text
        else:
            assert (status, word) == (convert.THERE, expected), text


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 31), timezones=st.just(UTC))


def times(texts: list[str], moment: Moment) -> list[int | None]:
    """What the converter makes of some times."""
    values, statuses = answers(texts)
    read_time(moment, texts_of(texts), values, statuses)
    return [
        value if status == convert.THERE else None
        for value, status in zip(values.tolist(), statuses.tolist(), strict=True)
    ]


def micros(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)


@given(st.lists(MOMENTS, max_size=5))
def test_times_in_every_format(moments: list[datetime]) -> None:
    """The same moment, however it is written."""
    exact = [micros(when) for when in moments]
    whole = [us // 1_000_000 * 1_000_000 for us in exact]
    assert times([when.isoformat() for when in moments], Moment("iso8601")) == exact
    assert times([f"{us // 1_000_000}.{us % 1_000_000:06d}" for us in exact], Moment("unix_s")) == exact
    assert times([str(us) for us in exact], Moment("unix_us")) == exact
    radius = Moment("%b %d %Y %H:%M:%S %Z", zones=(("UTC", 0), ("CET", 3_600_000_000)))
    assert times([when.strftime("%b %d %Y %H:%M:%S UTC") for when in moments], radius) == whole
    written = [when.strftime("%d.%m.%y %H:%M:%S.%f%z") for when in moments if 1970 <= when.year < 2069]
    later = [us for us, when in zip(exact, moments, strict=True) if 1970 <= when.year < 2069]
    assert times(written, Moment("%d.%m.%y %H:%M:%S.%f%z")) == later


def test_local_times_have_their_zone() -> None:
    """Winter, summer, the hour that comes twice (the earlier one) and the hour that does not exist."""
    texts = ["2026-01-15 12:00:00", "2026-07-15 12:00:00", "2026-10-25 01:30:00", "2026-03-29 01:30:00", "x"]
    found = times(texts, Moment("iso8601", zone="Europe/London"))
    offsets_h = [0, 1, 1]
    expected = [
        micros(datetime.fromisoformat(text).replace(tzinfo=UTC)) - hours * 3_600_000_000
        for text, hours in zip(texts, offsets_h, strict=False)
    ]
    assert found == [*expected, None, None]


@given(st.text(max_size=30))
def test_any_text_is_some_time_or_none(text: str) -> None:
    """No text makes a time converter stumble."""
    for moment in (
        Moment("iso8601"),
        Moment("julian_day"),
        Moment("%Y-%m-%d %H:%M:%S", zone="Europe/Berlin"),
    ):
        assert len(times([text], moment)) == 1


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=60), st.integers(1, 40))
def test_categories_are_the_texts(texts: list[str | None], repeats: int) -> None:
    """Numbering the different texts loses none and mixes up none; empty and missing ones are null."""
    column = pl.Series("texts", texts * repeats, dtype=pl.String)
    categories = to_categories("texts", of_series(column))
    assert categories.dtype == pl.Categorical
    assert categories.name == "texts"
    assert categories.cast(pl.String).to_list() == [text or None for text in texts] * repeats


def test_many_different_texts_are_told_apart() -> None:
    """The table of different texts grows as far as it must."""
    names = [f"C{number:05d}" for number in range(20_000)]
    assert to_categories("cell", texts_of(names * 2)).cast(pl.String).to_list() == names * 2
