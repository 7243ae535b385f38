"""Learn the forecast's weights on simulated days whose faults are known, and judge them on other days.

`python -m tests.learn_forecast` prints the weights to put into `trunkline.network.forecast.WEIGHTS` and, for
days it has not learnt from, precision, recall, lead and how often what it called likely came true. Learning is
by Newton's method with a small penalty, the same every time. In learning faults come more often than in life,
or days would show too few; moments of cells that no fault touches are weighed so much the more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import name_words
from trunkline.network import forecast as ours
from trunkline.records.network import BUCKET_SHIFT, KPIS
from trunkline.simulator import Settings, make_world
from trunkline.simulator.network import Network, make_network, measurements
from trunkline.simulator.network_faults import Kind
from trunkline.simulator.network_settings import NetworkSettings

Floats = npt.NDArray[np.float64]

FAULTS = 12.0  # times as many as usual while learning
CONGESTED = 90.0  # percent of resource blocks
LULL_US = 1_800_000_000
PENALTY = 1.0

# What a KPI that leads is made of, out of the simulated counters; the real formulas are network/formulas/network.yaml.
RATES = {
    "SignalStrength": pl.col("L1M.SS-RSRP.Mean"),
    "MissedCallRate": 100 * pl.col("CALL.Missed") / pl.col("CALL.Att"),
    "QoSRetain_R1": 1000 * pl.col("QF.RelActNbr") / pl.col("QF.SessionTimeQoS"),
    "ULPacketLoss": pl.col("DRB.PacketLossRateUl") / 10_000,
    "DRBAccessibility": 100
    * pl.col("RRC.ConnEstabSucc")
    / pl.col("RRC.ConnEstabAtt")
    * pl.col("DRB.EstabSucc")
    / pl.col("DRB.EstabAtt"),
    "PRBUsageDl": pl.col("RRU.PrbTotDl"),
}


def kpis_of(measured: pl.DataFrame) -> pl.DataFrame:
    """An hour of simulated counters as `KPIS` of cells."""
    words = pl.DataFrame({"cell": measured["cell"].unique().sort()})
    words = words.with_columns(object=pl.Series(name_words(words["cell"])))
    # A cell that says it is down measures nothing else.
    up = measured.filter(pl.col("RRU.CellUnavailableTime") == 0).join(words, on="cell")
    long = up.select("object", "begin_us", "end_us", name="cell", **RATES).unpivot(
        index=["object", "name", "begin_us", "end_us"], variable_name="kpi", value_name="value"
    )
    return KPIS.record.conform(
        long.filter(pl.col("value").is_finite()).with_columns(
            scope=pl.lit(1),
            slice=pl.lit(0),
            value_milli=(pl.col("value") * 1000).round(0).cast(pl.Int64),
            bucket=pl.col("object") // 2**BUCKET_SHIFT,
        )
    )


def network_of(seed: int, cells: int, hours: int, faults: float) -> Network:
    """A simulated network with a period of a minute."""
    world = make_world(Settings(seed=seed, cells=cells, subscribers=cells * 25, hours=hours))
    return make_network(world, NetworkSettings(period_s=60, faults=faults))


@dataclass(frozen=True)
class Judged:
    """One cell at one moment: its features, and how long until it is interrupted and congested (infinite: never)."""

    frame: pl.DataFrame  # object, time_us, until_interrupted_s, until_congested_s
    features: Floats
    weight: Floats  # how many moments like this one a usual day has for each of these days


def followed(network: Network) -> Judged:
    """Every cell at every moment of a run, with its truth."""
    names = network.plan.cell_names
    frames = [kpis_of(hour) for hour in measurements(network)]
    rows = ours.leading(pl.concat(frames))
    objects = np.unique(rows["object"].to_numpy())
    states = np.zeros(len(objects), ours.FORETOLD.dtype)
    states["object"] = objects
    at = np.searchsorted(objects, rows["object"].to_numpy())
    _, shown = ours.follow(rows, states, at, np.zeros((ours.OUTCOMES, ours.FEATURES + 1)), features=True)
    last = np.flatnonzero(shown.any(axis=1))
    frame = rows[last].select("object", time_us="end_us")
    return Judged(
        frame.with_columns(
            until_interrupted_s=_until(frame, _interruptions(network, names)),
            until_congested_s=_until(frame, _congestions(rows)),
        ),
        shown[last],
        np.where(_touched(frame, network), 1.0, network.settings.faults),
    )


def _touched(frame: pl.DataFrame, network: Network) -> npt.NDArray[np.bool_]:
    """Which moments are of cells that a fault touches, or has touched within the hour."""
    objects, time_us = frame["object"].to_numpy(), frame["time_us"].to_numpy()
    touched = np.zeros(len(frame), np.bool_)
    for fault in network.faults:
        cells = name_words(
            pl.Series([network.plan.cell_names[cell] for cell in fault.cells.tolist()], dtype=pl.String)
        )
        lasts = (time_us >= fault.begin_us) & (time_us <= fault.end_us + 3_600_000_000)
        touched |= lasts & np.isin(objects, cells)
    return touched


def _interruptions(network: Network, names: tuple[str, ...] | list[str]) -> pl.DataFrame:
    """When which cell is interrupted by a fault that announces itself, and until when."""
    faults = [
        (int(name_words(pl.Series([names[cell]]))[0]), fault.begin_us, fault.fails_us, fault.end_us)
        for fault in network.faults
        if fault.kind is Kind.SLOW_DEGRADATION
        for cell in fault.cells.tolist()
    ]
    return pl.DataFrame(
        faults,
        schema={"object": pl.UInt64, "begin_us": pl.Int64, "at_us": pl.Int64, "end_us": pl.Int64},
        orient="row",
    )


def _congestions(rows: pl.DataFrame) -> pl.DataFrame:
    """When which cell's blocks become full for five minutes, and until when they are; lulls of half an hour count."""
    prb = rows.filter(pl.col("kpi") == "PRBUsageDl").sort("object", "end_us")
    full = prb.filter(pl.col("value_milli").rolling_mean(5).over("object") >= CONGESTED * 1000)
    begins = (pl.col("end_us") - pl.col("end_us").shift(1).over("object")).fill_null(LULL_US) >= LULL_US
    spells = full.with_columns(spell=begins.cum_sum()).group_by("object", "spell", maintain_order=True)
    return spells.agg(at_us=pl.col("end_us").min(), end_us=pl.col("end_us").max()).drop("spell")


def _until(frame: pl.DataFrame, events: pl.DataFrame) -> pl.Series:
    """Seconds until the next event of the object; 0 while one lasts, infinite when none comes."""
    moments = frame.with_row_index("row").sort("time_us")
    ahead = moments.join_asof(
        events.select("object", "at_us").sort("at_us"),
        left_on="time_us", right_on="at_us", by="object", strategy="forward", check_sortedness=False,
    )  # fmt: skip
    behind = ahead.join_asof(
        events.select("object", "end_us", begun_us="at_us").sort("begun_us"),
        left_on="time_us", right_on="begun_us", by="object", strategy="backward", check_sortedness=False,
    ).sort("row")  # fmt: skip
    seconds = ((behind["at_us"] - behind["time_us"]) / 1e6).fill_null(np.inf)
    lasting = (behind["time_us"] <= behind["end_us"]).fill_null(value=False)
    return pl.select(pl.when(lasting).then(0.0).otherwise(seconds)).to_series()


def learnt(features: Floats, happens: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Logistic regression by Newton's method; the last weight is the constant."""
    x = np.column_stack([features, np.ones(len(features))])
    w = np.zeros(x.shape[1])
    for _ in range(40):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -50, 50)))
        gradient = x.T @ (weight * (happens - p)) - PENALTY * w
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + PENALTY * np.eye(len(w))
        step = np.linalg.solve(curve, gradient)
        w += step
        if np.abs(step).max() < 1e-8:
            break
    return w


def learn(seeds: range, cells: int, hours: int) -> Floats:
    """Weights out of several runs."""
    parts = [followed(network_of(seed, cells, hours, FAULTS)) for seed in seeds]
    features = np.concatenate([part.features for part in parts])
    weight = np.concatenate([part.weight for part in parts])
    weights = np.zeros((ours.OUTCOMES, ours.FEATURES + 1))
    for outcome in range(ours.OUTCOMES):
        column = ("until_interrupted_s", "until_congested_s")[outcome // 2]
        until = np.concatenate([part.frame[column].to_numpy() for part in parts])
        usable = until > 0
        happens = usable & (until <= ours.HORIZONS_S[outcome % 2])
        first, last = (0, ours.LEADING) if outcome < ours.CONGESTED else (ours.LEADING, ours.FEATURES)
        found = learnt(features[usable, first:last], happens[usable], weight[usable])
        weights[outcome, first:last], weights[outcome, -1] = found[:-1], found[-1]
    return weights


def probabilities(weights: Floats, features: Floats) -> Floats:
    """[moment, outcome]."""
    return 1.0 / (1.0 + np.exp(-np.clip(features @ weights[:, :-1].T + weights[:, -1], -50, 50)))


@dataclass(frozen=True)
class Verdict:
    """How forecasts of one outcome came true."""

    precision: float  # of alarms: told risks after which it happened in time
    recall: float  # of announced faults that were told before they failed
    lead_min: float  # median
    calibration: list[tuple[float, float, int]]  # mean probability, share that happened, moments


def verdict(judged: list[Judged], weights: Floats, outcome: int) -> Verdict:
    """Judge one outcome at every moment of runs that were not learnt from."""
    column = ("until_interrupted_s", "until_congested_s")[outcome // 2]
    horizon_s = ours.HORIZONS_S[outcome % 2]
    right, wrong, hit, total = 0, 0.0, 0, 0  # what no fault touches weighs as much as on usual days
    leads: list[float] = []
    all_p: list[Floats] = []
    all_y: list[npt.NDArray[np.bool_]] = []
    all_weights: list[Floats] = []
    for part in judged:
        p = probabilities(weights, part.features)[:, outcome]
        until = part.frame[column].to_numpy()
        usable = until > 0
        all_p.append(p[usable])
        all_y.append(until[usable] <= horizon_s)
        frame = part.frame.with_columns(
            p=pl.Series(p), until=pl.Series(until), weight=pl.Series(part.weight)
        ).sort("object", "time_us")
        all_weights.append(part.weight[usable])
        for _, cell in frame.group_by("object", maintain_order=True):
            r, w, h, t, lead = _alarms(
                cell["p"].to_numpy(), cell["until"].to_numpy(), cell["weight"].to_numpy(), horizon_s
            )
            right, wrong, hit, total = right + r, wrong + w, hit + h, total + t
            leads += lead
    p, y = np.concatenate(all_p), np.concatenate(all_y)
    weight = np.concatenate(all_weights)
    bins = [(p >= low) & (p < low + 0.2) for low in (0.0, 0.2, 0.4, 0.6, 0.8)]
    return Verdict(
        right / max(right + wrong, 1),
        hit / max(total, 1),
        float(np.median(leads)) if leads else 0.0,
        [
            (
                float(np.average(p[each], weights=weight[each])),
                float(np.average(y[each], weights=weight[each])),
                int(each.sum()),
            )
            for each in bins
            if each.any()
        ],
    )


def _alarms(
    p: Floats, until: Floats, weight: Floats, horizon_s: int
) -> tuple[int, float, int, int, list[float]]:
    """Of one cell: risks told that came true and that did not, events told in time, events, and leads in minutes."""
    right, wrong, hit, total = 0, 0.0, 0, 0
    leads: list[float] = []
    told, lead = False, 0.0
    for at in range(len(p)):
        begins = until[at] == 0 and at > 0 and until[at - 1] > 0
        passed = at > 0 and until[at - 1] > 0 and until[at] > until[at - 1] + 1  # it was off, and is back
        if np.isfinite(until[at - 1]) and (begins or passed):
            total += 1
            if told and 0 < lead < np.inf:
                hit += 1
                leads.append(lead / 60)
        if not told and p[at] >= ours.TOLD_FROM[0] and until[at] > 0:
            told, lead = True, until[at]
            came = until[at] <= 1.5 * horizon_s  # half as late again is still worth having been told
            right, wrong = right + came, wrong + (0.0 if came else float(weight[at]))
        elif told and p[at] < ours.TOLD_UNTIL:
            told, lead = False, 0.0
    return right, wrong, hit, total, leads


def main() -> int:
    """Learn, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.learn_forecast", description=__doc__)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--learn", type=int, default=4, help="runs to learn from")
    parser.add_argument("--judge", type=int, default=3, help="runs to judge on")
    asked = parser.parse_args()
    weights = learn(range(1, 1 + asked.learn), asked.cells, asked.hours)
    print(np.array2string(weights, precision=3, separator=", ", max_line_width=100))
    runs = [
        followed(network_of(seed, asked.cells, asked.hours, FAULTS)) for seed in range(101, 101 + asked.judge)
    ]
    for outcome in range(ours.OUTCOMES):
        told = verdict(runs, weights, outcome)
        print(ours.EVENTS[outcome // 2], ours.HORIZONS_S[outcome % 2], told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
