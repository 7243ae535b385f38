"""The map: every flow step by step, and every stream between the steps.

Engines are built from this page, and so are the picture in the README, retention, and the list of where personal data
lies. Read it first: it is the way the data takes.
"""

from __future__ import annotations

from trunkline.charging import (
    alerts,
    balances,
    corrections,
    movements,
    rate,
    rerating_orders,
    service,
    transfers,
    withdrawals,
)
from trunkline.charging import online as online_charging
from trunkline.charging.bills import issue
from trunkline.kernel.flow import Flow, Step
from trunkline.mediation import decode, deduplicate, meter
from trunkline.network import align, forecast, heat, kpi, pulse, rollup, sla
from trunkline.network import deduplicate as deduplicate_events
from trunkline.network.alarms import life, signals
from trunkline.network.detect import clocks, detect, silence
from trunkline.network.incidents import correlate
from trunkline.network.telemetry import decode as decode_telemetry
from trunkline.records import bills, charging, giving, network, network_sums, online, usage
from trunkline.records import withdrawals as taking_back

# Whatever moves money ends here: who crossed a mark is told.
_WATCHED = Step(
    alerts.watch,
    charging.CHANGES,
    (charging.ALERTS,),
    state=charging.ALARMED,
    looks_up=(charging.TARIFFS,),
)

USAGE = Flow(
    "usage",
    "A call record becomes money and, when the money runs low, an alert.",
    (
        Step(
            decode.decode,
            usage.RAW,
            (usage.DECODED, usage.REJECTED),
            looks_up=(usage.MAPPINGS, usage.MEMBERS),
        ),
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
        _WATCHED,
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
        _WATCHED,
    ),
)

TRANSFERRING = Flow(
    "transfers",
    "One subscriber hands something on to another: both sides are booked at the same moment, or neither is.",
    (
        Step(
            transfers.transfer,
            charging.TRANSFERS,
            (charging.ENTRIES, charging.CHANGES, charging.MOVEMENTS, charging.REFUSED),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        _WATCHED,
    ),
)

OFFERING = Flow(
    "offers",
    "Where accounts lie apart: the receiver's side says whether it is there, and the giver's side decides.",
    (
        Step(
            transfers.offer,
            giving.OFFERS,
            (giving.HANDOVERS,),
            state=charging.ACCOUNTS,
        ),
    ),
)

HANDING = Flow(
    "handovers",
    "Where accounts lie apart: what is given is booked at the moment at which what is received goes on its way.",
    (
        Step(
            transfers.hand_over,
            giving.HANDOVERS,
            (
                charging.ENTRIES,
                charging.CHANGES,
                charging.MOVEMENTS,
                giving.SIDES,
                giving.HANDED,
                giving.NOT_HANDED,
            ),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        _WATCHED,
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

SERVICE = Flow(
    "service",
    "Customers whom an incident of the network hits are told of it once, and once when it is over.",
    (Step(service.tell, charging.HITS, (charging.ALERTS,), state=charging.HIT),),
)

ONLINE = Flow(
    "online",
    "Quota is asked for before anything is used, and promised to one session only.",
    (
        Step(
            online_charging.recall,
            online.REQUESTS,
            (online.ASKED, online.ANSWERS),
            state=online.SESSIONS,
        ),
        Step(
            online_charging.reserve,
            online.ASKED,
            (online.QUOTAS,),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        Step(online_charging.answer, online.QUOTAS, (online.ANSWERS,), state=online.SESSIONS),
    ),
)

BILLING = Flow(
    "bills",
    "What a bill adds to usage is booked in the ledger, at the same moment as the bill itself becomes true.",
    (
        Step(
            issue.issue,
            bills.BILLS,
            (charging.ENTRIES, charging.CHANGES),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        _WATCHED,
    ),
)

CORRECTING = Flow(
    "corrections",
    "What a record was charged is put right by entries of its own, which name the record.",
    (
        Step(
            corrections.correct,
            charging.CORRECTIONS,
            (charging.ENTRIES, charging.CHANGES),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        _WATCHED,
    ),
)

RERATING = Flow(
    "re-ratings",
    "Where accounts lie apart: each bucket books the previewed corrections of its accounts that have not moved since.",
    (
        Step(
            rerating_orders.book,
            charging.RERATES,
            (
                charging.CORRECTIONS,
                charging.ENTRIES,
                charging.CHANGES,
                charging.REFUSED,
                taking_back.RERATED,
            ),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        Step(withdrawals.note, taking_back.RERATED, (), state=taking_back.TAKEN_BACK),
        _WATCHED,
    ),
)

WITHDRAWING = Flow(
    "withdrawals",
    "Where accounts lie apart: the bucket of its account gives back what a record took that its source takes back.",
    (
        Step(
            withdrawals.judge,
            taking_back.WITHDRAWALS,
            (taking_back.WITHDRAWN, taking_back.NOT_WITHDRAWN),
            state=taking_back.TAKEN_BACK,
        ),
        Step(
            withdrawals.take_back,
            taking_back.WITHDRAWN,
            (charging.CORRECTIONS, charging.ENTRIES, charging.CHANGES),
            state=charging.ACCOUNTS,
            looks_up=(charging.TARIFFS,),
        ),
        _WATCHED,
    ),
)

# The data's clock moves: windows that waited for it are told.
_CLOSED = (
    Step(
        kpi.flush,
        network.PULSES,
        (network.KPIS,),
        state=kpi.WINDOWS,
        looks_up=(network.FORMULAS, network.INVENTORY),
    ),
    Step(
        rollup.settle,
        network.PULSES,
        (network.KPIS,),
        state=rollup.SUMS,
        looks_up=(network.FORMULAS, network.INVENTORY),
    ),
)

# All KPIs of the batch are known, and the map shows them; nothing below changes them.
_DRAWN = (
    Step(
        heat.spread,
        network.KPIS,
        (network_sums.TILE_CHANGES,),
        looks_up=(network.FORMULAS, network.INVENTORY),
    ),
    Step(
        heat.draw,
        network_sums.TILE_CHANGES,
        (network.HEAT,),
        state=heat.TILES,
        looks_up=(network.FORMULAS,),
    ),
    Step(heat.fade, network.PULSES, (network.HEAT,), state=heat.TILES, looks_up=(network.FORMULAS,)),
)

# What is unusual in them, or will be.
_JUDGED = (
    Step(silence.miss, network.PULSES, (network.ANOMALIES,), state=silence.LISTENED),
    Step(detect.detect, network.KPIS, (network.ANOMALIES,), state=detect.SERIES, looks_up=(network.MODELS,)),
    Step(forecast.forecast, network.KPIS, (network.RISKS,), state=forecast.FORETOLD),
    Step(
        sla.keep,
        network.KPIS,
        (network_sums.BUDGETS, network.ANOMALIES),
        state=sla.SPENT,
        looks_up=(network_sums.AGREEMENTS, network.FORMULAS),
    ),
    Step(signals.suspect, network.ANOMALIES, (network.SIGNALS,), looks_up=(network.ALARM_RULES,)),
    Step(signals.foresee, network.RISKS, (network.SIGNALS,), looks_up=(network.ALARM_RULES,)),
)

# An alarm lives, and what it is a sign of becomes an incident.
_ALARMS = (
    Step(
        life.alarm,
        network.SIGNALS,
        (network.ALARMS, network.ALARM_COUNTS),
        state=network.ALARMED,
        looks_up=(network.INVENTORY, network.ALARM_RULES),
    ),
)
_RELEASED = (
    Step(
        life.release,
        network.PULSES,
        (network.ALARMS, network.ALARM_COUNTS),
        state=network.ALARMED,
        looks_up=(network.INVENTORY, network.ALARM_RULES),
    ),
)

# Alarms wait until time has come to them, and are judged together then.
_COLLECTED = (Step(correlate.collect, network.ALARMS, (), state=network.CORRELATED),)
_CORRELATED = (
    Step(
        correlate.correlate,
        network.PULSES,
        (network.INCIDENTS,),
        state=network.CORRELATED,
        looks_up=(network.INVENTORY, network.CAUSES, network.WORTH, network_sums.AGREEMENTS),
    ),
)

# What the map shows of it.
_ALARMS_DRAWN = (
    Step(
        heat.spread_alarms,
        network.ALARMS,
        (network_sums.TILE_ALARMS,),
        state=heat.DRAWN_ALARMS,
        looks_up=(network.INVENTORY,),
    ),
    Step(
        heat.draw_alarms,
        network_sums.TILE_ALARMS,
        (network.HEAT,),
        state=heat.TILES,
        looks_up=(network.FORMULAS,),
    ),
)

NETWORK = Flow(
    "network",
    "Telemetry becomes KPIs, anomalies, alarms, incidents and the heat map.",
    (
        Step(
            decode_telemetry.decode,
            network.TELEMETRY,
            (network.MEASURED, network.EVENTS, network.REJECTED),
            looks_up=(network.MAPPINGS,),
        ),
        Step(
            deduplicate_events.deduplicate,
            network.EVENTS,
            (network.HEARD, network.DUPLICATES, network.HELD),
            state=network.SEEN,
        ),
        Step(
            align.align,
            network.MEASURED,
            (network.BINS, network.DUPLICATES, network.REJECTED),
            state=align.ALIGNED,
            looks_up=(network.FORMULAS,),
        ),
        Step(pulse.advance, network.BINS, (network.ADVANCES,)),
        Step(
            kpi.tell,
            network.BINS,
            (network.KPIS, network_sums.PARTS),
            state=kpi.WINDOWS,
            looks_up=(network.FORMULAS, network.INVENTORY),
        ),
        Step(
            pulse.pulse,
            network.ADVANCES,
            (network.PULSES,),
            state=pulse.CLOCK,
            looks_up=(network.FORMULAS,),
        ),
        Step(
            rollup.add_up,
            network_sums.PARTS,
            (network.KPIS, network_sums.LATE_PARTS),
            state=rollup.SUMS,
            looks_up=(network.FORMULAS, network.INVENTORY),
        ),
        *_CLOSED,
        *_DRAWN,
        Step(
            silence.listen,
            network.BINS,
            (network.ANOMALIES,),
            state=silence.LISTENED,
            looks_up=(network.FORMULAS,),
        ),
        Step(clocks.tell_time, network.BINS, (network.ANOMALIES,), state=clocks.CLOCKS),
        *_JUDGED,
        Step(signals.report, network.HEARD, (network.SIGNALS,)),
        *_ALARMS,
        *_RELEASED,
        *_COLLECTED,
        *_CORRELATED,
        *_ALARMS_DRAWN,
    ),
)

TIME = Flow(
    "time",
    "Nothing came, and that is news too: windows close, silence is told, what was held back is judged again.",
    (
        *_CLOSED,
        *_DRAWN,
        *_JUDGED,
        *_ALARMS,
        *_RELEASED,
        *_COLLECTED,
        *_CORRELATED,
        *_ALARMS_DRAWN,
    ),
)

HANDS = Flow(
    "hands",
    "What an operator does to an alarm goes the way of every other signal.",
    (*_ALARMS, *_COLLECTED, *_ALARMS_DRAWN),
)

FLOWS = (
    USAGE, MONEY, SUBSCRIBERS, SERVICE, ONLINE, BILLING, CORRECTING, RERATING, WITHDRAWING, TRANSFERRING, OFFERING,
    HANDING,
)  # fmt: skip
NETWORK_FLOWS = (NETWORK, TIME, HANDS)
