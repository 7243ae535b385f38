"""The page over the real platform: the process that `trunkline run` starts, its engine and its data folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.api.small_catalogue import FILES

NUMBER, OTHER = "447700900001", "447700900002"
COMMAND = [sys.executable, "-c", "from trunkline.cli import main; main()"]


@dataclass
class Platform:
    """A running platform: its address, the way in, and a token for senders."""

    url: str
    link: str
    token: str

    def post(self, path: str, body: bytes, kind: str) -> dict[str, object]:
        """As a sender of usage would."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(self.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            said: dict[str, object] = orjson.loads(answer.read())
            return said


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`trunkline run` on an empty data folder with a small tariff and two subscribers."""
    folder = tmp_path_factory.mktemp("platform")
    tariffs, data = folder / "tariffs", folder / "data"
    tariffs.mkdir()
    handed_on = {"giving.yaml": 'transfers: {main: {least: "0.50", most: "5.00", fee: "0.05"}}\n'}
    for name, text in {**FILES, **handed_on}.items():
        (tariffs / name).write_text(text)
    (tariffs / "subscribers.csv").write_text(
        f"subscriber,plan,payment,balance\n{NUMBER},payg,prepaid,10.00\n{OTHER},payg,prepaid,5.50\n"
    )
    token = subprocess.check_output(
        [*COMMAND, "token", "add", "sender", "--role", "billing", "--data", str(data)], text=True
    ).strip()
    command = [*COMMAND, "run", "--data", str(data), "--tariffs", str(tariffs), "--port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        link = _link(process.stdout, folder / "log")
        try:
            yield Platform(link.partition("/signin")[0], link, token.split()[-1])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _link(lines: IO[str], log: Path) -> str:
    for line in lines:
        found = re.search(r"http://\S+/signin\?code=\S+", line)
        if found:
            return found.group()
    pytest.fail(f"the platform told no sign-in link:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def page(browser: Browser, platform: Platform) -> Iterator[Page]:
    """An operator who is signed in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(platform.link)
    page.wait_for_selector("#pulse[data-state=live]")
    yield page
    context.close()


def call(name: str, **change: object) -> bytes:
    """A call of two minutes, an hour ago, to a number that no allowance covers."""
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    said = {"id": name, "type": "voice", "subscriber": NUMBER, "called": "33612345678", "start": start}
    return orjson.dumps({**said, "duration_ms": 120_000, **change}) + b"\n"


def test_a_posted_call_moves_the_balance(platform: Platform, page: Page) -> None:
    """From POST to the caller's balance on the page, charged by the real engine."""
    page.goto(f"{platform.url}/#/subscriber")
    page.get_by_label("Telephone number").fill(f"+{NUMBER}")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("[data-balance=main]")).to_contain_text("10.00 EUR")
    assert platform.post("/api/v1/events", call("first"), "application/x-ndjson")["records"] == 1
    expect(page.locator("[data-balance=main]")).to_contain_text("9.75 EUR")
    expect(page.locator("#usage tbody tr")).to_have_count(1)
    event = {
        "specversion": "1.0",
        "type": "usage",
        "source": "switch-9",
        "id": "e1",
        "data": orjson.loads(call("second")),
    }
    platform.post("/api/v1/events", orjson.dumps(event), "application/cloudevents+json")
    expect(page.locator("[data-balance=main]")).to_contain_text("9.50 EUR")


def test_a_top_up_is_booked(platform: Platform, page: Page) -> None:
    """Money in the ledger a moment after the press."""
    page.get_by_label("Amount").fill("0.50")
    page.get_by_role("button", name="Top up").click()
    expect(page.locator("[data-balance=main]")).to_contain_text("10.00 EUR")
    page.get_by_text("Ledger entries").click()
    expect(page.get_by_role("table", name="Ledger entries")).to_contain_text("topups → balance")


def test_low_balance_is_told(platform: Platform, page: Page) -> None:
    """A crossing shows among the alerts by itself."""
    page.goto(f"{platform.url}/#/alerts")
    platform.post(
        "/api/v1/events", call("alerting", subscriber=OTHER, duration_ms=360_000), "application/x-ndjson"
    )
    expect(page.get_by_role("table", name="Alerts")).to_contain_text("Main below 5.00 EUR")


def test_a_reject_is_corrected(platform: Platform, page: Page) -> None:
    """What nobody could be charged for is mended and charged."""
    platform.post("/api/v1/events", call("nobody", subscriber="447700999999"), "application/x-ndjson")
    page.goto(f"{platform.url}/#/rejects")
    page.get_by_role("button", name=re.compile("^unknown subscriber")).click()
    page.get_by_role("button", name=re.compile("^Correct")).first.click()
    page.get_by_label(re.compile("The record as")).fill(call("nobody").decode().strip())
    page.get_by_role("button", name="Offer again").click()
    expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    page.goto(f"{platform.url}/#/overview")
    expect(page.locator("#equation")).to_contain_text("adds up")
    expect(page.locator("#badge-rejects")).to_be_hidden()


def test_a_conflict_is_charged_as_usage_of_its_own(platform: Platform, page: Page) -> None:
    """The same identity with another story waits for a person, who decides."""
    platform.post("/api/v1/events", call("first", duration_ms=60_000), "application/x-ndjson")
    page.goto(f"{platform.url}/#/conflicts")
    page.reload()
    expect(page.get_by_role("region", name=re.compile("Conflict"))).to_contain_text("charged 0.25 EUR")
    page.get_by_role("button", name="Charge the second too").click()
    expect(page.get_by_text("No conflicts")).to_be_visible()


def test_money_is_handed_on(platform: Platform, page: Page) -> None:
    """From one subscriber to another, after a word about what the tariff allows; too much is refused in words."""
    page.goto(f"{platform.url}/#/subscriber")
    page.get_by_label("Telephone number").fill(f"+{NUMBER}")
    page.get_by_role("button", name="Find").click()
    form = page.get_by_role("region", name="Hand on to another subscriber")
    expect(form).to_contain_text("From 0.50 EUR to 5.00 EUR at a time; fee: 0.05 EUR.")
    form.get_by_label("Number of the receiver").fill(f"+{OTHER}")
    form.get_by_label("How much").fill("6")
    form.get_by_role("button", name="Hand on").click()
    expect(form.get_by_role("alert")).to_contain_text("more than the tariff lets")
    form.get_by_label("How much").fill("2.50")
    form.get_by_role("button", name="Hand on").click()
    expect(page.get_by_text("2.50 EUR handed on to")).to_be_visible()
    page.get_by_text("Ledger entries").click()
    table = page.get_by_role("table", name="Ledger entries")
    expect(table).to_contain_text("balance → transfers")
    expect(table).to_contain_text("balance → transfer_fees")
    assert OTHER not in page.content()


def test_the_books_agree(platform: Platform, page: Page) -> None:
    """Recomputing everything that this test did finds no difference."""
    page.goto(f"{platform.url}/#/reconciliation")
    page.get_by_role("button", name="Reconcile now").click()
    expect(page.get_by_text("the books agree")).to_be_visible(timeout=30_000)


def test_looks_were_written_down(platform: Platform, page: Page) -> None:
    """The audit trail holds them, by the role and name of who looked."""
    page.goto(f"{platform.url}/#/audit")
    table = page.get_by_role("table", name="Audit trail")
    for what in ("find", "read balances", "topup", "correct reject", "decide held", "reconcile"):
        expect(table).to_contain_text(what)
    assert NUMBER not in page.content()
