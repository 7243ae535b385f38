"""Formulas as data: which counters there are, which KPIs are made of them, and what is good and bad about each.

An operator may add counters and KPIs, or change marks, without a release: the text is checked as a whole, each mistake
told with its line, and every KPI brings examples that must come out exactly before any of it is used. Compiled, a
formula is a few numbers in arrays, so that the loops that evaluate millions of them know nothing of texts.

A KPI is one of four things: a ratio (`numerator`, `denominator`, `times`), a `mean` of readings, a `sum`, or a
`product` of other KPIs in percent. The first three are added up over cells by adding numerators and denominators,
never by averaging percentages; a product is worked out anew from its factors' sums (TS 28.554 does it so), and a
share above one counts in it as one: what succeeds in a window may have been asked for in the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from fractions import Fraction
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trunkline.kernel.grouping import locate
from trunkline.records.network import Severity

SHIPPED = "network"  # the file of formulas/ that a platform starts with
SECONDS = "seconds"  # stands for the length of the window
SECONDS_NUMBER = -1
COUNTERS_MOST, KPIS_MOST = 256, 64
MILLI = 1_000

Longs = npt.NDArray[np.int64]


class Form(IntEnum):
    """What a KPI is."""

    RATIO = 0
    MEAN = 1
    SUM = 2
    PRODUCT = 3


class FormulaError(ValueError):
    """The formulas cannot be used; every mistake is told with its line."""

    def __init__(self, name: str, mistakes: Sequence[tuple[int, str]]) -> None:
        """Tell all of them, in the order of lines."""
        self.mistakes = sorted(mistakes)
        super().__init__("\n".join(f"{name}:{line}: {text}" for line, text in self.mistakes))


@dataclass(frozen=True)
class Counter:
    """A counter: its stored number, unit, width when it is cumulative (0: it does not wrap), and its source."""

    name: str
    number: int
    unit: str
    bits: int
    source: str


@dataclass(frozen=True)
class Example:
    """Counters of one window of `window_s`, and the value that they must give in thousandths (None: none)."""

    given: dict[str, int]
    value_milli: int | None


@dataclass(frozen=True)
class Kpi:
    """A KPI: terms are counter numbers with a sign; `times` scales; `marks` are thousandths by severity."""

    name: str
    number: int
    text: str
    source: str
    unit: str
    form: Form
    numerator: tuple[tuple[int, int], ...]
    denominator: tuple[tuple[int, int], ...]
    factors: tuple[str, ...]
    times: Fraction
    technology: str  # of the cells that have it; empty for all
    good: str  # "high", "low" or "" when neither is
    marks: dict[Severity, int]
    least_milli: int  # denominators below it are too few to judge
    step_milli: int  # how much it must move to be drawn again; 0: it is not drawn
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Formulas:
    """All counters and KPIs by number, and how time is cut."""

    counters: tuple[Counter, ...]
    kpis: tuple[Kpi, ...]
    window_us: int
    lateness_us: int
    _places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the KPIs by name."""
        object.__setattr__(self, "_places", {kpi.name: kpi.number for kpi in self.kpis})

    @cached_property
    def columns(self) -> int:
        """One more than the highest counter number."""
        return max((counter.number for counter in self.counters), default=-1) + 1

    @cached_property
    def kpi_names(self) -> pl.Series:
        """Names of KPIs by number; numbers without a KPI are empty."""
        names = [""] * self.kpi_columns
        for kpi in self.kpis:
            names[kpi.number] = kpi.name
        return pl.Series(names, dtype=pl.String)

    @cached_property
    def kpi_columns(self) -> int:
        """One more than the highest KPI number."""
        return max((kpi.number for kpi in self.kpis), default=-1) + 1

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """The width of each counter by number."""
        bits = np.zeros(self.columns, np.uint8)
        for counter in self.counters:
            bits[counter.number] = counter.bits
        return bits

    @cached_property
    def program(self) -> Program:
        """The formulas as arrays."""
        return _compiled(self)

    def kpi(self, name: str) -> Kpi:
        """One KPI by name; KeyError when there is none."""
        number = self._places[name]
        return next(kpi for kpi in self.kpis if kpi.number == number)

    def counter_numbers(self, names: pl.Series) -> npt.NDArray[np.int16]:
        """The number of each counter name; -1 for names that no formula knows.

        Names are found by Polars' hash of the column, several times faster than by comparing texts.
        """
        return numbers_of(names, {counter.name: counter.number for counter in self.counters})

    def kpi_numbers(self, names: pl.Series) -> npt.NDArray[np.int16]:
        """The number of each KPI name; -1 for others."""
        return numbers_of(names, self._places)


@dataclass(frozen=True)
class Program:
    """Terms of KPI `k`: `first[k] .. middle[k]` make the numerator, `middle[k] .. first[k + 1]` the denominator."""

    form: npt.NDArray[np.int8]  # by KPI number; -1 where there is none
    first: Longs
    middle: Longs
    counter: Longs
    sign: Longs
    multiply: Longs
    divide: Longs
    factors: Longs  # [KPI, factor]: numbers of the KPIs that are multiplied, -1 behind the last


def numbers_of(names: pl.Series, places: Mapping[str, int]) -> npt.NDArray[np.int16]:
    """The number of each text of a column; -1 for texts that are not among `places`."""
    if not places or not len(names):
        return np.full(len(names), -1, np.int16)
    texts = pl.Series(list(places), dtype=pl.String)
    numbers = np.array(list(places.values()), np.int16)
    hashes = names.cast(pl.String).hash().to_numpy()
    return _look_up(texts.hash().to_numpy(), numbers, np.ascontiguousarray(hashes))


def _look_up(
    known: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int16], hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int16]:
    found = locate(known, hashes)
    return np.where(found >= 0, numbers[found], np.int16(-1))


# -- evaluating ----------------------------------------------------------------------------------------------


@nb.njit(inline="always", error_model="numpy")
def divided(numerator: int, denominator: int, multiply: int, divide: int) -> int:
    """`numerator * multiply * 1000 / (denominator * divide)`, rounded half away from zero to whole thousandths.

    Both are thousandths of whole quantities; the quotient's whole part is taken out first, so that sums over a country
    stay within 64 bits. Denominators so large that they would not are halved together with the numerator.
    """
    negative = (numerator < 0) != (denominator < 0)
    n, d = abs(nb.int64(numerator)), abs(nb.int64(denominator))
    most = nb.int64(9_000_000_000_000_000_000) // (nb.int64(2) * multiply * 1_000 * divide)
    while d > most:
        n >>= nb.int64(1)
        d >>= nb.int64(1)
    d *= divide
    whole, rest = n // d, n % d
    value = whole * multiply * 1_000 + (rest * multiply * 1_000 * 2 + d) // (2 * d)
    return -value if negative else value


@nb.njit(nogil=True, cache=True, error_model="numpy")
def quotients(
    numerator: Longs, denominator: Longs, multiply: Longs, divide: Longs, kpi: Longs, value: Longs
) -> None:
    """Divide each pair by its KPI's scale; where a denominator is zero the value is left as it is."""
    for i in range(len(kpi)):
        if denominator[i] != 0:
            value[i] = divided(numerator[i], denominator[i], multiply[kpi[i]], divide[kpi[i]])


def _compiled(formulas: Formulas) -> Program:
    count = formulas.kpi_columns
    by_number = {kpi.number: kpi for kpi in formulas.kpis}
    first, middle = np.zeros(count + 1, np.int64), np.zeros(count, np.int64)
    form = np.full(count, -1, np.int8)
    terms: list[tuple[int, int]] = []
    multiply, divide = np.ones(count, np.int64), np.ones(count, np.int64)
    factors = np.full((count, max([len(kpi.factors) for kpi in formulas.kpis], default=0)), -1, np.int64)
    for number in range(count):
        kpi = by_number.get(number)
        if kpi is not None:
            form[number] = kpi.form
            terms += kpi.numerator
            multiply[number], divide[number] = kpi.times.numerator, kpi.times.denominator
            factors[number, : len(kpi.factors)] = [formulas.kpi(name).number for name in kpi.factors]
        middle[number] = len(terms)
        terms += kpi.denominator if kpi is not None else ()
        first[number + 1] = len(terms)
    counter = np.array([number for number, _ in terms], np.int64)
    sign = np.array([sign for _, sign in terms], np.int64)
    return Program(form, first, middle, counter, sign, multiply, divide, factors)


# -- reading -------------------------------------------------------------------------------------------------


def parse_formulas(text: str, name: str = "formulas") -> Formulas:
    """Compile formulas written in YAML; raises `FormulaError` with every mistake."""
    return _Reading(name).whole(text)


class _Reading:
    """One text on its way to formulas; collects mistakes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mistakes: list[tuple[int, str]] = []

    def wrong(self, line: int, text: str) -> None:
        self.mistakes.append((line, text))

    def whole(self, text: str) -> Formulas:
        """The formulas, or every mistake."""
        yaml = YAML(typ="rt")
        try:
            tree = yaml.load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark
            raise FormulaError(self.name, [(mark.line + 1 if mark else 1, str(error.problem))]) from error
        if not isinstance(tree, dict):
            raise FormulaError(self.name, [(1, "a mapping of counters and kpis is expected")])
        self.only(tree, ("text", "window_s", "lateness_s", "counters", "kpis"))
        counters = [self.counter(name, each) for name, each in self.entries(tree, "counters")]
        known = {counter.name: counter for counter in counters}
        kpis = [self.kpi(name, each, known) for name, each in self.entries(tree, "kpis")]
        window_us = self.seconds(tree, "window_s")
        lateness_us = self.seconds(tree, "lateness_s")
        self.numbering(tree, "counters", [(c.name, c.number) for c in counters], COUNTERS_MOST)
        self.numbering(tree, "kpis", [(k.name, k.number) for k in kpis], KPIS_MOST)
        self.products(tree, kpis)
        self.stop()
        formulas = Formulas(tuple(counters), tuple(kpis), window_us, lateness_us)
        for kpi in kpis:
            self.prove(tree, kpi, formulas)
        self.stop()
        return formulas

    def stop(self) -> None:
        if self.mistakes:
            raise FormulaError(self.name, self.mistakes)

    def only(self, tree: Any, allowed: tuple[str, ...]) -> None:  # noqa: ANN401 -- ruamel's trees are untyped
        for key in tree:
            if key not in allowed:
                self.wrong(_line(tree, key), f"{key!r} is unknown; known are {', '.join(allowed)}")

    def entries(self, tree: Any, key: str) -> list[tuple[str, Any]]:  # noqa: ANN401 -- ruamel's trees are untyped
        section = tree.get(key)
        if not isinstance(section, dict):
            self.wrong(_line(tree, key), f"{key} is missing, or is no mapping by name")
            return []
        good = []
        for name, each in section.items():
            if isinstance(each, dict):
                good.append((str(name), each))
            else:
                self.wrong(_line(section, name), f"{name} has no fields")
        return good

    def seconds(self, tree: Any, key: str) -> int:  # noqa: ANN401 -- ruamel's trees are untyped
        value = tree.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.wrong(_line(tree, key), f"{key} must be a whole number of seconds, at least 1")
            return 1_000_000
        return int(value) * 1_000_000

    def whole_number(self, tree: Any, key: str, default: int | None = None) -> int:  # noqa: ANN401 -- ruamel's trees are untyped
        value = tree.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.wrong(_line(tree, key), f"{key} must be a whole number from 0")
            return 0
        return int(value)

    def milli(self, tree: Any, key: Any, what: str) -> int:  # noqa: ANN401 -- ruamel's trees are untyped
        """A number in whole thousandths."""
        value = tree[key]
        try:
            scaled = Decimal(str(value)) * MILLI
        except InvalidOperation:
            scaled = Decimal("nan")
        if isinstance(value, bool) or not scaled.is_finite() or scaled != int(scaled):
            self.wrong(_line(tree, key), f"{what} must be a number with at most three decimals")
            return 0
        return int(scaled)

    def counter(self, name: str, tree: Any) -> Counter:  # noqa: ANN401 -- ruamel's trees are untyped
        self.only(tree, ("number", "unit", "bits", "source"))
        bits = self.whole_number(tree, "bits", 0)
        if bits not in (0, 32, 64):
            self.wrong(_line(tree, "bits"), "bits must be 32 or 64, or left out")
        if name == SECONDS:
            self.wrong(
                _line(tree, "number"), f"{SECONDS} stands for the length of the window and is no counter"
            )
        number = self.whole_number(tree, "number")
        return Counter(name, number, self.words(tree, "unit"), bits, self.words(tree, "source"))

    def words(self, tree: Any, key: str) -> str:  # noqa: ANN401 -- ruamel's trees are untyped
        value = tree.get(key)
        if not isinstance(value, str) or not value.strip():
            self.wrong(_line(tree, key), f"{key} is missing")
            return ""
        return " ".join(value.split())

    def kpi(self, name: str, tree: Any, known: dict[str, Counter]) -> Kpi:  # noqa: ANN401 -- ruamel's trees are untyped
        self.only(
            tree,
            ("number", "text", "source", "unit", "numerator", "denominator", "mean", "sum", "product", "times",
             "technology", "good", "marks", "least", "heat", "tests"),
        )  # fmt: skip
        form = self.form(name, tree)
        numerator_of = {Form.RATIO: "numerator", Form.MEAN: "mean", Form.SUM: "sum"}
        numerator = self.terms(tree, numerator_of[form], known) if form in numerator_of else ()
        denominator = self.terms(tree, "denominator", known) if form is Form.RATIO else ()
        good = tree.get("good", "")
        if good not in ("", "high", "low"):
            self.wrong(_line(tree, "good"), "good must be high or low, or left out")
        return Kpi(
            name=name,
            number=self.whole_number(tree, "number"),
            text=self.words(tree, "text"),
            source=self.words(tree, "source"),
            unit=self.words(tree, "unit"),
            form=form,
            numerator=numerator,
            denominator=denominator,
            factors=tuple(str(each) for each in tree.get("product") or ()),
            times=self.times(tree),
            technology=self.words(tree, "technology") if "technology" in tree else "",
            good=str(good),
            marks=self.marks(tree, str(good)),
            least_milli=self.milli(tree, "least", "least") if "least" in tree else 0,
            step_milli=self.milli(tree, "heat", "heat") if "heat" in tree else 0,
            examples=self.examples(tree, known),
        )

    def form(self, name: str, tree: Any) -> Form:  # noqa: ANN401 -- ruamel's trees are untyped
        told = [word for word in ("numerator", "mean", "sum", "product") if word in tree]
        forms = {"numerator": Form.RATIO, "mean": Form.MEAN, "sum": Form.SUM, "product": Form.PRODUCT}
        if len(told) != 1 or ("denominator" in tree) != (told == ["numerator"]):
            self.wrong(
                _line(tree, "number"),
                f"{name} must have a numerator and denominator, or one of mean, sum, product",
            )
        return forms[told[0]] if told else Form.SUM

    def terms(self, tree: Any, key: str, known: dict[str, Counter]) -> tuple[tuple[int, int], ...]:  # noqa: ANN401 -- ruamel's trees are untyped
        told = tree.get(key) or []
        terms = []
        for each in [told] if isinstance(told, str) else told:
            word = str(each)
            sign, counter = (-1, word[1:]) if word.startswith("-") else (1, word)
            if counter == SECONDS:
                terms.append((SECONDS_NUMBER, sign))
            elif counter in known:
                terms.append((known[counter].number, sign))
            else:
                self.wrong(_line(tree, key), f"{counter!r} is no counter of this file")
        if not terms and key in tree:
            self.wrong(_line(tree, key), f"{key} names no counter")
        return tuple(terms)

    def times(self, tree: Any) -> Fraction:  # noqa: ANN401 -- ruamel's trees are untyped
        try:
            times = Fraction(str(tree.get("times", 1)))
        except (ValueError, ZeroDivisionError):
            times = Fraction(0)
        if not 0 < times.numerator <= 1_000_000 or not 0 < times.denominator <= 1_000_000:
            self.wrong(_line(tree, "times"), "times must be a number above 0, or a fraction such as 8/1000")
            return Fraction(1)
        return times

    def marks(self, tree: Any, good: str) -> dict[Severity, int]:  # noqa: ANN401 -- ruamel's trees are untyped
        told = tree.get("marks")
        if told is None:
            return {}
        names = ("warning", "minor", "major", "critical")
        if not isinstance(told, dict) or set(told) != set(names) or not good:
            self.wrong(_line(tree, "marks"), f"marks need good, and all of {', '.join(names)}")
            return {}
        marks = [self.milli(told, name, name) for name in names]
        if marks != sorted(marks, reverse=good == "high") or len(set(marks)) < len(marks):
            self.wrong(_line(tree, "marks"), "marks must get worse from warning to critical")
        return {Severity[name.upper()]: mark for name, mark in zip(names, marks, strict=True)}

    def examples(self, tree: Any, known: dict[str, Counter]) -> tuple[Example, ...]:  # noqa: ANN401 -- ruamel's trees are untyped
        told = tree.get("tests")
        if not isinstance(told, list) or not told:
            self.wrong(
                _line(tree, "tests"), "tests are missing: a formula proves itself by an example at least"
            )
            return ()
        examples = []
        for place, each in enumerate(told):
            given = each.get("given") if isinstance(each, dict) else None
            if not isinstance(given, dict) or "value" not in each or not set(given) <= set(known):
                self.wrong(_line(told, place), "a test has counters of this file as given, and a value")
                continue
            value = None if each["value"] is None else self.milli(each, "value", "value")
            examples.append(Example({key: self.milli(given, key, key) for key in given}, value))
        return tuple(examples)

    def numbering(self, tree: Any, section: str, numbers: list[tuple[str, int]], most: int) -> None:  # noqa: ANN401 -- ruamel's trees are untyped
        first: dict[int, str] = {}
        for name, number in numbers:
            line = _line(tree[section], name)
            if number >= most:
                self.wrong(line, f"{name} has the number {number}; the highest is {most - 1}")
            if number in first:
                self.wrong(line, f"{name} has the number of {first[number]}")
            first.setdefault(number, name)

    def products(self, tree: Any, kpis: list[Kpi]) -> None:  # noqa: ANN401 -- ruamel's trees are untyped
        ratios = {kpi.name for kpi in kpis if kpi.form is Form.RATIO and kpi.times == 100}
        for kpi in kpis:
            if kpi.form is Form.PRODUCT and (len(kpi.factors) < 2 or not set(kpi.factors) <= ratios):
                self.wrong(
                    _line(tree["kpis"], kpi.name),
                    f"{kpi.name} must be the product of two or more ratios in percent",
                )

    def prove(self, tree: Any, kpi: Kpi, formulas: Formulas) -> None:  # noqa: ANN401 -- ruamel's trees are untyped
        for place, example in enumerate(kpi.examples):
            value = evaluate(formulas, kpi, example.given)
            if value != example.value_milli:
                line = _line(tree["kpis"][kpi.name]["tests"], place)
                self.wrong(
                    line,
                    f"{kpi.name} gives {_shown(value)} where its test says {_shown(example.value_milli)}",
                )


def evaluate(formulas: Formulas, kpi: Kpi, given_milli: dict[str, int]) -> int | None:
    """The value of one KPI of one window, in thousandths, by whole fractions: the plain way, for examples and tests.

    Raises KeyError for a counter that is not given.
    """
    if kpi.form is Form.PRODUCT:
        value = Fraction(100)
        for name in kpi.factors:
            pair = _pair(formulas, formulas.kpi(name), given_milli)
            if pair[1] == 0:
                return None
            value *= min(Fraction(*pair), Fraction(1))
        return _half_away(value * MILLI)
    numerator, denominator = _pair(formulas, kpi, given_milli)
    return None if denominator == 0 else _half_away(Fraction(numerator, denominator) * kpi.times * MILLI)


def _pair(formulas: Formulas, kpi: Kpi, given_milli: dict[str, int]) -> tuple[int, int]:
    by_number = {counter.number: counter.name for counter in formulas.counters}
    window_milli = formulas.window_us // 1_000

    def total(terms: tuple[tuple[int, int], ...]) -> int:
        return sum(
            sign * (window_milli if number == SECONDS_NUMBER else given_milli[by_number[number]])
            for number, sign in terms
        )

    return total(kpi.numerator), total(kpi.denominator) if kpi.form is Form.RATIO else MILLI


def _half_away(value: Fraction) -> int:
    whole = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return -whole if value < 0 else whole


def _shown(value_milli: int | None) -> str:
    return "no value" if value_milli is None else f"{Decimal(value_milli) / MILLI}"


def _line(tree: Any, key: Any) -> int:  # noqa: ANN401 -- ruamel's trees are untyped
    """The line of a key, or of the tree when it has none."""
    marks: Any = getattr(tree, "lc")  # noqa: B009 -- a list of ruamel's has marks, a list to a checker has not
    place: Callable[..., tuple[int, int]] = marks.item if isinstance(tree, list) else marks.key
    try:
        return int(place(key)[0]) + 1
    except (KeyError, TypeError):
        return int(marks.line) + 1
