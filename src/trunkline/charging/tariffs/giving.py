"""What a tariff says of giving: reading rules for transfers and bonuses, and compiling them.

A balance that no rule names cannot be handed on, and a bonus gives a balance of its own: whether it was given already
is then told by the account itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.bill_rules import minor_decimals
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.charging.tariffs.catalogue import Register
from trunkline.charging.tariffs.giving_rules import FOREVER_US, BonusRule, GivingRules, TransferRule
from trunkline.charging.tariffs.mistakes import Place
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sections import in_unit_of
from trunkline.charging.tariffs.source import Node, Scalar
from trunkline.charging.tariffs.tariff import (
    ALWAYS_US,
    MODES,
    PERIODS,
    Balance,
    Bonus,
    Named,
    Operator,
    Tariff,
    Transfer,
)
from trunkline.kernel.money import Rounding
from trunkline.records.charging import Unit

TRANSFER_KEYS = ("least", "most", "fee", "percent", "decimals", "rounding")
BONUS_KEYS = ("balance", "amount", "above", "valid", "every", "plans", "from", "until")
MOST_DAYS = 3660


def read_transfers(reader: Reader, node: Node, balances: Mapping[str, Balance]) -> list[Transfer]:
    """Rules by the name of the balance that may be handed on."""
    return [_transfer(reader, key, value, balances) for key, value in reader.pairs(node, "transfers")]


def _transfer(reader: Reader, key: Scalar, node: Node, balances: Mapping[str, Balance]) -> Transfer:
    what = f'transfer of "{key.text}"'
    reader.look_up([Named(key.place, key.text)], balances, "balance")
    keys = reader.keys(node, TRANSFER_KEYS, what)
    for name in ("least", "most"):
        reader.need(keys, key.place, name, f'{what} needs `{name}`, such as `{name}: "5.00"`')
    unit = balances[key.text].unit if key.text in balances else Unit.MONEY
    least = reader.value(keys, "least", in_unit_of(unit, lowest=1), 1)
    most = reader.value(keys, "most", in_unit_of(unit, lowest=1), least)
    if most < least:
        reader.mistakes.add(keys["most"].place, "`most` is below `least`, so nothing can be handed on")
    for name in ("percent", "decimals", "rounding"):
        if name in keys and (unit is not Unit.MONEY or "percent" not in keys):
            reader.mistakes.add(
                keys[name].place,
                f"`{name}` belongs to a fee that is a share of the money handed on; "
                + ("write `percent`, too" if unit is Unit.MONEY else "use `fee` for units"),
            )
    return Transfer(
        key.place,
        key.text,
        least,
        most,
        reader.value(keys, "fee", literals.amount, 0),
        reader.value(keys, "percent", lambda text: literals.percent(text, 100), 0),
        reader.value(keys, "decimals", lambda text: literals.whole(text, 0, 6), None),
        reader.choice(keys, "rounding", MODES, Rounding.HALF_UP),
    )


def read_bonuses(
    reader: Reader, node: Node, balances: Mapping[str, Balance], operator: Operator
) -> list[Bonus]:
    """Bonuses in the written order."""
    return [_bonus(reader, key, value, balances, operator) for key, value in reader.pairs(node, "bonuses")]


def _bonus(
    reader: Reader, key: Scalar, node: Node, balances: Mapping[str, Balance], operator: Operator
) -> Bonus:
    what = f'bonus "{key.text}"'
    keys = reader.keys(node, BONUS_KEYS, what)
    for name, example in (
        ("balance", "gift"), ("amount", "1GB"), ("above", '"20.00"'), ("valid", "30d"), ("every", "month"),
    ):  # fmt: skip
        reader.need(keys, key.place, name, f"{what} needs `{name}`, such as `{name}: {example}`")
    given = reader.name(keys, "balance") or Named(key.place, "")
    if given.name:
        reader.look_up([given], balances, "balance")
    balance = balances.get(given.name)
    if balance is not None and (balance.main or balance.grant):
        reader.mistakes.add(
            given.place,
            "a bonus gives a balance of its own, neither the main one nor one that is granted each period",
        )
    zone = time_zone(operator.time_zone)
    from_us = reader.value(keys, "from", lambda text: literals.moment(text, zone), ALWAYS_US)
    until_us = reader.value(keys, "until", lambda text: literals.moment(text, zone), FOREVER_US)
    if until_us <= from_us:
        reader.mistakes.add(keys["until"].place, "`until` is not after `from`, so this bonus is never given")
    return Bonus(
        key.place,
        key.text,
        given,
        reader.value(keys, "amount", in_unit_of(balance.unit if balance else Unit.MONEY, lowest=1), 1),
        reader.value(keys, "above", literals.amount, 0),
        _days(reader, keys),
        reader.choice(keys, "every", PERIODS, 1),
        reader.names(keys, "plans") if "plans" in keys else None,
        from_us,
        until_us,
    )


def _days(reader: Reader, keys: Keys) -> int:
    return reader.value(keys, "valid", lambda text: literals.whole(text.removesuffix("d"), 1, MOST_DAYS), 1)


def check_giving(reader: Reader, tariff: Tariff) -> None:
    """The plans of bonuses are known, and no two bonuses give the same balance."""
    plans = {plan.name for plan in tariff.plans}
    givers: dict[str, Place] = {}
    for bonus in tariff.bonuses.values():
        reader.look_up(bonus.plans or (), plans, "plan")
        first = givers.setdefault(bonus.balance.name, bonus.place)
        if first is not bonus.place:
            reader.mistakes.add(
                bonus.balance.place,
                f'another bonus (line {first.line}) gives "{bonus.balance.name}" already; give each its own balance',
            )


def giving_rules(tariff: Tariff, register: Register) -> GivingRules:
    """The compiled rules; names become the numbers of the register."""
    smallest = minor_decimals(tariff.operator.currency)
    return GivingRules(
        tuple(
            TransferRule(
                register.balances[each.name],
                each.least,
                each.most,
                each.fee,
                each.millionths,
                smallest if each.decimals is None else each.decimals,
                each.mode,
            )
            for each in tariff.transfers.values()
        ),
        tuple(
            BonusRule(
                each.name,
                register.balances[each.balance.name],
                each.amount,
                each.above,
                each.valid_days * literals.DAY_S,
                each.period,
                None if each.plans is None else tuple(register.plans[plan.name] for plan in each.plans),
                each.from_us,
                each.until_us,
            )
            for each in tariff.bonuses.values()
        ),
    )
