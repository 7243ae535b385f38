"""Reading a plan: its version, what it includes, and the rows of its prices."""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.billing import read_fees
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.charging.tariffs.mistakes import nearest
from trunkline.charging.tariffs.rates import RATE_KEYS, read_rate
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sections import currency_code, read_targets, read_zone_names
from trunkline.charging.tariffs.sheets import find_sheet, read_price_sheet
from trunkline.charging.tariffs.source import Fields, Items, Node, Source
from trunkline.charging.tariffs.tariff import (
    ALWAYS_US,
    DIALLED,
    DIRECTIONS,
    HOME,
    KINDS,
    NOT_PRICED,
    Named,
    Operator,
    Plan,
    Price,
    Rate,
    SheetPrice,
)
from trunkline.records.usage import Direction

PLAN_KEYS = (
    "plan", "effective", "payment", "includes", "counters", "fallback", "prices", "fees", "discounts", "minimum", "cap",
    "billed_in",
)  # fmt: skip
PRICE_KEYS = (
    "usage", "directions", "zones", "to", "classes", "schedule", "rate", "sheet", "min_charge", "max_cost",
    "end_at_cost",
)  # fmt: skip
PAYMENTS = {"prepaid": False, "postpaid": True}


@dataclass
class Found:
    """What plans bring along: rates written in place, and the priced rows of their sheets."""

    source: Source
    operator: Operator
    rates: dict[str, Rate] = field(default_factory=dict)
    sheets: dict[str, tuple[SheetPrice, ...]] = field(default_factory=dict)


def read_plan(reader: Reader, keys: Keys, found: Found) -> Plan:
    """One version of a plan from the keys of its document."""
    node = keys["plan"]
    word = reader.word(node, "`plan`")
    name = word.text if word else ""
    zone = time_zone(found.operator.time_zone)
    effective = reader.value(keys, "effective", str, "")
    prices: list[Price] = []
    listed = keys.get("prices", Items(node.place, ()))
    if not isinstance(listed, Items) and "prices" in keys:
        reader.mistakes.add(
            listed.place,
            "`prices` is a list; write lines such as `- {usage: voice, to: any, rate: national}`",
        )
    for each in listed.items if isinstance(listed, Items) else ():
        price = _price(reader, each, name, found)
        if price is not None:
            prices.append(price)
    return Plan(
        node.place,
        name,
        effective,
        reader.value(keys, "effective", lambda text: literals.moment(text, zone), ALWAYS_US),
        reader.choice(keys, "payment", PAYMENTS, default=False),
        reader.names(keys, "includes"),
        reader.names(keys, "counters"),
        reader.names(keys, "fallback"),
        tuple(prices),
        read_fees(reader, keys["fees"]) if "fees" in keys else (),
        reader.names(keys, "discounts") if not isinstance(keys.get("discounts"), Fields) else (),
        reader.value(keys, "minimum", literals.amount, 0),
        reader.value(keys, "cap", literals.amount, -1),
        reader.value(keys, "billed_in", currency_code, ""),
    )


def _price(reader: Reader, node: Node, plan: str, found: Found) -> Price | None:
    keys = reader.keys(node, PRICE_KEYS, "a price")
    if not keys:
        return None
    reader.need(keys, node.place, "usage", "say what is priced: `usage: voice` (or sms, data, iot, content)")
    kinds = reader.choices(keys, "usage", KINDS)
    schedule = reader.name(keys, "schedule")
    sheet = reader.name(keys, "sheet")
    rates: tuple[tuple[Named | None, Named], ...] = ()
    if sheet is not None:
        for name in ("rate", "to", "classes", "schedule", "min_charge", "max_cost", "end_at_cost"):
            if name in keys:
                reader.mistakes.add(
                    keys[name].place,
                    f"a sheet brings its own destinations and prices; remove `{name}`, or make it a row of its own",
                )
        sheet = _sheet(reader, sheet, found)
    elif reader.need(
        keys,
        node.place,
        "rate",
        "say what it costs: `rate:` with the name of a rate, or `sheet:` with a CSV file",
    ):
        rates = _rates(reader, keys["rate"], plan, schedule, found)
    to = read_targets(reader, keys, "to")
    classes = read_targets(reader, keys, "classes")
    if to and any(kind not in DIALLED for kind in kinds):
        reader.mistakes.add(
            keys["to"].place, "only voice and sms have destinations; for data, iot and content use `class`"
        )
    if classes and any(kind in DIALLED for kind in kinds):
        reader.mistakes.add(keys["classes"].place, "voice and sms have no traffic classes; use `to`")
    if sheet and any(kind not in DIALLED for kind in kinds):
        reader.mistakes.add(sheet.place, "a rate sheet prices destinations, so only voice and sms")
    max_cost = reader.value(keys, "max_cost", literals.amount, -1)
    min_charge = reader.value(keys, "min_charge", literals.amount, 0)
    if 0 <= max_cost < min_charge:
        reader.mistakes.add(keys["max_cost"].place, "`max_cost` is below `min_charge`")
    end_at_cost = reader.value(keys, "end_at_cost", literals.amount, -1)
    if 0 <= end_at_cost < min_charge:
        reader.mistakes.add(keys["end_at_cost"].place, "`end_at_cost` is below `min_charge`")
    if max_cost >= 0 and end_at_cost >= 0:
        reader.mistakes.add(
            keys["end_at_cost"].place,
            "a use either goes on for nothing (`max_cost`) or ends (`end_at_cost`); remove one of the two",
        )
    return Price(
        node.place,
        kinds,
        reader.choices(keys, "directions", DIRECTIONS) or (Direction.ORIGINATING,),
        read_zone_names(reader, keys, Named(node.place, HOME)),
        to,
        classes,
        schedule,
        rates,
        sheet,
        min_charge,
        max_cost,
        end_at_cost,
    )


def _rates(
    reader: Reader, node: Node, plan: str, schedule: Named | None, found: Found
) -> tuple[tuple[Named | None, Named], ...]:
    """One rate, or one for each band."""
    if not isinstance(node, Fields):
        rate = _rate(reader, node, plan, found)
        return ((None, rate),) if rate else ()
    inline = any(key.text in RATE_KEYS for key, _ in node.items)
    if schedule is None and not inline:
        reader.mistakes.add(node.place, "rates by band need a `schedule` that says when the bands are")
    if inline and not (schedule and any(key.text not in RATE_KEYS for key, _ in node.items)):
        rate = _rate(reader, node, plan, found)
        return ((None, rate),) if rate else ()
    pairs = []
    for key, value in reader.pairs(node, "`rate`"):
        rate = _rate(reader, value, plan, found)
        if rate:
            pairs.append((Named(key.place, key.text), rate))
    return tuple(pairs)


def _rate(reader: Reader, node: Node, plan: str, found: Found) -> Named | None:
    """The name of a rate; one that is written in place gets a name from its line."""
    if isinstance(node, Fields):
        name = f"{plan} line {node.place.line}"
        if node.place.column > 1 and name in found.rates:
            name = f"{name}:{node.place.column}"
        found.rates[name] = read_rate(reader, node.place, name, node, found.operator.rounding)
        return Named(node.place, name)
    word = reader.word(node, "`rate`")
    return None if word is None else Named(word.place, NOT_PRICED if word.text == NOT_PRICED else word.text)


def _sheet(reader: Reader, sheet: Named, found: Found) -> Named | None:
    """The sheet's file; it is read when it is first named."""
    name = find_sheet(found.source.sheets, sheet.name, sheet.place.file)
    if name is None:
        reader.mistakes.add(
            sheet.place,
            f'there is no sheet "{sheet.name}"{nearest(sheet.name, found.source.sheets)}; put it beside this file',
        )
        return None
    if name not in found.sheets:
        prices, rates = read_price_sheet(reader, found.source.sheets[name], found.operator.rounding)
        found.sheets[name] = tuple(prices)
        found.rates.update(rates)
    return Named(sheet.place, name)
