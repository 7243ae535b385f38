"""An incident and its customers on a real platform: told once, told when it is over, credited once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.contract.test_ports import TARIFF
from tests.network.cells import inventory
from tests.page.serve import served
from trunkline.api.access import Role
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap import network as watched
from trunkline.bootstrap import service as customers
from trunkline.bootstrap.network import Network, NetworkHands, advance, opened_network
from trunkline.bootstrap.platform import Platform, ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.serve import MONEY
from trunkline.bootstrap.service import Service
from trunkline.engines.embedded.intake import EngineIntake, Spooling
from trunkline.kernel.dial import to_key
from trunkline.ports import Refused
from trunkline.records.charging import Cause
from trunkline.records.network import SIGNALS
from trunkline.settings import Folders
from trunkline.stores.embedded.network import FOLDER
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader

ANNA, BEN, CARL, DORA = (f"44770090000{at}" for at in range(1, 5))
NOON_US = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
MINUTE_US = 60_000_000
RULES = """
tell: {severity: major, after_minutes: 0, seen_within_hours: 6}
credits:
  power: {causes: ["*power*"], least_minutes: 60, per_hour: "0.60", cap: "1.00", booked: BOOKED}
"""


def call(name: str, who: str, cell: str, minute: int) -> str:
    """A call on a cell, so many minutes from noon."""
    hour, minute = divmod(12 * 60 + minute, 60)
    start = f"2026-03-01T{hour:02d}:{minute:02d}:00Z"
    return (
        f'{{"id":"{name}","type":"voice","subscriber":"{who}","called":"447700900009","start":"{start}",'
        f'"duration_ms":1000,"cell":"{cell}"}}\n'
    )


CALLS = (
    call("a", ANNA, "C1", -60) + call("b", BEN, "C1", -30) + call("c", CARL, "C2", -30)
    + call("d", DORA, "C1", -10 * 60) + call("e", ANNA, "C1", -5)
)  # fmt: skip


@dataclass
class House:
    """Both sides of a platform."""

    platform: Platform
    watch: Network
    service: Service
    reader: EmbeddedReader

    def raise_alarm(self, cell: str, minute: int, *, over: bool = False) -> None:
        """Power is lost at a cell, or is back; time goes on until incidents know."""
        rows = SIGNALS.record.conform(
            pl.DataFrame(
                [{"name": cell, "time_us": NOON_US + minute * MINUTE_US, "event_type": "equipmentAlarm",
                  "severity": 2, "probable_cause": "powerProblem", "specific_problem": "power lost", "text": "no power",
                  "action": "clear" if over else "raise", "origin": "event", "actor": "", "component": 0}]
            )
        )  # fmt: skip
        assert NetworkHands(self.watch, Spooling(self.watch.engine)).signal(rows)
        advance(self.watch, NOON_US + minute * MINUTE_US + 5 * MINUTE_US)

    def charge(self, folder: Path, name: str, lines: str) -> None:
        """Usage comes in."""
        path = folder / f"{name}.ndjson"
        path.write_text(lines)
        assert not ingest(self.platform, [path], None, None).troubles

    def told(self) -> list[tuple[str, str, int]]:
        """Whom what was told, and the minutes in it."""
        names = {to_key(each): each for each in (ANNA, BEN, CARL, DORA)}
        alerts = self.reader.alerts(0, 1000).filter(pl.col("kind").str.starts_with("service_"))
        assert alerts["alert_id"].n_unique() == len(alerts)
        return [(names[row["subscriber"]], row["kind"], row["value"]) for row in alerts.iter_rows(named=True)]

    def given(self) -> dict[str, int]:
        """What each was credited, by the ledger."""
        entries = self.reader.entries(None, -(2**62), 2**62, 1000).filter(
            pl.col("cause") == int(Cause.REFUND)
        )
        return {
            name: int(entries.filter(pl.col("subscriber") == to_key(name))["amount"].sum())
            for name in (ANNA, BEN, CARL, DORA)
        }


@contextmanager
def house(folder: Path, booked: str = "by itself") -> Iterator[House]:
    """A platform with four subscribers and a network of two cells; opened again it goes on."""
    tariffs, data = folder / "tariffs", folder / "data"
    if not tariffs.exists():
        tariffs.mkdir(parents=True)
        operator, plan = TARIFF.split("---\n")
        (tariffs / "operator.yaml").write_text(operator)
        (tariffs / "plan_payg.yaml").write_text(plan)
        people = "".join(f"{name},payg,5.00\n" for name in (ANNA, BEN, CARL, DORA))
        (tariffs / "subscribers.csv").write_text(f"subscriber,plan,balance\n{people}")
        (data / FOLDER).mkdir(parents=True)
        watched.keep_inventory(data / FOLDER, inventory(2))
    (data / FOLDER / customers.RULES).write_text(RULES.replace("BOOKED", booked))
    with opened(Folders(data=data, tariffs=str(tariffs))) as platform, opened_network(data) as watch:
        reader = EmbeddedReader(data)
        audit = EmbeddedAudit(data)
        service = Service(platform, watch, EngineIntake(platform.engine, MONEY), reader, audit)
        yield House(platform, watch, service, reader)
        audit.close()


def test_customers_are_told_once_and_credited_once(tmp_path: Path) -> None:
    """Who used the cell lately, each once; more of them later; the end to all; the credit by rule, and no more."""
    with house(tmp_path) as at:
        at.charge(tmp_path, "before", CALLS)
        at.raise_alarm("C1", 0)
        assert at.service.look(at_once=True).told == 2
        assert at.service.look(at_once=True) == customers.Looked()
        begun = [(ANNA, "service_issue", 0), (BEN, "service_issue", 0)]
        assert at.told() == begun
        assert at.given() == dict.fromkeys((ANNA, BEN, CARL, DORA), 0)
    with house(tmp_path) as at:  # a new start tells nobody anything again
        at.service.look(at_once=True)
        assert at.told() == begun
        at.charge(tmp_path, "during", call("f", CARL, "C1", 30))
        at.raise_alarm("C1", 90, over=True)
        assert at.service.look(at_once=True) == customers.Looked(told=1, ended=1, credited=3)
        begun.append((CARL, "service_issue", 0))
        over = [(name, "service_restored", 92) for name in (ANNA, BEN, CARL)]
        assert at.told() == begun + over
        given = dict.fromkeys((ANNA, BEN, CARL), 92 * 10_000) | {DORA: 0}
        assert at.given() == given
        at.service.look(at_once=True)
        (incident,) = at.watch.reader.incidents(10)
        assert at.service.book(incident["incident_id"], "nora", "billing")["repeated"] == 3
        assert (at.told(), at.given()) == (begun + over, given)
        audited = at.reader.audit(10).filter(pl.col("action") == "credit_incident")
        assert audited["actor"].to_list() == ["nora", "rule power"]
        assert incident["incident_id"] in audited["detail"][0]
        result = reconcile(at.reader, at.platform.catalogue, at.platform.mappings)
        assert (result["differences"], result["account_differences"]) == (0, 0)


@pytest.mark.parametrize("dies_in", ["serve", "served", "move"])
def test_a_crash_between_two_stores_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    """Wherever it dies between telling, crediting and writing down that it did, going on ends in the same."""

    class Died(Exception):
        pass

    def die(*_: object) -> None:
        raise Died

    with house(tmp_path) as at:
        at.charge(tmp_path, "before", CALLS)
        at.raise_alarm("C1", 0)
        with monkeypatch.context() as patched:
            if dies_in == "serve":
                patched.setattr(at.watch.store, "serve", die)
                with pytest.raises(Died):
                    at.service.look(at_once=True)
            else:
                at.service.look(at_once=True)
        at.raise_alarm("C1", 90, over=True)
        with monkeypatch.context() as patched:
            if dies_in == "served":
                patched.setattr(at.watch.store, "served", die)
            if dies_in == "move":
                patched.setattr(at.service.intake, "move", die)
            if dies_in != "serve":
                with pytest.raises(Died):
                    at.service.look(at_once=True)
    with house(tmp_path) as at:
        at.service.look(at_once=True)
        at.service.look(at_once=True)
        assert sorted(at.told()) == sorted(
            (name, kind, value)
            for name in (ANNA, BEN)
            for kind, value in (("service_issue", 0), ("service_restored", 92))
        )
        assert at.given() == {ANNA: 920_000, BEN: 920_000, CARL: 0, DORA: 0}


def test_credits_are_seen_before_they_are_booked(tmp_path: Path) -> None:
    """Over HTTP: a preview with masked numbers, refused while it lasts, booked by whoever may, audited, once."""
    with house(tmp_path, "by hand") as at:
        at.charge(tmp_path, "before", CALLS)
        at.raise_alarm("C1", 0)
        at.service.look(at_once=True)
        (incident,) = at.watch.reader.incidents(10)
        path = f"/api/v1/network/incidents/{incident['incident_id']}/credits"
        board = HeatBoard(at.watch.reader)
        board.load()
        hands = NetworkHands(at.watch, Spooling(at.watch.engine))
        with served(20, network=Watching(at.watch.reader, hands, board, at.service)) as server:

            def client(role: Role) -> httpx.Client:
                headers = {"Authorization": f"Bearer {server.tokens[role]}"}
                return httpx.Client(base_url=server.url, headers=headers, timeout=60)

            with client(Role.BILLING) as billing, client(Role.CARE) as care, client(Role.VIEWER) as viewer:
                assert care.get(path).json()["said"]["rule"] is None  # ten seconds are too short for the rule
                assert billing.post(path).status_code == 409
                at.raise_alarm("C1", 200, over=True)
                assert at.service.look(at_once=True).credited == 0
                assert viewer.get(path).status_code == 403
                said = care.get(path).json()["said"]
                assert (said["rule"], said["customers"], said["credited"], said["booked"]) == (
                    "power",
                    2,
                    2,
                    0,
                )
                assert (said["total_micros"], said["most_micros"]) == (
                    2_000_000,
                    1_000_000,
                )  # the cap of each
                assert ANNA not in str(said)
                assert care.post(path).status_code == 403
                assert billing.post(path).json()["said"]["booked"] == 2
                assert billing.post(path).json()["said"]["repeated"] == 2
                assert care.get(path).json()["said"]["booked"] == 2
                assert care.get("/api/v1/network/incidents/nothing/credits").status_code == 404
                shown = care.get(f"/api/v1/network/incidents/{incident['incident_id']}").json()["said"]
                assert shown["customers_told"] == 2
        assert at.given() == {ANNA: 1_000_000, BEN: 1_000_000, CARL: 0, DORA: 0}


def test_rules_with_mistakes_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is refused at the start; later the rules stay as they were, and the log says why."""
    with house(tmp_path) as at:
        rules = at.service.rules
        (at.watch.folder / customers.RULES).write_text("tell: {severity: dreadful}")
        assert at.service.rules is rules
        assert "dreadful" not in caplog.text
        assert "severity is one of" in caplog.text
        with pytest.raises(Refused, match="severity is one of"):
            Service(at.platform, at.watch, at.service.intake, at.reader, at.service.audit)
