"""A simulated day, from telemetry to what people and other systems are shown over HTTP and sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h3
import httpx
import orjson
import polars as pl
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.api.test_notices import Listener, listening
from tests.network.watching import Watch, simulated, truth, watch
from tests.page.serve import Served, served
from tests.waiting import until
from trunkline.api.access import Role
from trunkline.api.v1.network import VES_BODY_OCTETS_MAX
from trunkline.bootstrap.replay import COUNTED, pieces
from trunkline.network.inventory import RESOLUTIONS

ALARM = "/tmf-api/alarm/v4"
pytestmark = pytest.mark.timeout(1800)  # the day is played first, on a machine that may do other things too


@dataclass
class World:
    """The day that was played, the network that watched it, and the server before it."""

    day: Path
    watch: Watch
    served: Served
    newest_us: int

    def client(self, role: Role = Role.ADMIN) -> httpx.Client:
        """A client with this role's token."""
        headers = {"Authorization": f"Bearer {self.served.tokens[role]}"}
        return httpx.Client(base_url=self.served.url, headers=headers, timeout=60)

    def socket(self, role: Role = Role.VIEWER) -> ClientConnection:
        """A socket to the map."""
        url = self.served.url.replace("http", "ws") + "/api/v1/network/heat"
        headers = {"Authorization": f"Bearer {self.served.tokens[role]}"}
        return connect(url, additional_headers=headers, proxy=None, max_size=None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One day for all tests; each acts on alarms of its own."""
    day = simulated(tmp_path_factory.mktemp("day"))
    data = tmp_path_factory.mktemp("data")
    with watch(data, day / "inventory") as watching, served(20, network=watching.watching) as server:
        played = watching.play(day)
        yield World(day, watching, server, played[-1].end_us)


def test_everything_received_is_accounted_for(world: World) -> None:
    """Each source's readings and events come out somewhere, and all that cells sent was measured."""
    with world.client(Role.VIEWER) as client:
        said = client.get("/api/v1/network").json()["said"]
    assert said["balanced"]
    by_source = {row["source"]: row for row in said["sources"]}
    files = [path for kind in COUNTED for path in sorted((world.day / kind).glob("*.csv"))]
    sent = pl.concat([pl.read_csv(path, infer_schema_length=None) for path in files], how="diagonal_relaxed")
    counters = sent.drop("begin_us", "end_us", "cell", "technology", "slice", strict=False)
    values = sum(len(counters) - counters[name].null_count() for name in counters.columns)
    assert by_source["ran"]["received"] == values
    assert by_source["ran"]["measured"] > 0.99 * values
    told = pl.read_ndjson(world.day / "events.ndjson").filter(pl.col("time_us") <= world.newest_us)
    assert by_source["elements"]["received"] == by_source["elements"]["events"] == len(told)
    counts = said["alarm_counts"]
    parts = ("active", "cleared", "deduplicated", "suppressed", "correlated")
    assert counts["raised"] == sum(counts[name] for name in parts) > 0


def test_what_comes_again_counts_once(world: World) -> None:
    """The same telemetry over HTTP once more is all duplicates, and a mapping that is not there is refused."""
    path = "/api/v1/network/telemetry"
    line = (
        b'{"cell":"C0001","technology":"NR","begin":"2026-11-03T09:50:00Z","end":"2026-11-03T09:55:00Z",'
        b'"Test.Own":1}\n'
    )
    with world.client(Role.BILLING) as client:
        for _ in range(2):
            answer = client.post(path, params={"mapping": "cells_ndjson", "source": "again"}, content=line)
            assert answer.status_code == 202
            world.watch.settle()
        assert client.post(path, params={"mapping": "nothing"}, content=line).status_code == 400
        sources = {row["source"]: row for row in client.get("/api/v1/network").json()["said"]["sources"]}
    assert sources["again"]["received"] == 2
    assert sources["again"]["duplicate"] + sources["again"]["rejected"] >= 1
    with world.client(Role.CARE) as client:
        assert client.post(path, params={"mapping": "cells_ndjson"}, content=line).status_code == 403


def test_an_outage_is_found_and_told(world: World) -> None:
    """A cell that fails has findings with their why, an alarm, and KPIs that show it."""
    outage = truth(world.day).filter(pl.col("kind") == "cell_outage").row(0, named=True)
    cell = outage["root"]
    with world.client(Role.VIEWER) as client:
        found = client.get("/api/v1/network/anomalies", params={"object": cell, "limit": 1000}).json()[
            "items"
        ]
        alarms = client.get("/api/v1/network/alarms", params={"object": cell, "limit": 1000}).json()["items"]
        kpis = client.get("/api/v1/network/kpis", params={"object": cell, "limit": 5}).json()["items"]
    began = [row for row in found if not row["ended"]]
    assert any(outage["begin_us"] <= row["time_us"] <= outage["begin_us"] + 900_000_000 for row in began)
    assert all(cell in row["text"] for row in found)
    assert any(outage["begin_us"] <= row["raised_us"] <= outage["begin_us"] + 900_000_000 for row in alarms)
    assert kpis == sorted(kpis, key=lambda row: -row["end_us"]) != []


def test_a_wrong_clock_is_told_and_that_it_is_right_again(world: World) -> None:
    """A warning of the cell whose clock runs away, with its third period, and of no other; over when it is over."""
    drift = truth(world.day).filter(kind="clock_drift").row(0, named=True)
    with world.client(Role.VIEWER) as client:
        every = client.get("/api/v1/network/alarms", params={"limit": 1000}).json()["items"]
    (told,) = [row for row in every if row["specific_problem"] == "clock"]
    assert (told["name"], told["probable_cause"], told["worst"]) == (drift["root"], "timingProblem", 4)
    periods_us, ahead_us = 4 * 300_000_000, 1_200_000_000  # what it has told ahead of time is not told again
    assert 0 <= told["raised_us"] - drift["begin_us"] <= periods_us
    assert 0 <= told["cleared_us"] - drift["end_us"] <= ahead_us + periods_us


def test_one_fault_is_one_incident_with_its_root(world: World) -> None:
    """A cut that takes many cells is told once, with the link as its root, and closed when it is over."""
    faults = truth(world.day).filter(pl.col("kind").is_in(["cell_outage", "backhaul_cut"]))
    with world.client(Role.CARE) as client:
        every = client.get("/api/v1/network/incidents", params={"limit": 1000}).json()["items"]
        for fault in faults.iter_rows(named=True):
            near = range(fault["begin_us"], fault["begin_us"] + 900_000_000)
            own = [row for row in every if row["root_name"] == fault["root"] and row["opened_us"] in near]
            assert len(own) == 1, (fault["root"], [(row["root_name"], row["opened_us"]) for row in every])
            incident = client.get(f"/api/v1/network/incidents/{own[0]['incident_id']}").json()["said"]
            assert incident["why"]
            cells = set(fault["cells"].split())
            assert len(cells & set(incident["affected"])) >= 0.7 * len(
                cells
            )  # those that have shown it so far
            assert incident["told_after_us"] <= 900_000_000
            assert incident["changes_seen"][0]["action"] == "open"
        path = f"/api/v1/network/incidents/{every[0]['incident_id']}"
        assert client.post(f"{path}/own", json={"owner": "nora"}).status_code == 204
        assert client.post(f"{path}/notes", json={"text": "a crew is on its way"}).status_code == 204
        said = client.get(path).json()["said"]
        assert (said["owner"], [note["text"] for note in said["notes"]]) == (
            "nora",
            ["nora", "a crew is on its way"],
        )
        assert client.get("/api/v1/network/incidents/nothing").status_code == 404


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("flood", "SYN flood"), ("signalling_storm", "attach requests without a SIM")],
)
def test_an_attack_is_a_security_alarm_and_an_incident_of_its_own(
    world: World, kind: str, problem: str
) -> None:
    """It is told of the object that it hits, as security, with its end, and is never mixed with failures."""
    fault = truth(world.day).filter(pl.col("kind") == kind).row(0, named=True)
    lasts = range(fault["begin_us"] - 60_000_000, fault["end_us"])
    with world.client(Role.CARE) as client:
        alarms = client.get("/api/v1/network/alarms", params={"object": fault["root"], "limit": 1000}).json()
        own = [
            row
            for row in alarms["items"]
            if row["raised_us"] in lasts and row["specific_problem"].startswith(problem)
        ]
        assert [(row["security"], row["severity"]) for row in own] == [(1, 6)], "told, and over"
        every = client.get("/api/v1/network/incidents", params={"limit": 1000}).json()["items"]
        (incident,) = [
            row for row in every if row["root_name"] == fault["root"] and row["opened_us"] in lasts
        ]
        assert (incident["cause"].startswith(problem), incident["alarms"]) == (True, 1)
        said = client.get(f"/api/v1/network/incidents/{incident['incident_id']}").json()["said"]
    assert "security event" in said["why"]


def test_the_map_is_the_same_by_socket_and_by_rest(world: World) -> None:
    """A snapshot holds the tiles that REST tells, every layer has its outlines, and places are where they are."""
    with world.client(Role.VIEWER) as client, world.socket() as socket:
        places = client.get("/api/v1/network/places").json()["said"]
        assert len(places["cells"]) == 60
        socket.send(orjson.dumps({"layer": "h3:5", "metric": "PRBUsageDl"}).decode())
        snapshot = orjson.loads(socket.recv(timeout=20))
        tiles = client.get("/api/v1/network/heat", params={"layer": "h3:5", "metric": "PRBUsageDl"}).json()[
            "items"
        ]
        shapes = client.get("/api/v1/network/shapes", params={"layer": "h3:5"}).json()["said"]["features"]
        assert client.get("/api/v1/network/shapes", params={"layer": "h3:99"}).status_code == 400
    assert snapshot["type"] == "snapshot"
    said = {tile: (value, severity) for tile, value, severity, *_ in snapshot["tiles"]}
    recent = {row["tile"].lstrip("0"): (row["value_milli"], row["severity"]) for row in tiles}
    assert recent != {}
    assert recent.items() <= said.items()
    assert set(said) <= {feature["id"] for feature in shapes}
    assert all(len(feature["geometry"]["coordinates"][0]) >= 6 for feature in shapes)


def test_cells_behind_a_cut_are_dark_on_the_map(world: World, tmp_path: Path) -> None:
    """While it lasts, each tile of the cells behind it is critical, although only the cut is told."""
    cut = truth(world.day).filter(kind="backhaul_cut").row(0, named=True)
    with watch(tmp_path, world.day / "inventory") as watching:
        for piece in pieces(world.day):
            if piece.end_us <= cut["begin_us"] + 900_000_000:
                watching.tell(piece)
        watching.settle()
        reader = watching.network.reader
        drawn = reader.tiles("h3:5", "severity", reader.counts()["newest_heat_us"])
        alarms = reader.alarms(1000, active=True)
    held = {row["name"]: row["held_by"] for row in alarms if row["specific_problem"] == "silence"}
    dark = set(cut["cells"].split())
    assert {held.get(cell, "").partition(":")[0] for cell in dark} == {"carried_by"}
    seen = {f"{tile:x}": severity for tile, severity in drawn.select("tile", "severity").iter_rows()}
    with world.client(Role.VIEWER) as client:
        places = client.get("/api/v1/network/places").json()["said"]
    tiles = {
        h3.cell_to_parent(h3.latlng_to_cell(cell["latitude"], cell["longitude"], max(RESOLUTIONS)), 5)
        for cell in places["cells"]
        if cell["name"] in dark
    }
    assert {tile: seen.get(tile) for tile in tiles} == dict.fromkeys(tiles, 1)


def test_a_reader_that_comes_back_gets_what_it_missed(world: World) -> None:
    """Deltas carry numbers that go on; after a lost connection the last number leads to what came since."""
    with world.socket() as socket:
        socket.send(orjson.dumps({"layer": "h3:5", "metric": "severity"}).decode())
        before = orjson.loads(socket.recv(timeout=20))
    with world.client(Role.CARE) as client:
        made = client.post(f"{ALARM}/alarm", json=alarm("C0007", "a first trouble"))
        assert made.status_code == 201, made.text
    with world.socket() as socket:
        socket.send(orjson.dumps({"layer": "h3:5", "metric": "severity", "after": before["seq"]}).decode())
        delta = orjson.loads(socket.recv(timeout=20))
        assert delta["type"] == "delta"
        assert delta["after"] == before["seq"] < delta["seq"]
        assert delta["alarm_changes"] > before["alarm_changes"]
        with world.client(Role.CARE) as client:
            client.post(f"{ALARM}/alarm", json=alarm("C0008", "a second trouble"))
        live = orjson.loads(socket.recv(timeout=20))
        assert live["after"] == delta["seq"] < live["seq"]
    with world.socket() as socket:
        socket.send(orjson.dumps({"layer": "h3:5", "metric": "severity", "after": 10**9}).decode())
        assert orjson.loads(socket.recv(timeout=20))["type"] == "snapshot"


def test_the_map_asks_who_is_there(world: World) -> None:
    """Without a token the socket says so and closes."""
    url = world.served.url.replace("http", "ws") + "/api/v1/network/heat"
    with connect(url, proxy=None) as socket:
        socket.send(orjson.dumps({"token": "nobody"}).decode())
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def alarm(cell: str, problem: str, **more: object) -> dict[str, object]:
    """An alarm as another system creates it."""
    return {
        "alarmType": "equipmentAlarm", "perceivedSeverity": "major", "probableCause": "powerProblem",
        "specificProblem": problem, "alarmedObject": {"id": cell}, "sourceSystemId": "ems-1", "state": "raised",
        "alarmRaisedTime": "2026-11-03T10:00:00Z", **more,
    }  # fmt: skip


def test_other_systems_lead_an_alarm_through_its_life(world: World) -> None:
    """TMF642: create, change, acknowledge, take back, comment, clear; what another system says of it is kept."""
    with world.client(Role.CARE) as client:
        made = client.post(
            f"{ALARM}/alarm", json=alarm("C0003", "tmf life", proposedRepairedActions="look at it")
        )
        assert made.status_code == 201, made.text
        said = made.json()
        href = said["href"]
        assert made.headers["Location"] == href
        assert (said["state"], said["perceivedSeverity"], said["ackState"]) == (
            "raised",
            "major",
            "unacknowledged",
        )
        assert said["proposedRepairedActions"] == "look at it"
        said = client.patch(href, json={"perceivedSeverity": "critical", "isRootCause": True}).json()
        assert (said["state"], said["perceivedSeverity"], said["isRootCause"]) == (
            "updated",
            "critical",
            True,
        )
        assert client.patch(href, json={"probableCause": "fire"}).status_code == 400
        pattern = {"alarmPattern": [{"id": said["id"]}]}
        ack = {"ackSystemId": "desk", "ackUserId": "nora", **pattern}
        task = client.post(f"{ALARM}/ackAlarms", json=ack)
        assert task.status_code == 201, task.text
        assert [each["id"] for each in task.json()["ackedAlarm"]] == [said["id"]]
        assert client.get(task.json()["href"]).json()["state"] == "done"
        assert client.get(href).json()["ackState"] == "acknowledged"
        client.post(f"{ALARM}/unAckAlarms", json=ack)
        assert client.get(href).json()["ackState"] == "unacknowledged"
        client.post(f"{ALARM}/commentAlarms", json={"comment": {"comment": "on my way"}, **pattern})
        assert [each["comment"] for each in client.get(href).json()["comment"]] == ["on my way"]
        cleared = {"clearSystemId": "desk", "clearUserId": "nora", "alarmClearedTime": "2026-11-03T11:00:00Z"}
        client.post(f"{ALARM}/clearAlarms", json={**cleared, **pattern})
        said = client.get(href).json()
        assert (said["state"], said["perceivedSeverity"]) == ("cleared", "cleared")
        assert client.patch(href, json={"perceivedSeverity": "minor"}).status_code == 409
        assert client.delete(href).status_code == 409


def test_alarms_are_grouped_and_found(world: World) -> None:
    """A parent and its children name each other, and lists can be filtered as TMF630 says."""
    with world.client(Role.CARE) as client:
        ids = [
            client.post(f"{ALARM}/alarm", json=alarm(f"C002{n}", "tmf group")).json()["id"] for n in range(3)
        ]
        order = {
            "sourceSystemId": "desk", "alarmChangedTime": "2026-11-03T10:00:00Z",
            "parentAlarm": {"id": ids[0]}, "correlatedAlarm": [{"id": each} for each in ids[1:]],
        }  # fmt: skip
        assert client.post(f"{ALARM}/groupAlarms", json=order).status_code == 201
        parent, child = (client.get(f"{ALARM}/alarm/{each}").json() for each in ids[:2])
        assert sorted(each["id"] for each in parent["correlatedAlarm"]) == ids[1:]
        assert [each["id"] for each in child["parentAlarm"]] == [ids[0]]
        assert client.post(f"{ALARM}/unGroupAlarms", json=order).status_code == 201
        assert client.get(f"{ALARM}/alarm/{ids[1]}").json()["parentAlarm"] == []
        found = client.get(f"{ALARM}/alarm", params={"specificProblem": "tmf group", "limit": 2})
        assert (len(found.json()), found.headers["X-Total-Count"]) == (2, "3")
        assert client.get(f"{ALARM}/alarm/999999999").status_code == 404


def test_registered_addresses_are_told_of_alarms(world: World) -> None:
    """The hub: a real listener hears of each change in its order, or only of the kinds that it asked for."""
    with listening() as every, listening() as only, world.client() as client:
        hub = f"{ALARM}/hub"
        made = client.post(hub, json={"callback": every.url})
        assert made.status_code == 201, made.text
        state = "eventType=AlarmStateChangeEvent"
        picky = client.post(hub, json={"callback": only.url, "query": state}).json()
        assert client.post(hub, json={"callback": every.url, "query": "eventType=Party"}).status_code == 400
        said = client.post(f"{ALARM}/alarm", json=alarm("C0031", "tmf hub")).json()
        client.patch(said["href"], json={"perceivedSeverity": "critical"})
        pattern = {"alarmPattern": [{"id": said["id"]}]}
        client.post(f"{ALARM}/ackAlarms", json={"ackSystemId": "desk", "ackUserId": "nora", **pattern})
        client.patch(said["href"], json={"state": "cleared"})

        def heard(listener: Listener) -> list[tuple[str, str]]:
            told = [(str(each["eventType"]), each["event"]["alarm"]) for each in listener.heard]  # type: ignore[index]
            return [(kind, each["state"]) for kind, each in told if each["id"] == said["id"]]

        until(lambda: len(heard(every)) == 4 and heard(only), "all changes to be told", 270)
        assert [kind for kind, _ in heard(every)] == [
            "AlarmCreateEvent", "AlarmAttributeValueChangeEvent", "AlarmAttributeValueChangeEvent",
            "AlarmStateChangeEvent",
        ]  # fmt: skip
        assert heard(only) == [("AlarmStateChangeEvent", "cleared")]
        assert len({each["eventId"] for each in every.heard}) == len(every.heard)
        for each in (made.json(), picky):
            assert client.delete(f"{hub}/{each['id']}").status_code == 204
            assert client.delete(f"{hub}/{each['id']}").status_code == 404


def test_all_severities_and_what_others_know_of_an_alarm(world: World) -> None:
    """The five that can be raised and the sixth that ends one; correlation as another system sees it is kept."""
    with world.client(Role.CARE) as client:
        made = {}
        for severity in ("critical", "major", "minor", "warning", "indeterminate"):
            answer = client.post(f"{ALARM}/alarm", json=alarm("C0032", severity, perceivedSeverity=severity))
            assert answer.status_code == 201, answer.text
            made[severity] = answer.json()
        assert [each["perceivedSeverity"] for each in made.values()] == list(made)
        cleared = alarm("C0032", "cleared", perceivedSeverity="cleared")
        assert client.post(f"{ALARM}/alarm", json=cleared).status_code == 400
        assert (
            client.post(f"{ALARM}/alarm", json=alarm("C0032", "x", perceivedSeverity="bad")).status_code
            == 400
        )
        one, other = made["minor"], made["major"]
        known = {
            "correlatedAlarm": [{"id": other["id"]}], "parentAlarm": [{"id": other["id"]}], "isRootCause": False,
            "serviceAffecting": True, "affectedService": [{"id": "voice"}], "proposedRepairedActions": "new fan",
            "plannedOutageIndicator": "no", "alarmEscalation": True,
        }  # fmt: skip
        assert client.patch(one["href"], json=known).status_code == 200
        said = client.get(one["href"]).json()
        assert {name: said[name] for name in known} == known
        said = client.patch(one["href"], json={"perceivedSeverity": "cleared"}).json()
        assert (said["perceivedSeverity"], said["state"]) == ("cleared", "cleared")
        assert said["correlatedAlarm"] == known["correlatedAlarm"]


def test_telemetry_that_was_set_aside_is_settled(world: World) -> None:
    """Listed with its reason, exported as it came, corrected and measured, or closed; each by those who may."""
    path = "/api/v1/network/rejects"
    moment = {"begin": "2026-11-03T09:50:00Z", "end": "2026-11-03T09:55:00Z", "technology": "NR"}
    wrong = [{"cell": cell, **moment, "CPU.Load": -3} for cell in ("C0041", "C0042")]
    with world.client(Role.BILLING) as client, world.client(Role.VIEWER) as viewer:
        content = b"".join(orjson.dumps(each) + b"\n" for each in wrong)
        query = {"mapping": "cells_ndjson", "source": "corrected"}
        assert client.post("/api/v1/network/telemetry", params=query, content=content).status_code == 202
        world.watch.settle()

        def mine(raw: str = "") -> list[dict[str, object]]:
            items = (client if raw else viewer).get(
                path, params={"limit": 500, **({"raw": raw} if raw else {})}
            )
            return [each for each in items.json()["items"] if each["source"] == "corrected"]

        first, second = until(mine, "both to be rejected")
        assert (first["reason"], first["mapping"], first["raw"]) == ("bad_value", "cells_ndjson", None)
        assert viewer.get(path, params={"raw": "true"}).status_code == 403
        assert [orjson.loads(str(each["raw"])) for each in mine("true")] == wrong
        reasons = {each["reason"]: each for each in viewer.get(f"{path}/reasons").json()["items"]}
        assert reasons["bad_value"]["count"] >= 2
        assert reasons["bad_value"]["text"]
        exported = [orjson.loads(line) for line in client.get(f"{path}/export").content.splitlines()]
        assert [each for each in exported if each["source"] == "corrected"] == mine("true")
        assert viewer.get(f"{path}/export").status_code == 403
        number = first["number"]
        assert viewer.post(f"{path}/{number}/close").status_code == 403
        cut = {"text": '{"cell":"C0041"'}
        right = {"text": orjson.dumps({**wrong[0], "CPU.Load": 7}).decode()}
        assert client.post(f"{path}/{number}/correct", json={"text": " "}).status_code == 400
        assert client.post(f"{path}/{number}/correct", json=right).status_code == 204
        assert client.post(f"{path}/{number}/correct", json=right).status_code == 409
        assert client.post(f"{path}/{second['number']}/correct", json=cut).status_code == 204
        world.watch.settle()
        again = until(
            lambda: [each for each in mine() if each["number"] not in (number, second["number"])],
            "the cut one",
        )
        assert [each["reason"] for each in again] == ["unreadable"]
        assert client.post(f"{path}/{again[0]['number']}/close").status_code == 204
        assert mine() == []
        (said,) = (each for each in viewer.get("/api/v1/network").json()["said"]["sources"]
                   if each["source"] == "corrected")  # fmt: skip
        assert (said["received"], said["measured"], said["rejected"]) == (4, 1, 3)
        assert client.post(f"{path}/999999999/close").status_code == 409
        assert client.get("/api/v1/network/held").json()["items"] == []
        assert client.post("/api/v1/network/held/1/discard").status_code == 409


def test_maintenance_holds_back_alerting_and_no_end(world: World) -> None:
    """A window shows before it is planned what it touches; alarms under it name it; cancelling it tells them."""
    with world.client() as client:
        cells = client.get("/api/v1/network/places").json()["said"]["cells"]
        cell = next(each for each in cells if each["site"])
        window = {"window_id": "mast work", "objects": [cell["site"]], "begin_us": world.newest_us - 3_600_000_000,
                  "end_us": world.newest_us + 10**14, "reason": "new mast"}  # fmt: skip
        seen = client.post("/api/v1/network/maintenance/preview", json=window).json()["said"]
        assert cell["name"] in seen["cell_names"]
        assert client.get("/api/v1/network/maintenance").json()["items"] == []
        assert (
            client.post("/api/v1/network/maintenance", json={**window, "objects": ["nowhere"]}).status_code
            == 409
        )
        assert client.post("/api/v1/network/maintenance", json=window).status_code == 204
        made = client.post(f"{ALARM}/alarm", json=alarm(cell["name"], "under maintenance")).json()
        assert "mast work" in made["plannedOutageIndicator"]
        assert client.delete("/api/v1/network/maintenance/mast%20work").status_code == 204
        assert client.delete("/api/v1/network/maintenance/mast%20work").status_code == 409
        assert client.get("/api/v1/network/maintenance").json()["items"] == []


def fault(cell: str, time_us: int, problem: str) -> dict[str, object]:
    """A VES 7 fault."""
    return {"event": {
        "commonEventHeader": {
            "domain": "fault", "eventId": f"fault-{cell}-{problem}", "eventName": "Fault_power", "priority": "High",
            "lastEpochMicrosec": time_us, "startEpochMicrosec": time_us, "sequence": 0,
            "reportingEntityName": cell, "sourceName": cell, "version": "4.1", "vesEventListenerVersion": "7.2",
        },
        "faultFields": {
            "faultFieldsVersion": "4.0", "alarmCondition": "power lost", "eventSeverity": "CRITICAL",
            "eventSourceType": "other", "specificProblem": problem, "vfStatus": "Active",
        },
    }}  # fmt: skip


def test_ves_comes_over_its_own_address(world: World) -> None:
    """A VES 7 fault posted to the standard address becomes an alarm."""
    with world.client() as client:
        assert (
            client.post("/eventListener/v7", json=fault("C0011", world.newest_us, "ves power")).status_code
            == 202
        )
        for garbled in (b"{", b"[1]", b'{"event": 7}', b"\xff", b'{"event":' * 10_000):
            answer = client.post("/eventListener/v7", content=garbled)
            assert (answer.status_code, "eventList" in answer.text) == (400, True)
        world.watch.settle()
        found = until(
            lambda: [row for row in client.get("/api/v1/network/alarms", params={"object": "C0011"}).json()["items"]
                     if row["specific_problem"] == "ves power"],
            "the fault is an alarm",
        )  # fmt: skip
    assert found[0]["severity"] == 1


def test_what_is_malformed_is_refused_beside_what_is_not(world: World) -> None:
    """While some send bombs, what is too large and what is garbled, each event of another sender becomes its alarm."""
    bomb = (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "&%c;&%c;&%c;">' % (at + 1, at, at, at) for at in range(ord("a"), ord("z")))
        + b"]><a>&z;</a>\n"
    )
    attacks = {
        ("/eventListener/v7", b'{"event":' * 10_000): 400,
        ("/eventListener/v7", b" " * (VES_BODY_OCTETS_MAX + 1)): 413,
        ("/eventListener/v7", b'{"event": {"commonEventHeader": ' + b"[" * 500 + b"]" * 500 + b"}}"): 202,
        ("/api/v1/network/telemetry?mapping=pm_xml", bomb): 400,  # such files are read from a folder
    }
    stop, answers = threading.Event(), list[tuple[int, int]]()

    def attack(path: str, body: bytes, expected: int) -> None:
        with world.client() as client:
            while not stop.is_set():
                answers.append((expected, client.post(path, content=body).status_code))

    attackers = [threading.Thread(target=attack, args=(*what, code)) for what, code in attacks.items()]
    for each in attackers:
        each.start()
    try:
        with world.client() as client:
            for number in range(20):
                made = client.post(
                    "/eventListener/v7", json=fault(f"C{number:04d}", world.newest_us, "beside bombs")
                )
                assert made.status_code == 202, made.text
            until(lambda: {found for _, found in answers} == set(attacks.values()), "each kind of attack")
    finally:
        stop.set()
        for each in attackers:
            each.join(60)
    world.watch.settle()
    assert all(expected == found for expected, found in answers), set(answers)
    with world.client() as client:
        every = client.get("/api/v1/network/alarms", params={"limit": 1000}).json()["items"]
        told = [row["name"] for row in every if row["specific_problem"] == "beside bombs"]
        assert sorted(told) == [f"C{number:04d}" for number in range(20)]
        rejects = client.get("/api/v1/network/rejects", params={"limit": 1000}).json()["items"]
        assert sum(row["source"] == "ves" for row in rejects) > 0, (
            "what was taken and says nothing is set aside"
        )
