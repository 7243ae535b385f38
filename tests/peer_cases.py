"""Compare the platform with another engine's published figures: `python -m tests.peer_cases FILE`.

Prints one JSON line a case (`id`, `operation`, `agrees`, `expected`, `got`, `reason`) and last `N of M agree`. The
tariffs are translated by `tests.peer_translation`; the figures come out of the platform's own steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.charging_room import Platform, metered
from tests.opinion.pricing import Use
from tests.peer_translation import Ceiling, Opening, Translation, Untranslatable, translate
from trunkline.charging.online import usable
from trunkline.charging.quota import unlimited
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.money import MICROS
from trunkline.records.charging import ACCOUNTS
from trunkline.records.online import REFUSALS, REQUEST_ROW, SESSIONS, Action

Json = dict[str, Any]

SUBSCRIBER = "900000000001"
NEVER_US = 2**62
OPERATIONS = ("cost", "debit", "maxdebit", "max_usage")
GROUP = "900000000000"  # the owner of what several accounts of the format share
GRANTED = {"usage_s": 1000, "max_usage_s": 1000, "max_usage_ns": 1}  # in the units of the call's kind
KNOWN_KEYS = ("cost", "balances", "other_balances", "error", *GRANTED)


@dataclass(frozen=True)
class Answer:
    """What the platform made of a case."""

    cost: Decimal | None
    refusal: str
    balances: dict[str, Decimal]
    granted: int | None = None  # in the platform's units
    other_balances: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def said(self, asked: Json) -> Json:
        """The answer in the words of the question."""
        got: Json = {}
        if self.refusal:
            got["error"] = self.refusal
        if self.cost is not None:
            got["cost"] = self.cost
        for key, unit in GRANTED.items():
            if key in asked and self.granted is not None:
                got[key] = Decimal(self.granted) / unit
        if "balances" in asked:
            got["balances"] = self.balances
        if "other_balances" in asked:
            got["other_balances"] = self.other_balances
        return got


def main(arguments: list[str]) -> int:
    """Judge every case of the files; the exit code is 0 when all could be read, whether or not they agree."""
    if not arguments:
        print("usage: python -m tests.peer_cases FILE...", file=sys.stderr)
        return 2
    agreed = total = 0
    for name in arguments:
        text = Path(name).read_text(encoding="utf-8")
        for line in judge_all(json.loads(text, parse_float=Decimal)):
            print(json.dumps(line, default=_number, ensure_ascii=False), flush=True)
            agreed += line["agrees"]
            total += 1
    print(f"{agreed} of {total} agree")
    return 0


def _number(value: object) -> int | float:
    assert isinstance(value, Decimal)
    return int(value) if value == value.to_integral_value() else float(value)


def judge_all(book: Json) -> Iterator[Json]:
    """A verdict for each case of a file."""
    for case in book.get("cases", []):
        yield judge(book.get("tariffs", {}), case)


def judge(tariffs: Json, case: Json) -> Json:
    """Whether the platform agrees with a case, and if not, why."""
    line: Json = {
        "id": case.get("id"),
        "operation": case.get("operation"),
        "agrees": False,
        "expected": case.get("expected"),
        "got": None,
        "reason": "",
    }
    if case.get("operation") not in OPERATIONS:
        return line | {"reason": f"operation {case.get('operation')!r} is not known"}
    if case.get("tariff") not in tariffs:
        return line | {"reason": f"tariff {case.get('tariff')!r} is not in the file"}
    try:
        answer = ask(translate(tariffs[case["tariff"]], case), case)
    except Untranslatable as gap:
        return line | {"reason": str(gap)}
    except Exception as fault:  # noqa: BLE001 - a case that cannot be read must not hide the others
        return line | {"reason": f"{type(fault).__name__}: {fault}"}
    reason = differences(case["expected"], answer)
    return line | {"agrees": not reason, "got": answer.said(case["expected"]), "reason": reason}


def ask(translation: Translation, case: Json) -> Answer:
    """Charge the case's usage on the platform, as often as it says."""
    platform = Platform.under(translation.files)
    if translation.plan is not None:
        _enrol(platform, translation, translation.plan)
    uses = [_use(translation, at) for at in range(int(case.get("repeat", 1)))]
    granted, refusal = None, ""
    if case["operation"] in ("maxdebit", "max_usage"):
        granted, refusal = _granted(platform, uses[0], translation.ceiling)
        uses = [replace(uses[0], units=granted)] if granted and case["operation"] == "maxdebit" else []
    for use in uses:
        platform.charge([use])
    rejected = platform.table("rejected")
    balances: dict[str, dict[str, Decimal]] = {"": {}} | {name: {} for name in case.get("other_accounts", {})}
    for opening in dict.fromkeys((*translation.openings, translation.main)):
        balances[opening.account][opening.peer] = _left(platform, translation, opening)
    own = balances.pop("")
    refusal = refusal or (rejected["reason"][0] if len(rejected) else "")
    if refusal or not uses:
        return Answer(None, refusal, own, granted, balances)
    last = platform.table("charged").row(-1, named=True)
    micros = last["list_micros" if case["operation"] == "cost" else "charged_micros"]
    return Answer(Decimal(micros) / MICROS, "", own, granted, balances)


def _enrol(platform: Platform, translation: Translation, plan: str) -> None:
    """Open the accounts; those that share something are members of one, which the group itself owns."""
    numbers = {"": SUBSCRIBER} | {name: f"9000000001{at:02d}" for at, name in enumerate(translation.others)}
    if translation.others or any(opening.shared for opening in translation.openings):
        members = [{"subscriber": number, "plan": plan, "owner": GROUP} for number in numbers.values()]
        platform.enrol([{"subscriber": GROUP, "plan": plan}, *members])
    else:
        platform.enrol([{"subscriber": SUBSCRIBER, "plan": plan}])
    for opening in translation.openings:
        if opening.account in numbers:
            own = not opening.shared and opening != translation.main
            number = numbers[opening.account]
            platform.open(number, opening.name, opening.value, opening.valid_until_s, own=own)


def _granted(platform: Platform, use: Use, ceiling: Ceiling | None) -> tuple[int, str]:
    """What online charging would grant of a use that is asked for, and why nothing could be judged."""
    requests = np.zeros(1, REQUEST_ROW)
    columns = metered([use], platform.catalogue.members).row(0, named=True)
    for name in ("subscriber", "member", "kind", "direction", "calling", "called", "start_us"):
        requests[name] = columns[name]
    requests["session"], requests["wanted"], requests["says"], requests["until_us"] = (
        1,
        use.units,
        True,
        NEVER_US,
    )
    requests["action"] = int(Action.RESERVE)
    keys = requests["subscriber"].copy()
    rows = platform.accounts.get(int(keys[0]), np.empty(0, ACCOUNTS.dtype))
    account = Grouped(keys, np.array([0, len(rows)]), rows)
    most = unlimited(1)
    if ceiling is not None:
        most["rate_micros"], most["per_units"] = ceiling.micros, ceiling.units
    none = Grouped.empty(SESSIONS.dtype, keys)
    granted, refusal = usable(requests, most, none, account, platform.catalogue)
    return int(granted[0]), REFUSALS[refusal[0]]


def _use(translation: Translation, at: int) -> Use:
    return Use(
        seq=at,
        source="peer",
        record_id=str(at),
        kind=translation.kind,
        subscriber=SUBSCRIBER,
        start_us=translation.start_us,
        units=translation.units,
        called=translation.called,
    )


def _left(platform: Platform, translation: Translation, opening: Opening) -> Decimal:
    touched = translation.plan is not None and opening.account in ("", *translation.others)
    value = platform.value(SUBSCRIBER, opening.name) if touched else opening.value
    scaled = Fraction(value) * opening.scale
    return Decimal(scaled.numerator) / Decimal(scaled.denominator)


def differences(expected: Json, answer: Answer) -> str:
    """What the case expects and the platform does not say; empty when they agree."""
    found = [f"{key} is not asked of this operation" for key in expected if key not in KNOWN_KEYS]
    if expected.get("error"):
        if not answer.refusal:
            found.append("an error was expected")
    elif answer.refusal:
        found.append(f"refused: {answer.refusal}")
    elif "cost" in expected and Decimal(str(expected["cost"])) != answer.cost:
        found.append(f"cost {answer.cost} instead of {expected['cost']}")
    for key, unit in GRANTED.items():
        if key in expected and answer.granted != Decimal(str(expected[key])) * unit:
            found.append(f"{key} {Decimal(answer.granted or 0) / unit} instead of {expected[key]}")
    found += _other_values(expected.get("balances", {}), answer.balances, "")
    for account, values in expected.get("other_balances", {}).items():
        found += _other_values(values, answer.other_balances.get(account, {}), f" of {account}")
    return "; ".join(found)


def _other_values(expected: Json, left: dict[str, Decimal], whose: str) -> list[str]:
    """Balances of an account that are not what was expected."""
    found = [f"there is no balance {name}{whose}" for name in expected if name not in left]
    return found + [
        f"balance {name}{whose} is {left[name]} instead of {value}"
        for name, value in expected.items()
        if name in left and Decimal(str(value)) != left[name]
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
