"""What a real SIP proxy wrote about 6,000 calls is read as the caller itself saw them."""

from __future__ import annotations

import csv
import io
import re

import polars as pl
import pytest

from tests.rooms.mediation.reading import Mediation, capture, read
from trunkline.kernel.dial import to_text


@pytest.fixture(scope="module")
def log() -> pl.DataFrame:
    usage, rejected = read("kamailio_log", capture("kamailio/cdr.log"))
    assert len(rejected) == 0
    return usage


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, str]]:
    """The log in plain Python, by call."""
    found = {}
    for line in capture("kamailio/cdr.log").decode().splitlines():
        pairs = dict(pair.split("=", 1) for pair in line.split("log_write_cdr(): ")[1].split("; "))
        found[pairs["call_id"]] = pairs
    return found


def test_durations_agree_with_the_callers_own_clock(log: pl.DataFrame) -> None:
    """Each call lasts what SIPp measured, within 5 ms, and an unanswered one lasts nothing."""
    measured = {}
    for row in csv.reader(io.StringIO(capture("kamailio/caller.csv").decode())):
        answered = row[5] != ""
        times = [float(value) for value in row[5:9]] if answered else [0.0] * 4
        measured[row[0]] = 1000 * (times[2] - times[0]) + (times[3] - times[1]) / 1000
    assert len(log) == len(measured) == 6000
    for call, duration_ms in log.select("record_id", "duration_ms").iter_rows():
        assert abs(duration_ms - measured[call]) < 5, call
    assert log["duration_ms"].sum() == 8_941_777
    assert (log["duration_ms"] > 0).sum() == 4861, "an unanswered call is a record of no use"


def test_the_asserted_identity_pays_for_a_withheld_number(
    log: pl.DataFrame, lines: dict[str, dict[str, str]]
) -> None:
    """Whoever the network asserts pays, and stands in for a caller who withheld the number."""
    withheld = 0
    for call, subscriber, calling in log.select("record_id", "subscriber", "calling").iter_rows():
        line = lines[call]
        asserted = re.fullmatch(r"sip:\+(\d+)@.*", line["pai"])
        assert asserted is not None
        assert to_text(subscriber) == asserted[1]
        assert to_text(calling) == asserted[1]
        withheld += line["caller"] == "anonymous"
    assert withheld == 111


def test_every_way_of_dialling_becomes_international(
    log: pl.DataFrame, lines: dict[str, dict[str, str]]
) -> None:
    """`+`, `00` and the national `0` all end as E.164 digits."""
    forms = {"+": 0, "00": 0, "0": 0}
    for call, called in log.select("record_id", "called").iter_rows():
        dialled = lines[call]["callee"]
        form = next(form for form in forms if dialled.startswith(form))
        forms[form] += 1
        rest = dialled.removeprefix(form)
        assert to_text(called) == ("44" + rest if form == "0" else rest)
    assert forms == {"+": 5628, "00": 172, "0": 200}


def test_times_are_those_of_the_answer(log: pl.DataFrame, lines: dict[str, dict[str, str]]) -> None:
    """Milliseconds of the log's Unix seconds are kept exactly."""
    for call, start_us in log.select("record_id", "start_us").iter_rows():
        seconds, millis = lines[call]["start_time"].split(".")
        assert start_us == int(seconds) * 1_000_000 + int(millis) * 1000


def test_json_lines_are_the_same_records(log: pl.DataFrame) -> None:
    """The two logs of one proxy give the same identities and payloads, so nobody pays twice."""
    usage, rejected = read("kamailio_json", capture("kamailio/cdr_json.log"))
    assert len(rejected) == 0
    same = usage.join(log, on=["identity", "check", "payload"], how="inner")
    assert len(same) == len(usage) == 1000
    mediation = Mediation()
    mediation.unique(log)
    assert len(mediation.unique(usage).rows[1]) == 1000, "the log's copy in JSON charges nobody twice"


def test_the_table_agrees_but_for_the_milliseconds_of_its_clock(log: pl.DataFrame) -> None:
    """Julian days give back the whole second, and all else is equal."""
    usage, rejected = read("kamailio_db_csv", capture("kamailio/acc_cdrs.csv"))
    assert len(rejected) == 0
    both = usage.join(log, on=["identity", "check"], how="inner")
    assert len(both) == len(usage) == 4352
    for name in ("subscriber", "calling", "called", "duration_ms", "cause", "kind", "source"):
        assert both[name].equals(both[f"{name}_right"].rename(name)), name
    assert (both["start_us"] == both["start_us_right"] // 1_000_000 * 1_000_000).all()


def test_other_lines_of_the_same_log_are_not_usage() -> None:
    """A line without the mark is set aside as another kind of line, a cut one as unreadable."""
    line = capture("kamailio/cdr.log").splitlines(keepends=True)[0]
    cut = line[: line.index(b"; setup_time")] + b"\n"
    usage, rejected = read("kamailio_log", b"Nov 22 vm sshd[1]: hello\n" + line + cut)
    assert usage["line"].to_list() == [2]
    assert rejected.select("line", "reason").rows() == [(1, "not_usage"), (3, "unreadable")]


def test_a_reason_phrase_cannot_pretend_to_be_another_field() -> None:
    """What the far end writes into one field does not become another."""
    line = capture("kamailio/cdr.log").splitlines(keepends=True)[0]
    evil = line.replace(b"Service Unavailable", b"Busy; duration=0.001")
    usage, rejected = read("kamailio_log", evil + line)
    assert usage["line"].to_list() == [2]
    assert rejected["detail"].to_list() == ["duration stands twice in the line"]
