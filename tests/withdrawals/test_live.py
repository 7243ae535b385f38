"""On a running platform a record that takes another one back is settled as soon as its original is durable."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson

from tests.billing import small
from tests.rerating.small import balances, reconciled
from tests.waiting import until
from tests.withdrawals.small import cancels, corrects, told
from trunkline.bootstrap.platform import opened, withdrawals
from trunkline.bootstrap.serve import prepare
from trunkline.settings import Folders, Http, Keeping
from trunkline.stores.embedded.reader import EmbeddedReader

DAYS = list(small.records(12, 14))


def test_over_http(tmp_path: Path) -> None:
    """What is handed in live, cancellation first, ends as what files in that order end as."""
    usage = [line for line in DAYS if line["type"] == "sms"]
    gone, wrong = usage[5], usage[6]
    lines = [cancels(gone), *DAYS, corrects(wrong, events=3), cancels(wrong, "second")]
    told(tmp_path / "files", *([line] for line in lines[:1]), DAYS, lines[-2:-1], lines[-1:])
    tariffs, stop = small.write(tmp_path), threading.Event()
    with opened(Folders(data=tmp_path / "data", tariffs=str(tariffs))) as platform:
        serving = prepare(platform, Http(), Keeping())
        settling = withdrawals(platform)
        threads = [
            threading.Thread(target=lambda: platform.engine.drive(serving.sources, stop)),
            threading.Thread(target=lambda: settling.keep(stop, 0.01)),
        ]
        for thread in threads:
            thread.start()
        try:
            for line in lines:
                serving.intake.usage("trunkline", orjson.dumps(line) + b"\n")
            until(lambda: _received(serving.reader) >= len(lines), "all of it carried")
            until(lambda: not len(serving.reader.held(10)), "nothing waits any more")
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        serving.audit.close()
    assert balances(tmp_path) == balances(tmp_path / "files")
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)
    assert len(serving.reader.rejects("already_corrected", 10)) == 1
    rows = serving.reader.usage_record("msc", str(wrong["id"]))
    assert serving.reader.corrections_of(rows)["correction_id"].to_list() == [f"correct:c-{wrong['id']}"]


def _received(reader: EmbeddedReader) -> int:
    return sum(each.received for each in reader.accounting())
