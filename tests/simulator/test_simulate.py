"""What the files hold: everything that the truth says, nothing else, and the same for everybody who asks again."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import polars as pl
import pytest

from tests.simulator.week import BAD_DAY, FIELDS, WEEK, Simulated, simulated
from trunkline.charging.tariffs.checking import check
from trunkline.simulator import Settings, simulate, stream
from trunkline.simulator.country import ABROAD
from trunkline.simulator.faults import DAMAGES


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path within it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_settings_write_the_same_bytes(bad_day: Simulated, tmp_path: Path) -> None:
    """Seed and settings decide every octet of every file."""
    again = simulated(BAD_DAY, tmp_path / "out")
    assert contents(again.folder) == contents(bad_day.folder)


def test_another_seed_writes_another_country(tmp_path: Path) -> None:
    """A seed is a different set of people."""
    small = Settings(subscribers=60, hours=3)
    one = simulated(small, tmp_path / "one")
    other = simulated(replace(small, seed=2), tmp_path / "other")
    assert one.lines() != other.lines()


def test_a_longer_simulation_begins_like_a_shorter_one(tmp_path: Path) -> None:
    """Hours do not depend on the hours after them."""
    short = simulated(Settings(subscribers=80, hours=5, roamers=0), tmp_path / "short")
    longer = simulated(Settings(subscribers=80, hours=9, roamers=0), tmp_path / "longer")
    assert [path.read_bytes() for path in short.parts[:5]] == [path.read_bytes() for path in longer.parts[:5]]


def test_every_line_is_json_with_known_fields(week: Simulated) -> None:
    """No line of a simulation without faults needs forgiveness."""
    for line in week.lines():
        assert set(json.loads(line)) <= set(FIELDS)


def test_the_files_hold_the_records_of_the_truth(week: Simulated, usage: pl.DataFrame) -> None:
    """Ids, counts and units agree between the lines, the truth and its summary."""
    truth = week.truth()
    assert truth["id"].is_unique().all()
    assert sorted(truth["id"]) == sorted(usage["id"])
    assert week.summary["expected"]["received"] == len(usage) == sum(week.summary["lines_of_part"])
    assert week.summary["records"] == dict(Counter(usage["type"]))
    assert week.summary["units"] == dict(truth.group_by("type").agg(pl.col("units").sum()).iter_rows())
    talked = usage.filter(pl.col("type") == "voice")["duration_ms"].sum()
    assert week.summary["units"]["voice"] == talked
    volume = pl.col("octets_up") + pl.col("octets_down")
    data = usage.filter(pl.col("type") == "data")
    of_sessions = (
        data.filter(pl.col("session").is_not_null()).group_by("session").agg(volume.max())["octets_up"].sum()
    )
    alone = data.filter(pl.col("session").is_null()).select(volume.sum()).item()
    assert week.summary["units"]["data"] == week.summary["delivered_units"]["data"] == of_sessions + alone


def test_the_truth_knows_the_place_of_each_record(week: Simulated) -> None:
    """Part and line of the truth lead to the record's line."""
    lines = [part.read_bytes().splitlines() for part in week.parts]
    for record in week.truth().sample(500, seed=1).iter_rows(named=True):
        assert json.loads(lines[record["part"]][record["line"] - 1])["id"] == record["id"]


def test_records_stand_in_the_file_of_the_hour_in_which_they_end(week: Simulated) -> None:
    """A switch writes a record when the usage is over; only stragglers come after the last hour."""
    truth = week.truth()
    first_us = int(truth["start_us"].to_numpy().min()) // 3_600_000_000 * 3_600_000_000
    hour = (truth["due_us"] - first_us) // 3_600_000_000
    assert (hour.clip(upper_bound=168) == truth["part"]).all()
    assert ((truth["due_us"] - truth["end_us"]) < 5_000_000).all()


def test_sessions_report_cumulative_counters(usage: pl.DataFrame) -> None:
    """Every session starts once, stops once, and its counters never fall; interims come every quarter of an hour."""
    sessions = usage.filter(pl.col("session").is_not_null()).sort("session", "duration_ms")
    kinds = sessions.group_by("session").agg(
        starts=(pl.col("report") == "start").sum(),
        stops=(pl.col("report") == "stop").sum(),
        falls=(pl.col("octets_down").diff() < 0).sum() + (pl.col("octets_up").diff() < 0).sum(),
        names=pl.col("session_start").n_unique(),
    )
    assert (kinds["starts"] == 1).all()
    assert (kinds["stops"] == 1).all()
    assert (kinds["falls"] == 0).all()
    assert (kinds["names"] == 1).all()
    interims = sessions.filter(pl.col("report") == "interim")["duration_ms"]
    assert len(interims) > 100
    assert (interims % 900_000 == 0).all()


def test_numbers_are_of_the_documented_ranges(week: Simulated, usage: pl.DataFrame) -> None:
    """No number could be anybody's: the country code does not exist, and numbers abroad are three digits short."""
    ours = r"^9991[74]\d{8}$"
    assert usage["subscriber"].str.contains(ours).all()
    home = r"^999(1[4567]\d{8}|2\d{8}|3\d{8}|800\d{6}|900\d{6})$"
    parties = pl.concat([usage["calling"], usage["called"]]).drop_nulls().unique()
    foreign = parties.filter(~parties.str.contains(home) & ~parties.is_in(["3311", "11833", "112"]))
    lengths = {str(prefix): len(str(prefix)) + digits for prefix, digits, _ in ABROAD}
    for number in foreign:
        assert any(
            number.startswith(prefix) and len(number) == length for prefix, length in lengths.items()
        ), number
    listed = pl.read_csv(week.folder / "subscribers.csv", schema_overrides={"subscriber": pl.String})[
        "subscriber"
    ]
    assert set(usage["subscriber"]) <= set(listed)
    assert listed.n_unique() == WEEK.subscribers


def test_cells_are_listed_and_lie_in_the_country(week: Simulated, usage: pl.DataFrame) -> None:
    """Usage at home names a listed cell; usage abroad names a network instead."""
    cells = pl.read_csv(week.folder / "truth" / "cells.csv")
    assert len(cells) == WEEK.cells
    assert cells["latitude"].is_between(47, 56).all()
    assert cells["longitude"].is_between(5, 16).all()
    assert set(usage["cell"].drop_nulls()) <= set(cells["cell"])
    assert (usage["cell"].is_null() == usage["visited_plmn"].is_not_null()).all()


def test_the_tariff_has_no_mistake(week: Simulated) -> None:
    """The tariff that is written passes the check that every tariff must pass."""
    files = {path.name: path.read_text() for path in (week.folder / "tariffs").iterdir()}
    assert check(files) == []
    assert len(files["international.csv"].splitlines()) > 300


def test_subscribers_have_plans_of_the_tariff(week: Simulated) -> None:
    """Every plan in the list of subscribers is a plan of the tariff, and some people change theirs."""
    with (week.folder / "subscribers.csv").open() as file:
        rows = list(csv.DictReader(file))
    texts = [path.read_text() for path in (week.folder / "tariffs").glob("plan_*.yaml")]
    known = {line.split()[1] for text in texts for line in text.splitlines() if line.startswith("plan:")}
    assert {row["plan"] for row in rows} <= known
    assert len({row["plan"] for row in rows}) >= 8
    first = [row for row in rows if not row["from"]]
    assert len(first) == WEEK.subscribers
    assert 0.005 < (len(rows) - len(first)) / len(first) < 0.06
    assert {row["payment"] for row in rows} == {"prepaid", "postpaid"}
    assert any(row["time_zone"] for row in rows)


def test_a_folder_with_a_simulation_is_refused(week: Simulated) -> None:
    """Parts of two simulations are never mixed."""
    with pytest.raises(FileExistsError, match="already holds a simulation"):
        simulate(WEEK, week.folder)


def test_mistakes_in_settings_are_told_together() -> None:
    """All that is wrong is said at once."""
    with pytest.raises(
        ValueError, match=r"cells must be at least 1; corrupt must be between 0 and 1"
    ) as told:
        Settings(seed=-1, cells=0, corrupt=2)
    assert "seed must be at least 0" in str(told.value)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(subscribers=1, cells=1, hours=1),
        Settings(subscribers=5, cells=1, hours=2, machines=1.0),
        Settings(subscribers=20, cells=2000, hours=2, machines=0.0, roamers=1.0),
        Settings(subscribers=20, cells=50, hours=30, country="MT"),
    ],
)
def test_small_and_odd_countries_work(settings: Settings, tmp_path: Path) -> None:
    """Nobody at home, only machines, more cells than people: the sums still agree."""
    odd = simulated(settings, tmp_path / "out")
    assert odd.summary["expected"]["received"] == len(odd.lines()) == len(odd.truth())


def test_the_stream_brings_the_lines_of_the_files(bad_day: Simulated) -> None:
    """Chunks come in order, at the speed asked for, and hold the same lines as the files."""
    chunks = list(stream(BAD_DAY, speed=600))
    assert b"".join(chunk.text for chunk in chunks).splitlines() == bad_day.lines()
    assert [chunk.due_s for chunk in chunks] == sorted(chunk.due_s for chunk in chunks)
    assert chunks[-1].due_s == 24 * 3600 / 600
    assert all(chunk.records == chunk.text.count(b"\n") for chunk in chunks)
    assert len(chunks) > 250


def test_the_stream_can_begin_in_the_morning() -> None:
    """A demonstration need not begin with the night; the clock of the replay begins with it."""
    day = Settings(subscribers=200, hours=9)
    chunks = list(stream(day, speed=3600, first_hour=7))
    assert 0 < chunks[0].due_s <= 0.5
    assert chunks[-1].due_s == 2
    lines = [json.loads(line) for chunk in chunks for line in chunk.text.splitlines()]
    assert min(line.get("session_start", line["start"]) for line in lines) >= "2026-11-02T06"


def test_progress_is_told_every_hour(tmp_path: Path) -> None:
    """A progress bar can be drawn from what is told."""
    told: list[tuple[int, int, int]] = []
    summary = simulate(Settings(subscribers=50, hours=3), tmp_path / "out", lambda *each: told.append(each))
    assert [done for done, _, _ in told] == [1, 2, 3, 3]
    assert told[-1] == (3, 3, summary["expected"]["received"])


def test_every_setting_is_documented() -> None:
    """The reference names every setting with its default, and every reason for a damaged line."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "simulator.md").read_text()
    for each in fields(Settings):
        assert f"| `{each.name}` |" in text
        assert each.metadata["doc"].endswith(".")
    for damage in DAMAGES:
        assert damage.name in text
        assert f"`{damage.reason}`" in text
