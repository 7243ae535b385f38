"""Reading rates: prices by slot and tier, their increments, fees and rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.literals import Measure
from trunkline.charging.tariffs.mistakes import Place
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.source import Items, Node, Scalar
from trunkline.charging.tariffs.tariff import MODES, Rate, RateRounding, Slot, Tier

FLAT = ("price", "per", "increments")
RATE_KEYS = (*FLAT, "connect_fee", "slots", "tiers", "counter", "rounding", "free")
ROUNDING_KEYS = ("decimals", "mode", "method", "increment_decimals", "increment_mode")
METHODS = {"exact": False, "each_increment": True}


@dataclass
class Measured:
    """Which measure the quantities of one rate are written in; mixing two is a mistake."""

    reader: Reader
    measure: Measure = Measure.BARE

    def quantity(self, word: Scalar, lowest: int) -> int | None:
        found = self.reader.parse(word, literals.quantity)
        if found is None:
            return None
        units, measure = found
        if units < lowest:
            self.reader.mistakes.add(word.place, f'"{word.text}" must be more than nothing')
            return None
        if Measure.BARE not in (measure, self.measure) and measure is not self.measure:
            self.reader.mistakes.add(
                word.place, f'"{word.text}" counts {measure.value}, but this rate counts {self.measure.value}'
            )
            return None
        self.measure = self.measure if measure is Measure.BARE else measure
        return units

    def key(self, keys: Keys, name: str, lowest: int, default: int) -> int:
        word = self.reader.word(keys[name], f"`{name}`") if name in keys else None
        found = None if word is None else self.quantity(word, lowest)
        return default if found is None else found


def read_rounding(reader: Reader, node: Node, default: RateRounding) -> RateRounding:
    """Rounding rules; what is not said stays as in `default`. More decimals than six round like six."""
    keys = reader.keys(node, ROUNDING_KEYS, "rounding")
    decimals = reader.value(keys, "decimals", lambda text: literals.whole(text, 0, 15), default.decimals)
    return RateRounding(
        min(decimals, 6),
        reader.choice(keys, "mode", MODES, default.mode),
        reader.choice(keys, "method", METHODS, default.each),
        reader.value(
            keys, "increment_decimals", lambda text: literals.whole(text, 0, 6), default.increment_decimals
        ),
        reader.choice(keys, "increment_mode", MODES, default.increment_mode),
    )


def read_rate(reader: Reader, place: Place, name: str, node: Node, rounding: RateRounding) -> Rate:
    """One rate: free, a price with increments, slots, or tiers."""
    keys = reader.keys(node, RATE_KEYS, f'rate "{name}"')
    shapes = [shape for shape in ("free", "price", "slots", "tiers") if shape in keys]
    empty = Rate(place, name, (Tier(place, 0, (Slot(place, 0, Fraction(0), 1, 1),)),), rounding=rounding)
    if len(shapes) != 1:
        said = " and ".join(f"`{shape}`" for shape in shapes)
        reader.mistakes.add(
            place,
            f'rate "{name}" has {said or "no price"}; write exactly one of `price`, `slots`, `tiers`, `free`',
        )
        return empty
    if shapes == ["free"]:
        if not reader.value(keys, "free", literals.truth, default=True) or len(keys) > 1:
            reader.mistakes.add(place, f'rate "{name}" is `free: true` and nothing else, or has a price')
        return replace(empty, free=True)
    if isinstance(keys.get("price"), Scalar) and getattr(keys["price"], "text", "") == "record":
        return _record(reader, place, keys, empty)
    measured = Measured(reader)
    if "rounding" in keys:
        rounding = read_rounding(reader, keys["rounding"], rounding)
    fee = reader.value(keys, "connect_fee", literals.amount, 0)
    counter = reader.name(keys, "counter")
    tier_measure = Measure.BARE
    if shapes == ["tiers"]:
        if counter is None:
            reader.mistakes.add(place, f'rate "{name}" has tiers; say which usage moves them with `counter:`')
        tiers, tier_measure = _tiers(reader, measured, keys["tiers"])
    else:
        if counter is not None:
            reader.mistakes.add(
                counter.place, f'rate "{name}" has no tiers for a counter to choose from; remove `counter`'
            )
        if shapes == ["slots"]:
            slots, slot_fee = _slots(reader, measured, keys["slots"])
            fee = slot_fee or fee
        else:
            slots = _flat(reader, measured, place, keys)
        tiers = (Tier(place, 0, slots),)
    if shapes != ["price"]:
        for key in ("per", "increments"):
            if key in keys:
                reader.mistakes.add(keys[key].place, f"`{key}` belongs into each of the {shapes[0]}")
    return Rate(
        place,
        name,
        tiers or empty.tiers,
        fee=fee,
        counter=counter,
        rounding=rounding,
        measure=measured.measure,
        tier_measure=tier_measure,
    )


def _record(reader: Reader, place: Place, keys: Keys, empty: Rate) -> Rate:
    """The price that comes with the record (content)."""
    for key in keys:
        if key not in {"price", "connect_fee"}:
            reader.mistakes.add(keys[key].place, f"the record brings the price; remove `{key}`")
    assert empty.place == place
    return replace(empty, record=True, fee=reader.value(keys, "connect_fee", literals.amount, 0))


def _flat(reader: Reader, measured: Measured, place: Place, keys: Keys, start: int = 0) -> tuple[Slot, ...]:
    """A price and one increment, or a first and a next one: then two slots."""
    reader.need(keys, place, "price", 'write `price: "0.10"`')
    reader.need(
        keys, place, "per", "say how much the price buys: `per: 60s`, `per: 1MB`, or `per: 1` for each event"
    )
    price = reader.value(keys, "price", literals.price, Fraction(0))
    per = measured.key(keys, "per", 1, 1)
    words = reader.words(keys["increments"], "`increments`") if "increments" in keys else ()
    if len(words) > 2:
        reader.mistakes.add(
            words[2].place, "`increments` are the first and the next one: at most two; for more write `slots`"
        )
    steps = [each for each in (measured.quantity(word, 1) for word in words[:2]) if each is not None] or [per]
    slots: tuple[Slot, ...] = (Slot(place, start, price, per, steps[0]),)
    if len(steps) == 2 and steps[1] != steps[0]:
        slots += (Slot(place, start + steps[0], price, per, steps[1]),)
    return slots


def _slots(reader: Reader, measured: Measured, node: Node) -> tuple[tuple[Slot, ...], int]:
    """Slots by length of use, and the connect fee of the first."""
    slots: list[Slot] = []
    fee = 0
    for each in _list(reader, node, "slots", '{from: 0s, price: "0.10", per: 60s, increment: 60s}'):
        keys = reader.keys(each, ("from", "price", "per", "increment", "connect_fee"), "a slot")
        reader.need(keys, each.place, "price", 'a slot needs `price: "0.10"`')
        reader.need(keys, each.place, "per", "a slot needs to say how much the price buys: `per: 60s`")
        per = measured.key(keys, "per", 1, 1)
        slot = Slot(
            each.place,
            measured.key(keys, "from", 0, 0),
            reader.value(keys, "price", literals.price, Fraction(0)),
            per,
            measured.key(keys, "increment", 1, per),
        )
        if "connect_fee" in keys and slots:
            reader.mistakes.add(
                keys["connect_fee"].place,
                "only the first slot's `connect_fee` is ever taken; move it there or remove it",
            )
        elif "connect_fee" in keys:
            fee = reader.value(keys, "connect_fee", literals.amount, 0)
        _ascend(
            reader, each.place, "slot", "0s", "from" in keys, slots[-1].start if slots else None, slot.start
        )
        slots.append(slot)
    return tuple(slots), fee


def _tiers(reader: Reader, measured: Measured, node: Node) -> tuple[tuple[Tier, ...], Measure]:
    """Tiers by accumulated usage, each with a flat price or slots of its own."""
    tiers: list[Tier] = []
    bounds = Measured(reader)
    for each in _list(reader, node, "tiers", '{from: 0m, price: "0.10", per: 60s, increments: [1s]}'):
        keys = reader.keys(each, ("from", *FLAT, "slots"), "a tier")
        start = bounds.key(keys, "from", 0, 0)
        if "slots" in keys:
            slots, fee = _slots(reader, measured, keys["slots"])
            if fee or any(key in keys for key in FLAT):
                reader.mistakes.add(
                    each.place, "a tier has `slots` or a price; a `connect_fee` belongs to the rate"
                )
        else:
            slots = _flat(reader, measured, each.place, keys)
        _ascend(reader, each.place, "tier", "0m", "from" in keys, tiers[-1].start if tiers else None, start)
        tiers.append(Tier(each.place, start, slots or (Slot(each.place, 0, Fraction(0), 1, 1),)))
    return tuple(tiers), bounds.measure


def _ascend(
    reader: Reader, place: Place, what: str, zero: str, written: bool, before: int | None, start: int
) -> None:
    """Slots and tiers leave no gap and do not overlap: the first begins at nothing, each later one further on."""
    if before is None and start != 0:
        reader.mistakes.add(
            place, f"the first {what} begins at {zero}, or its beginning has no price; write `from: {zero}`"
        )
    elif before is not None and not written:
        reader.mistakes.add(place, f"say from where on this {what} holds: `from:`")
    elif before is not None and start <= before:
        reader.mistakes.add(
            place,
            f"this {what} begins no later than the one before it, so they overlap; order them by `from`",
        )


def _list(reader: Reader, node: Node, name: str, example: str) -> tuple[Node, ...]:
    if isinstance(node, Items) and node.items:
        return node.items
    reader.mistakes.add(node.place, f"`{name}` is a list; write lines such as `- {example}`")
    return ()
