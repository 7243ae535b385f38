"""What goes wrong in the simulated network, when and where, and what each trouble does to what cells report.

Each fault is chosen once for the whole run, so that the truth is known before the first counter is written. Two faults
never touch the same cell within an hour of each other: a finding belongs to one of them or to none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trunkline.simulator.country import Floats, Ints
from trunkline.simulator.network_plan import FIREWALLS, MOBILITY, Plan, link_name
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.simulator.rhythm import DAY_S, HOUR_S
from trunkline.simulator.settings import Purpose, Settings, chance

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
APART_US = 60 * MINUTE_US
TRIES = 200


class Kind(StrEnum):
    """What can go wrong; the words are written into the truth."""

    CELL_OUTAGE = "cell_outage"
    SLEEPING_CELL = "sleeping_cell"
    BACKHAUL_CUT = "backhaul_cut"
    SLOW_DEGRADATION = "slow_degradation"
    CONGESTION = "congestion"
    FIREWALL_OVERLOAD = "firewall_overload"
    FLOOD = "flood"
    SIGNALLING_STORM = "signalling_storm"
    INTERFERENCE = "interference"
    BAD_ROLLOUT = "bad_rollout"
    CLOCK_DRIFT = "clock_drift"


# For each thousand cells a day; how long in minutes; local hours in which it may begin.
USUAL: dict[Kind, tuple[float, tuple[int, int], tuple[int, int]]] = {
    Kind.CELL_OUTAGE: (6.0, (20, 180), (0, 24)),
    Kind.SLEEPING_CELL: (6.0, (40, 240), (7, 21)),
    Kind.BACKHAUL_CUT: (1.0, (30, 90), (0, 24)),
    Kind.SLOW_DEGRADATION: (4.0, (90, 180), (7, 20)),
    Kind.CONGESTION: (3.0, (150, 300), (13, 19)),
    Kind.FIREWALL_OVERLOAD: (0.5, (20, 60), (8, 21)),
    Kind.FLOOD: (0.5, (10, 40), (0, 24)),
    Kind.SIGNALLING_STORM: (0.5, (20, 60), (6, 22)),
    Kind.INTERFERENCE: (3.0, (60, 300), (7, 20)),
    Kind.BAD_ROLLOUT: (0.3, (60, 180), (8, 18)),
    Kind.CLOCK_DRIFT: (2.0, (120, 300), (0, 20)),
}


@dataclass(frozen=True)
class NetworkFault:
    """One trouble: where it is rooted, which cells feel it, and from when service is interrupted."""

    number: int
    kind: Kind
    root: str
    cells: Ints
    begin_us: int
    fails_us: int  # when service is interrupted or congested; equal to `begin_us` where there is no warning
    end_us: int
    silent: bool  # the cells stop reporting, rather than report that they are down


@dataclass
class Effects:
    """What the faults of one hour do to each bin and cell; untouched where nothing is wrong."""

    load: Floats
    fails: Floats  # added to the share of set-ups that fail
    drops: Floats  # multiple of the usual rate of dropped flows
    loss_ppm: Floats  # added packet loss
    delay: Floats  # multiple of the usual delay
    rsrp_db: Floats  # added to the signal strength
    missed: Floats  # added to the share of calls that are missed
    down: npt.NDArray[np.bool_]  # reports that it is unavailable
    silent: npt.NDArray[np.bool_]  # reports nothing
    shift_us: Ints  # what the cell's clock is ahead
    walls: Floats = field(
        default_factory=lambda: np.zeros((0, 0))
    )  # [bin, firewall]: added share of its work

    @classmethod
    def none(cls, bins: int, cells: int) -> Effects:
        """Nothing is wrong."""
        zeros = np.zeros((8, bins, cells))
        return cls(
            zeros[0] + 1, zeros[1], zeros[2] + 1, zeros[3], zeros[4] + 1, zeros[5], zeros[6],
            np.zeros((bins, cells), np.bool_), np.zeros((bins, cells), np.bool_), np.zeros((bins, cells), np.int64),
            np.zeros((bins, len(FIREWALLS))),
        )  # fmt: skip


def make_faults(world: Settings, network: NetworkSettings, plan: Plan, start_us: int) -> list[NetworkFault]:
    """Choose all faults of a run; at least one of each kind when there are any, where time and place allow it."""
    if network.faults == 0:
        return []
    taken: list[tuple[Ints, int, int]] = []
    faults: list[NetworkFault] = []
    for order, kind in enumerate(Kind):
        rng = chance(world.seed, Purpose.NETWORK_FAULTS, order)
        usual, _, _ = USUAL[kind]
        count = max(1, round(usual * network.faults * plan.country.cells / 1_000 * world.hours / 24))
        for _ in range(count):
            fault = _place(kind, len(faults), world, network, plan, start_us, taken, rng)
            if fault is not None:
                faults.append(fault)
                taken.append((fault.cells, fault.begin_us - APART_US, fault.end_us + APART_US))
    return faults


def _place(
    kind: Kind,
    number: int,
    world: Settings,
    network: NetworkSettings,
    plan: Plan,
    start_us: int,
    taken: list[tuple[Ints, int, int]],
    rng: np.random.Generator,
) -> NetworkFault | None:
    """The fault at the first time and place tried that no other has; none when there is none."""
    _, (shortest, longest), (from_hour, until_hour) = USUAL[kind]
    for _ in range(TRIES):
        lasts_us = int(rng.integers(shortest, longest + 1)) * MINUTE_US
        latest_us = world.hours * HOUR_S * SECOND_US - lasts_us
        earliest_us = network.quiet_hours * HOUR_S * SECOND_US
        root, cells, silent = _where(kind, plan, rng)
        if latest_us <= earliest_us:
            return None
        into_us = int(rng.integers(earliest_us, latest_us))
        local_hour = into_us // (HOUR_S * SECOND_US) % (DAY_S // HOUR_S)
        if not from_hour <= local_hour < until_hour:
            continue
        begin_us, end_us = start_us + into_us, start_us + into_us + lasts_us
        if any(
            begin_us < until and end_us > since and np.isin(cells, others).any()
            for others, since, until in taken
        ):
            continue
        warned = kind is Kind.SLOW_DEGRADATION
        fails_us = begin_us + (lasts_us * 2 // 3 if warned else 0)
        return NetworkFault(number, kind, root, cells, begin_us, fails_us, end_us, silent)
    return None


def _where(kind: Kind, plan: Plan, rng: np.random.Generator) -> tuple[str, Ints, bool]:
    """The root, the cells that feel it, and whether they fall silent."""
    cells = plan.country.cells
    cell = int(rng.integers(cells))
    name = plan.cell_names[cell]
    silent = bool(rng.random() < 0.5)
    if kind is Kind.BACKHAUL_CUT:
        router = int(rng.integers(plan.routers))
        return link_name(router), plan.cells_of_router(router), True
    if kind is Kind.FIREWALL_OVERLOAD:
        wall = int(rng.integers(len(FIREWALLS)))
        return FIREWALLS[wall], np.flatnonzero(plan.cell_router % len(FIREWALLS) == wall), False
    if kind is Kind.FLOOD:
        return FIREWALLS[int(rng.integers(len(FIREWALLS)))], np.empty(0, np.int64), False
    if kind is Kind.SIGNALLING_STORM:
        return MOBILITY, plan.near(cell, max(3, cells // 20)), False
    if kind is Kind.BAD_ROLLOUT:
        nr = np.flatnonzero(plan.is_nr() == 1)
        chosen = np.sort(rng.choice(nr, max(1, len(nr) // 10), replace=False))
        return f"rollout-{int(rng.integers(1000, 9999))}", chosen, False
    if kind is Kind.CONGESTION:
        return name, plan.near(cell, min(3, cells)), False
    if kind is Kind.INTERFERENCE:
        return name, plan.near(cell, int(rng.integers(1, 4))), False
    return name, np.array([cell]), silent


def effects_of(faults: list[NetworkFault], begin_us: Ints, plan: Plan) -> Effects:
    """What the faults do in bins that begin at the given moments."""
    effects = Effects.none(len(begin_us), plan.country.cells)
    for fault in faults:
        rows = np.flatnonzero((begin_us >= fault.begin_us) & (begin_us < fault.end_us))
        if len(rows):
            _apply(fault, effects, rows, begin_us[rows])
    return effects


def _apply(fault: NetworkFault, effects: Effects, rows: Ints, at_us: Ints) -> None:
    """Write one fault's marks; `rows` are the bins in which it lasts."""
    where = np.ix_(rows, fault.cells)
    part = ((at_us - fault.begin_us) / (fault.end_us - fault.begin_us))[:, None]
    # Rises and falls over a fifth each; people come to an event, and leave it, over a third.
    hump = np.minimum(1.0, np.minimum(part, 1 - part) * (3 if fault.kind is Kind.CONGESTION else 5))
    if fault.kind is Kind.CELL_OUTAGE:
        _switch_off(fault, effects, where)
    elif fault.kind is Kind.BACKHAUL_CUT:
        effects.silent[where] = True
    elif fault.kind is Kind.SLEEPING_CELL:
        effects.load[where] *= 0.01
    elif fault.kind is Kind.SLOW_DEGRADATION:
        slope = np.minimum(1.0, (at_us - fault.begin_us) / max(1, fault.fails_us - fault.begin_us))[:, None]
        effects.rsrp_db[where] -= 14.0 * slope
        effects.missed[where] += 0.25 * slope**2
        effects.drops[where] *= 1 + 12 * slope**2
        effects.loss_ppm[where] += 6_000 * slope**2
        failed = np.ix_(rows[at_us >= fault.fails_us], fault.cells)
        _switch_off(fault, effects, failed)
    elif fault.kind is Kind.CONGESTION:
        effects.load[where] *= 1 + np.array([6.0, 3.0, 2.0])[: len(fault.cells)] * hump
    elif fault.kind is Kind.FIREWALL_OVERLOAD:
        effects.delay[where] *= 1 + 3 * hump
        effects.loss_ppm[where] += 9_000 * hump
        effects.walls[rows, FIREWALLS.index(fault.root)] += 0.6 * hump[:, 0]
    elif fault.kind is Kind.FLOOD:
        effects.walls[rows, FIREWALLS.index(fault.root)] += 0.25 * hump[:, 0]
    elif fault.kind is Kind.SIGNALLING_STORM:
        effects.load[where] *= 1 + 5 * hump
        effects.fails[where] += 0.35 * hump
    elif fault.kind is Kind.INTERFERENCE:
        effects.loss_ppm[where] += 12_000 * hump
        effects.drops[where] *= 1 + 6 * hump
        effects.fails[where] += 0.04 * hump
    elif fault.kind is Kind.BAD_ROLLOUT:
        effects.drops[where] *= 8
        effects.fails[where] += 0.06
    else:
        effects.shift_us[where] += (part * 1_200 * SECOND_US).astype(np.int64)


def _switch_off(fault: NetworkFault, effects: Effects, where: tuple[Ints, ...]) -> None:
    """A cell that is off says so, or says nothing."""
    if fault.silent:
        effects.silent[where] = True
    else:
        effects.down[where] = True
