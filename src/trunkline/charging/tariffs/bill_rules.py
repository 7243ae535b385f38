"""What a tariff says of bills, compiled: whole numbers, and the names that stand on a bill.

A *charge* is what an amount on a bill is for: one of the kinds of usage, a recurring or one-off fee, or what is missing
to a minimum. Discounts and taxes name the charges that they are taken of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from trunkline.kernel.money import Rounding
from trunkline.records.bills import Charge

FOREVER_US = 2**62
MILLION = 1_000_000

# Decimals of a currency's smallest coin, ISO 4217:2015 table A.1; every other currency has two.
MINOR_DECIMALS = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
         "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}  # fmt: skip

CHARGES: dict[str, tuple[Charge, ...]] = {
    **{charge.name.lower(): (charge,) for charge in Charge},
    "usage": (Charge.VOICE, Charge.SMS, Charge.DATA, Charge.IOT, Charge.CONTENT),
    "fees": (Charge.RECURRING, Charge.ONE_OFF),
    "any": tuple(Charge),
}


class By(IntEnum):
    """What the tiers of a discount are counted in."""

    AMOUNT = 1  # micro-units that its charges come to
    UNITS = 2  # what was used of its one kind of usage
    MONTHS = 3  # whole months since the first subscription began
    MEMBERS = 4  # of the account, its owner among them


class ProRata(IntEnum):
    """What of a recurring fee is asked for a part of a month."""

    DAY = 1  # the days on which the plan was in force, out of the days of the month
    NONE = 2  # all of it, once, for the plan with which the month ends


@dataclass(frozen=True)
class Fee:
    """A fee of one plan version: each month, or once when the plan begins."""

    name: str
    amount_micros: int
    once: bool
    pro_rata: ProRata


@dataclass(frozen=True)
class Discount:
    """So many millionths of the named charges, by what is used or spent, how long, and together with what."""

    name: str
    charges: tuple[Charge, ...]
    tiers: tuple[
        tuple[int, int], ...
    ]  # from so many of what they are counted in, so many millionths; ascending
    after_months: int
    by: By = By.AMOUNT
    beside: tuple[
        int, ...
    ] = ()  # register numbers of plans of which another member must have one; none: no matter


@dataclass(frozen=True)
class Tax:
    """A tax on the named charges: for whom, where, from when until when, and how it is rounded."""

    name: str
    millionths: int
    charges: tuple[Charge, ...]
    zones: tuple[int, ...] | None  # roaming zones in which usage happened; None for all
    time_zones: tuple[int, ...] | None  # register numbers of those that subscribers live in; None for all
    from_us: int
    until_us: int
    included: bool  # the amounts hold it already, so it adds nothing
    decimals: int
    mode: Rounding


@dataclass(frozen=True)
class Terms:
    """What one version of a plan says of bills."""

    plan: int  # register number
    version: str
    from_us: int
    fees: tuple[Fee, ...] = ()
    discounts: tuple[int, ...] = ()  # places in `BillRules.discounts`
    minimum_micros: int = 0
    cap_micros: int = -1  # of usage; -1 for none
    billed_in: str = ""  # currency in which the bill is to be paid; empty for the tariff's own


@dataclass(frozen=True)
class Payable:
    """How a total is rounded in a currency, other than the tariff's own, that some plan is billed in."""

    currency: str
    decimals: int
    mode: Rounding


@dataclass(frozen=True)
class BillRules:
    """All that bills are made by."""

    decimals: int = 2  # of the currency's smallest coin: what a total is rounded to
    line_decimals: int = 2  # what fees by the day and discounts are rounded to
    mode: Rounding = Rounding.HALF_UP
    due_days: int = 14
    late_days: int = 0  # usage of more than so many days before its bill begins is waived; 0: none is
    discounts: tuple[Discount, ...] = ()
    taxes: tuple[Tax, ...] = ()
    terms: tuple[Terms, ...] = field(default=())  # by plan and ascending time
    payable: tuple[Payable, ...] = ()

    @property
    def tax_moments_us(self) -> tuple[int, ...]:
        """The moments at which some tax begins or ends, ascending."""
        moments = {moment for tax in self.taxes for moment in (tax.from_us, tax.until_us)}
        return tuple(sorted(moment for moment in moments if abs(moment) < FOREVER_US))


def minor_decimals(currency: str) -> int:
    """Decimals of a currency's smallest coin."""
    return MINOR_DECIMALS.get(currency, 2)
