"""Signals: whatever may raise or clear an alarm, brought into one form, whoever noticed it.

An element's own event, a finding of the detector and a forecast differ in how they are noticed; what follows is the
same life. A finding's alarm has the object, the kind of finding and the KPI for its key, so that it is raised once
however long it lasts; what speaks of no KPI (silence, a wrong clock) is one alarm of its object.

Signals of one batch are told in the order of their times, those of one moment by their keys and then as they came: the
order in which a batch's rows were worked out says nothing, and differs where places share the work.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.identity import name_words
from trunkline.network.alarms.rules import KINDS, AlarmRules
from trunkline.records.network import SIGNALS, Severity

# What a finding is in the words of X.733: event type, probable cause.
_FINDINGS = pl.DataFrame(
    [
        ("silence", "communicationsAlarm", "lossOfSignal"),
        ("collapse", "qualityOfServiceAlarm", "performanceDegraded"),
        ("level_shift", "qualityOfServiceAlarm", "performanceDegraded"),
        ("dip", "qualityOfServiceAlarm", "performanceDegraded"),
        ("spike", "qualityOfServiceAlarm", "thresholdCrossed"),
        ("drift", "qualityOfServiceAlarm", "thresholdCrossed"),
        ("clock", "equipmentAlarm", "timingProblem"),
        ("burn", "qualityOfServiceAlarm", "thresholdCrossed"),
    ],
    schema=["kind", "event_type", "probable_cause"],
    orient="row",
)
_OF_OBJECTS = ("silence", "clock")  # findings that speak of no KPI
WHOLE_NETWORK = 0  # the network is correlated as one part


def report(events: pl.DataFrame) -> Outcome:
    """Signals (`SIGNALS`) of events that were heard (`HEARD`): one of severity `cleared` clears, any other raises.

    An event whose key is 0 is a notice (a line of a log that no rule names) and neither raises nor clears.
    """
    events = events.filter(pl.col("alarm_key").is_null() | (pl.col("alarm_key") != 0))
    cleared = pl.col("severity") == int(Severity.CLEARED)
    rows = events.with_columns(
        _key_or_made(events),
        action=pl.when(cleared).then(pl.lit("clear")).otherwise(pl.lit("raise")),
        origin=pl.lit("event"),
        actor=pl.lit(""),
        since_us=pl.col("time_us"),
        component=pl.lit(WHOLE_NETWORK, dtype=pl.UInt64),
    )
    return Outcome((_in_order(rows),))


def suspect(anomalies: pl.DataFrame, rules: AlarmRules) -> Outcome:
    """Signals of what the detector found (`ANOMALIES`); a finding weaker than the rules' least score raises nothing."""
    severities = {kind: getattr(rules.findings, kind) for kind in KINDS}
    over = pl.col("ended") == 1
    rows = (
        anomalies.filter(over | (pl.col("score_milli") >= rules.findings.score_milli))
        .rechunk()  # Polars breaks over a format of pieces of which one is empty
        .join(_FINDINGS, on="kind", how="left", maintain_order="left")
        .with_columns(
            severity=pl.col("kind")
            .replace_strict(severities, default=int(Severity.INDETERMINATE))
            .cast(pl.UInt8),
            specific_problem=pl.when(pl.col("kind").is_in(_OF_OBJECTS))
            .then(pl.col("kind"))
            .otherwise(pl.format("{} of {}", "kind", "kpi")),
            event_type=pl.col("event_type").fill_null("qualityOfServiceAlarm"),
            probable_cause=pl.col("probable_cause").fill_null("thresholdCrossed"),
            action=pl.when(over).then(pl.lit("clear")).otherwise(pl.lit("raise")),
        )
    )
    return Outcome((_found(rows, "anomaly"),))


def foresee(risks: pl.DataFrame, rules: AlarmRules) -> Outcome:
    """Signals of forecasts (`RISKS`): raised from one probability on, cleared below another, nothing between them."""
    likely = pl.col("probability_milli") >= rules.findings.risk_raise_milli
    unlikely = pl.col("probability_milli") < rules.findings.risk_clear_milli
    rows = (
        risks.filter(likely | unlikely)
        .rechunk()
        .with_columns(
            severity=pl.lit(int(Severity.WARNING), dtype=pl.UInt8),
            event_type=pl.lit("qualityOfServiceAlarm"),
            probable_cause=pl.lit("thresholdCrossed"),
            specific_problem=pl.format("interruption foreseen by {} within {} s", "kpi", "horizon_s"),
            action=pl.when(likely).then(pl.lit("raise")).otherwise(pl.lit("clear")),
            since_us=pl.col("time_us"),
        )
    )
    return Outcome((_found(rows, "risk"),))


def _found(rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Our own findings as signals."""
    rows = rows.with_columns(
        origin=pl.lit(origin),
        actor=pl.lit(""),
        security=pl.lit(0, dtype=pl.UInt8),
        subscriber=pl.lit(0, dtype=pl.UInt64),
        component=pl.lit(WHOLE_NETWORK, dtype=pl.UInt64),
    )
    return _in_order(rows.with_columns(alarm_key=alarm_keys(rows)))


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Signals in the order of their times, of one moment by key; stable, so that one alarm's are as they came."""
    return SIGNALS.record.conform(rows.sort("time_us", "alarm_key", maintain_order=True))


def alarm_keys(rows: pl.DataFrame) -> pl.Series:
    """What an alarm is: its object, event type, probable cause and specific problem, as a word that is never 0."""
    parts = ("event_type", "probable_cause", "specific_problem")
    named = rows.select(
        pl.concat_str(
            [pl.col("object").cast(pl.String), *(pl.col(part).fill_null("") for part in parts)], separator="|"
        )
    ).to_series()
    return pl.Series("alarm_key", name_words(named), dtype=pl.UInt64)


def _key_or_made(events: pl.DataFrame) -> pl.Series:
    """The key the sender's mapping has made; where it made none, ours."""
    given = events["alarm_key"].fill_null(0).to_numpy()
    return pl.Series("alarm_key", np.where(given == 0, alarm_keys(events).to_numpy(), given), dtype=pl.UInt64)


__all__ = ["alarm_keys", "foresee", "report", "suspect"]
assert set(KINDS) == set(_FINDINGS["kind"].to_list()), "every finding has a severity"
