"""JSON lines, VES events and samples of exporters: what each says, and what is set aside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rooms.network.telemetry.reading import NOW_US, PEER, read, read_with
from trunkline.kernel.dial import to_key
from trunkline.kernel.envelope import wrap_text

AT = "2026-11-22T08:00:00Z"
AT_US = NOW_US - 31_000_000


def line(**fields: Any) -> bytes:
    """An object as a line."""
    return json.dumps(fields).encode() + b"\n"


def test_cells_are_read_with_flat_or_nested_counters() -> None:
    """Counters stand beside the cell or in an object of their own; the mapping knows what they are."""
    flat = line(
        cell="C1", begin="2026-11-22T07:59:30Z", end=AT, **{"RRC.ConnEstabAtt": 5, "RRU.PrbTotDl": 40.5}
    )
    deep = line(
        cell="C2", begin="2026-11-22T07:59:30Z", end=AT, counters={"RRC.ConnEstabAtt": "6", "CPU.Load": None}
    )
    found = read(flat + deep, "cells_ndjson")
    assert found.values() == {
        ("C1", "RRC.ConnEstabAtt"): 5_000, ("C1", "RRU.PrbTotDl"): 40_500, ("C2", "RRC.ConnEstabAtt"): 6_000
    }  # fmt: skip
    assert found.measured.select("begin_us", "end_us").unique().rows() == [(AT_US - 30_000_000, AT_US)]


def test_a_device_is_read_by_its_model() -> None:
    """Fields, units and ranges are data: what is outside its range is set aside, what the model lacks is not read."""
    found = read(
        line(
            device="m-1",
            model="smart-meter-1",
            time=AT,
            energy_wh=123456,
            power_w=-12.5,
            battery=101,
            colour=7,
        )
        + line(device="s-1", model="soil-sensor-2", time=AT, moisture=33.3, temperature=None)
        + line(device="x-1", model="toaster-9", time=AT, heat=1),
        "devices",
    )
    assert found.values() == {
        ("m-1", "Meter.Energy"): 123_456_000, ("m-1", "Meter.Power"): -12_500, ("s-1", "Soil.Moisture"): 33_300
    }  # fmt: skip
    assert found.measured.get_column("kind").to_list() == [2, 3, 3]
    assert sorted(found.reasons) == ["bad_value", "unknown_model"]


def test_a_new_device_needs_no_code() -> None:
    """A model of one's own is a few lines of a mapping, units converted."""
    text = (
        "format: ndjson\nobject: id\ntime: {end: t, format: unix_ms}\nmodel: type\n"
        "models: {barometer: {Air.Pressure: {from: kpa, kind: gauge, factor: 10, low: 300, high: 1100}}}\n"
    )
    found = read_with(line(id="b", type="barometer", t=AT_US // 1000, kpa=101.325), text)
    assert found.values() == {("b", "Air.Pressure"): 1_013_250}


def test_a_ticket_is_an_event_of_its_cell() -> None:
    """The customer is a dial word in its own column, and neither number nor the customer's words go on."""
    found = read(
        line(ticket="T-1", opened=AT, cell="C7", category="no service", priority="high", msisdn="+44 7700 900123",
             words="call me on 07700 900123")
        + line(ticket="T-2", opened=AT, category="billing"),
        "care_tickets",
    )  # fmt: skip
    assert found.events.select("name", "severity", "specific_problem", "subscriber").rows() == [
        ("C7", 4, "no service", to_key("447700900123"))
    ]
    assert "900" not in found.events.get_column("text")[0]
    assert found.reasons == ["missing_object"]


def test_events_of_elements_are_read() -> None:
    """The words of X.733, with severities as words or numbers."""
    good = {"name": "C1", "time_us": AT_US, "event_type": "equipmentAlarm", "probable_cause": "powerProblem",
            "specific_problem": "RRU off", "text": "off", "security": 0}  # fmt: skip
    found = read(
        line(**good, severity=1) + line(**good, severity="cleared") + line(**good, severity="awful")
        + line(**good | {"event_type": "party"}, severity=2) + line(**good | {"time_us": "soon"}, severity=2),
        "events_ndjson",
    )  # fmt: skip
    assert found.events.get_column("severity").to_list() == [1, 6]
    assert found.events.get_column("alarm_key").n_unique() == 1
    assert found.reasons == ["bad_severity", "unreadable", "bad_time"]


@pytest.mark.parametrize(
    "text", [b"{", b"[1]", b"7", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000]
)
def test_what_is_no_object_is_set_aside(text: bytes) -> None:
    """One reject, and the next line is read."""
    good = line(cell="C1", begin=AT, end=AT, x=5)
    for mapping in ("cells_ndjson", "events_ndjson", "ves", "devices", "care_tickets"):
        found = read(text + b"\n" + good, mapping)
        assert found.reasons[0] == "unreadable"
    assert len(read(text + b"\n" + good, "cells_ndjson").measured) == 1


def header(domain: str, **more: Any) -> dict[str, Any]:
    """A common event header of VES 7.2."""
    return {
        "domain": domain, "eventId": "e-1", "eventName": f"{domain}_lab", "sequence": 0, "priority": "High",
        "reportingEntityName": "vdu-1", "sourceName": "gnb-1", "startEpochMicrosec": AT_US, "version": "4.1",
        "lastEpochMicrosec": AT_US, "vesEventListenerVersion": "7.2.1",
    } | more  # fmt: skip


def ves(domain: str, section: str, fields: dict[str, Any], **more: Any) -> bytes:
    """A VES event as a line."""
    return line(event={"commonEventHeader": header(domain, **more), section: fields})


def test_a_ves_fault_is_raised_and_cleared() -> None:
    """NORMAL clears what the same condition and problem raised."""
    fields = {"faultFieldsVersion": "4.0", "alarmCondition": "lossOfSignal", "eventSourceType": "port",
              "specificProblem": "no light", "vfStatus": "Active", "alarmInterfaceA": "eth0"}  # fmt: skip
    found = read(
        ves("fault", "faultFields", fields | {"eventSeverity": "CRITICAL"})
        + ves(
            "fault",
            "faultFields",
            fields | {"eventSeverity": "NORMAL"},
            sequence=1,
            lastEpochMicrosec=AT_US + 5,
        )
        + ves("fault", "faultFields", fields | {"eventSeverity": "AWFUL"}),
        "ves",
    )
    assert found.events.select("name", "severity", "probable_cause", "specific_problem", "time_us").rows() == [
        ("gnb-1:eth0", 1, "lossOfSignal", "no light", AT_US), ("gnb-1:eth0", 6, "lossOfSignal", "no light", AT_US + 5)
    ]  # fmt: skip
    assert found.events.get_column("alarm_key").n_unique() == 1
    assert found.events.get_column("identity").n_unique() == 2
    assert found.reasons == ["bad_severity"]


def test_the_other_domains_of_ves_are_read() -> None:
    """Thresholds and syslog are events, heartbeats and measurements are measured, what is left is set aside."""
    crossing = {"alertAction": "SET", "eventSeverity": "MAJOR", "alertDescription": "PRB above 90",
                "alertType": "CARD-ANOMALY",
                "additionalParameters": [{"criticality": "MAJ", "name": "PRB", "thresholdCrossed": "90"}]}  # fmt: skip
    measured = {
        "measurementInterval": 30, "measurementFieldsVersion": "4.0", "concurrentSessions": 12,
        "cpuUsageArray": [{"cpuIdentifier": "cpu0", "percentUsage": 45.5}],
        "additionalMeasurements": [{"name": "cell-3", "hashMap": {"RRC.ConnEstabAtt.SNSSAI_1": "7", "note": "x"}}],
    }  # fmt: skip
    found = read(
        ves("thresholdCrossingAlert", "thresholdCrossingAlertFields", crossing)
        + ves(
            "thresholdCrossingAlert",
            "thresholdCrossingAlertFields",
            crossing | {"alertAction": "CLEAR"},
            sequence=2,
        )
        + ves("syslog", "syslogFields", {"syslogMsg": "hello", "syslogTag": "app", "syslogSev": "Error"})
        + ves("heartbeat", "heartbeatFields", {"heartbeatFieldsVersion": "3.0"})
        + ves("measurement", "measurementFields", measured)
        + ves("mobileFlow", "mobileFlowFields", {}),
        "ves",
    )
    assert found.events.select("severity", "probable_cause", "specific_problem").rows() == [
        (2, "thresholdCrossed", "PRB"), (6, "thresholdCrossed", "PRB"), (2, "app", "")
    ]  # fmt: skip
    assert found.events.get_column("alarm_key").to_list()[2] == 0
    assert found.values() == {
        ("gnb-1", "Heartbeat"): 1_000, ("gnb-1", "concurrentSessions"): 12_000,
        ("gnb-1:cpu0", "cpuUsageArray.percentUsage"): 45_500, ("gnb-1:cell-3", "RRC.ConnEstabAtt"): 7_000,
    }  # fmt: skip
    assert found.measured.filter(counter="concurrentSessions").select("begin_us", "end_us").row(0) == (
        AT_US - 30_000_000, AT_US
    )  # fmt: skip
    assert found.reasons == ["not_telemetry"]


def test_a_batch_of_ves_is_read_event_by_event() -> None:
    """What is wrong with one is no other's trouble."""
    events = [
        {"commonEventHeader": header("heartbeat")},
        {"commonEventHeader": header("heartbeat", sourceName="gnb-2")},
        {"nothing": 1},
        7,
    ]
    found = read(line(eventList=events) + line(eventList=[]) + line(eventList={"a": 1}), "ves")
    assert found.values() == {("gnb-1", "Heartbeat"): 1_000, ("gnb-2", "Heartbeat"): 1_000}
    assert found.reasons == ["unreadable"] * 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"eventId": None}, "unreadable"), ({"sourceName": ""}, "missing_object"), ({"domain": 7}, "unreadable"),
        ({"lastEpochMicrosec": "now"}, "bad_time"), ({"lastEpochMicrosec": 2**70}, "bad_time"),
        ({"vesEventListenerVersion": "5.0"}, "unreadable"),
    ],
)  # fmt: skip
def test_a_malformed_ves_header_is_set_aside(change: dict[str, Any], reason: str) -> None:
    """With the first thing that is wrong with it."""
    fields = {"eventSeverity": "MAJOR", "alarmCondition": "x"}
    given = line(event={"commonEventHeader": header("fault") | change, "faultFields": fields})
    assert read(given, "ves").reasons == [reason]


def test_samples_are_read() -> None:
    """Totals count since the start, labels beside the object stay with the name, and comments are no samples."""
    samples = (
        b"# TYPE node_network_receive_bytes_total counter\n"
        b'node_network_receive_bytes_total{device="eth0"} 1.234567e+06\n'
        b'node_cpu_seconds_total{cpu="0",mode="idle"} 17.25\n'
        b'node_load1{instance="r2"} 0.5 1795334400000\n'
        b'up{note="a \\"b\\" c,d}"} 1\nbroken{ 1\ngauge NaN\n'
    )
    found = read(b"".join(wrap_text(NOW_US, "r1", one) for one in samples.splitlines()), "prometheus")
    assert found.values() == {
        ("r1:eth0", "IF.HCInOctets"): 1_234_567_000,
        ("r1", "node_cpu_seconds_total{cpu=0,mode=idle}"): 17_250,
        ("r2", "node_load1"): 500,
        ("r1", 'up{note=a "b" c,d}}'): 1_000,
    }
    assert found.measured.get_column("kind").to_list() == [2, 2, 3, 3]
    assert found.measured.get_column("end_us").to_list() == [NOW_US, NOW_US, AT_US, NOW_US]
    assert found.reasons == ["not_telemetry", "unreadable", "bad_value"]


def test_a_line_without_end_is_set_aside() -> None:
    """A line of more than a megabyte is not read."""
    long = b'{"cell": "' + b"x" * (1 << 20) + b'"}\n'
    for mapping in ("cells_ndjson", "syslog", "ves", "prometheus", "netflow", "snmp_traps"):
        assert read(long, mapping).reasons == ["too_large"]
    assert read(wrap_text(NOW_US, PEER, long), "ves").reasons == ["too_large"]
