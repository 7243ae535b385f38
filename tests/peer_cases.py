"""Compare the platform with another engine's published figures: `python -m tests.peer_cases FILE`.

Prints one JSON line a case (`id`, `operation`, `agrees`, `expected`, `got`, `reason`) and last `N of M agree`. The
tariffs are translated by `tests.peer_translation`; the figures come out of the platform's own steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.charging_room import Platform, metered
from tests.opinion.pricing import Use
from tests.peer_translation import Opening, Translation, Untranslatable, translate
from trunkline.charging.online import decide
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.money import MICROS
from trunkline.records.charging import ACCOUNTS
from trunkline.records.online import REFUSALS, REQUEST_ROW, SESSIONS, Action

Json = dict[str, Any]

SUBSCRIBER = "900000000001"
NEVER_US = 2**62
OPERATIONS = ("cost", "debit", "maxdebit", "max_usage")
SHARED = "shared groups arrive with shared balances"
HIGHEST_RATE = "a caller cannot name a highest rate: what may be used follows from the tariff and the account"
GRANTED = {"usage_s": 1000, "max_usage_s": 1000, "max_usage_ns": 1}  # in the units of the call's kind
KNOWN_KEYS = ("cost", "balances", "error", *GRANTED)


@dataclass(frozen=True)
class Answer:
    """What the platform made of a case."""

    cost: Decimal | None
    refusal: str
    balances: dict[str, Decimal]
    granted: int | None = None  # in the platform's units

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
    shared = any(balance.get("shared_groups") for balance in case.get("account", []))
    if case.get("operation") not in OPERATIONS:
        return line | {"reason": f"operation {case.get('operation')!r} is not known"}
    if shared or case.get("other_accounts"):
        return line | {"reason": SHARED}
    if "max_rate" in case.get("call", {}):
        return line | {"reason": HIGHEST_RATE}
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
        platform.enrol([{"subscriber": SUBSCRIBER, "plan": translation.plan}])
        for opening in translation.openings:
            platform.open(SUBSCRIBER, opening.name, opening.value, opening.valid_until_s)
    uses = [_use(translation, at) for at in range(int(case.get("repeat", 1)))]
    granted, refusal = None, ""
    if case["operation"] in ("maxdebit", "max_usage"):
        granted, refusal = _granted(platform, uses[0])
        uses = [replace(uses[0], units=granted)] if granted and case["operation"] == "maxdebit" else []
    for use in uses:
        platform.charge([use])
    rejected = platform.table("rejected")
    balances = {
        opening.peer: _left(platform, translation, opening)
        for opening in dict.fromkeys((*translation.openings, translation.main))
    }
    refusal = refusal or (rejected["reason"][0] if len(rejected) else "")
    if refusal or not uses:
        return Answer(None, refusal, balances, granted)
    last = platform.table("charged").row(-1, named=True)
    micros = last["list_micros" if case["operation"] == "cost" else "charged_micros"]
    return Answer(Decimal(micros) / MICROS, "", balances, granted)


def _granted(platform: Platform, use: Use) -> tuple[int, str]:
    """What online charging grants of a use that is asked for, and why nothing could be judged."""
    requests = np.zeros(1, REQUEST_ROW)
    columns = metered([use]).row(0, named=True)
    for name in ("subscriber", "kind", "direction", "calling", "called", "start_us"):
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
    told, _ = decide(requests, Grouped.empty(SESSIONS.dtype, keys), account, platform.catalogue)
    return int(told["granted"][0]), REFUSALS[told["refusal"][0]]


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
    value = opening.value if translation.plan is None else platform.value(SUBSCRIBER, opening.name)
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
    for name, value in expected.get("balances", {}).items():
        if name not in answer.balances:
            found.append(f"there is no balance {name}")
        elif Decimal(str(value)) != answer.balances[name]:
            found.append(f"balance {name} is {answer.balances[name]} instead of {value}")
    return "; ".join(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
