"""What customers tell the care desk: some of those whose cell fails them, and a few who complain of anything."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from trunkline.simulator.network_faults import MINUTE_US, Kind, NetworkFault
from trunkline.simulator.network_plan import Plan
from trunkline.simulator.people import People

COMPLAIN = 0.04  # of those who live or work where service fails
USUAL_A_DAY = 0.0005
FELT = {
    Kind.CELL_OUTAGE: "no service", Kind.SLEEPING_CELL: "no service", Kind.BACKHAUL_CUT: "no service",
    Kind.SLOW_DEGRADATION: "calls drop", Kind.CONGESTION: "slow data", Kind.INTERFERENCE: "calls drop",
    Kind.BAD_ROLLOUT: "calls drop", Kind.FIREWALL_OVERLOAD: "slow data",
}  # fmt: skip
OTHER = ("invoice", "slow data", "no service", "roaming")


def tickets(
    plan: Plan,
    people: People,
    faults: list[NetworkFault],
    start_us: int,
    until_us: int,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """`ticket, opened, cell, category, priority, msisdn`, in order of time."""
    rows: list[tuple[int, int, str, str, int]] = []
    names = plan.cell_names
    humans = np.arange(people.humans)
    for fault in faults:
        if fault.kind not in FELT or not len(fault.cells):
            continue
        hit = humans[np.isin(people.home[humans], fault.cells) | np.isin(people.work[humans], fault.cells)]
        for who in hit[rng.random(len(hit)) < COMPLAIN].tolist():
            opened = fault.fails_us + int((5 + rng.exponential(25)) * MINUTE_US)
            home = int(people.home[who])
            cell = home if home in fault.cells else int(people.work[who])
            if opened < until_us:
                rows.append((opened, int(people.number[who]), names[cell], FELT[fault.kind], 1))
    usual = rng.poisson(USUAL_A_DAY * people.humans * (until_us - start_us) / (24 * 60 * MINUTE_US))
    for who in rng.integers(0, max(1, people.humans), usual).tolist():
        opened = int(rng.integers(start_us, until_us))
        rows.append(
            (opened, int(people.number[who]), names[int(people.home[who])], str(rng.choice(OTHER)), 0)
        )
    rows.sort()
    return pl.DataFrame(
        {
            "ticket": [f"T{number:06d}" for number in range(len(rows))],
            "opened": [_iso(row[0]) for row in rows],
            "cell": [row[2] for row in rows],
            "category": [row[3] for row in rows],
            "priority": ["high" if row[4] else "normal" for row in rows],
            "msisdn": [f"+{row[1]}" for row in rows],
        },
        schema=dict.fromkeys(("ticket", "opened", "cell", "category", "priority", "msisdn"), pl.String),
    )


def _iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
