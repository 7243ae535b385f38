"""People behave like people: the shape of the day and the week, lengths, volumes, friends, the way to work."""

from __future__ import annotations

import numpy as np
import polars as pl

from tests.simulator.week import Simulated, mean

WORKDAYS = pl.col("local").dt.weekday() <= 5
VOICE = pl.col("type") == "voice"
MADE = VOICE & (pl.col("direction") == "originating")


def per_hour(frame: pl.DataFrame) -> list[int]:
    """How many rows begin in each hour of the day."""
    counts = dict(frame.group_by(pl.col("local").dt.hour()).len().iter_rows())
    return [counts.get(hour, 0) for hour in range(24)]


def test_nights_are_quiet_and_afternoons_are_busy(usage: pl.DataFrame) -> None:
    """Calls at three in the morning are a fiftieth of those in the busy hour, which lies in the afternoon."""
    calls = per_hour(usage.filter(VOICE & WORKDAYS))
    busiest = calls.index(max(calls))
    assert 14 <= busiest <= 19
    assert calls[3] < max(calls) / 50
    assert calls[9] > 3 * calls[6]


def test_data_is_busiest_in_the_evening_and_never_stops(usage: pl.DataFrame) -> None:
    """Phones are looked at until late, and some at every hour."""
    sessions = per_hour(usage.filter((pl.col("report") == "start") & WORKDAYS))
    assert 18 <= sessions.index(max(sessions)) <= 22
    assert min(sessions) > 0
    assert sessions[21] > sessions[9]


def test_weekends_have_fewer_calls_and_later_mornings(usage: pl.DataFrame) -> None:
    """Saturday and Sunday bring clearly fewer calls a day, and they begin later."""
    weekday = np.array(per_hour(usage.filter(VOICE & WORKDAYS))) / 5
    weekend = np.array(per_hour(usage.filter(VOICE & ~WORKDAYS))) / 2
    assert 0.4 < weekend.sum() / weekday.sum() < 0.85
    early = [day[5:9].sum() / day.sum() for day in (weekday, weekend)]
    assert early[1] < 0.7 * early[0]


def test_call_lengths_are_log_normal(usage: pl.DataFrame) -> None:
    """Half are under a minute or so, the mean is twice that; one of seven or so is not answered."""
    made = usage.filter(MADE)
    lengths = made.filter(pl.col("duration_ms") > 0)["duration_ms"].to_numpy()
    assert 35_000 < np.median(lengths) < 75_000
    assert 1.6 < lengths.mean() / np.median(lengths) < 3.2
    logs = np.log(lengths[(lengths > 1_000)])
    skew = float((((logs - logs.mean()) / logs.std()) ** 3).mean())
    assert 1.0 < logs.std() < 1.4
    assert abs(skew) < 0.35
    assert 0.1 < mean(made["duration_ms"] == 0) < 0.25


def test_data_volumes_have_a_heavy_tail(usage: pl.DataFrame) -> None:
    """A hundredth of the sessions carries a fifth to two thirds of the volume."""
    volumes = np.sort(usage.filter(pl.col("report") == "stop")["octets_down"].to_numpy())
    share = volumes[-len(volumes) // 100 :].sum() / volumes.sum()
    assert 0.2 < share < 0.65


def test_people_differ(usage: pl.DataFrame) -> None:
    """The tenth who call most make several times the calls of the median person."""
    calls = np.sort(usage.filter(MADE).group_by("subscriber").len()["len"].to_numpy())
    assert calls[-len(calls) // 10] > 2.5 * calls[len(calls) // 2]


def test_people_call_the_same_few_friends(usage: pl.DataFrame) -> None:
    """Three partners take half or more of a person's calls, out of several; strangers would take a tenth."""
    pairs = usage.filter(MADE & (pl.col("called").str.len_chars() > 6)).group_by("subscriber", "called").len()
    people = (
        pairs.sort("len", descending=True)
        .group_by("subscriber", maintain_order=True)
        .agg(top=pl.col("len").head(3).sum(), calls=pl.col("len").sum(), friends=pl.len())
        .filter(pl.col("calls") >= 15)
    )
    assert 0.4 < mean(people["top"] / people["calls"]) < 0.85
    assert mean(people["friends"]) > 5


def test_friends_call_back(usage: pl.DataFrame) -> None:
    """Most pairs with many calls have calls both ways."""
    inside = usage.filter(MADE & pl.col("called").str.starts_with("99917"))
    pairs = inside.group_by("calling", "called").len().filter(pl.col("len") >= 4)
    known = set(inside.select("calling", "called").iter_rows())
    both = [(called, calling) in known for calling, called, _ in pairs.iter_rows()]
    assert len(both) > 50
    assert sum(both) / len(both) > 0.7


def test_both_ends_of_a_call_are_recorded(usage: pl.DataFrame) -> None:
    """An answered call within the network has a record for each end, with the same length."""
    keys = ["calling", "called", "start", "duration_ms"]
    inside = usage.filter(VOICE & pl.col("called").str.starts_with("99917") & (pl.col("duration_ms") > 0))
    from_us = inside.filter(pl.col("direction") == "originating")
    to_us = inside.filter(pl.col("direction") == "terminating")
    assert len(from_us.join(to_us, on=keys, how="anti")) == 0
    assert (from_us["subscriber"] == from_us["calling"]).all()
    assert (to_us["subscriber"] == to_us["called"]).all()
    assert len(to_us) > len(from_us)  # others call us, too


def test_a_part_of_the_calls_leaves_the_network(usage: pl.DataFrame) -> None:
    """On-net, off-net and abroad all occur in believable shares."""
    called = usage.filter(MADE)["called"]
    assert 0.35 < mean(called.str.starts_with("99917")) < 0.75
    assert 0.01 < mean(~called.str.starts_with("999") & (called.str.len_chars() > 6)) < 0.1


def test_people_sleep_at_home_and_work_at_work(week: Simulated, usage: pl.DataFrame) -> None:
    """At night workers use their home cell, on weekday mornings their work cell."""
    people = pl.read_csv(week.folder / "truth" / "people.csv", schema_overrides={"subscriber": pl.String})
    commuters = people.filter((pl.col("role") == "worker") & (pl.col("home") != pl.col("work")))
    placed = usage.filter(pl.col("cell").is_not_null()).join(commuters, on="subscriber")
    hour = pl.col("local").dt.hour()
    at_night = placed.filter((hour < 5) & WORKDAYS)
    in_the_morning = placed.filter(hour.is_between(10, 14) & WORKDAYS)
    on_sunday = placed.filter((pl.col("local").dt.weekday() == 7) & hour.is_between(10, 14))
    assert mean(at_night["cell"] == at_night["home"]) > 0.95
    assert mean(in_the_morning["cell"] == in_the_morning["work"]) > 0.85
    assert mean(on_sunday["cell"] == on_sunday["work"]) < 0.25


def test_populous_cities_carry_more(week: Simulated, usage: pl.DataFrame) -> None:
    """Usage follows people: the largest city leads, and the first three carry more than the last ten."""
    cells = pl.read_csv(week.folder / "truth" / "cells.csv")
    cities = cells["city"].unique(maintain_order=True).to_list()
    load = dict(usage.join(cells, on="cell").group_by("city").len().iter_rows())
    assert max(load, key=lambda city: load[city]) == cities[0]
    assert sum(load[city] for city in cities[:3]) > 1.2 * sum(load.get(city, 0) for city in cities[-10:])


def test_some_are_abroad_and_some_are_machines(usage: pl.DataFrame) -> None:
    """Journeys lead to several networks; meters report every hour, day and night; slices carry their 5QI."""
    assert usage["visited_plmn"].drop_nulls().n_unique() >= 5
    assert 0.001 < mean(usage["visited_plmn"].is_not_null()) < 0.06
    readings = per_hour(usage.filter(pl.col("service").is_in(["meter.read", "meter.alarm"])))
    assert min(readings) > 0
    assert max(readings) < 1.1 * min(readings)
    sliced = usage.filter(pl.col("snssai").is_not_null())
    assert sliced["snssai"].n_unique() == 3
    assert sliced["five_qi"].null_count() == 0


def test_messages_are_answered(usage: pl.DataFrame) -> None:
    """Between two people, a message the other way often follows within ten minutes."""
    sent = usage.filter((pl.col("type") == "sms") & (pl.col("direction") == "originating"))
    pair = pl.concat_str(
        pl.min_horizontal("calling", "called"), pl.max_horizontal("calling", "called"), separator=" "
    )
    talk = sent.with_columns(pair=pair).sort("pair", "local")
    answered = talk.select(
        (pl.col("calling") != pl.col("calling").shift(-1))
        & ((pl.col("local").shift(-1) - pl.col("local")) < pl.duration(minutes=10))
    ).to_series()
    inside = sent["called"].str.starts_with("99917")
    assert mean(answered) > 0.25 * mean(inside)
