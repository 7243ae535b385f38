"""The map: every flow step by step, and every stream between the steps.

Engines are built from this page, and so are the picture in the README, retention, and the list of where personal data
lies. Read it first: it is the way the data takes.
"""

from __future__ import annotations

from trunkline.charging import alerts, balances, movements, rate
from trunkline.kernel.flow import Flow, Step
from trunkline.mediation import decode, deduplicate, meter
from trunkline.records import charging, usage

USAGE = Flow(
    "usage",
    "A call record becomes money and, when the money runs low, an alert.",
    (
        Step(decode.decode, usage.RAW, (usage.DECODED, usage.REJECTED), looks_up=(usage.MAPPINGS,)),
        Step(
            deduplicate.deduplicate,
            usage.DECODED,
            (usage.UNIQUE, usage.DUPLICATES, usage.HELD),
            state=usage.SEEN,
        ),
        Step(meter.meter, usage.UNIQUE, (usage.METERED,), state=usage.SESSIONS),
        Step(
            rate.rate,
            usage.METERED,
            (charging.RATED, usage.REJECTED),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        Step(
            balances.charge,
            charging.RATED,
            (charging.CHARGED, charging.ENTRIES, charging.CHANGES, usage.REJECTED),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        Step(
            alerts.watch,
            charging.CHANGES,
            (charging.ALERTS,),
            state=charging.ALARMED,
            looks_up=(charging.TARIFFS,),
        ),
    ),
)

MONEY = Flow(
    "money",
    "A top-up, an adjustment or a refund is booked like usage, in the same ledger.",
    (
        Step(
            movements.post,
            charging.MOVEMENTS,
            (charging.ENTRIES, charging.CHANGES, charging.REFUSED),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        Step(
            alerts.watch,
            charging.CHANGES,
            (charging.ALERTS,),
            state=charging.ALARMED,
            looks_up=(charging.TARIFFS,),
        ),
    ),
)

SUBSCRIBERS = Flow(
    "subscribers",
    "A subscriber's plan and opening balance make an account.",
    (
        Step(
            movements.enrol,
            charging.SUBSCRIBERS,
            (charging.ENTRIES,),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
    ),
)

FLOWS = (USAGE, MONEY, SUBSCRIBERS)
