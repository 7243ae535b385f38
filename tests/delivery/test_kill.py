"""`kill -9` of the real process in the middle of deliveries: every alert arrives, and each is counted once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.delivery.charged import PEOPLE, charged
from tests.delivery.receivers import Told, http_receiver
from tests.waiting import until
from trunkline.cli import app
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.reader import EmbeddedReader

KILLS = int(os.environ.get("TRUNKLINE_TEST_KILLS", "3"))
START = "from trunkline.cli import main; main()"


def begun(data: Path, folder: Path, url: str) -> subprocess.Popen[str]:
    """A life of the real process, which delivers to a webhook."""
    return subprocess.Popen(
        [sys.executable, "-c", START, "run", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TRUNKLINE_ALERT_CHANNELS": "webhook",
            "TRUNKLINE_ALERT_WEBHOOK": url,
            "TRUNKLINE_ALERT_WEBHOOK_KEY_FILE": str(folder / "key"),
            "TRUNKLINE_ALERT_PER_SECOND": "200",
        },
    )


@pytest.mark.timeout(1500)
def test_every_alert_arrives_though_the_process_is_killed(tmp_path: Path) -> None:
    """Killed while a receiver reads, between its yes and our note, it delivers again under the same name, marked."""
    data = charged(tmp_path)
    (tmp_path / "key").write_text("k" * 40)
    (tmp_path / "key").chmod(0o600)
    lives: list[subprocess.Popen[str]] = []
    killed: list[str] = []

    def answer(told: Told) -> tuple[int, dict[str, str]]:
        if len(killed) < KILLS and len(receiver.told) % 7 == 3:
            killed.append(told.headers["idempotency-key"])
            lives[-1].kill()  # it was received, and nobody will ever know there
        elif len(receiver.told) % 5 == 0:
            return 503, {}
        return 204, {}

    with http_receiver() as receiver:
        receiver.answer = answer
        for _ in range(KILLS):
            lives.append(begun(data, tmp_path, receiver.url))
            assert lives[-1].wait(600) == -9, "it was to be killed while it delivers"
        lives.append(begun(data, tmp_path, receiver.url))
        ledger = EmbeddedDeliveries(data)
        until(lambda: ledger.counts()["states"].get("webhook") == {"sent": PEOPLE}, "all are sent")
        lives[-1].terminate()
        assert lives[-1].wait(120) in (0, 130), "it stops in order"
    counts = ledger.counts()
    assert (counts["alerts"], counts["planned"]) == (PEOPLE, PEOPLE)
    wanted = {f"{name}.webhook" for name in EmbeddedReader(data).alerts(0, 1000)["alert_id"]}
    keys = Counter(told.headers["idempotency-key"] for told in receiver.told)
    assert keys.keys() == wanted
    assert len(killed) == KILLS
    for name in killed:
        marks = [
            told.headers["trunkline-attempt"]
            for told in receiver.told
            if told.headers["idempotency-key"] == name
        ]
        assert marks == [str(at) for at in range(1, len(marks) + 1)]
        assert len(marks) >= 2
    told = CliRunner().invoke(app, ["delivery", "status", "--data", str(data), "--json"])
    assert json.loads(told.stdout)["states"] == {"webhook": {"sent": PEOPLE}}
    ledger.close()
