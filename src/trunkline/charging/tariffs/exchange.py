"""What money of other currencies is worth in the tariff's own: rates with their dates, as exact decimals.

A partner's records bring prices in the partner's currency. A rate says how much of our currency one unit of the other
one is, from a date on; the rate of the moment of use holds, and the amount is rounded by name to the smallest coin.
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
RATE_KEYS = ("currency", "since", "rate")
LARGEST_RATE = 10**6


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
        for name in ("currency", "rate"):
            reader.need(said, each.place, name, f"a rate of exchange needs `{name}`")
        yield (
            each.place,
            ExchangeRate(
                reader.value(said, "currency", currency_code, ""),
                reader.value(said, "since", lambda text: literals.moment(text, zone), ALWAYS_US),
                reader.value(said, "rate", _billionths, BILLIONTHS),
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
        if not columns_fit(reader, sheet, RATE_KEYS, RATE_KEYS):
            continue
        for row in sheet.rows:
            at = Place(sheet.name, row.line, 1)
            currency = reader.parse(Scalar(at, row.cells["currency"]), currency_code)
            since = reader.parse(Scalar(at, row.cells["since"]), lambda text: literals.moment(text, zone))
            rate = reader.parse(Scalar(at, row.cells["rate"]), _billionths)
            if currency is not None and since is not None and rate is not None:
                yield at, ExchangeRate(currency, since, rate)


def _billionths(text: str) -> int:
    """A rate as whole billionths: up to nine decimals, above zero."""
    value = literals.price(text) * BILLIONTHS
    if value.denominator != 1:
        raise ValueError(f'"{text}" has more than nine decimals; a rate is kept in billionths')
    if not 0 < value <= LARGEST_RATE * BILLIONTHS:
        raise ValueError(f'"{text}" is not a rate above 0 and up to {LARGEST_RATE}')
    return int(value)
