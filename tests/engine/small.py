"""A flow of three tiny steps with the shapes of the real one, so that the engine is tested without the trade.

A line is `id,subscriber,amount,day`; `id,subscriber,boom,day` breaks a step on purpose.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from trunkline.engines.embedded.engine import Engine, Settings
from trunkline.engines.embedded.sources import NamedFiles
from trunkline.engines.loop import Accounts
from trunkline.kernel.flow import Flow, Outcome, Step
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNT_ROW, ACCOUNTS, CHARGED, ENTRIES
from trunkline.records.usage import DECODED, DUPLICATES, HELD, RAW, REJECTED, SEEN, UNIQUE
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.store import Store


def decode(blocks: pl.DataFrame) -> Outcome:
    """Lines into usage; a line with a wrong number of fields is rejected."""
    good, bad = [], []
    for block in blocks.iter_rows(named=True):
        offset = block["offset"]
        for number, line in enumerate(block["bytes"].splitlines(keepends=True)):
            text = line.decode().strip()
            assert "undecodable" not in text, "a record that breaks decoding"
            place = {
                "file": block["file"],
                "line": block["line"] + number,
                "offset": offset,
                "length": len(line.rstrip(b"\n")),
            }
            offset += len(line)
            fields = text.split(",")
            if len(fields) != 4:
                bad.append(
                    {**place, "source": block["source"], "reason": "unreadable", "detail": "not four fields"}
                )
                continue
            name, subscriber, amount, day = fields
            good.append(
                {
                    **place, "source": block["source"], "record_id": name,
                    "identity": int(name) * 0x9E3779B97F4A7C15 % 2**64, "check": int(name),
                    "payload": 999 if amount == "boom" else int(amount), "subscriber": int(subscriber),
                    "amount_micros": -1 if amount == "boom" else int(amount), "start_us": int(day) * 86_400_000_000,
                }
            )  # fmt: skip
    schema = DECODED.record.schema
    frame = (
        pl.DataFrame(good, schema={name: schema[name] for name in good[0]})
        if good
        else DECODED.record.empty()
    )
    rejected = pl.DataFrame(bad, schema=REJECTED.record.schema) if bad else REJECTED.record.empty()
    return Outcome((DECODED.record.conform(frame) if good else frame, rejected))


def deduplicate(batch: pl.DataFrame, seen: Grouped) -> Outcome:
    """Keep what was not seen; hold what was seen with another payload."""
    memory = {int(key): seen.rows_of(int(key)).copy() for key in seen.keys}
    verdicts = []
    for row in batch.iter_rows(named=True):
        rows = memory[row["identity"]]
        if len(rows) == 0:
            new = np.zeros(1, SEEN.dtype)
            new["check"], new["payload"], new["day"] = (
                row["check"],
                row["payload"],
                row["start_us"] // 86_400_000_000,
            )
            memory[row["identity"]] = new
            verdicts.append(0)
        else:
            verdicts.append(1 if int(rows["payload"][0]) == row["payload"] else 2)
    verdict = pl.Series(verdicts, dtype=pl.Int8)
    return Outcome(
        (
            batch.filter(verdict == 0),
            DUPLICATES.record.conform(batch.filter(verdict == 1)),
            HELD.record.conform(batch.filter(verdict == 2).with_columns(reason=pl.lit("conflict"))),
        ),
        _regrouped(seen, memory),
    )


def charge(batch: pl.DataFrame, accounts: Grouped) -> Outcome:
    """Add each amount to its subscriber's one balance; odd subscribers get a second row each third time."""
    memory = {int(key): accounts.rows_of(int(key)).copy() for key in accounts.keys}
    assert (batch["amount_micros"] >= 0).all(), "a record that breaks charging"
    for row in batch.iter_rows(named=True):
        rows = memory[row["subscriber"]]
        if len(rows) == 0:
            rows = np.zeros(1, ACCOUNT_ROW)
        if row["subscriber"] % 2 and rows["period"][0] % 3 == 2:
            rows = np.concatenate([rows, rows[:1]])
        rows["value"][0] += row["amount_micros"]
        rows["period"][0] += 1
        memory[row["subscriber"]] = rows
    done = CHARGED.record.conform(batch.with_columns(charged_micros=pl.col("amount_micros")))
    entries = ENTRIES.record.conform(
        batch.select(
            "seq", "subscriber", pl.col("start_us").alias("time_us"), pl.col("amount_micros").alias("amount")
        )
    )
    return Outcome((done, entries), _regrouped(accounts, memory))


def _regrouped(groups: Grouped, memory: dict[int, np.ndarray]) -> Grouped:
    parts = [memory[int(key)] for key in groups.keys]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Grouped(groups.keys, offsets, np.concatenate(parts) if parts else groups.rows)


FLOW = Flow(
    "small",
    "Three steps with the shapes of usage.",
    (
        Step(decode, RAW, (DECODED, REJECTED)),
        Step(deduplicate, DECODED, (UNIQUE, DUPLICATES, HELD), state=SEEN),
        Step(charge, UNIQUE, (CHARGED, ENTRIES), state=ACCOUNTS),
    ),
)
ACCOUNTING = Accounts(CHARGED, DUPLICATES, REJECTED, HELD)
STATES = (SEEN, ACCOUNTS)


class Lines:
    """Plain lines without a heading."""

    source = "small"
    header_lines = 0

    def record_end(self, data: bytes | bytearray) -> int:
        """Where the last whole line ends."""
        return data.rfind(b"\n") + 1


LINES = Lines()


def opened(folder: Path, disk: Disk | None = None, **settings: int) -> tuple[Store, Engine]:
    """A store and an engine with the small flow."""
    store = Store(folder, STATES, disk)
    chosen = Settings(**settings) if settings else None
    return store, Engine(store, FLOW, ACCOUNTING, {}, lambda _mapping: LINES, chosen)


def ingest(folder: Path, *paths: Path, disk: Disk | None = None, **settings: int) -> dict[str, int]:
    """Open, read files to their end, close; what was counted."""
    store, engine = opened(folder, disk, **settings)
    try:
        source = NamedFiles(store, [(path, "small", "test") for path in paths], lambda _mapping: LINES)
        totals = engine.drive(source)
        for trouble in source.troubles:
            raise trouble
        return {
            name: getattr(totals, name)
            for name in ("received", "rated", "duplicate", "rejected", "held", "charged_micros")
        }
    finally:
        store.close()


def lines(count: int, first: int = 0, subscribers: int = 7, day: int = 20_000) -> bytes:
    """Lines of usage, all different."""
    return b"".join(
        f"{number},{number % subscribers},{number % 13 + 1},{day}\n".encode()
        for number in range(first, first + count)
    )


def expected(*parts: bytes) -> dict[int, int]:
    """What each subscriber owes, by a second and simpler opinion."""
    owed: dict[int, int] = {}
    seen = set()
    for line in b"".join(parts).splitlines():
        fields = line.decode().split(",")
        if len(fields) == 4 and fields[0] not in seen and fields[2].isdigit():
            seen.add(fields[0])
            owed[int(fields[1])] = owed.get(int(fields[1]), 0) + int(fields[2])
    return owed
