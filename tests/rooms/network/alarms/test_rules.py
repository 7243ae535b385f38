"""Rules are read whole or not at all, windows are previewed, and findings become signals of one form."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tests.rooms.network.alarms.network_of_sites import S, network, signals, window
from trunkline.network.alarms.maintenance import preview
from trunkline.network.alarms.rules import AlarmRules, RulesError, read_rules
from trunkline.network.alarms.signals import foresee, report, suspect
from trunkline.records.network import ANOMALIES, HEARD, RISKS, SIGNALS

WINDOW = {
    "name": "upgrade",
    "objects": ["AGG"],
    "begin": "2026-03-01T22:00:00+01:00",
    "end": "2026-03-02T04:00:00.5+01:00",
}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"dampening": {}}, "unknown part 'dampening'"),
    ({"damping": []}, "damping: is no set of fields"),
    ({"damping": {"half_life_s": 0}}, "half_life_s: must be at least 1"),
    ({"damping": {"penalty": 1.5}}, "damping.penalty: must be a whole number"),
    ({"damping": {"penalty": True}}, "damping.penalty: must be a whole number"),
    ({"damping": {"release_at": 4000}}, "release_at < hold_from"),
    ({"hold_back": {"grace": 1}}, "unknown field 'grace'"),
    ({"lapse": {"slight_s": 120}}, "lapse.slight_s: must be more than hold_back.before_s"),
    ({"findings": {"dip": 6}}, "findings.dip: must be a severity"),
    ({"findings": {"risk_clear_milli": 900}}, "must not be above"),
    ({"windows": ["upgrade"]}, "windows[0]: is no set of fields"),
    ({"windows": [{**WINDOW, "objects": []}]}, "objects must be a list of at least one name"),
    ({"windows": [{**WINDOW, "objects": "AGG"}]}, "objects must be a list"),
    ({"windows": [{**WINDOW, "name": " "}]}, "name must be a text"),
    ({"windows": [{**WINDOW, "begin": "2026-03-01T22:00:00"}]}, "must be a moment with an offset"),
    ({"windows": [{**WINDOW, "begin": 7}]}, "must be a moment with an offset"),
    ({"windows": [{**WINDOW, "end": WINDOW["begin"]}]}, "end must be after begin"),
    ({"windows": [{**WINDOW, "until": 1}]}, "unknown field 'until'"),
    ({"windows": [{**WINDOW, "reason": 1}]}, "reason must be a text"),
    ({"windows": [WINDOW, WINDOW]}, "two windows are called 'upgrade'"),
]


@pytest.mark.parametrize(("document", "said"), MISTAKES)
def test_mistakes_are_named(document: dict[str, Any], said: str) -> None:
    """What is wrong is said with its place, and nothing of the document is used."""
    with pytest.raises(RulesError) as caught:
        read_rules(document)
    assert any(said in mistake for mistake in caught.value.mistakes), caught.value.mistakes


def test_all_mistakes_are_told_at_once() -> None:
    """Three mistakes are three sentences."""
    with pytest.raises(RulesError) as caught:
        read_rules({"x": 1, "damping": {"y": 1}, "windows": [{}]})
    assert len(caught.value.mistakes) >= 3


def test_rules_are_read() -> None:
    """Figures and windows come out as they went in, moments to the microsecond."""
    rules = read_rules({"hold_back": {"grace_s": 5}, "windows": [{**WINDOW, "reason": "new software"}]})
    assert rules.hold_back.grace_s == 5
    assert rules.damping == AlarmRules().damping
    (read,) = rules.windows
    assert (read.begin_us, read.end_us) == (1_772_398_800 * S, 1_772_420_400 * S + 500_000)
    assert (read.objects, read.reason) == (("AGG",), "new software")


def test_a_window_replaces_one_of_its_name() -> None:
    """Saving a window again changes it; taking away what is not there is said."""
    rules = AlarmRules().with_window(window("a", ["S0"], 0, 10)).with_window(window("a", ["S1"], 0, 20))
    assert [each.objects for each in rules.windows] == [("S1",)]
    assert rules.without_window("a").windows == ()
    with pytest.raises(KeyError):
        rules.without_window("b")


def test_a_preview_shows_everything_that_would_be_covered() -> None:
    """All that can only be reached through the named object, and why; what has another way up is not in it."""
    inventory = network()
    shown = preview(window("upgrade", ["AGG", "S2/C1", "AG"], 0, 100), inventory, AlarmRules(), signals([]))
    covered = dict(shown.covered.select("name", "because").iter_rows())
    assert covered["S0/C1"] == "AGG"
    assert covered["S2/C1"] == "S2/C1"
    assert "S2/C0" not in covered
    assert "LC" not in covered
    assert shown.cells == 10
    assert shown.unknown == ["AG"]


def test_a_preview_shows_what_would_have_been_held_back() -> None:
    """Of the alarms one gives it, those on covered objects; and windows that cover the same at the same time."""
    rules = AlarmRules(
        windows=(
            window("early", ["S0"], 0, 50),
            window("late", ["S0"], 200, 300),
            window("far", ["S2"], 0, 500),
        )
    )
    alarms = signals([(10, "S0/C0"), (20, "S2/C0"), (30, "meter-7")])
    shown = preview(window("upgrade", ["L0", "meter-7"], 40, 100), network(), rules, alarms)
    assert shown.alarms["name"].to_list() == ["S0/C0", "meter-7"]
    assert shown.overlapping == ["early"]


def anomaly(**values: Any) -> pl.DataFrame:
    """One finding."""
    base = {
        "object": 7, "name": "S0/C0", "kpi": "RRC", "kind": "collapse", "since_us": 5 * S, "time_us": 9 * S,
        "score_milli": 900, "ended": 0, "text": "It fell.",
    }  # fmt: skip
    return ANOMALIES.record.conform(pl.DataFrame([{**base, **values}]))


def test_findings_become_signals() -> None:
    """A finding raises with the severity of its kind and says since when; its end clears the same key."""
    (raised,) = suspect(anomaly(), AlarmRules()).rows
    (cleared,) = suspect(anomaly(ended=1, score_milli=0), AlarmRules()).rows
    assert raised.select("action", "severity", "since_us", "event_type", "origin").row(0) == (
        "raise", 2, 5 * S, "qualityOfServiceAlarm", "anomaly",
    )  # fmt: skip
    assert cleared["action"][0] == "clear"
    assert raised["alarm_key"][0] == cleared["alarm_key"][0]


def test_silence_is_one_alarm_for_all_kpis() -> None:
    """A cell that no longer tells anything is silent once, and critically."""
    rows = pl.concat([anomaly(kind="silence", kpi=kpi) for kpi in ("RRC", "PRB")])
    (raised,) = suspect(rows, AlarmRules()).rows
    assert raised["alarm_key"].n_unique() == 1
    assert raised["severity"].to_list() == [1, 1]
    assert (
        suspect(pl.concat([anomaly(kpi="RRC"), anomaly(kpi="PRB")]), AlarmRules())
        .rows[0]["alarm_key"]
        .n_unique()
        == 2
    )


def test_weak_findings_raise_nothing_but_their_end_still_clears() -> None:
    """The rules' least score keeps findings from being alarms; it keeps no alarm from ending."""
    rules = read_rules({"findings": {"score_milli": 950}})
    assert suspect(anomaly(), rules).rows[0].is_empty()
    assert len(suspect(anomaly(ended=1), rules).rows[0]) == 1


@pytest.mark.parametrize(
    ("probability", "actions"), [(600, ["raise"]), (599, []), (500, []), (499, ["clear"])]
)
def test_forecasts_are_raised_and_cleared_with_room_between(probability: int, actions: list[str]) -> None:
    """Between the two probabilities nothing changes, so that a trembling forecast does not call every minute."""
    risk = pl.DataFrame(
        {
            "object": [7],
            "name": ["S0/C0"],
            "kpi": ["PRB"],
            "time_us": [S],
            "horizon_s": [900],
            "probability_milli": [probability],
        }
    )
    (rows,) = foresee(RISKS.record.conform(risk), AlarmRules()).rows
    assert rows["action"].to_list() == actions
    assert SIGNALS.record.conform(rows).equals(rows)


def test_events_become_signals() -> None:
    """An event of severity cleared clears; a key that the mapping made is kept, a missing one is made."""
    events = pl.DataFrame(
        {
            "object": [7, 7, 7], "name": ["S0"] * 3, "time_us": [S] * 3, "severity": [2, 6, 3],
            "event_type": ["equipmentAlarm"] * 3, "alarm_key": [None, None, 99],
        }
    )  # fmt: skip
    (rows,) = report(HEARD.record.conform(events)).rows
    kept, made = rows.filter(pl.col("alarm_key") == 99), rows.filter(pl.col("alarm_key") != 99)
    assert kept["action"].to_list() == ["raise"]
    assert made["action"].to_list() == ["raise", "clear"]
    assert made["alarm_key"].n_unique() == 1
    assert made["alarm_key"][0] != 0


def test_signals_of_a_batch_are_told_in_the_order_of_their_times() -> None:
    """By time, then by key, and what one key says at one moment stays as it came: places may share the work."""
    events = pl.DataFrame(
        {
            "object": [9, 7, 7, 7, 8], "name": ["S"] * 5, "time_us": [3 * S, 2 * S, S, S, S],
            "severity": [2, 2, 2, 6, 2], "event_type": ["equipmentAlarm"] * 5, "alarm_key": [5, 4, 3, 3, 1],
        }
    )  # fmt: skip
    (rows,) = report(HEARD.record.conform(events)).rows
    assert rows["alarm_key"].to_list() == [1, 3, 3, 4, 5]
    assert rows["action"].to_list() == ["raise", "raise", "clear", "raise", "raise"]
