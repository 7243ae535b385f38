"""From files to a tariff: the sections of all files together, and every plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from trunkline.charging.tariffs.billing import read_billing, read_discounts, read_taxes
from trunkline.charging.tariffs.exchange import read_exchange
from trunkline.charging.tariffs.giving import read_bonuses, read_transfers
from trunkline.charging.tariffs.mistakes import Mistakes, Place
from trunkline.charging.tariffs.plans import PLAN_KEYS, Found, read_plan
from trunkline.charging.tariffs.rates import read_rate
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sections import (
    read_balances,
    read_classes,
    read_counters,
    read_destinations,
    read_holidays,
    read_operator,
    read_schedules,
    read_zones,
)
from trunkline.charging.tariffs.source import Fields, Node, Scalar, Source, read_tariffs
from trunkline.charging.tariffs.tariff import (
    NOT_PRICED,
    Destination,
    Named,
    Operator,
    Rate,
    RateRounding,
    Tariff,
)

SECTIONS = (
    "operator",
    "holidays",
    "destinations",
    "zones",
    "classes",
    "schedules",
    "rates",
    "balances",
    "counters",
    "billing",
    "exchange",
    "discounts",
    "taxes",
    "transfers",
    "bonuses",
)


class Defined(Protocol):
    """Anything that a section defines by name."""

    @property
    def place(self) -> Place: ...
    @property
    def name(self) -> str: ...


D = TypeVar("D", bound=Defined)


def read(files: Mapping[str, str]) -> tuple[Tariff, Mistakes]:
    """The tariff as far as it can be read, and the mistakes found on the way."""
    source = read_tariffs(files)
    mistakes = Mistakes()
    for each in source.mistakes:
        mistakes.add(Place(each.file, each.line, each.column), each.text)
    reader = Reader(mistakes)
    if not source.documents and not source.mistakes:
        mistakes.add(Place("", 1, 1), "there is no tariff: not one .yaml file holds a section")
        return Tariff(Operator(Place("", 1, 1))), mistakes
    return _tariff(reader, source), mistakes


def _tariff(reader: Reader, source: Source) -> Tariff:
    documents = [_document(reader, document) for document in source.documents]
    sections: dict[str, list[Node]] = {name: [] for name in SECTIONS}
    for keys in documents:
        for name in SECTIONS:
            if name in keys and not _belongs_to_plan(keys, name):
                sections[name].append(keys[name])
    operator = _operator(reader, source, sections["operator"])
    tariff = Tariff(operator, fingerprint=source.fingerprint)
    for node in sections["holidays"]:
        tariff.holidays |= read_holidays(reader, node)
    tariff.destinations = _together(
        reader, "destination", (read_destinations(reader, node, source) for node in sections["destinations"])
    )
    tariff.zones = _together(reader, "zone", (read_zones(reader, node) for node in sections["zones"]))
    tariff.classes = _together(reader, "class", (read_classes(reader, node) for node in sections["classes"]))
    tariff.schedules = _together(
        reader, "schedule", (read_schedules(reader, node, tariff.holidays) for node in sections["schedules"])
    )
    tariff.rates = _together(
        reader, "rate", (_rates(reader, node, operator.rounding) for node in sections["rates"])
    )
    tariff.balances = _together(
        reader, "balance", (read_balances(reader, node) for node in sections["balances"])
    )
    tariff.counters = _together(
        reader, "counter", (read_counters(reader, node) for node in sections["counters"])
    )
    tariff.discounts = _together(
        reader, "discount", (read_discounts(reader, node) for node in sections["discounts"])
    )
    tariff.taxes = _together(
        reader, "tax", (read_taxes(reader, node, operator) for node in sections["taxes"])
    )
    tariff.transfers = _together(
        reader,
        "transfer of",
        (read_transfers(reader, node, tariff.balances) for node in sections["transfers"]),
    )
    tariff.bonuses = _together(
        reader,
        "bonus",
        (read_bonuses(reader, node, tariff.balances, operator) for node in sections["bonuses"]),
    )
    tariff.billing = read_billing(reader, sections["billing"])
    tariff.exchange = read_exchange(reader, sections["exchange"], source, operator)
    found = Found(source, operator)
    tariff.plans = [read_plan(reader, keys, found) for keys in documents if "plan" in keys]
    tariff.rates |= found.rates
    tariff.sheets = found.sheets
    _name_sheet_destinations(tariff)
    return tariff


def _document(reader: Reader, document: Fields) -> Keys:
    planned = document.get("plan") is not None
    known = dict.fromkeys((*SECTIONS, *(PLAN_KEYS if planned else ("plan",))))
    keys = reader.keys(document, tuple(known), "a plan file" if planned else "a tariff file")
    if planned and isinstance(keys["plan"], Scalar) and keys["plan"].null:
        reader.mistakes.add(keys["plan"].place, "`plan:` needs the name of the plan")
        del keys["plan"]
    return keys


def _belongs_to_plan(keys: Keys, name: str) -> bool:
    """`counters` and `discounts` are lists of names in a plan and sections of definitions elsewhere."""
    return name in ("counters", "discounts") and "plan" in keys and not isinstance(keys[name], Fields)


def _operator(reader: Reader, source: Source, nodes: list[Node]) -> Operator:
    """The one operator section."""
    if not nodes:
        place = source.documents[0].place if source.documents else Place(next(iter(source.sheets), ""), 1, 1)
        if source.documents:
            reader.mistakes.add(
                place, "no file has an `operator:` section; it names the currency and the time zone"
            )
        return Operator(place)
    for node in nodes[1:]:
        first = nodes[0].place
        reader.mistakes.add(
            node.place, f"there is an operator section in {first.file} line {first.line} already; keep one"
        )
    assert isinstance(nodes[0], Fields | Scalar) or reader.keys(nodes[0], (), "operator") == {}
    return (
        read_operator(reader, nodes[0]) if isinstance(nodes[0], Fields | Scalar) else Operator(nodes[0].place)
    )


def _rates(reader: Reader, node: Node, rounding: RateRounding) -> list[Rate]:
    found = []
    for key, value in reader.pairs(node, "rates"):
        if key.text == NOT_PRICED:
            reader.mistakes.add(key.place, "`none` means not priced; choose another name for the rate")
        found.append(read_rate(reader, key.place, key.text, value, rounding))
    return found


def _together(reader: Reader, what: str, parts: Iterable[Iterable[D]]) -> dict[str, D]:
    """The definitions of all files by name; a name defined twice is a mistake."""
    found: dict[str, D] = {}
    for part in parts:
        for each in part:
            if each.name in found:
                first = found[each.name].place
                reader.mistakes.add(
                    each.place,
                    f'{what} "{each.name}" is defined in {first.file} line {first.line} already; rename or remove one',
                )
            else:
                found[each.name] = each
    return found


def _name_sheet_destinations(tariff: Tariff) -> None:
    """Rate sheets name places too: their prefixes join the destination of that name, which may be new."""
    named: dict[str, dict[str, Place]] = {}
    for prices in tariff.sheets.values():
        for price in prices:
            named.setdefault(price.destination, {}).update(dict.fromkeys(price.prefixes, price.place))
    for name, prefixes in named.items():
        before = tariff.destinations.get(name)
        known = {each.name for each in before.prefixes} if before else set()
        more = tuple(Named(place, prefix) for prefix, place in prefixes.items() if prefix not in known)
        if before is None:
            tariff.destinations[name] = Destination(more[0].place if more else Place("", 1, 1), name, more)
        else:
            tariff.destinations[name] = Destination(
                before.place, name, before.prefixes + more, before.numbers
            )
