"""Formulas as data: they prove themselves by their examples, and every mistake is told with its line."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.plain_windows import FORMULAS, SHIPPED, value_of
from trunkline.network.formula import Form, FormulaError, evaluate, parse_formulas, quotients
from trunkline.records.network import Severity

NEEDED = {
    "accessibility": {"RRCConnEstabSR", "NGConnEstabSR", "DRBEstabSR", "DRBAccessibility", "ERABEstabSR"},
    "retainability": {"QoSRetain_R1"},
    "mobility": {"GRANHOSR"},
    "utilisation, throughput, latency, loss": {
        "PRBUsageDl",
        "DlUeThroughput_Cell",
        "DLDelay_Air",
        "ULPacketLoss",
    },
    "availability, signal, calls": {"CellAvailability", "SignalStrength", "MissedCallRate"},
}


@pytest.mark.parametrize("family", NEEDED)
def test_every_family_of_kpis_is_there(family: str) -> None:
    """What an operator asks for first is shipped."""
    assert NEEDED[family] <= {kpi.name for kpi in FORMULAS.kpis}


@pytest.mark.parametrize("kpi", FORMULAS.kpis, ids=lambda kpi: kpi.name)
def test_a_formula_gives_what_its_examples_say(kpi: object) -> None:
    """Each KPI has an example, and one without a value where its denominator can be zero."""
    found = next(each for each in FORMULAS.kpis if each == kpi)
    for example in found.examples:
        assert evaluate(FORMULAS, found, example.given) == example.value_milli
    counted = found.form is Form.RATIO and any(number >= 0 for number, _ in found.denominator)
    assert any(example.value_milli is None for example in found.examples) == (
        counted or found.form is Form.PRODUCT
    )


def test_numbers_never_change() -> None:
    """Numbers are stored: these are the first ones ever shipped."""
    assert [FORMULAS.kpi(name).number for name in ("RRCConnEstabSR", "QoSRetain_R1", "CellAvailability")] == [
        0,
        6,
        14,
    ]
    numbers = {counter.name: counter.number for counter in FORMULAS.counters}
    assert [numbers[name] for name in ("RRC.ConnEstabAtt", "RRU.PrbTotDl", "CALL.Missed")] == [0, 14, 23]


def test_names_are_found_in_any_type_of_column() -> None:
    """Text, categories and an enumeration give the same numbers; what is unknown gives -1."""
    names = pl.Series(["DRB.EstabAtt", "Made.Up", "RRC.ConnEstabAtt"])
    for column in (names, names.cast(pl.Categorical), names.cast(pl.Enum(names.to_list()))):
        assert FORMULAS.counter_numbers(column).tolist() == [8, -1, 0]
    assert FORMULAS.kpi_numbers(pl.Series(["GRANHOSR", ""])).tolist() == [7, -1]


COUNTERS = """window_s: 30
lateness_s: 60
counters:
  A: {number: 0, unit: x, source: s}
  B: {number: 1, unit: x, source: s}
"""
GOOD = """kpis:
  K:
    number: 0
    text: t
    source: s
    unit: "%"
    numerator: [A]
    denominator: [B]
    times: 100
    tests: [{given: {A: 1, B: 2}, value: 50}]
"""
MISTAKES = [
    ("value: 50", "value: 51", "15: K gives 50 where its test says 51"),
    ("value: 50", "value: null", "15: K gives 50 where its test says no value"),
    ("tests: [{given: {A: 1, B: 2}, value: 50}]", "unit2: 3", "tests are missing"),
    ("numerator: [A]", "numerator: [C]", "12: 'C' is no counter"),
    ("numerator: [A]", "numerator: []", "12: numerator names no counter"),
    ("    denominator: [B]\n", "", "must have a numerator and denominator"),
    ("    denominator: [B]\n", "    denominator: [B]\n    mean: A\n", "must have a numerator and denominator"),
    ("times: 100", "times: 0", "times must be a number above 0"),
    ("times: 100", "times: 100\n    marks: {warning: 1}", "marks need good"),
    (
        "times: 100", "times: 100\n    good: high\n    marks: {warning: 1, minor: 2, major: 3, critical: 4}",
        "must get worse",
    ),
    ("times: 100", "times: 100\n    good: loud", "good must be high or low"),
    ("times: 100", "times: 100\n    heat: 0.0001", "at most three decimals"),
    ("number: 0\n    text: t", "number: 64\n    text: t", "the highest is 63"),
    ("text: t", "tax: t", "'tax' is unknown"),
    ("window_s: 30", "window_s: 0", "window_s must be a whole number"),
    ("B: {number: 1,", "B: {number: 0,", "5: B has the number of A"),
    ("B: {number: 1,", "B: {number: 1, bits: 16,", "bits must be 32 or 64"),
    ("numerator: [A]\n    denominator: [B]\n    times: 100", "product: [K, K]", "product of two or more ratios"),
    ("kpis:", "kpis: [", "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "told"), MISTAKES, ids=[f"{n}" for n in range(len(MISTAKES))])
def test_each_mistake_is_told(before: str, after: str, told: str) -> None:
    """Line and what is wrong."""
    text = COUNTERS + GOOD
    parse_formulas(text)
    assert before in text
    with pytest.raises(FormulaError) as caught:
        parse_formulas(text.replace(before, after, 1), "mine.yaml")
    assert told in str(caught.value)
    assert "mine.yaml:" in str(caught.value)


@pytest.mark.parametrize("text", ["", "7", "- 1", "counters: {}\nkpis: 3", "kpis: {K: 1}\ncounters: {A: 2}"])
def test_what_is_no_formula_is_refused(text: str) -> None:
    """Whatever is handed in is read or refused."""
    with pytest.raises(FormulaError):
        parse_formulas(text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([kpi for kpi in FORMULAS.kpis if kpi.form is not Form.PRODUCT]),
    st.integers(-(10**13), 10**13),
    st.integers(-(10**12), 10**12),
)
def test_quotients_are_exact(kpi: object, numerator: int, denominator: int) -> None:
    """The compiled division rounds as whole fractions do, also for sums over a country."""
    found = next(each for each in FORMULAS.kpis if each == kpi)
    value = np.full(1, 7)
    program = FORMULAS.program
    quotients(
        np.array([numerator]),
        np.array([denominator]),
        program.multiply,
        program.divide,
        np.array([found.number]),
        value,
    )
    expected = value_of(found, [(numerator, denominator)])
    assert value[0] == (7 if expected is None else expected)


def test_marks_get_worse() -> None:
    """A KPI that is judged has all four marks."""
    for kpi in FORMULAS.kpis:
        assert set(kpi.marks) in (
            set(),
            {Severity.WARNING, Severity.MINOR, Severity.MAJOR, Severity.CRITICAL},
        )
    assert SHIPPED.isascii()
