"""What routers and firewalls count: their load, and octets that only grow, in 32 bits, until they wrap."""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.simulator.country import Floats, Ints
from trunkline.simulator.network_faults import Effects
from trunkline.simulator.network_plan import FIREWALLS, Plan, router_name

COUNTERS = ("CPU.Load", "IF.InOctets", "IF.OutOctets", "IF.InPackets", "IF.InErrors")
OCTETS_A_PACKET = 900
TURN = 2**32


def device_rows(
    plan: Plan, begin_us: Ints, period_us: int, down_mbit: Floats, up_mbit: Floats, effects: Effects, before: Ints,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, Ints]:  # fmt: skip
    """Rows of routers (loads and cumulative counters) and firewalls (loads), and where the counters stand after them.

    `down_mbit` and `up_mbit` are [bin, cell]; `before` is [counter, router]. A router whose uplink is cut does not
    report: nobody can reach it.
    """
    bins, routers = len(begin_us), plan.routers
    onto = np.zeros((plan.country.cells, routers))
    onto[np.arange(plan.country.cells), plan.cell_router] = 1
    silent = effects.silent.astype(float) @ onto >= onto.sum(axis=0)
    seen = (~effects.silent) & (~effects.down)
    octets_in = ((down_mbit * seen) @ onto * 125_000).astype(np.int64)
    octets_out = ((up_mbit * seen) @ onto * 125_000).astype(np.int64)
    packets = octets_in // OCTETS_A_PACKET
    errors = rng.poisson(packets * 1e-6)
    grown = np.stack([octets_in, octets_out, packets, errors], axis=0)
    stands = before[:, None, :] + np.cumsum(grown, axis=1)
    busiest = np.maximum(octets_in.max(axis=0, initial=1), 1)
    load = np.clip(12 + 40 * octets_in / busiest + rng.normal(0, 1.5, octets_in.shape), 1, 100).round(1)
    bin_of, router_of = np.nonzero(~silent)
    names = pl.Series([router_name(number) for number in range(routers)])
    of_routers = pl.DataFrame(
        {
            "begin_us": begin_us[bin_of],
            "end_us": begin_us[bin_of] + period_us,
            "cell": names.gather(router_of),
            "technology": "IP",
            "CPU.Load": load[bin_of, router_of],
            **{name: stands[place][bin_of, router_of] % TURN for place, name in enumerate(COUNTERS[1:])},
        }
    )
    work = (
        30
        + 30 * (octets_in.sum(axis=1) / max(1, octets_in.sum(axis=1).max(initial=1)))[:, None]
        + 100 * effects.walls
    )
    work = np.clip(work + rng.normal(0, 1.5, work.shape), 1, 100).round(1)
    of_walls = pl.DataFrame(
        {
            "begin_us": np.repeat(begin_us, len(FIREWALLS)),
            "end_us": np.repeat(begin_us, len(FIREWALLS)) + period_us,
            "cell": pl.Series(list(FIREWALLS)).gather(np.tile(np.arange(len(FIREWALLS)), bins)),
            "technology": "IP",
            "CPU.Load": work.reshape(-1),
        }
    )
    frame = pl.concat([of_routers, of_walls], how="diagonal").sort("begin_us", maintain_order=True)
    return frame, stands[:, -1, :] if bins else before
