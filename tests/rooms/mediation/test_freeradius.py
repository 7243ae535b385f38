"""What a real AAA server wrote about data sessions: usage is the growth of counters, each octet once."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime

import polars as pl
import pytest

from tests.rooms.mediation.reading import Mediation, capture, read

Packet = dict[str, str]


def packets(data: bytes) -> list[Packet]:
    """The detail file in plain Python."""
    found = []
    for record in data.decode().strip().split("\n\n"):
        pairs = (line.strip().split(" = ", 1) for line in record.split("\n")[1:])
        found.append({name: value.strip('"') for name, value in pairs})
    return found


def session_of(packet: Packet) -> tuple[str, int]:
    happened = datetime.strptime(packet["Event-Timestamp"], "%b %d %Y %H:%M:%S UTC").replace(tzinfo=UTC)
    return packet["Acct-Unique-Session-Id"], int(happened.timestamp()) - int(
        packet.get("Acct-Session-Time", 0)
    )


def octets_of(packet: Packet, way: str) -> int:
    return int(packet.get(f"Acct-{way}-Octets", 0)) + (int(packet.get(f"Acct-{way}-Gigawords", 0)) << 32)


def highest(data: bytes) -> dict[tuple[str, int], int]:
    """What each session used at most, worked out one packet at a time."""
    up: dict[tuple[str, int], int] = defaultdict(int)
    down: dict[tuple[str, int], int] = defaultdict(int)
    for packet in packets(data):
        if packet["Acct-Status-Type"] in ("Start", "Interim-Update", "Stop"):
            session = session_of(packet)
            up[session] = max(up[session], octets_of(packet, "Input"))
            down[session] = max(down[session], octets_of(packet, "Output"))
    return {session: up[session] + down[session] for session in up}


def charged(metered: pl.DataFrame) -> dict[tuple[str, int], int]:
    """What the room says that each session used."""
    sums = metered.group_by("session", "session_start_us").agg(pl.col("units").sum())
    return {(session, start_us // 1_000_000): units for session, start_us, units in sums.iter_rows()}


@pytest.fixture(scope="module")
def detail() -> pl.DataFrame:
    usage, rejected = read("freeradius_detail", capture("freeradius/detail"))
    assert rejected["reason"].to_list() == ["not_usage", "not_usage"]
    return usage


def test_every_session_is_charged_its_highest_counters(detail: pl.DataFrame) -> None:
    """The sum of metered units is the highest cumulative counter of each session."""
    outcome = Mediation().unique(detail)
    assert [len(frame) for frame in outcome.rows] == [3108, 100, 0]
    assert charged(Mediation().run(detail)) == highest(capture("freeradius/detail"))


@pytest.mark.parametrize("size", [1, 17, 1000])
def test_batch_borders_change_nothing(detail: pl.DataFrame, size: int) -> None:
    """Any cut into batches gives the same rows."""
    mediation, whole = Mediation(), Mediation()
    pieces = [mediation.run(detail[at : at + size]) for at in range(0, len(detail), size)]
    assert pl.concat(pieces).equals(whole.run(detail))


def test_arrival_in_any_order_adds_up_to_the_same(detail: pl.DataFrame) -> None:
    """Shuffled packets meter the same totals."""
    shuffled = detail.sample(fraction=1.0, shuffle=True, seed=5)
    assert charged(Mediation().run(shuffled)) == highest(capture("freeradius/detail"))


def test_the_file_of_the_crash_gives_what_one_without_it_gives() -> None:
    """Records written twice because an answer was lost change nothing."""
    data = capture("freeradius/detail-crash")
    once: dict[str, str] = {}
    for record in data.decode().strip().split("\n\n"):
        received = r"^.*\n|\tTimestamp = \d+$"
        once.setdefault(re.sub(received, "", record), record)
    assert len(once) == 919
    usage, _ = read("freeradius_detail", data)
    clean, _ = read("freeradius_detail", "".join(f"{record}\n\n" for record in once.values()).encode())
    assert len(usage) - len(clean) == 10
    with_copies, without = Mediation().run(usage), Mediation().run(clean)
    place = ["file", "line", "offset", "length"]
    assert with_copies.drop(place).equals(without.drop(place))
    assert charged(with_copies) == highest(data)


def test_the_json_log_tells_the_same(detail: pl.DataFrame) -> None:
    """The JSON of linelog and the detail file are the same usage, but for the network that only one tells."""
    usage, rejected = read("freeradius_json", capture("freeradius/acct.jsonl"))
    assert len(rejected) == 0
    # Two writers of one server do not keep quite the same order.
    usage, first = usage.sort("identity"), detail.head(1000).sort("identity")
    place = ["file", "line", "offset", "length", "visited_plmn", "payload"]
    assert usage.drop(place).equals(first.drop(place))
    at_home = (first["visited_plmn"] == 0).to_list()
    assert usage.filter(at_home)["payload"].equals(first.filter(at_home)["payload"])


def test_roaming_is_told_by_the_visited_network(detail: pl.DataFrame) -> None:
    """The visited network is kept, and the home network becomes 0."""
    told = [
        int(packet["3GPP-SGSN-MCC-MNC"])
        for packet in packets(capture("freeradius/detail"))
        if "3GPP-SGSN-MCC-MNC" in packet
    ]
    assert detail["visited_plmn"].to_list() == [0 if plmn == 101 else plmn for plmn in told]


def test_a_record_that_was_cut_short_is_not_guessed() -> None:
    """A block without its last line is set aside, and the next one is read."""
    data = capture("freeradius/detail")
    first, second = data.split(b"\n\n")[:2]
    cut = first[: first.index(b"\tTimestamp")]
    usage, rejected = read("freeradius_detail", cut + b"\n\n" + second + b"\n\n")
    assert len(usage) == 1
    assert rejected.select("line", "reason").rows() == [(1, "unreadable")]
