"""What a tariff says of bills: reading fees, discounts, taxes and their rounding, and compiling them.

They stand beside prices because they change with them, by the same dates and in the same files; bills are made of them
when a period is over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.bill_rules import (
    CHARGES,
    FOREVER_US,
    BillRules,
    By,
    Discount,
    Fee,
    Payable,
    ProRata,
    Tax,
    Terms,
    minor_decimals,
)
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.charging.tariffs.catalogue import Register
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sections import currency_code, in_unit_of
from trunkline.charging.tariffs.source import Fields, Items, Node, Scalar
from trunkline.charging.tariffs.tariff import (
    ALWAYS_US,
    MODES,
    BillDiscount,
    Billing,
    BillTax,
    DiscountTier,
    Named,
    Operator,
    PayableRule,
    Plan,
    PlanFee,
    Tariff,
)
from trunkline.kernel.money import Rounding
from trunkline.records.bills import Charge
from trunkline.records.charging import Unit

FEE_KEYS = ("amount", "once", "pro_rata")
PRO_RATA = {"day": ProRata.DAY, "none": ProRata.NONE}
DISCOUNT_KEYS = ("of", "percent", "tiers", "after", "by", "with")
BY = {by.name.lower(): by for by in By}
UNITS = {  # what each kind of usage is counted in
    Charge.VOICE: Unit.TIME,
    Charge.DATA: Unit.OCTETS,
    Charge.SMS: Unit.EVENTS,
    Charge.IOT: Unit.EVENTS,
    Charge.CONTENT: Unit.EVENTS,
}
DISCOUNT_TIER_KEYS = ("from", "percent")
TAX_KEYS = (
    "label",
    "percent",
    "of",
    "zones",
    "time_zones",
    "from",
    "until",
    "included",
    "decimals",
    "rounding",
)
BILLING_KEYS = ("decimals", "rounding", "due", "late", "payable")
PAYABLE_KEYS = ("decimals", "rounding")
MOST_MONTHS = 1200
MOST_TAX_PERCENT = 200  # beyond it, a share of a large amount would leave 64 bits
MOST_DUE_DAYS = 366
MOST_LATE_DAYS = 3660
MOST_MEMBERS = 65_535


def read_fees(reader: Reader, node: Node) -> tuple[PlanFee, ...]:
    """The fees of a plan: an amount each month, or more said of it."""
    found = []
    for key, value in reader.pairs(node, "`fees`"):
        if not isinstance(value, Fields):
            word = reader.word(value, f'fee "{key.text}"')
            amount = reader.parse(word, literals.amount) if word else None
            found.append(PlanFee(key.place, key.text, amount or 0))
            continue
        keys = reader.keys(value, FEE_KEYS, f'fee "{key.text}"')
        reader.need(keys, key.place, "amount", f'fee "{key.text}" needs an amount: `amount: "9.99"`')
        once = reader.value(keys, "once", literals.truth, default=False)
        if once and "pro_rata" in keys:
            reader.mistakes.add(
                keys["pro_rata"].place, "what is asked once is asked whole; remove `pro_rata`"
            )
        amount = reader.value(keys, "amount", literals.amount, 0)
        found.append(
            PlanFee(key.place, key.text, amount, once, reader.choice(keys, "pro_rata", PRO_RATA, ProRata.DAY))
        )
    return tuple(found)


def read_discounts(reader: Reader, node: Node) -> list[BillDiscount]:
    """Discounts in the written order, which is the order in which they are taken."""
    found = []
    for key, value in reader.pairs(node, "discounts"):
        what = f'discount "{key.text}"'
        keys = reader.keys(value, DISCOUNT_KEYS, what)
        if ("percent" in keys) == ("tiers" in keys):
            reader.mistakes.add(
                key.place, f'{what} needs either `percent: "5"` or `tiers: [{{from: "50.00", percent: "5"}}]`'
            )
        charges, by = _charges(reader, keys), reader.choice(keys, "by", BY, By.AMOUNT)
        if by is By.UNITS and (len(charges) != 1 or charges[0] not in UNITS):
            reader.mistakes.add(
                keys["by"].place, "units are counted of one kind of usage; write for example `of: voice`"
            )
            charges = (Charge.VOICE,)
        found.append(
            BillDiscount(
                key.place,
                key.text,
                charges,
                _tiers(reader, keys, _start(by, charges)),
                reader.value(keys, "after", lambda text: literals.whole(text, 0, MOST_MONTHS), 0),
                by,
                reader.names(keys, "with"),
            )
        )
    return found


def _start(by: By, charges: tuple[Charge, ...]) -> Callable[[str], int]:
    """How the beginning of a tier is written."""
    if by is By.UNITS:
        return in_unit_of(UNITS[charges[0]])
    if by is By.AMOUNT:
        return literals.amount
    return lambda text: literals.whole(text, 0, MOST_MONTHS if by is By.MONTHS else MOST_MEMBERS)


def _tiers(reader: Reader, keys: Keys, start: Callable[[str], int]) -> tuple[DiscountTier, ...]:
    """Tiers by ascending beginning; a lone percentage is one that begins at nothing."""
    if "percent" in keys:
        return (DiscountTier(keys["percent"].place, 0, reader.value(keys, "percent", _share, 0)),)
    node = keys.get("tiers")
    if node is None:
        return ()
    if not isinstance(node, Items) or not node.items:
        reader.mistakes.add(
            node.place, '`tiers` is a list; write lines such as `- {from: "50.00", percent: "5"}`'
        )
        return ()
    found: list[DiscountTier] = []
    for each in node.items:
        said = reader.keys(each, DISCOUNT_TIER_KEYS, "a tier")
        for name in DISCOUNT_TIER_KEYS:
            reader.need(said, each.place, name, f"a tier needs `{name}`")
        tier = DiscountTier(
            each.place,
            reader.value(said, "from", start, 0),
            reader.value(said, "percent", _share, 0),
        )
        if found and tier.start <= found[-1].start:
            reader.mistakes.add(each.place, "tiers ascend; this one does not begin above the one before")
        found.append(tier)
    return tuple(found)


def read_taxes(reader: Reader, node: Node, operator: Operator) -> list[BillTax]:
    """Taxes in the written order."""
    return [_tax(reader, key, value, operator) for key, value in reader.pairs(node, "taxes")]


def _tax(reader: Reader, key: Scalar, node: Node, operator: Operator) -> BillTax:
    keys = reader.keys(node, TAX_KEYS, f'tax "{key.text}"')
    reader.need(keys, key.place, "percent", f'tax "{key.text}" needs its rate: `percent: "20"`')
    zone = time_zone(operator.time_zone)
    from_us = reader.value(keys, "from", lambda text: literals.moment(text, zone), ALWAYS_US)
    until_us = reader.value(keys, "until", lambda text: literals.moment(text, zone), FOREVER_US)
    if until_us <= from_us:
        reader.mistakes.add(keys["until"].place, "`until` is not after `from`, so this tax never holds")
    places = reader.names(keys, "time_zones")
    for place in places:
        reader.parse(Scalar(place.place, place.name), time_zone)
    return BillTax(
        key.place,
        key.text,
        reader.value(keys, "label", str, key.text),
        reader.value(keys, "percent", lambda text: literals.percent(text, MOST_TAX_PERCENT), 0),
        _charges(reader, keys),
        reader.names(keys, "zones") if "zones" in keys else None,
        places if "time_zones" in keys else None,
        from_us,
        until_us,
        reader.value(keys, "included", literals.truth, default=False),
        reader.value(keys, "decimals", lambda text: literals.whole(text, 0, 6), None),
        reader.choice(keys, "rounding", MODES, Rounding.HALF_UP),
    )


def read_billing(reader: Reader, nodes: list[Node]) -> Billing | None:
    """The one `billing` section."""
    for node in nodes[1:]:
        first = nodes[0].place
        reader.mistakes.add(
            node.place, f"there is a billing section in {first.file} line {first.line} already; keep one"
        )
    if not nodes:
        return None
    keys = reader.keys(nodes[0], BILLING_KEYS, "billing")
    return Billing(
        nodes[0].place,
        reader.value(keys, "decimals", lambda text: literals.whole(text, 0, 6), None),
        reader.choice(keys, "rounding", MODES, Rounding.HALF_UP),
        reader.value(keys, "due", lambda text: literals.whole(text.removesuffix("d"), 0, MOST_DUE_DAYS), 14),
        reader.value(keys, "late", lambda text: literals.whole(text.removesuffix("d"), 1, MOST_LATE_DAYS), 0),
        _payable(reader, keys["payable"]) if "payable" in keys else (),
    )


def _payable(reader: Reader, node: Node) -> tuple[PayableRule, ...]:
    """How totals are rounded in other currencies, by currency."""
    found = []
    for key, value in reader.pairs(node, "`payable`"):
        currency = reader.parse(key, currency_code) or ""
        keys = reader.keys(value, PAYABLE_KEYS, f'"{key.text}" in `payable`')
        most = minor_decimals(currency)
        decimals = reader.value(keys, "decimals", partial(literals.whole, lowest=0, highest=most), None)
        mode = reader.choice(keys, "rounding", MODES, None)
        found.append(PayableRule(key.place, currency, decimals, mode))
    return tuple(found)


def _share(text: str) -> int:
    return literals.percent(text, 100)


def _charges(reader: Reader, keys: Keys) -> tuple[Charge, ...]:
    """The charges that `of` names; all of them without it."""
    named = reader.choices(keys, "of", CHARGES) or (CHARGES["any"],)
    return tuple(dict.fromkeys(charge for charges in named for charge in charges))


def bill_rules(tariff: Tariff, register: Register, zones: tuple[str, ...]) -> BillRules:
    """The compiled rules; names become the numbers of the register and of the catalogue's zones."""
    smallest = minor_decimals(tariff.operator.currency)
    billing = tariff.billing or Billing(tariff.operator.place)
    places = {name: at for at, name in enumerate(tariff.discounts)}
    names = dict.fromkeys(plan.name for plan in tariff.plans)
    said = {each.currency: each for each in billing.payable}
    own = tariff.operator.currency
    foreign = sorted({plan.billed_in for plan in tariff.plans} - {"", own})
    return BillRules(
        smallest,
        smallest if billing.line_decimals is None else billing.line_decimals,
        billing.mode,
        billing.due_days,
        billing.late_days,
        tuple(
            Discount(
                each.name,
                each.charges,
                tuple((tier.start, tier.millionths) for tier in each.tiers),
                each.after_months,
                each.by,
                tuple(sorted(register.plans[named.name] for named in each.beside)),
            )
            for each in tariff.discounts.values()
        ),
        tuple(_compiled_tax(each, register, zones, smallest) for each in tariff.taxes.values()),
        tuple(
            _terms(plan, register.plans[name], places, own)
            for name in names
            for plan in tariff.versions(name)
        ),
        tuple(_compiled_payable(currency, said.get(currency), billing.mode) for currency in foreign),
    )


def _compiled_payable(currency: str, said: PayableRule | None, mode: Rounding) -> Payable:
    smallest = minor_decimals(currency)
    if said is None:
        return Payable(currency, smallest, mode)
    decimals = smallest if said.decimals is None else said.decimals
    return Payable(currency, decimals, mode if said.mode is None else said.mode)


def _compiled_tax(tax: BillTax, register: Register, zones: tuple[str, ...], smallest: int) -> Tax:
    return Tax(
        tax.label,
        tax.millionths,
        tax.charges,
        _numbers(tax.zones, {name: at for at, name in enumerate(zones)}),
        _numbers(tax.time_zones, register.time_zones),
        tax.from_us,
        tax.until_us,
        tax.included,
        smallest if tax.decimals is None else tax.decimals,
        tax.mode,
    )


def _numbers(names: tuple[Named, ...] | None, known: dict[str, int]) -> tuple[int, ...] | None:
    return None if names is None else tuple(known[each.name] for each in names)


def _terms(plan: Plan, number: int, places: dict[str, int], own: str) -> Terms:
    return Terms(
        number,
        plan.version,
        plan.effective_us,
        tuple(Fee(fee.name, fee.amount, fee.once, fee.pro_rata) for fee in plan.fees),
        tuple(sorted(places[each.name] for each in plan.discounts)),
        plan.minimum,
        plan.cap,
        "" if plan.billed_in == own else plan.billed_in,
    )
