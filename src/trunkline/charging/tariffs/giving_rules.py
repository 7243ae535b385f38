"""What a tariff says of giving, compiled: what subscribers may hand on, and what a top-up brings them beside itself."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.kernel.money import Rounding, divide

MILLION = 1_000_000
ALWAYS_US, FOREVER_US = -(2**62), 2**62


@dataclass(frozen=True)
class TransferRule:
    """How one balance may be handed on from subscriber to subscriber. Without a rule it may not."""

    balance: int  # register number
    least: int  # in the balance's unit
    most: int
    fee_micros: int  # asked of the giver's money for each transfer
    millionths: int  # of the amount, for money only
    decimals: int  # what the share is rounded to
    mode: Rounding

    def fee_for(self, amount: int) -> int:
        """Micro-units that handing on an amount costs the giver; the share is rounded by the rule's own way."""
        size = 10 ** (6 - self.decimals)
        return self.fee_micros + divide(amount * self.millionths, MILLION * size, self.mode) * size


@dataclass(frozen=True)
class BonusRule:
    """What a top-up of the main balance brings beside itself, once in each period."""

    name: str
    balance: int  # register number of what is given; no other bonus gives it
    amount: int
    above_micros: int  # a top-up of this much or more
    valid_s: int  # so long from the top-up on
    every: int  # as `balance_period` of the catalogue: day, week or month
    plans: tuple[int, ...] | None  # register numbers of those who get it; None for all
    from_us: int
    until_us: int

    def asks(self, amount_micros: int, plan: int, time_us: int) -> bool:
        """Whether a top-up earns it; whether it was given already, the account knows."""
        return (
            amount_micros >= self.above_micros
            and (self.plans is None or plan in self.plans)
            and self.from_us <= time_us < self.until_us
        )


@dataclass(frozen=True)
class GivingRules:
    """All that is handed on or given."""

    transfers: tuple[TransferRule, ...] = ()
    bonuses: tuple[BonusRule, ...] = ()

    def transfer(self, balance: int) -> TransferRule | None:
        """The rule by which a balance is handed on; None when it may not be."""
        return next((rule for rule in self.transfers if rule.balance == balance), None)
