"""The simulated network: its load follows the people, and its faults do what the truth says."""

import math
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trunkline.simulator import Settings, make_world, simulate
from trunkline.simulator.network import (
    COUNTERS,
    Network,
    events,
    hours,
    make_network,
    measurements,
    simulate_network,
    truth_of,
)
from trunkline.simulator.network_faults import Kind
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.simulator.usage import World, usage_of

SMALL = Settings(seed=7, subscribers=2_000, cells=120, hours=24, start=date(2026, 11, 3))


@pytest.fixture(scope="module")
def network() -> Network:
    """A day with every kind of trouble."""
    return make_network(make_world(SMALL), NetworkSettings(period_s=300))


@pytest.fixture(scope="module")
def day(network: Network) -> pl.DataFrame:
    """Everything that its cells report."""
    return pl.concat(measurements(network))


@pytest.fixture(scope="module")
def usual() -> pl.DataFrame:
    """The same day without any trouble."""
    return pl.concat(measurements(make_network(make_world(SMALL), NetworkSettings(period_s=300, faults=0))))


def during(frame: pl.DataFrame, network: Network, kind: Kind) -> pl.DataFrame:
    """What the cells of the first fault of a kind report while service fails."""
    fault = next(fault for fault in network.faults if fault.kind is kind)
    cells = [network.plan.cell_names[cell] for cell in fault.cells.tolist()]
    return frame.filter(
        pl.col("cell").is_in(cells), pl.col("begin_us") >= fault.fails_us, pl.col("begin_us") < fault.end_us
    )


def total(frame: pl.DataFrame, counter: str) -> float:
    """The sum of a counter."""
    return float(frame[counter].sum())


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    """Two runs with equal settings are equal."""
    settings = Settings(seed=3, subscribers=300, cells=45, hours=5)
    for name in ("one", "two"):
        simulate_network(make_network(make_world(settings)), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) >= 5 + 5 + 3
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_every_kind_of_fault_happens_once_in_a_day(network: Network) -> None:
    """A day has room for all of them, and the truth names each."""
    assert set(truth_of(network)["kind"]) == {str(kind) for kind in Kind}


def test_no_two_faults_touch_a_cell_at_once(network: Network) -> None:
    """A finding belongs to one fault or to none."""
    for one in network.faults:
        for other in network.faults:
            if one.number < other.number and np.intersect1d(one.cells, other.cells).size:
                assert one.end_us <= other.begin_us or other.end_us <= one.begin_us


def test_load_follows_the_people(usual: pl.DataFrame) -> None:
    """Five in the afternoon is several times as busy as four at night."""
    hour = (pl.col("begin_us") - usual["begin_us"].min()) // 3_600_000_000
    by_hour = dict(usual.group_by(hour.alias("h")).agg(pl.col("RRC.ConnEstabAtt").sum()).iter_rows())
    assert by_hour[17] > 4 * by_hour[4]


def test_successes_never_exceed_attempts(day: pl.DataFrame) -> None:
    """A ratio of the two is one."""
    for attempts, successes in (
        ("RRC.ConnEstabAtt", "RRC.ConnEstabSucc"),
        ("UECNTX.ConnEstabAtt", "UECNTX.ConnEstabSucc"),
        ("DRB.EstabAtt", "DRB.EstabSucc"),
        ("MM.HoExeInterReq", "MM.HoExeInterSucc"),
        ("CALL.Att", "CALL.Missed"),
    ):
        assert (day[attempts] >= day[successes]).all(ignore_nulls=True), attempts


def test_a_cut_link_silences_its_cells(network: Network, day: pl.DataFrame, usual: pl.DataFrame) -> None:
    """No cell behind it reports, and others go on."""
    assert len(during(day, network, Kind.BACKHAUL_CUT)) == 0
    assert len(during(usual, network, Kind.BACKHAUL_CUT)) > 0


def test_a_sleeping_cell_reports_and_does_nothing(
    network: Network, day: pl.DataFrame, usual: pl.DataFrame
) -> None:
    """It looks sound and carries a hundredth of its load."""
    asleep, awake = during(day, network, Kind.SLEEPING_CELL), during(usual, network, Kind.SLEEPING_CELL)
    assert len(asleep) == len(awake)
    assert total(asleep, "RRU.CellUnavailableTime") == 0
    assert total(asleep, "RRC.ConnEstabAtt") < 0.1 * total(awake, "RRC.ConnEstabAtt")


@pytest.mark.parametrize(
    ("kind", "counter", "times"),
    [
        (Kind.CONGESTION, "RRC.ConnEstabAtt", 1.8),
        (Kind.FIREWALL_OVERLOAD, "DRB.PacketLossRateUl", 5),
        (Kind.SIGNALLING_STORM, "RRC.ConnEstabAtt", 2),
        (Kind.INTERFERENCE, "DRB.PacketLossRateUl", 5),
        (Kind.BAD_ROLLOUT, "QF.RelActNbr", 4),
    ],
)
def test_trouble_shows_where_it_should(
    network: Network, day: pl.DataFrame, usual: pl.DataFrame, kind: Kind, counter: str, times: float
) -> None:
    """Each kind moves its counter by at least so many times."""
    seen, expected = during(day, network, kind), during(usual, network, kind)
    assert total(seen, counter) > times * total(expected, counter)


def test_a_drifting_clock_runs_ahead(network: Network, day: pl.DataFrame) -> None:
    """Its periods no longer begin on the grid of the others."""
    fault = next(fault for fault in network.faults if fault.kind is Kind.CLOCK_DRIFT)
    mine = day.filter(pl.col("cell") == network.plan.cell_names[int(fault.cells[0])])
    assert ((mine["begin_us"] - network.world.start_us) % 300_000_000 != 0).any()


def test_events_are_in_order_and_clear_what_they_raise(network: Network) -> None:
    """What a fault raises it clears, unless it is a mere note."""
    reported = events(network)
    assert reported["time_us"].is_sorted()
    raised = reported.filter(pl.col("severity") < 6, ~pl.col("specific_problem").str.starts_with("restart"),
                             pl.col("specific_problem") != "port scan")  # fmt: skip
    cleared = reported.filter(pl.col("severity") == 6)
    keys = ["name", "probable_cause"]
    assert len(raised.join(cleared, on=keys, how="anti")) == 0


def test_counters_of_other_technologies_are_absent(day: pl.DataFrame) -> None:
    """An LTE cell has no NG contexts and an NR cell no E-RABs."""
    lte = day.filter(pl.col("technology") == "LTE")
    assert lte["UECNTX.ConnEstabAtt"].null_count() == len(lte) > 0
    assert day["ERAB.EstabInitAttNbr"].null_count() == len(day) - len(lte)
    assert set(day.columns) == {"begin_us", "end_us", "cell", "technology", *COUNTERS}


def test_settings_are_checked_all_at_once() -> None:
    """Every mistake is named."""
    with pytest.raises(ValueError, match=r"period_s.*faults"):
        NetworkSettings(period_s=7, faults=-math.inf)


def _usage(folder: Path) -> pl.DataFrame:
    """Cell and beginning of every record of a folder."""
    schema = {"cell": pl.String, "start": pl.String, "type": pl.String, "report": pl.String}
    files = [path for path in sorted(folder.iterdir()) if path.stat().st_size]
    return pl.concat([pl.read_ndjson(path, schema=schema) for path in files])


def test_nobody_uses_a_cell_that_is_dead(tmp_path: Path) -> None:
    """Usage that would begin there does not happen; all other usage is as it would have been."""
    settings = Settings(seed=5, subscribers=1_500, cells=80, hours=20, start=date(2026, 11, 3))
    simulate(settings, tmp_path / "whole")
    simulate(settings, tmp_path / "cut", network=NetworkSettings(period_s=900))
    whole, cut = (_usage(tmp_path / name / "cdrs") for name in ("whole", "cut"))
    assert 0.9 * len(whole) < len(cut) < len(whole)
    faults = pl.read_csv(tmp_path / "cut" / "truth" / "network_faults.csv").filter(kind="backhaul_cut")
    begin_us, end_us, cells = faults.select("fails_us", "end_us", "cells").row(0)

    def began_there(frame: pl.DataFrame) -> int:
        at_us = pl.col("start").str.to_datetime(time_unit="us", time_zone="UTC").dt.epoch("us")
        inside = pl.col("cell").is_in(cells.split()) & at_us.is_between(begin_us, end_us, closed="left")
        begins = (pl.col("type") != "data") | (pl.col("report") == "start")
        return len(frame.filter(inside, begins))

    assert began_there(whole) > 20
    assert began_there(cut) == 0
    assert {path.name for path in (tmp_path / "cut").iterdir()} >= {
        "inventory", "pm", "slices", "devices", "events.ndjson", "tickets.ndjson", "cdrs", "truth", "subscribers.csv"
    }  # fmt: skip


@pytest.mark.parametrize("kind", [Kind.CELL_OUTAGE, Kind.SLEEPING_CELL, Kind.BACKHAUL_CUT])
def test_nothing_begins_in_a_cell_while_its_service_fails(network: Network, kind: Kind) -> None:
    """Each kind of dead cell by itself: people would have used it then, and do not; before that they did."""
    before = make_world(SMALL)
    fault = next(fault for fault in network.faults if fault.kind is kind)
    cells = pl.col("cell").is_in(fault.cells.tolist())

    def began(world: World, from_us: int, until_us: int) -> int:
        hour_us = 3_600_000_000
        numbers = range((from_us - world.start_us) // hour_us, (until_us - 1 - world.start_us) // hour_us + 1)
        rows = pl.concat([usage_of(world, world.hour(number)) for number in numbers])
        within = pl.col("start_us").is_between(from_us, until_us, closed="left")
        first = pl.col("session_start_us").is_null() | (pl.col("start_us") == pl.col("session_start_us"))
        return len(rows.filter(cells, within, first))

    assert began(before, fault.fails_us, fault.end_us) > 0
    assert began(network.world, fault.fails_us, fault.end_us) == 0
    assert began(network.world, before.start_us, fault.fails_us) > 0


def test_devices_count_what_their_cells_carry(network: Network) -> None:
    """Octets only grow, in 32 bits; a cut-off router is silent; a flooded firewall sweats."""
    devices = pl.concat([reports.devices for reports in hours(network)])
    counted = devices.filter(cell="AR001").select("IF.InOctets", "end_us")
    grown = counted["IF.InOctets"].diff().drop_nulls()
    assert (grown != 0).any()
    assert (counted["IF.InOctets"] < 2**32).all()
    cut = next(fault for fault in network.faults if fault.kind is Kind.BACKHAUL_CUT)
    silent = devices.filter(
        pl.col("cell") == cut.root.split("-")[0], pl.col("begin_us").is_between(cut.begin_us, cut.end_us - 1)
    )
    assert len(silent) == 0
    busy = next(fault for fault in network.faults if fault.kind is Kind.FIREWALL_OVERLOAD)
    wall = devices.filter(cell=busy.root)
    during_it = wall.filter(pl.col("begin_us").is_between(busy.begin_us, busy.end_us - 1))
    assert during_it.filter(pl.col("CPU.Load") > 92).height > 0
    assert wall.filter(pl.col("CPU.Load") > 92).height == during_it.filter(pl.col("CPU.Load") > 92).height


def test_a_slice_is_a_part_of_its_cells(network: Network) -> None:
    """No slice asks for more sessions than its cells do, and a cut silences slices, too."""
    reports = list(hours(network))
    slices, cells = (pl.concat([getattr(each, name) for each in reports]) for name in ("slices", "cells"))
    assert set(slices["slice"]) == {"1-000001", "1-000047", "2-000010"}
    asked = slices.group_by("cell", "begin_us").agg(pl.col("SM.PDUSessionSetupReq").sum())
    both = asked.join(cells, on=["cell", "begin_us"])
    assert len(both) == len(asked)
    assert (both["SM.PDUSessionSetupReq"] <= both["SM.PDUSessionSetupReq_right"]).all()
    assert len(during(slices, network, Kind.BACKHAUL_CUT)) == 0


def test_customers_complain_where_service_fails(network: Network, tmp_path: Path) -> None:
    """Most tickets come out of cells with a fault, after it began."""
    simulate_network(network, tmp_path)
    tickets = pl.read_ndjson(tmp_path / "tickets.ndjson")
    failing = {network.plan.cell_names[cell] for fault in network.faults for cell in fault.cells.tolist()}
    assert len(tickets.filter(pl.col("cell").is_in(failing))) > 0.5 * len(tickets) > 0
    assert tickets["msisdn"].str.starts_with("+999").all()
