"""Checking a tariff finds all of its mistakes at once, each with its line and what to do."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.charging.tariffs import check, compile_catalogue, empty_register

WRONG = Path(__file__).parent / "test_tariffs_wrong"
EXAMPLE = Path(__file__).parents[3] / "examples" / "tariffs"
OPERATOR = "operator: {currency: EUR}"
MAIN = "balances: {main: {unit: money, main: true}}"


def texts(folder: Path) -> dict[str, str]:
    """The files of a tariff directory."""
    return {
        path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in {".yaml", ".csv"}
    }


def test_every_mistake_of_a_wrong_tariff_is_told_at_once() -> None:
    """`mistakes.txt` is the whole list, as `trunkline tariff check` would print it."""
    found = [str(mistake) for mistake in check(texts(WRONG))]
    assert "\n".join(found) + "\n" == (WRONG / "mistakes.txt").read_text()


def test_example_has_no_mistakes() -> None:
    """The tariff that people copy is right."""
    assert check(texts(EXAMPLE)) == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no balance is the main one"),
        ("balances: {main: {unit: time, main: true}}", 2, "must be money"),
        ("balances: {a: {unit: money, main: true}, b: {unit: money, main: true}}", 2, "are both `main`"),
        ("rates: {a: {price: 0.1, per: 60s, counter: c}}", 2, "has no tiers for a counter to choose from"),
        ("rates: {a: {tiers: [{price: 0.1, per: 60s}]}}", 2, "say which usage moves them with `counter:`"),
        ("rates: {a: &a [*a]}", 2, "holds keys with values"),
        ("rates: " + "[" * 5000, 1, "nested too deeply"),
        ("rates: {a: " + "[" * 40 + "]" * 40 + "}", 2, "nested too deeply"),
        ("classes: {a: {usage: data}, b: {usage: data, five_qi: [9]}}", 2, 'class "b" never matches'),
        ("plan: p\neffective: 2026-W01-1\nprices: []", 3, "is not a date or a time"),
        ("rates: {none: {free: true}}", 2, "`none` means not priced"),
        ("rates: {a: {price: 1e3, per: 60s}}", 2, '"1e3" is not an amount such as "0.35"'),
        ("rates: {a: {price: -1, per: 60s}}", 2, '"-1" is not an amount'),
        ("rates: {a: {price: 1, per: 0s}}", 2, "must be more than nothing"),
        ("rates: {a: {price: 1, per: 1.5ms}}", 2, "not a whole number of ms"),
        ("rates: {a: {price: 1, per: 60sec}}", 2, "unknown unit"),
        ("rates: {a: {price: [1], per: 60s}}", 2, "`price` is one word or number"),
        ("rates: {a: {price: , per: 60s}}", 2, "nothing is written here"),
        ("operator: {currency: EUR}", 2, "there is an operator section in a.yaml line 1 already"),
        ("sections: {}", 2, 'a tariff file has no key "sections"'),
        ("- a list", 2, "not a bare list or word"),
        ("plan: p\neffective: 2026-01-01", 2, "has no prices"),
        ("plan: p\nprices: [{usage: voice, to: any, rate: {peak: free}}]", 3, "need a `schedule`"),
        (
            "plan: p\nprices: [{usage: voice, to: any, rate: free, schedule: s}]",
            3,
            'no schedule is called "s"',
        ),
        (
            "plan: p\nprices: [{usage: data, to: any, rate: {price: 1, per: 60s}}]",
            3,
            "data is counted in octets",
        ),
        (
            "plan: p\nprices: [{usage: sms, to: any, rate: {price: record}}]",
            3,
            "only content brings its own price",
        ),
        ("plan: p\nfallback: [p]\nprices: []", 3, "fallback goes in a circle: p -> p"),
        (
            "balances: {b: {unit: time, grant: 1h, every: day, rated_by: p}}\nplan: p\nincludes: [b]\nfallback: [q]",
            2,
            "which includes it",
        ),
    ],
)
def test_single_mistakes(text: str, line: int, said: str) -> None:
    """One wrong thing gives a sentence about it, at its line."""
    files = {"a.yaml": OPERATOR, "b.yaml": "\n" + text, "c.yaml": MAIN if text and "main" not in text else ""}
    found = [(mistake.line, mistake.text) for mistake in check(files)]
    assert any(at == line and said in sentence for at, sentence in found), found


def test_no_files_at_all() -> None:
    """An empty folder is not a tariff."""
    assert [mistake.text for mistake in check({"README.md": "hello"})] == [
        "there is no tariff: not one .yaml file holds a section"
    ]


ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
KEYS = """
operator holidays destinations zones classes schedules rates balances counters plan prices usage to rate price per sheet
from band days any free none record main unit voice data 60s 1MB 0.10 x.csv fallback includes default
"""
WORDS = st.sampled_from(KEYS.split())
TREES = st.recursive(
    WORDS | ANY_TEXT.filter(lambda text: text.isprintable()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_at_all_is_answered_with_mistakes(yaml: str, sheet: str) -> None:
    """Whatever the files hold, checking answers with places inside them and never fails otherwise."""
    files = {"a.yaml": yaml, "b.csv": sheet, "c.yaml": "plan: p\nprices: [{usage: voice, sheet: b.csv}]"}
    found = check(files)
    assert found
    assert all(mistake.line >= 1 and mistake.column >= 1 and mistake.text for mistake in found)


@given(st.dictionaries(WORDS, TREES, max_size=5))
def test_any_shape_is_answered_with_mistakes_or_compiles(tree: dict[str, object]) -> None:
    """Keys in the wrong places, lists for words and words for lists: what check finds right also compiles."""
    import json

    files = {"a.yaml": json.dumps(tree), "operator.yaml": OPERATOR, "main.yaml": MAIN}
    if not check(files):
        compile_catalogue(files, empty_register())
