"""What elements of the simulated network report of a fault, in the words of X.733, and what they report for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from trunkline.simulator.network_faults import MINUTE_US, SECOND_US, Kind, NetworkFault
from trunkline.simulator.network_plan import FIREWALLS, Plan, router_name

CRITICAL, MAJOR, MINOR, WARNING, INDETERMINATE, CLEARED = range(1, 7)

SCHEMA = {
    "time_us": pl.Int64,
    "name": pl.String,
    "event_type": pl.String,
    "severity": pl.UInt8,
    "probable_cause": pl.String,
    "specific_problem": pl.String,
    "text": pl.String,
    "security": pl.UInt8,
}

_COMMUNICATION, _EQUIPMENT = "communicationsAlarm", "equipmentAlarm"
_QUALITY, _PROCESSING = "qualityOfServiceAlarm", "processingErrorAlarm"
_VIOLATION = "securityServiceOrMechanismViolation"

Row = tuple[int, str, str, int, str, str, str, int]


def events_of(fault: NetworkFault, plan: Plan, rng: np.random.Generator) -> pl.DataFrame:
    """The events of one fault; a sleeping cell, a slow decay and interference report nothing by themselves."""
    names = plan.cell_names
    rows: list[Row] = []

    def report(
        name: str,
        kind: str,
        severity: int,
        cause: str,
        problem: str,
        text: str,
        within_s: float,
        security: int = 0,
    ) -> None:
        """Raise soon after the beginning and clear soon after the end."""
        raised = fault.begin_us + int(rng.uniform(0, within_s) * SECOND_US)
        cleared = fault.end_us + int(rng.uniform(0, within_s) * SECOND_US)
        rows.append((raised, name, kind, severity, cause, problem, text, security))
        rows.append((cleared, name, kind, CLEARED, cause, problem, f"{text}: over", security))

    if fault.kind is Kind.CELL_OUTAGE and not fault.silent:
        report(
            fault.root, _EQUIPMENT, CRITICAL, "powerProblem", "RRU off", f"{fault.root} transmits nothing", 20
        )
    elif fault.kind is Kind.BACKHAUL_CUT:
        report(fault.root, _COMMUNICATION, CRITICAL, "lossOfSignal", "link down", f"{fault.root} is down", 5)
        router = fault.root.split("-")[0]
        report(router, _COMMUNICATION, MAJOR, "lossOfSignal", "uplink down", f"{router} lost its uplink", 10)
        for cell in fault.cells.tolist():
            text = f"{names[cell]} does not answer"
            report(
                names[cell], _COMMUNICATION, MAJOR, "communicationsSubsystemFailure", "no contact", text, 60
            )
    elif fault.kind is Kind.CONGESTION:
        report(fault.root, _QUALITY, MINOR, "congestion", "PRB high", f"{fault.root} is full", 1_200)
    elif fault.kind is Kind.FIREWALL_OVERLOAD:
        report(
            fault.root,
            _PROCESSING,
            MAJOR,
            "cpuCyclesLimitExceeded",
            "CPU 95 %",
            f"{fault.root} is overloaded",
            60,
        )
    elif fault.kind is Kind.FLOOD:
        rows += _burst(fault, 400, "denialOfService", "SYN flood from 198.51.100.7", rng)
    elif fault.kind is Kind.SIGNALLING_STORM:
        rows += _burst(fault, 200, "signallingStorm", "attach requests without a SIM", rng)
    elif fault.kind is Kind.BAD_ROLLOUT:
        for cell in fault.cells.tolist():
            at_us = fault.begin_us + int(rng.uniform(0, 30) * SECOND_US)
            text = f"software of {names[cell]} changed by {fault.root}"
            rows.append((at_us, names[cell], _PROCESSING, WARNING, "softwareProgramAbnormallyTerminated",
                         f"restart for {fault.root}", text, 0))  # fmt: skip
    return _frame(rows)


def _burst(fault: NetworkFault, count: int, cause: str, problem: str, rng: np.random.Generator) -> list[Row]:
    """Many equal reports while it lasts, and one that it is over."""
    times = np.sort(rng.integers(fault.begin_us, fault.end_us, count)).tolist()
    rows: list[Row] = [
        (at_us, fault.root, _VIOLATION, MAJOR, cause, problem, f"{fault.root}: {problem}", 1)
        for at_us in times
    ]
    over = (
        fault.end_us,
        fault.root,
        _VIOLATION,
        CLEARED,
        cause,
        problem,
        f"{fault.root}: {problem}: over",
        1,
    )
    return [*rows, over]


def nuisances(
    plan: Plan, a_day: float, start_us: int, until_us: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Warnings that mean nothing to customers, and a port that flaps: what a good operator is not woken by."""
    days = (until_us - start_us) / (24 * 60 * MINUTE_US)
    rows: list[Row] = []
    for _ in range(rng.poisson(a_day * plan.country.cells / 1_000 * days)):
        at_us = int(rng.integers(start_us, until_us))
        cell = plan.cell_names[int(rng.integers(plan.country.cells))]
        over_us = at_us + int(rng.uniform(2, 60) * MINUTE_US)
        text = f"cabinet of {cell} is warm"
        rows.append((at_us, cell, "environmentalAlarm", WARNING, "temperatureUnacceptable", "fan", text, 0))
        rows.append((over_us, cell, "environmentalAlarm", CLEARED, "temperatureUnacceptable", "fan", text, 0))
    for _ in range(rng.poisson(a_day / 10 * plan.country.cells / 1_000 * days)):
        at_us = int(rng.integers(start_us, until_us))
        router = router_name(int(rng.integers(plan.routers)))
        for turn in range(int(rng.integers(4, 20))):
            severity = MINOR if turn % 2 == 0 else CLEARED
            text = f"{router}: spare port flaps"
            rows.append((at_us, router, _COMMUNICATION, severity, "lossOfFrame", "spare port", text, 0))
            at_us += int(rng.uniform(2, 40) * SECOND_US)
    if a_day:
        rows += _scans(start_us, until_us, rng)
    return _frame(rows)


def _scans(start_us: int, until_us: int, rng: np.random.Generator) -> list[Row]:
    """The Internet's usual knocking at the firewalls, once an hour or so."""
    times = rng.integers(start_us, until_us, rng.poisson((until_us - start_us) / (60 * MINUTE_US)))
    return [
        (at_us, FIREWALLS[at_us % len(FIREWALLS)], _VIOLATION, WARNING, "unauthorizedAccessAttempt",
         "port scan", "port scan refused", 1)
        for at_us in np.sort(times).tolist()
    ]  # fmt: skip


def _frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
