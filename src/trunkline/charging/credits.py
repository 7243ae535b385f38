"""Rules by which an incident of the network is told to customers and made good to them.

They are data, in one file: which incidents are told, and what is given back for which. The first rule that fits an
incident is the one that counts. An amount is so much an hour or a share of the customer's recurring fee, never more
than the rule's cap, and rounded down to whole micro-units; what it comes to can be seen before anything is booked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

import polars as pl
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trunkline.kernel import money
from trunkline.kernel.dial import to_text
from trunkline.records.network import Severity

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
WHOLE = 1_000_000  # shares are millionths
MINUTES_MOST = 400 * 1440
_TELL = ("severity", "after_minutes", "seen_within_hours")
_CREDIT = ("causes", "severity", "least_minutes", "per_hour", "share", "fees", "cap", "booked")
_BOOKED = {"by hand": False, "by itself": True}
_SEVERITIES = {each.name.lower(): int(each) for each in Severity if each is not Severity.CLEARED}


class ServiceError(ValueError):
    """The rules cannot be used; the text names every mistake."""

    def __init__(self, name: str, mistakes: list[str]) -> None:
        """Say where, and what."""
        super().__init__("\n".join(f"{name}: {mistake}." for mistake in mistakes))


@dataclass(frozen=True)
class Telling:
    """Which incidents customers are told of, and who counts as hit."""

    severity: int = int(Severity.MAJOR)  # as bad as this or worse
    after_us: int = 5 * MINUTE_US  # an incident that is over sooner is told to nobody
    within_us: int = 24 * HOUR_US  # who used an affected cell so lately before it began is hit


@dataclass(frozen=True)
class Credit:
    """What is given back for one sort of incident. Either an amount an hour, or a share of the recurring fee."""

    name: str
    causes: tuple[str, ...]  # patterns of the cause's name; any of them
    severity: int
    least_us: int
    per_hour_micros: int
    share: int  # millionths of the fee
    cap_micros: int
    by_itself: bool
    fees: Mapping[str, int] = field(
        default_factory=dict
    )  # micro-units by plan, as the plan is named in the tariff

    def fits(self, cause: str, severity: int, lasted_us: int) -> bool:
        """Whether it speaks of such an incident."""
        named = any(fnmatchcase(cause.lower(), pattern.lower()) for pattern in self.causes)
        return named and severity <= self.severity and lasted_us >= self.least_us

    def amounts(self, plans: pl.Series, lasted_us: int) -> list[int]:
        """Micro-units for customers of these plans, rounded down, at most the cap; without a fee nothing."""
        if self.per_hour_micros:
            return [min(self.cap_micros, self.per_hour_micros * lasted_us // HOUR_US)] * len(plans)
        fees = [self.fees.get(plan or "", 0) for plan in plans.to_list()]
        return [min(self.cap_micros, fee * self.share // WHOLE) for fee in fees]


@dataclass(frozen=True)
class ServiceRules:
    """Everything that is said of incidents and customers."""

    telling: Telling = field(default_factory=Telling)
    credits: tuple[Credit, ...] = ()

    def credit_for(self, cause: str, severity: int, lasted_us: int) -> Credit | None:
        """The rule that counts for an incident; None when nothing is given back for it."""
        return next((each for each in self.credits if each.fits(cause, severity, lasted_us)), None)


def movement_name(incident_id: str, subscriber: int) -> str:
    """Name of the credit of one customer for one incident: the ledger books it once, however often it is ordered."""
    words = f"{subscriber}/{to_text(subscriber)}/{incident_id}"
    return f"credit-{incident_id}-{blake2b(words.encode(), digest_size=8).hexdigest()}"


# -- reading ---------------------------------------------------------------------------------------------------


def parse_rules(text: str, name: str = "service.yaml") -> ServiceRules:
    """Rules written in YAML; raises `ServiceError` with every mistake."""
    try:
        tree: Any = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ServiceError(name, [f"line {mark.line + 1 if mark else 1}: {error.problem}"]) from error
    if tree is None:
        return ServiceRules()
    mistakes: list[str] = []
    parts = _mapping(tree, "the file", ("tell", "credits"), mistakes)
    telling = _telling(_mapping(parts.get("tell") or {}, "tell", _TELL, mistakes), mistakes)
    given = parts.get("credits") or {}
    if not isinstance(given, dict):
        mistakes.append("credits: a mapping of rules by name is expected")
        given = {}
    rules = [
        _credit(str(key), _mapping(each, f"credits: {key}", _CREDIT, mistakes), mistakes)
        for key, each in given.items()
    ]
    if mistakes:
        raise ServiceError(name, mistakes)
    return ServiceRules(telling, tuple(rules))


def _mapping(tree: Any, place: str, known: tuple[str, ...], mistakes: list[str]) -> dict[str, Any]:  # noqa: ANN401 -- it is what YAML gives
    if not isinstance(tree, dict):
        mistakes.append(f"{place}: fields are expected ({', '.join(known)})")
        return {}
    mistakes += [
        f"{place}: {key!r} is unknown; known are {', '.join(known)}" for key in tree if key not in known
    ]
    return tree


def _telling(tree: dict[str, Any], mistakes: list[str]) -> Telling:
    usual = Telling()
    return Telling(
        _severity(tree, "tell", usual.severity, mistakes),
        _whole(tree, "after_minutes", "tell", usual.after_us // MINUTE_US, MINUTES_MOST, mistakes)
        * MINUTE_US,
        _whole(tree, "seen_within_hours", "tell", usual.within_us // HOUR_US, 24 * 35, mistakes) * HOUR_US,
    )


def _credit(name: str, tree: dict[str, Any], mistakes: list[str]) -> Credit:
    place = f"credits: {name}"
    causes = tree.get("causes", ["*"])
    if not isinstance(causes, list) or not causes or not all(isinstance(each, str) for each in causes):
        mistakes.append(f"{place}: causes is a list of patterns such as ['*power*']")
        causes = []
    if ("per_hour" in tree) == ("share" in tree):
        mistakes.append(f"{place}: either per_hour or share must be told")
    if ("share" in tree) != ("fees" in tree):
        mistakes.append(f"{place}: a share needs fees, the recurring fee of each plan, and nothing else does")
    fees = tree.get("fees", {})
    if not isinstance(fees, dict):
        mistakes.append(f"{place}: fees is a mapping of amounts by plan")
        fees = {}
    if "cap" not in tree:
        mistakes.append(f"{place}: cap is missing, the most that one customer is given for one incident")
    booked = tree.get("booked", "by hand")
    if booked not in _BOOKED:
        mistakes.append(f"{place}: booked is one of {', '.join(_BOOKED)}")
    return Credit(
        name,
        tuple(causes),
        _severity(tree, place, int(Severity.MAJOR), mistakes),
        _whole(tree, "least_minutes", place, 0, MINUTES_MOST, mistakes) * MINUTE_US,
        _amount(tree.get("per_hour", "0"), f"{place}: per_hour", mistakes),
        _share(tree.get("share", 0), place, mistakes),
        _amount(tree.get("cap", "0"), f"{place}: cap", mistakes),
        _BOOKED.get(booked, False),
        {str(plan): _amount(fee, f"{place}: fees: {plan}", mistakes) for plan, fee in fees.items()},
    )


def _severity(tree: dict[str, Any], place: str, usual: int, mistakes: list[str]) -> int:
    if "severity" not in tree:
        return usual
    found = _SEVERITIES.get(str(tree["severity"]))
    if found is None:
        mistakes.append(f"{place}: severity is one of {', '.join(_SEVERITIES)}")
    return found or usual


def _whole(tree: dict[str, Any], key: str, place: str, usual: int, most: int, mistakes: list[str]) -> int:
    value = tree.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        mistakes.append(f"{place}: {key} is a whole number from 0 to {most:,}")
        return usual
    return value


def _amount(value: Any, place: str, mistakes: list[str]) -> int:  # noqa: ANN401 -- it is what YAML gives
    """Micro-units of an amount that is not negative."""
    try:
        micros = money.to_micros(
            value if isinstance(value, int) and not isinstance(value, bool) else str(value)
        )
    except ValueError as error:
        mistakes.append(f"{place}: {error}")
        return 0
    if micros < 0:
        mistakes.append(f"{place}: an amount is not negative")
    return micros


def _share(value: Any, place: str, mistakes: list[str]) -> int:  # noqa: ANN401 -- it is what YAML gives
    """Millionths of a number of percent."""
    try:
        share = Decimal(str(value)) * (WHOLE // 100)
    except InvalidOperation:
        share = Decimal(-1)
    if not share.is_finite() or share != int(share) or not 0 <= share <= WHOLE or isinstance(value, bool):
        mistakes.append(f"{place}: share is a number of percent from 0 to 100, with at most four decimals")
        return 0
    return int(share)
