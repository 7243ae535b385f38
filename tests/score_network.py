"""How well the watched network tells what goes wrong, judged on simulated days whose faults are known.

`python -m tests.score_network --seeds 20 --out scores.ndjson` plays one day for each seed through the whole flow, from
telemetry to incidents, and prints a JSON line for each and one for all. A seed that is in the file already is not
played again, so a run that was stopped goes on. What counts as what:

- *Told* is counted from the fault's beginning: `alarm_s` until the end of the newest period that had come when an alarm
  that is not held back was raised on one of the fault's cells; `incident_s` until the incident's own time,
  `incident_known_s` until the end of the newest period that had come when it was told. A fault that is over within two
  periods cannot be seen and is none; nor can a cell that falls asleep when nobody is in it (not one block was in use in
  the quarter of an hour before): such ones are counted as `unused`, and judged by nothing.
- *False* is an incident that opens where and when nothing is wrong: no fault of the truth lasts (or has ended within a
  quarter of an hour) whose cells or root it names, or that carries or is carried by what it names.
- *A cut is one incident* when exactly one opens about it (merged ones count, too) and its last root is the link.
- *Forecasts* are precise when what was foreseen came within the horizon and half of it again, and recalled when
  they were told before it came. A cell that decays fails at `fails_us` of the truth; a cell is congested when its
  blocks have been nine tenths full for five minutes. What comes without warning (an outage, a storm of signalling) is
  nobody's miss.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from trunkline.bootstrap import network as watched
from trunkline.bootstrap.replay import EVENTS, MEASURED, TICKETS, Piece, pieces, sender_to
from trunkline.kernel.identity import name_words
from trunkline.network.carriage import Carriage, carriage_of
from trunkline.ports import Commit
from trunkline.records import network as records
from trunkline.simulator import Settings, make_world
from trunkline.simulator.network import make_network, simulate_network
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.stores.embedded.network import FOLDER

MINUTE_US = 60_000_000
TAIL_US = 15 * MINUTE_US  # after a fault's end its traces are still its own
DAY_US = 24 * 60 * MINUTE_US
ASLEEP = "sleeping_cell"
DARK = ("cell_outage", ASLEEP)
CONGESTED_MILLI, CONGESTED_US = 90_000, 5 * MINUTE_US
CALM_US = 30 * MINUTE_US  # below that for so long, and a congestion is over
HORIZON_S = 3600
LATE_SHARE = 1.5  # half as late again is still worth having been told
TOLD_MILLI = 500  # a risk is told from 600 on, and is over below 200
FIRST = 31  # the forecast has learnt from the first ones
_KEPT = (records.ANOMALIES, records.ALARMS, records.INCIDENTS, records.RISKS)


@dataclass(frozen=True)
class Size:
    """How large the days are."""

    cells: int = 100
    hours: int = 24
    faults: float = 5.0
    period_s: int = 30
    periods_a_batch: int = 120


@dataclass
class Told:
    """What a day's run told, and its truth."""

    size: Size
    frames: dict[str, pl.DataFrame]
    blocks: pl.DataFrame  # PRBUsageDl of cells
    faults: pl.DataFrame
    carriage: Carriage
    lateness_us: int

    def known_us(self, time_us: int) -> int:
        """The end of the period that had to come until the data's clock passed a moment."""
        period_us = self.size.period_s * 1_000_000
        return -(-(time_us + self.lateness_us) // period_us) * period_us


def batches(day: Path, periods: int) -> Iterator[Piece]:
    """The day's pieces, several periods together; what is told does not depend on it."""
    some: list[Piece] = []
    for piece in pieces(day):
        some.append(piece)
        if len(some) == periods:
            yield _together(some)
            some = []
    if some:
        yield _together(some)


def _together(some: list[Piece]) -> Piece:
    measured, events, tickets = (
        b"".join(part)
        for part in zip(*((each.measured, each.events, each.tickets) for each in some), strict=True)
    )
    return Piece(some[-1].end_us, measured, events, tickets)


def played(seed: int, size: Size, folder: Path) -> Told:
    """Simulate a day and watch it."""
    world = make_world(Settings(seed=seed, cells=size.cells, subscribers=size.cells * 25, hours=size.hours))
    simulated = make_network(world, NetworkSettings(period_s=size.period_s, faults=size.faults))
    simulate_network(simulated, folder / "day")
    kept: dict[str, list[pl.DataFrame]] = {stream.name: [stream.record.empty()] for stream in _KEPT}
    blocks: list[pl.DataFrame] = []

    def keep(commit: Commit) -> None:
        for name, frames in kept.items():
            if name in commit.frames:
                frames.append(commit.frames[name])
        if records.KPIS.name in commit.frames:
            own = (pl.col("kpi") == "PRBUsageDl") & (pl.col("scope") == 1) & (pl.col("slice") == 0)
            blocks.append(
                commit.frames[records.KPIS.name].filter(own).select("object", "end_us", "value_milli")
            )

    data = folder / "data"
    (data / FOLDER).mkdir(parents=True)
    watched.keep_inventory(data / FOLDER, watched.inventory_files([folder / "day" / "inventory"]))
    with watched.opened_network(data) as network:
        network.engine.listeners.append(keep)
        send = sender_to(network)
        for piece in batches(folder / "day", size.periods_a_batch):
            for mapping, lines in (
                (EVENTS, piece.events),
                (MEASURED, piece.measured),
                (TICKETS, piece.tickets),
            ):
                if lines:
                    send(mapping, lines)
        formulas: Any = network.engine.tables[records.FORMULAS.name]
        return Told(
            size,
            {name: pl.concat(frames) for name, frames in kept.items()},
            pl.concat(blocks).sort("object", "end_us"),
            pl.read_csv(
                folder / "day" / "truth" / "network_faults.csv", schema_overrides={"cells": pl.String}
            ),
            carriage_of(network.inventory),
            formulas.lateness_us,
        )


def _words(names: list[str]) -> list[int]:
    return [int(word) for word in name_words(pl.Series(names, dtype=pl.String))]


def _fault_cells(fault: dict[str, Any]) -> set[int]:
    return set(_words((fault["cells"] or "").split()))


# -- outages and sleeping cells ------------------------------------------------------------------------------------


def outages(told: Told) -> list[dict[str, Any]]:
    """Each cell that stopped serving: seconds until an alarm and until an incident told it; None when none did."""
    alarms = told.frames[records.ALARMS.name].filter(
        (pl.col("action") == "raise") & (pl.col("held_by").fill_null("") == "") & (pl.col("security") == 0)
    )
    incidents = told.frames[records.INCIDENTS.name].filter(pl.col("action").is_in(["open", "update"]))
    found = []
    for fault in told.faults.filter(pl.col("kind").is_in(DARK)).iter_rows(named=True):
        if fault["end_us"] - fault["begin_us"] < 2 * told.size.period_s * 1_000_000:
            continue
        cells = _fault_cells(fault)
        if fault["kind"] == ASLEEP and not _is_used(told, cells, fault["begin_us"]):
            found.append({"fault": fault["fault"], "kind": fault["kind"], "unused": True})
            continue
        near = pl.col("time_us").is_between(fault["begin_us"], fault["end_us"])
        own = alarms.filter(near, pl.col("object").is_in(list(cells)))
        first = [_told_us(told, row) for row in own.iter_rows(named=True)]
        named = incidents.filter(
            near, pl.col("objects").list.eval(pl.element().is_in(list(cells))).list.any()
        )
        found.append(
            {
                "fault": fault["fault"],
                "kind": fault["kind"],
                "silent": fault["silent"],
                "alarm_s": _after(min(first, default=None), fault["begin_us"]),
                "incident_s": _after(min(named["time_us"], default=None), fault["begin_us"]),
                "incident_known_s": _after(
                    told.known_us(min(named["time_us"])) if len(named) else None, fault["begin_us"]
                ),
                "problem": own.sort("time_us")["specific_problem"].head(1).to_list(),
            }
        )
    return found


def _is_used(told: Told, cells: set[int], at_us: int) -> bool:
    """Whether anybody used these cells in the quarter of an hour before a moment."""
    lately = pl.col("end_us").is_between(at_us - TAIL_US, at_us)
    blocks = told.blocks.filter(lately, pl.col("object").is_in(list(cells)))
    return bool((blocks["value_milli"] > 0).any())


def _told_us(told: Told, alarm: dict[str, Any]) -> int:
    """The data's clock when an alarm was told: silence waits for lateness, what arrives is told with its period."""
    if alarm["specific_problem"] == "silence":
        return told.known_us(alarm["time_us"])
    period_us = told.size.period_s * 1_000_000
    return int(-(-alarm["time_us"] // period_us) * period_us)


def _after(us: int | None, since_us: int) -> float | None:
    return None if us is None else (us - since_us) / 1e6


# -- incidents that are none, and cuts ---------------------------------------------------------------------------


def _reach(told: Told, objects: set[int]) -> set[int]:
    """Objects with everything that carries them or is carried by them."""
    reach = set(objects)
    for thing in objects:
        place = told.carriage.place(thing)
        if place >= 0:
            reach.update(int(told.carriage.objects[each]) for each in told.carriage.chain(place))
            reach.update(int(told.carriage.objects[each]) for each in told.carriage.below(place))
    return reach


def false_incidents(told: Told) -> list[dict[str, Any]]:
    """Incidents that opened where and when nothing was wrong."""
    faults = [
        (row["begin_us"] - MINUTE_US, row["end_us"] + TAIL_US, _fault_cells(row) | set(_words([row["root"]])))
        for row in told.faults.iter_rows(named=True)
    ]
    opened = told.frames[records.INCIDENTS.name].filter(pl.col("action") == "open")
    return [
        {
            "time_us": row["time_us"],
            "root": row["root_name"],
            "cause": row["cause"],
            "severity": row["severity"],
        }
        for row in opened.iter_rows(named=True)
        if not any(
            begin <= row["began_us"] <= end and things & _reach(told, {row["root_object"], *row["objects"]})
            for begin, end, things in faults
        )
    ]


def cuts(told: Told) -> list[dict[str, Any]]:
    """Each cut of a link: how many incidents it became, and whether the last root is the link."""
    changes = told.frames[records.INCIDENTS.name]
    found = []
    for fault in told.faults.filter(pl.col("kind") == "backhaul_cut").iter_rows(named=True):
        cells, link = _fault_cells(fault), fault["root"]
        things = cells | set(_words([link, link.split("-")[0]]))
        own = changes.filter(
            (pl.col("action") == "open")
            & pl.col("time_us").is_between(fault["begin_us"], fault["end_us"] + TAIL_US)
            & (
                pl.col("root_object").is_in(list(things))
                | pl.col("objects").list.eval(pl.element().is_in(list(things))).list.any()
            )
        )
        last = changes.filter(
            pl.col("incident_id").is_in(own["incident_id"].implode()),
            pl.col("time_us") <= fault["end_us"],
        )
        roots = sorted({str(name) for name in last.unique("incident_id", keep="last")["root_name"].to_list()})
        found.append({"fault": fault["fault"], "cells": len(cells), "incidents": len(own), "roots": roots,
                      "right": len(own) == 1 and roots == [link]})  # fmt: skip
    return found


# -- forecasts ---------------------------------------------------------------------------------------------------


@dataclass
class Foreseen:
    """Forecasts of one kind of event: how many told came true, how many events were told, and how early."""

    right: int = 0
    wrong: int = 0
    hit: int = 0
    events: int = 0
    lead_s: list[float] = field(default_factory=list)


def congestions(told: Told) -> pl.DataFrame:
    """When which cell's blocks were full: `object`, `at_us`, `end_us`."""
    size = CONGESTED_US // (told.size.period_s * 1_000_000)
    full = told.blocks.filter(pl.col("value_milli").is_not_null()).with_columns(
        full=pl.col("value_milli").rolling_mean(size).over("object") >= CONGESTED_MILLI
    ).filter(pl.col("full"))  # fmt: skip
    begins = (pl.col("end_us") - pl.col("end_us").shift(1).over("object")).fill_null(DAY_US) > CALM_US
    spells = full.with_columns(spell=begins.cum_sum())
    return (
        spells.group_by("object", "spell", maintain_order=True)
        .agg(at_us=pl.col("end_us").min(), end_us=pl.col("end_us").max())
        .drop("spell")
    )


def announced(told: Told, happened: pl.DataFrame) -> pl.DataFrame:
    """Congestions that an event brought: those that announce themselves."""
    crowds = [
        (cell, fault["begin_us"], fault["end_us"])
        for fault in told.faults.filter(pl.col("kind") == "congestion").iter_rows(named=True)
        for cell in _fault_cells(fault)
    ]
    return happened.filter(
        [
            any(cell == thing and begin <= at <= end for cell, begin, end in crowds)
            for thing, at in happened.select("object", "at_us").iter_rows()
        ]
    )


def interruptions(told: Told) -> pl.DataFrame:
    """When which cell failed after it had decayed."""
    rows = [
        (cell, fault["fails_us"], fault["end_us"])
        for fault in told.faults.filter(pl.col("kind") == "slow_degradation").iter_rows(named=True)
        for cell in _fault_cells(fault)
    ]
    return pl.DataFrame(
        rows, schema={"object": pl.UInt64, "at_us": pl.Int64, "end_us": pl.Int64}, orient="row"
    )


def foreseen(
    told: Told, event: str, happened: pl.DataFrame, expected: pl.DataFrame, horizon_s: int
) -> Foreseen:
    """Forecasts of an event against what happened, and against what should have been foreseen of it."""
    result = Foreseen()
    risks = told.frames[records.RISKS.name].filter(
        (pl.col("horizon_s") == horizon_s) & pl.col("text").str.contains(f"be {event} within", literal=True)
    )
    spells: list[tuple[int, int, int]] = []  # object, from when to when it was held to be likely
    for (thing,), rows in risks.sort("time_us", maintain_order=True).group_by("object", maintain_order=True):
        since = None
        for row in rows.iter_rows(named=True):
            likely = row["probability_milli"] >= TOLD_MILLI
            if likely and since is None:
                since = row["time_us"]
            elif not likely and since is not None and row["probability_milli"] < TOLD_MILLI:
                spells.append((int(str(thing)), since, row["time_us"]))
                since = None
        if since is not None:
            spells.append((int(str(thing)), since, 2**62))
    came = list(happened.iter_rows())
    for thing, since, _until in spells:
        near = [
            at
            for other, at, end in came
            if other == thing and since <= end and at - since <= LATE_SHARE * horizon_s * 1e6
        ]
        if any(at > since for at in near):
            result.right += 1
        elif not near:  # told while it lasted already is neither
            result.wrong += 1
    for thing, at, _end in expected.iter_rows():
        result.events += 1
        leads = [
            (at - since) / 1e6
            for other, since, until in spells
            if other == thing and since < at <= until and at - since <= LATE_SHARE * horizon_s * 1e6
        ]
        if leads:
            result.hit += 1
            result.lead_s.append(max(leads))
    return result


# -- a day, and all days -----------------------------------------------------------------------------------------


def scored(seed: int, size: Size) -> dict[str, Any]:
    """One seed's figures."""
    with tempfile.TemporaryDirectory() as folder:
        return scored_of(played(seed, size, Path(folder)), seed, size)


def scored_of(told: Told, seed: int, size: Size) -> dict[str, Any]:
    """The figures of a day that was played."""
    days = size.cells / 1_000 * size.hours / 24
    result: dict[str, Any] = {"seed": seed, **vars(size), "thousand_cell_days": days}
    result["dark"], result["false"], result["cuts"] = outages(told), false_incidents(told), cuts(told)
    result["incidents"] = len(told.frames[records.INCIDENTS.name].filter(pl.col("action") == "open"))
    failed, full = interruptions(told), congestions(told)
    for event, happened, expected in (
        ("interrupted", failed, failed),
        ("congested", full, announced(told, full)),
    ):
        for horizon_s in (900, HORIZON_S):
            result[f"{event}_{horizon_s}"] = vars(foreseen(told, event, happened, expected, horizon_s))
    return result


def summary(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds together."""
    seen = [each for score in scores for each in score["dark"]]
    dark = [each for each in seen if not each.get("unused")]
    every = [each for score in scores for each in score["cuts"]]
    wrong = sum(len(score["false"]) for score in scores)
    days = sum(score["thousand_cell_days"] for score in scores)
    result: dict[str, Any] = {"seeds": len(scores), "thousand_cell_days": round(days, 3), "dark": len(dark)}
    result["unused"] = len(seen) - len(dark)
    for way in ("alarm_s", "incident_s", "incident_known_s"):
        times = [each[way] for each in dark if each[way] is not None]
        result[way] = {
            "median": median(times) if times else None,
            "most": max(times, default=None),
            "not_told": len(dark) - len(times),
        }
    result["false_incidents_a_day"] = round(wrong / days, 3)
    result["cuts"] = {"count": len(every), "one_with_its_root": sum(each["right"] for each in every)}
    for name in [
        f"{event}_{horizon}" for event in ("interrupted", "congested") for horizon in (900, HORIZON_S)
    ]:
        parts = [score[name] for score in scores]
        right, wrong_, hit, events = (
            sum(part[key] for part in parts) for key in ("right", "wrong", "hit", "events")
        )
        leads = [lead for part in parts for lead in part["lead_s"]]
        result[name] = {
            "precision": round(right / (right + wrong_), 3) if right + wrong_ else None,
            "recall": round(hit / events, 3) if events else None,
            "lead_min": round(median(leads) / 60, 1) if leads else None,
            "told": right + wrong_,
            "events": events,
        }
    return result


def main() -> int:
    """Score seeds that were not scored yet, and print all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.score_network", description=(__doc__ or "").split("\n")[0]
    )
    usual = Size()
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=FIRST, help="the first seed")
    parser.add_argument("--cells", type=int, default=usual.cells)
    parser.add_argument("--hours", type=int, default=usual.hours)
    parser.add_argument(
        "--faults", type=float, default=usual.faults, help="multiple of the usual number of faults"
    )
    parser.add_argument(
        "--batch", type=int, default=usual.periods_a_batch, help="periods that are handed in together"
    )
    parser.add_argument("--out", type=Path, help="file of JSON lines that is gone on with")
    asked = parser.parse_args()
    size = Size(asked.cells, asked.hours, asked.faults, periods_a_batch=asked.batch)
    scores: list[dict[str, Any]] = []
    if asked.out is not None and asked.out.exists():
        scores = [json.loads(line) for line in asked.out.read_text().splitlines()]
        scores = [each for each in scores if {name: each[name] for name in vars(size)} == vars(size)]
    wanted = range(asked.first, asked.first + asked.seeds)
    scores = [each for each in scores if each["seed"] in wanted]
    for seed in wanted:
        if any(each["seed"] == seed for each in scores):
            continue
        scores.append(scored(seed, size))
        line = json.dumps(scores[-1])
        print(line, flush=True)
        if asked.out is not None:
            with asked.out.open("a") as file:
                file.write(line + "\n")
    print(json.dumps(summary(scores), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
