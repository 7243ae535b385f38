"""The simulated network's telemetry: what each cell counts in each period, what elements report, and the truth.

The load of a cell follows from the simulated people: who is there at the hour and how often people like them call,
text and surf then. Counters bear the names of TS 28.552 (5G) and TS 32.425 (LTE bearers); signal strength and calls
have names of ours, because the standard knows only distributions of the one and leaves the other to IMS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trunkline.simulator.country import Floats, Ints
from trunkline.simulator.network_devices import device_rows
from trunkline.simulator.network_events import events_of, nuisances
from trunkline.simulator.network_faults import Effects, Kind, NetworkFault, effects_of, make_faults
from trunkline.simulator.network_plan import FIREWALLS, TECHNOLOGIES, Plan, make_plan, write_inventory
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.simulator.network_slices import slice_rows
from trunkline.simulator.network_tickets import tickets
from trunkline.simulator.network_usage import Outage
from trunkline.simulator.rhythm import CURVES, DAILY, DATA, HOUR_S, SMS, VOICE, Hour, cells_at
from trunkline.simulator.settings import Purpose, chance
from trunkline.simulator.usage import World

SECOND_US = 1_000_000
DARK = (Kind.CELL_OUTAGE, Kind.SLEEPING_CELL, Kind.BACKHAUL_CUT, Kind.SLOW_DEGRADATION)
CONNECTIONS = (1.2, 1.0, 8.0)  # RRC connections for a call, a message, a data session

COUNTERS = (
    "RRC.ConnEstabAtt", "RRC.ConnEstabSucc", "UECNTX.ConnEstabAtt", "UECNTX.ConnEstabSucc",
    "SM.PDUSessionSetupReq", "SM.PDUSessionSetupSucc", "ERAB.EstabInitAttNbr", "ERAB.EstabInitSuccNbr",
    "DRB.EstabAtt", "DRB.EstabSucc", "QF.RelActNbr", "QF.SessionTimeQoS", "MM.HoExeInterReq",
    "MM.HoExeInterSucc", "RRU.PrbTotDl", "DRB.PdcpSduVolumeDL", "DRB.PdcpSduVolumeUL", "DRB.UEThpDl",
    "DRB.AirIfDelayDl", "DRB.PacketLossRateUl", "RRU.CellUnavailableTime", "L1M.SS-RSRP.Mean",
    "CALL.Att", "CALL.Missed",
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """The world with its network, and everything that will go wrong in it; in its usage, too."""

    world: World
    settings: NetworkSettings
    plan: Plan
    faults: list[NetworkFault]
    capacity: Floats  # RRC connections a second at which two thirds of a cell's blocks are in use
    signal_dbm: Floats


def make_network(world: World, settings: NetworkSettings | None = None) -> Network:
    """Plan the network of a world, and its faults."""
    settings = settings or NetworkSettings()
    plan = make_plan(world.country)
    rng = chance(world.settings.seed, Purpose.NETWORK)
    busiest = np.max(
        [_connections(world, settings, world.hour(hour)).sum(axis=0) for hour in (8, 12, 17, 20)], axis=0
    )
    capacity = np.maximum(busiest, busiest.mean() / 4) * rng.uniform(0.9, 1.8, len(busiest))
    signal = rng.normal(-92, 4, len(busiest))
    faults = make_faults(world.settings, settings, plan, world.start_us)
    dark = tuple(Outage(fault.cells, fault.fails_us, fault.end_us) for fault in faults if fault.kind in DARK)
    return Network(replace(world, outages=dark), settings, plan, faults, capacity, signal)


def measurements(network: Network) -> Iterator[pl.DataFrame]:
    """Hour by hour one row a cell and period, in order of time: `begin_us, end_us, cell, technology`, then `COUNTERS`.

    A counter that a cell's technology does not have is null; a cell that is silent has no row.
    """
    for hour in hours(network):
        yield hour.cells


@dataclass(frozen=True)
class Reports:
    """What is reported in an hour: by cells, by cells for their slices, and by routers and firewalls."""

    cells: pl.DataFrame
    slices: pl.DataFrame
    devices: pl.DataFrame


def hours(network: Network) -> Iterator[Reports]:
    """The same, with the rows of slices (`network_slices`) and of devices (`network_devices`) beside it."""
    world = network.world
    noise = np.zeros(world.country.cells)
    stands = np.zeros((4, network.plan.routers), np.int64)
    later = _connections(world, network.settings, world.hour(0))
    for number in range(world.settings.hours):
        now, later = later, _connections(world, network.settings, world.hour(number + 1))
        reports, noise, stands = _hour(network, world.hour(number), now, later, noise, stands)
        yield reports


def _connections(world: World, settings: NetworkSettings, hour: Hour) -> Floats:
    """[kind, cell]: uses a second in each cell at the beginning of an hour, by where people are then."""
    people = world.people
    everyone = np.arange(len(people))
    cell = cells_at(people, everyone, np.full(len(people), hour.local_s))
    since_us = hour.start_us - world.start_us
    here = ~((since_us >= people.away_from_us) & (since_us < people.away_until_us))
    rates = np.empty((3, world.country.cells))
    for kind, habit in ((VOICE, people.talks), (SMS, people.texts), (DATA, people.surfs)):
        curve = CURVES[people.role, kind, int(hour.free_day), (hour.local_hour - people.later_h) % 24]
        rate = curve * DAILY[people.role, kind] * np.minimum(habit, 5.0) * here / HOUR_S
        rates[kind] = np.bincount(cell, rate, world.country.cells)
    return rates * settings.people_each * np.array(CONNECTIONS)[:, None]


def _hour(
    network: Network, hour: Hour, now: Floats, later: Floats, noise: Floats, stands: Ints
) -> tuple[Reports, Floats, Ints]:
    """The reports of one hour, and the noise and the counters with which the next one goes on."""
    period_s = network.settings.period_s
    bins = HOUR_S // period_s
    begin_us = hour.start_us + np.arange(bins) * period_s * SECOND_US
    rng = chance(network.world.settings.seed, Purpose.NETWORK_NOISE, hour.number)
    effects = effects_of(network.faults, begin_us, network.plan)
    sway, noise = _sway(bins, noise, period_s, rng)
    part = ((np.arange(bins) + 0.5) / bins)[None, :, None]
    rates = (now[:, None, :] * (1 - part) + later[:, None, :] * part) * np.exp(sway) * effects.load
    columns = _count(network, rates, effects, rng)
    devices, stands = device_rows(
        network.plan, begin_us, period_s * SECOND_US, columns["DRB.PdcpSduVolumeDL"], columns["DRB.PdcpSduVolumeUL"],
        effects, stands, chance(network.world.settings.seed, Purpose.NETWORK_NOISE, hour.number, 1),
    )  # fmt: skip
    slices = slice_rows(
        network.plan, begin_us, period_s * SECOND_US, columns, effects.silent | (effects.shift_us != 0),
        chance(network.world.settings.seed, Purpose.NETWORK_NOISE, hour.number, 2),
    )  # fmt: skip
    return Reports(_table(network, begin_us, columns, effects), slices, devices), noise, stands


def _sway(bins: int, noise: Floats, period_s: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Slow wandering of each cell's load around what is usual: a tenth up or down, over about an hour."""
    keep = np.exp(-period_s / 3_600)
    shocks = rng.normal(0, 0.1 * np.sqrt(1 - keep * keep), (bins, len(noise)))
    sway = np.empty((bins, len(noise)))
    for number in range(bins):
        noise = noise * keep + shocks[number]
        sway[number] = noise
    return sway, noise


def _count(network: Network, rates: Floats, effects: Effects, rng: np.random.Generator) -> dict[str, Floats]:
    """Counters by name, [bin, cell] each."""
    period_s = network.settings.period_s
    wanted = rates.sum(axis=0)
    prb = 1 - np.exp(-1.1 * wanted / network.capacity)
    crowded = np.clip((prb - 0.9) * 5, 0, 0.5)
    fails = np.clip(effects.fails + crowded, 0, 0.95)
    attempts = rng.poisson(wanted * period_s)

    def succeeded(of: Ints, usual: float, weight: float = 1.0) -> Ints:
        return rng.binomial(of, np.clip(usual - fails * weight, 0, 1))

    connected = succeeded(attempts, 0.996)
    contexts = rng.binomial(connected, 0.985)
    sessions = rng.poisson(wanted * period_s * 0.3)
    bearers = rng.poisson(wanted * period_s * 0.5)
    set_up = succeeded(sessions, 0.997)
    active_s = wanted * 9.0 * period_s * rng.lognormal(0, 0.03, wanted.shape)
    moved = rng.poisson(wanted * period_s * 0.6)
    calls = rng.poisson(rates[VOICE] / CONNECTIONS[VOICE] * period_s)
    jitter = rng.lognormal(0, 0.04, (5, *wanted.shape))
    down = effects.down
    columns = {
        "RRC.ConnEstabAtt": attempts,
        "RRC.ConnEstabSucc": connected,
        "UECNTX.ConnEstabAtt": contexts,
        "UECNTX.ConnEstabSucc": succeeded(contexts, 0.998, 0.5),
        "SM.PDUSessionSetupReq": sessions,
        "SM.PDUSessionSetupSucc": set_up,
        "ERAB.EstabInitAttNbr": sessions,
        "ERAB.EstabInitSuccNbr": set_up,
        "DRB.EstabAtt": bearers,
        "DRB.EstabSucc": succeeded(bearers, 0.998, 0.5),
        "QF.RelActNbr": rng.poisson(active_s * 2e-4 * effects.drops),
        "QF.SessionTimeQoS": active_s.astype(np.int64),
        "MM.HoExeInterReq": moved,
        "MM.HoExeInterSucc": rng.binomial(moved, np.clip(0.988 - 0.004 * (effects.drops - 1), 0.3, 1)),
        "RRU.PrbTotDl": np.clip(100 * prb * jitter[0], 0, 100).round(1),
        "DRB.PdcpSduVolumeDL": (rates[DATA] * period_s * 2.4 * jitter[1]).round(1),
        "DRB.PdcpSduVolumeUL": (rates[DATA] * period_s * 0.3 * jitter[2]).round(1),
        "DRB.UEThpDl": (
            48_000 * np.maximum(1 - prb, 0.02) ** 0.7 * jitter[3] / np.sqrt(effects.delay)
        ).round(),
        "DRB.AirIfDelayDl": (70 / np.maximum(1 - prb, 0.04) * jitter[4] * effects.delay).round(),
        "DRB.PacketLossRateUl": rng.poisson(220 * (1 + 3 * prb**4) + effects.loss_ppm),
        "RRU.CellUnavailableTime": np.where(down, period_s, 0),
        "L1M.SS-RSRP.Mean": (network.signal_dbm + effects.rsrp_db + rng.normal(0, 0.6, wanted.shape)).round(
            1
        ),
        "CALL.Att": calls,
        "CALL.Missed": rng.binomial(calls, np.clip(0.015 + effects.missed + crowded / 3, 0, 1)),
    }
    kept = {"RRU.CellUnavailableTime", "L1M.SS-RSRP.Mean"}
    return {name: np.where(down & (name not in kept), 0, values) for name, values in columns.items()}


def _table(network: Network, begin_us: Ints, columns: dict[str, Floats], effects: Effects) -> pl.DataFrame:
    """The rows of cells that report."""
    plan = network.plan
    reports = ~effects.silent
    bin_of, cell_of = np.nonzero(reports)
    begins = begin_us[bin_of] + effects.shift_us[reports]
    lte = plan.is_nr()[cell_of] == 0
    frame = pl.DataFrame(
        {
            "begin_us": begins,
            "end_us": begins + network.settings.period_s * SECOND_US,
            "cell": pl.Series(plan.cell_names).gather(cell_of),
            "technology": pl.Series(TECHNOLOGIES).gather(lte.astype(np.uint32)),
            **{name: columns[name][reports] for name in COUNTERS},
        }
    )
    of_lte = pl.col("technology") == "LTE"
    return frame.with_columns(
        pl.when(of_lte == name.startswith("ERAB.")).then(pl.col(name)).alias(name)
        for name in COUNTERS
        if name.startswith(("ERAB.", "SM.", "UECNTX."))
    )


def events(network: Network) -> pl.DataFrame:
    """What elements report of the faults, and warnings without consequence, in order of time."""
    world, plan = network.world, network.plan
    rng = chance(world.settings.seed, Purpose.NETWORK_FAULTS, 1_000)
    frames = [events_of(fault, plan, rng) for fault in network.faults]
    until_us = world.start_us + world.settings.hours * HOUR_S * SECOND_US
    frames.append(nuisances(plan, network.settings.nuisances, world.start_us, until_us, rng))
    ordered = pl.concat(frames).sort("time_us", maintain_order=True)
    return ordered.select(pl.format("E{}", pl.int_range(pl.len())).alias("event"), pl.all())


def truth_of(network: Network) -> pl.DataFrame:
    """Every fault: kind, root, cells, when it begins, when service fails and when it ends."""
    names = network.plan.cell_names
    return pl.DataFrame(
        {
            "fault": [fault.number for fault in network.faults],
            "kind": [str(fault.kind) for fault in network.faults],
            "root": [fault.root for fault in network.faults],
            "begin_us": [fault.begin_us for fault in network.faults],
            "fails_us": [fault.fails_us for fault in network.faults],
            "end_us": [fault.end_us for fault in network.faults],
            "silent": [fault.silent for fault in network.faults],
            "cells": [" ".join(names[cell] for cell in fault.cells.tolist()) for fault in network.faults],
        },
        schema={
            "fault": pl.Int64, "kind": pl.String, "root": pl.String, "begin_us": pl.Int64,
            "fails_us": pl.Int64, "end_us": pl.Int64, "silent": pl.Boolean, "cells": pl.String,
        },
    )  # fmt: skip


def _complaints(network: Network) -> pl.DataFrame:
    """What the care desk hears of the faults, and of anything else."""
    world = network.world
    until_us = world.start_us + world.settings.hours * HOUR_S * SECOND_US
    rng = chance(world.settings.seed, Purpose.NETWORK_FAULTS, 2_000)
    return tickets(network.plan, world.people, network.faults, world.start_us, until_us, rng)


def simulate_network(network: Network, out: Path) -> dict[str, Any]:
    """Write the inventory, a file an hour of each kind of counters, events, tickets and the truth; returns the sums.

    `inventory/`, `pm/`, `slices/`, `devices/`, `events.ndjson`, `tickets.ndjson`, `truth/network_*`.
    """
    pm, slices, devices, truth = (out / name for name in ("pm", "slices", "devices", "truth"))
    if pm.exists():
        raise FileExistsError(f"{out} already holds a network's telemetry; name another folder")
    pm.mkdir(parents=True)
    slices.mkdir()
    devices.mkdir()
    truth.mkdir(parents=True, exist_ok=True)
    write_inventory(network.plan, out / "inventory")
    truth_of(network).write_csv(truth / "network_faults.csv")
    reported = events(network)
    reported.write_ndjson(out / "events.ndjson")
    complaints = _complaints(network)
    complaints.write_ndjson(out / "tickets.ndjson")
    rows, of_devices = 0, 0
    for number, reports in enumerate(hours(network)):
        reports.cells.write_csv(pm / f"pm-{number:05d}.csv")
        reports.slices.write_csv(slices / f"slices-{number:05d}.csv")
        reports.devices.write_csv(devices / f"devices-{number:05d}.csv")
        rows, of_devices = rows + len(reports.cells), of_devices + len(reports.devices)
    summary = {
        "cells": network.plan.country.cells,
        "routers": network.plan.routers,
        "firewalls": len(FIREWALLS),
        "rows": rows,
        "device_rows": of_devices,
        "events": len(reported),
        "tickets": len(complaints),
        "faults": len(network.faults),
    }
    (truth / "network_summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary
