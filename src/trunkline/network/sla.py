"""Agreements: what service is promised to which enterprise, what is left of the error budget, and how fast it burns.

A promise is a share: of the attempts that must succeed (a ratio KPI), or of the time in which a KPI must keep its
mark. What remains to the whole is the error budget of the agreement's period. The burn rate says how many times
faster than that the budget is being spent: at 1 it ends with the period. Before a period has passed once, as many
attempts are expected of its rest as there were. Two rates are watched together, one over long enough to matter and
one over short enough to be true now, with the marks of the Site Reliability Workbook (chapter 5, "multiwindow,
multi-burn-rate alerts"): 14.4 over an hour and five minutes is critical, 6 over six hours and half an hour is major.

A budget that burns is a finding from the window on at which it begins to, and again when it burns worse and when it no
longer does.

What was not measured is counted for neither side: a window without a value spends nothing. A KPI that is told again
for the same window replaces what it said before, for as long as `rollup` may tell it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.identity import name_words
from trunkline.network.formula import Form, FormulaError, Formulas
from trunkline.network.kpi import slice_names
from trunkline.network.rollup import KEPT_US
from trunkline.network.sheets import by_bucket
from trunkline.records.network import ANOMALIES, BUCKET_SHIFT, Severity
from trunkline.records.network_sums import BUDGETS

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
FINE_US, FINE_KEPT_US = 5 * MINUTE_US, 6 * 60 * MINUTE_US + 5 * MINUTE_US
FAST, SLOW = (14_400, 60 * MINUTE_US, 5 * MINUTE_US), (6_000, 360 * MINUTE_US, 30 * MINUTE_US)
WHOLE = 1_000_000  # shares are millionths
BURNING = 2  # in `folded`
RATE_MOST = 1_000_000_000

SPENT = State(
    "network.spent",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),  # the agreement
            ("on", "u8"),  # what it speaks of
            ("begin_us", "i8"),
            ("length_us", "i8"),
            ("folded", "u1"),  # 0 for a window as it was told, 1 for a sum of them,
            ("good", "i8"),  # 2 for a budget that burns since `begin_us` with the severity in `good`
            ("bad", "i8"),
        ]
    ),
    "What each agreement gained and lost: by window for a quarter of an hour, then by five minutes, then by day.",
)


@dataclass(frozen=True)
class Agreement:
    """One promise. `mark_milli` is None when attempts are counted, else a KPI's mark that is kept by the window."""

    name: str
    enterprise: str
    on: str  # name of an area or the network; empty when the slice says it
    slice: int
    kpi: str
    mark_milli: int | None
    share: int  # millionths that must be good
    period_days: int


@dataclass(frozen=True)
class Agreements:
    """All promises."""

    all: tuple[Agreement, ...] = ()

    @cached_property
    def frame(self) -> pl.DataFrame:
        """`agreement` (its place), `of` (its object), `object`, `slice`, `kpi`: what each speaks of."""
        slices = slice_names(np.array([each.slice for each in self.all], np.uint32)).to_list()
        on = [each.on or name for each, name in zip(self.all, slices, strict=True)]
        names = pl.Series([each.name for each in self.all], dtype=pl.String)
        return pl.DataFrame(
            {
                "agreement": np.arange(len(self.all)),
                "of": name_words(names),
                "object": name_words(pl.Series(on, dtype=pl.String)),
                "slice": np.array([each.slice for each in self.all], np.uint32),
                "kpi": pl.Series([each.kpi for each in self.all], dtype=pl.String),
            }
        )


def keep(kpis: pl.DataFrame, state: Grouped, agreements: Agreements, formulas: Formulas) -> Outcome:
    """`KPIS` into the `BUDGETS` of the agreements that speak of them, and `ANOMALIES` of those that burn."""
    wanted = agreements.frame
    mine = kpis.filter(
        pl.col("object").is_in(wanted["object"].implode()), pl.col("value_milli").is_not_null()
    )
    mine = mine.join(wanted, on=["object", "slice", "kpi"], how="inner", maintain_order="left_right")
    # The same window told twice in a batch: the later row counts.
    mine = mine.unique(["agreement", "begin_us", "end_us"], keep="last", maintain_order=True)
    rows = state.rows
    told, found, kept = [], [], [rows[~np.isin(rows["object"], mine["of"].to_numpy())]]
    for number in sorted(set(mine["agreement"].to_list())):
        agreement, part = agreements.all[number], mine.filter(pl.col("agreement") == number)
        before = rows[rows["object"] == part["of"][0]]
        burning = before[before["folded"] == BURNING]
        spent = _added(before[before["folded"] != BURNING], part, agreement, formulas)
        windows = spent[spent["folded"] == 0]
        now_us = int((windows["begin_us"] + windows["length_us"]).max())
        spent = _folded(spent, now_us, agreement.period_days * DAY_US)
        budget = _budget(agreement, int(part["of"][0]), spent, now_us)
        findings, burning = _burnt(budget, burning, int(part["object"][0]))
        kept += [spent, burning]
        told.append(budget)
        found += findings
    all_rows = np.concatenate(kept)
    on = np.ascontiguousarray(all_rows["on"])
    buckets = np.unique(np.concatenate([state.keys, on >> np.uint64(BUCKET_SHIFT)]))
    budgets = (
        pl.DataFrame(told, schema=BUDGETS.record.schema, orient="row") if told else BUDGETS.record.empty()
    )
    anomalies = pl.DataFrame(found, schema=_FOUND, orient="row")
    anomalies = anomalies.with_columns(kind=pl.lit("burn"), score_milli=pl.lit(1000))
    return Outcome((budgets, ANOMALIES.record.conform(anomalies)), by_bucket(buckets, on, all_rows))


def _added(
    before: npt.NDArray[Any], part: pl.DataFrame, agreement: Agreement, formulas: Formulas
) -> npt.NDArray[Any]:
    """What was kept, with the new windows; a window that was told before is replaced while it is kept as a window."""
    fresh = np.zeros(len(part), SPENT.dtype)
    fresh["object"], fresh["on"] = part["of"].to_numpy(), part["object"].to_numpy()
    fresh["begin_us"] = part["begin_us"].to_numpy()
    fresh["length_us"] = (part["end_us"] - part["begin_us"]).to_numpy()
    kpi = formulas.kpi(agreement.kpi)
    if agreement.mark_milli is None:
        fresh["good"] = part["numerator_milli"].to_numpy()
        fresh["bad"] = (part["denominator_milli"] - part["numerator_milli"]).clip(0).to_numpy()
    else:
        value, milli = part["value_milli"].to_numpy(), fresh["length_us"] // 1_000
        good = value >= agreement.mark_milli if kpi.good == "high" else value <= agreement.mark_milli
        fresh["good"], fresh["bad"] = np.where(good, milli, 0), np.where(good, 0, milli)
    windows = before[before["folded"] == 0]
    newest_us = int((windows["begin_us"] + windows["length_us"]).max(initial=0))
    fresh = fresh[fresh["begin_us"] + fresh["length_us"] > newest_us - KEPT_US]
    again = (
        (before["folded"] == 0)
        & np.isin(before["begin_us"], fresh["begin_us"])
        & np.isin(before["length_us"], fresh["length_us"])
    )
    return np.concatenate([before[~again], fresh])


def _folded(spent: npt.NDArray[Any], now_us: int, period_us: int) -> npt.NDArray[Any]:
    """Windows that nobody tells again become five minutes, old five minutes days, and what left the period is gone."""
    ends = spent["begin_us"] + spent["length_us"]
    fine = (ends <= now_us - KEPT_US) & (spent["length_us"] < FINE_US)
    coarse = (ends <= now_us - FINE_KEPT_US) & (spent["length_us"] < DAY_US)
    length = np.where(coarse, DAY_US, np.where(fine, FINE_US, spent["length_us"]))
    begin = np.where(coarse | fine, (ends - 1) // length * length, spent["begin_us"])
    frame = pl.DataFrame(
        {
            "object": spent["object"], "on": spent["on"], "begin_us": begin, "length_us": length,
            "folded": spent["folded"] | (fine | coarse),
            "good": spent["good"], "bad": spent["bad"],
        }
    )  # fmt: skip
    sums = (
        frame.filter(pl.col("begin_us") + pl.col("length_us") > now_us - period_us)
        .group_by("object", "on", "begin_us", "length_us", "folded", maintain_order=True)
        .agg(pl.col("good", "bad").sum())
    )
    rows: npt.NDArray[Any] = np.zeros(len(sums), SPENT.dtype)
    for name in SPENT.dtype.names or ():
        rows[name] = sums[name].to_numpy()
    return rows


def _budget(agreement: Agreement, object_: int, spent: npt.NDArray[Any], now_us: int) -> tuple[Any, ...]:
    """One row of `BUDGETS`."""
    good, bad = int(spent["good"].sum()), int(spent["bad"].sum())
    period_us = agreement.period_days * DAY_US
    whole = period_us // 1_000
    if agreement.mark_milli is None:  # attempts are counted: as many more are expected as the period has left
        elapsed_us = min(now_us - int(spent["begin_us"].min()), period_us)
        whole = (good + bad) * period_us // elapsed_us
    allowed = whole * (WHOLE - agreement.share) // WHOLE
    left = 1_000 - (bad * 1_000 // allowed if allowed else (1_000 if bad else 0))
    rates = {span: _rate(spent, now_us - span, agreement) for _, *spans in (FAST, SLOW) for span in spans}
    severity = Severity.CLEARED
    if left < 0 or min(rates[span] for span in SLOW[1:]) >= SLOW[0]:
        severity = Severity.MAJOR
    if min(rates[span] for span in FAST[1:]) >= FAST[0]:
        severity = Severity.CRITICAL
    fast, slow = rates[FAST[1]], rates[SLOW[1]]
    text = (
        f"{agreement.enterprise}: {agreement.kpi} of {agreement.name} has {left / 10:.1f} % of its budget left; "
        f"it burns at {fast / 1_000:.1f} in the last hour and {slow / 1_000:.1f} in the last six."
    )
    return (
        object_, agreement.name, agreement.enterprise, agreement.slice, agreement.kpi, now_us, good, bad, left,
        fast, slow, int(severity), text, object_ >> BUCKET_SHIFT,
    )  # fmt: skip


_FOUND = {
    name: ANOMALIES.record.schema[name]
    for name in ("object", "name", "kpi", "since_us", "time_us", "ended", "text", "bucket")
}


def _burnt(
    budget: tuple[Any, ...], burning: npt.NDArray[Any], on: int
) -> tuple[list[tuple[Any, ...]], npt.NDArray[Any]]:
    """What a row of `BUDGETS` has to say that was not said, and what is to be remembered of it."""
    row = dict(zip(BUDGETS.record.schema, budget, strict=True))
    severity, now_us = int(row["severity"]), int(row["time_us"])
    said = int(burning["good"][0]) if len(burning) else int(Severity.CLEARED)
    since_us = int(burning["begin_us"][0]) if len(burning) else now_us
    over = severity == Severity.CLEARED
    found = []
    if severity < said or (over and said < Severity.CLEARED):
        verdict = "no longer burns too fast" if over else "burns too fast or is spent"
        text = f"The error budget of {row['name']} {verdict}. {row['text']}"
        key = row["object"], row["name"], row["kpi"]
        found = [(*key, since_us, now_us, int(over), text, row["bucket"])]
    if over:
        return found, burning[:0]
    kept = np.zeros(1, SPENT.dtype)
    kept["object"], kept["on"], kept["begin_us"], kept["folded"] = row["object"], on, since_us, BURNING
    kept["good"] = min(severity, said)
    return found, kept


def _rate(spent: npt.NDArray[Any], since_us: int, agreement: Agreement) -> int:
    """Thousandths: the bad share of what ended after a moment, over the share that may be bad; rounded down."""
    recent = spent[(spent["begin_us"] >= since_us) & (spent["length_us"] < DAY_US)]
    good, bad = int(recent["good"].sum()), int(recent["bad"].sum())
    if bad == 0:
        return 0
    return min(RATE_MOST, bad * 1_000 * WHOLE // ((good + bad) * (WHOLE - agreement.share)))


# -- reading -------------------------------------------------------------------------------------------------

_FIELDS = ("enterprise", "slice", "area", "kpi", "mark", "share", "period_days")


def parse_agreements(text: str, formulas: Formulas, name: str = "agreements") -> Agreements:
    """Agreements written in YAML, a mapping by name; raises `FormulaError` with every mistake."""
    try:
        tree: Any = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise FormulaError(name, [(mark.line + 1 if mark else 1, str(error.problem))]) from error
    mistakes: list[tuple[int, str]] = []
    found: list[Agreement] = []
    if tree is None:
        return Agreements()
    if not isinstance(tree, dict):
        raise FormulaError(name, [(1, "a mapping of agreements by name is expected")])
    lines: Any = getattr(tree, "lc")  # noqa: B009 -- a mapping of ruamel's has lines, a dict to a checker has not
    for key, each in tree.items():
        line = int(lines.key(key)[0]) + 1
        if not isinstance(each, dict):
            mistakes.append((line, f"{key} has no fields"))
            continue
        wrong = list(_wrong(each, formulas))
        mistakes += [(line, f"{key}: {text}") for text in wrong]
        if not wrong:
            found.append(_agreement(str(key), each))
    if mistakes:
        raise FormulaError(name, mistakes)
    return Agreements(tuple(found))


def _wrong(tree: dict[str, Any], formulas: Formulas) -> Iterable[str]:
    """What is wrong with one agreement."""
    unknown = [key for key in tree if key not in _FIELDS]
    if unknown:
        yield f"{unknown[0]!r} is unknown; known are {', '.join(_FIELDS)}"
    if not isinstance(tree.get("enterprise"), str):
        yield "enterprise is missing"
    if ("slice" in tree) == ("area" in tree):
        yield "either slice or area must be told"
    if "slice" in tree and _slice(str(tree["slice"])) is None:
        yield "slice must be written like 2-000010"
    kpis = {kpi.name: kpi for kpi in formulas.kpis}
    kpi = kpis.get(str(tree.get("kpi")))
    if kpi is None:
        yield f"kpi must be one of {', '.join(kpis)}"
    elif "mark" not in tree and (kpi.form is not Form.RATIO or kpi.times != 100 or kpi.good != "high"):
        yield f"{kpi.name} counts no successes among attempts; a mark must be told"
    elif "mark" in tree and not kpi.good:
        yield f"{kpi.name} is neither good nor bad when it is high"
    if "mark" in tree and _scaled(tree["mark"], 1_000) is None:
        yield "mark must be a number with at most three decimals"
    share = _scaled(tree.get("share"), WHOLE // 100)
    if share is None or not 0 < share < WHOLE:
        yield "share must be a number of percent between 0 and 100, with at most four decimals"
    days = tree.get("period_days", 30)
    if not isinstance(days, int) or not 1 <= days <= 400:
        yield "period_days must be a whole number from 1 to 400"


def _agreement(name: str, tree: dict[str, Any]) -> Agreement:
    share = _scaled(tree["share"], WHOLE // 100)
    assert share is not None, "it was judged"
    return Agreement(
        name=name,
        enterprise=str(tree["enterprise"]),
        on=str(tree.get("area", "")),
        slice=_slice(str(tree["slice"])) or 0 if "slice" in tree else 0,
        kpi=str(tree["kpi"]),
        mark_milli=_scaled(tree["mark"], 1_000) if "mark" in tree else None,
        share=share,
        period_days=int(tree.get("period_days", 30)),
    )


def _slice(text: str) -> int | None:
    """`2-000010` as in usage: the service type in the highest eight bits, the differentiator in the others."""
    kind, _, rest = text.partition("-")
    try:
        number = (int(kind) << 24) | int(rest, 16)
    except ValueError:
        return None
    return number if 0 < int(kind) < 256 and len(rest) == 6 else None


def _scaled(value: Any, by: int) -> int | None:  # noqa: ANN401 -- it is what YAML gives
    try:
        scaled = Decimal(str(value)) * by
    except InvalidOperation:
        return None
    return (
        int(scaled) if scaled.is_finite() and scaled == int(scaled) and not isinstance(value, bool) else None
    )
