"""What money of other currencies is worth in the tariff's own: rates with their dates, as exact decimals.

A partner's records bring prices in the partner's currency, and a plan may be billed in another one. A rate says how
much of our currency one unit of the other one is (`rate`), or how much of the other one unit of ours buys (`buys`),
from a date on, and who published it.
"""

from __future__ import annotations

from collections.abc import Iterator

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.bill_rules import minor_decimals
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.charging.tariffs.exchange_rules import BILLIONTHS, Exchange, ExchangeRate
from trunkline.charging.tariffs.mistakes import Place
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sections import currency_code
from trunkline.charging.tariffs.sheets import columns_fit, find_sheet
from trunkline.charging.tariffs.source import Items, Node, Scalar, Source
from trunkline.charging.tariffs.tariff import ALWAYS_US, MODES, Operator
from trunkline.kernel.money import Rounding

EXCHANGE_KEYS = ("rates", "sheet", "decimals", "rounding")
RATE_KEYS = ("currency", "since", "rate", "buys", "source")
SHEET_NEEDS = ("currency", "since")
WAYS = ("rate", "buys")
LARGEST_RATE = 10**7
LONGEST_SOURCE = 80


def read_exchange(reader: Reader, nodes: list[Node], source: Source, operator: Operator) -> Exchange | None:
    """The one `exchange` section, its sheet's rows behind its own."""
    for node in nodes[1:]:
        first = nodes[0].place
        reader.mistakes.add(
            node.place, f"there is an exchange section in {first.file} line {first.line} already; keep one"
        )
    if not nodes:
        return None
    keys = reader.keys(nodes[0], EXCHANGE_KEYS, "exchange")
    found: dict[tuple[str, int], ExchangeRate] = {}
    places: dict[tuple[str, int], Place] = {}
    for place, rate in (*_written(reader, keys, operator), *_of_sheets(reader, keys, source, operator)):
        name = rate.currency, rate.since_us
        if name in found:
            at = places[name]
            reader.mistakes.add(
                place, f"{rate.currency} has a rate of that date in {at.file} line {at.line} already"
            )
        if rate.currency == operator.currency:
            reader.mistakes.add(place, f"{rate.currency} is the tariff's own currency; remove this rate")
        found.setdefault(name, rate)
        places.setdefault(name, place)
    if not found:
        reader.mistakes.add(
            nodes[0].place, 'exchange needs `rates: [{currency: USD, since: 2026-10-01, rate: "0.86"}]`'
        )
    return Exchange(
        tuple(sorted(found.values(), key=lambda each: (each.currency, each.since_us))),
        reader.value(
            keys, "decimals", lambda text: literals.whole(text, 0, 6), minor_decimals(operator.currency)
        ),
        reader.choice(keys, "rounding", MODES, Rounding.HALF_EVEN),
    )


def _written(reader: Reader, keys: Keys, operator: Operator) -> Iterator[tuple[Place, ExchangeRate]]:
    node = keys.get("rates")
    if node is None:
        return
    if not isinstance(node, Items):
        reader.mistakes.add(
            node.place, '`rates` is a list; write lines such as `- {currency: USD, rate: "0.86"}`'
        )
        return
    zone = time_zone(operator.time_zone)
    for each in node.items:
        said = reader.keys(each, RATE_KEYS, "a rate of exchange")
        reader.need(said, each.place, "currency", "a rate of exchange needs `currency`")
        _one_way(reader, each.place, [name for name in WAYS if name in said])
        yield (
            each.place,
            ExchangeRate(
                reader.value(said, "currency", currency_code, ""),
                reader.value(said, "since", lambda text: literals.moment(text, zone), ALWAYS_US),
                reader.value(said, "rate", _billionths, BILLIONTHS),
                reader.value(said, "buys", _billionths, BILLIONTHS),
                reader.value(said, "source", _published_by, ""),
            ),
        )


def _of_sheets(
    reader: Reader, keys: Keys, source: Source, operator: Operator
) -> Iterator[tuple[Place, ExchangeRate]]:
    zone = time_zone(operator.time_zone)
    for place, name in reader.names(keys, "sheet"):
        path = find_sheet(source.sheets, name, place.file)
        if path is None:
            reader.mistakes.add(place, f'there is no sheet "{name}"; put it beside this file')
            continue
        sheet = source.sheets[path]
        if not columns_fit(reader, sheet, RATE_KEYS, SHEET_NEEDS):
            continue
        for row in sheet.rows:
            at = Place(sheet.name, row.line, 1)
            currency = reader.parse(Scalar(at, row.cells["currency"]), currency_code)
            since = reader.parse(Scalar(at, row.cells["since"]), lambda text: literals.moment(text, zone))
            written = {name: row.cells[name] for name in WAYS if row.cells.get(name)}
            known = {name: reader.parse(Scalar(at, text), _billionths) for name, text in written.items()}
            whence = reader.parse(Scalar(at, row.cells.get("source", "")), _published_by)
            if not _one_way(reader, at, list(written)) or currency is None or since is None:
                continue
            ours, theirs = known.get("rate") or BILLIONTHS, known.get("buys") or BILLIONTHS
            yield at, ExchangeRate(currency, since, ours, theirs, whence or "")


def _one_way(reader: Reader, place: Place, written: list[str]) -> bool:
    """Whether a rate is written in one way, so that no two of its numbers can disagree."""
    if len(written) != 1:
        reader.mistakes.add(
            place,
            "a rate of exchange is written once: as `rate` (what one unit of the other currency is in ours)"
            " or as `buys` (what one unit of ours is in the other)",
        )
    return len(written) == 1


def _published_by(text: str) -> str:
    """Who published a rate, as it stands on bills."""
    if len(text) > LONGEST_SOURCE:
        raise ValueError(f"who published a rate is told in at most {LONGEST_SOURCE} characters")
    return text


def _billionths(text: str) -> int:
    """A rate as whole billionths: up to nine decimals, above zero."""
    value = literals.price(text) * BILLIONTHS
    if value.denominator != 1:
        raise ValueError(f'"{text}" has more than nine decimals; a rate is kept in billionths')
    if not 0 < value <= LARGEST_RATE * BILLIONTHS:
        raise ValueError(f'"{text}" is not a rate above 0 and up to {LARGEST_RATE}')
    return int(value)
