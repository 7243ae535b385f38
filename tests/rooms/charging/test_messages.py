"""The words in which customers are told: shipped ones are whole, mistakes have lines, amounts promise no more."""

from __future__ import annotations

from pathlib import Path
from string import Formatter

import pytest

from trunkline.bootstrap.alert_ways import load_templates
from trunkline.charging.delivery import KINDS
from trunkline.charging.messages import SHIPPED, MessageError, figures, parse_language, quantity, told
from trunkline.ports import Refused
from trunkline.records.charging import Unit

ALERT = {
    "kind": "low_balance", "balance": "main", "threshold": 5_000_000, "value": 1_234_999_999, "period": 0,
    "time_us": 1_795_000_000_000_000,
}  # fmt: skip


@pytest.mark.parametrize("language", SHIPPED)
@pytest.mark.parametrize("kind", KINDS)
def test_shipped_words_are_whole(language: str, kind: str) -> None:
    """Every kind is told in every shipped language, and no brace is left to a customer."""
    templates = load_templates()
    alert = {**ALERT, "kind": kind}
    words = told(templates, language, alert, figures(templates, language, alert, 0, "EUR", "Europe/Berlin"))
    for text in (words.subject, words.text, words.short):
        assert text
        assert "{" not in text
    assert len(words.short) <= 160
    assert templates[language].kinds.keys() == set(KINDS)


def test_each_language_writes_in_its_way() -> None:
    """Signs, moments and words are the language's; the moment is the customer's."""
    templates = load_templates()
    german = figures(templates, "de", ALERT, Unit.MONEY, "EUR", "Europe/Berlin")
    assert (german["value"], german["moment"]) == ("1.234,99 EUR", "18.11.2026 12:06")
    english = figures(templates, "en", ALERT, Unit.MONEY, "EUR", "Europe/London")
    assert (english["value"], english["moment"]) == ("1,234.99 EUR", "18/11/2026 11:06")


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.MONEY, 999_999, "0.99 EUR"),
        (Unit.MONEY, -1, "-0.01 EUR"),
        (Unit.TIME, 119_999, "1 min"),
        (Unit.OCTETS, 1_999_999, "1.99 MB"),
        (Unit.EVENTS, 7, "7"),
    ],
)
def test_amounts_are_rounded_down(unit: int, value: int, text: str) -> None:
    """Nobody is promised more than there is."""
    assert quantity(load_templates()["en"], unit, value, "EUR") == text


def test_every_mistake_has_its_line() -> None:
    """Unknown names, kinds and fields, braces that stand alone, texts that are missing or too long: all at once."""
    text = "\n".join(
        (
            "writing:",
            '  decimal: "5"',
            '  moment: "%X"',
            "kinds:",
            "  allowance:",
            '    subject: "{threshold}"',
            '    text: "{percent!r} of {balance.name}"',
            "  low_balance:",
            '    subject: "a { b"',
            "  weather:",
            '    subject: "sun"',
            "  spend_cap:",
            '    subject: "{percent}"',
            '    text: "{balance}"',
            f'    short: "{"x" * 301}"',
            "greeting: hello",
        )
    )
    with pytest.raises(MessageError) as caught:
        parse_language("en", text, "en.yaml")
    lines = [int(line.split(":")[1]) for line in str(caught.value).split("\n")]
    assert lines == [2, 3, 6, 7, 7, 8, 8, 9, 10, 15, 16]


def test_an_operators_words_lie_over_the_shipped_ones(tmp_path: Path) -> None:
    """A kind that a file leaves out is told as shipped; a new language falls back on English."""
    (tmp_path / "de.yaml").write_text(
        'kinds: {low_balance: {subject: "Leer", text: "Noch {value}"}}', encoding="utf-8"
    )
    (tmp_path / "fr.yaml").write_text(
        'kinds: {low_balance: {subject: "Vide", text: "{value}"}}', encoding="utf-8"
    )
    templates = load_templates(tmp_path)
    assert templates["de"].kinds["low_balance"].short == "Noch {value}"
    assert templates["de"].kinds["allowance"].subject.startswith("{percent} % von")
    alert = {**ALERT, "kind": "allowance"}
    words = told(templates, "fr", alert, figures(templates, "fr", alert, 1, "EUR", "UTC"))
    assert words.subject == "5000000 % of main used"
    (tmp_path / "en.yaml").write_text("kinds: [", encoding="utf-8")
    with pytest.raises(Refused, match=r"en\.yaml:1"):
        load_templates(tmp_path)


def test_words_only_name_what_is_known() -> None:
    """A shipped template's names are all filled, whichever kind it is for."""
    for language in load_templates().values():
        for kind, words in language.kinds.items():
            filled = figures(load_templates(), language.name, {**ALERT, "kind": kind}, 0, "EUR", "UTC")
            for text in (words.subject, words.text, words.short):
                assert {name for _, name, _, _ in Formatter().parse(text) if name} <= filled.keys()
