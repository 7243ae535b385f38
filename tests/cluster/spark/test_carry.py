"""What Spark's tasks do, without Spark: doing it again, other cuts, heavy subscribers, unreadable messages."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tests.cluster.spark.day import EVER, PARTITIONS, USAGE, Day, compared
from trunkline import topology
from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.spark import work_of
from trunkline.engines.loop import Carried
from trunkline.engines.plan import Plan
from trunkline.engines.spark.blobs import BlobDamaged, Bucket, head_of, version_before
from trunkline.engines.spark.carry import (
    NAMES,
    Work,
    bucket_folder,
    carry_bucket,
    decode_messages,
    parted,
)
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.records import charging, usage
from trunkline.records.charging import ACCOUNTS
from trunkline.records.usage import SEEN
from trunkline.settings import Folders

STATES = (SEEN, ACCOUNTS)
NOW_US = 1_800_000_000_000_000
LINE = (
    '{"id":"%d","type":"voice","subscriber":"%s","called":"4930000001","start":"2026-11-02T10:%02d:00Z",'
    '"duration_ms":61000}'
)


@dataclass(frozen=True)
class Given:
    """What a broadcast is."""

    value: Work


@pytest.fixture
def work(day: Day, tmp_path: Path) -> Work:
    """The work of an operator, its accounts opened."""
    plan = plan_of("t", PARTITIONS)
    folders = Folders(data=tmp_path / "driver", tariffs=str(day.folder / "tariffs"))
    made, _, _ = work_of(folders, plan, str(tmp_path / "buckets"))
    enrolled(made, folders)
    return made


def enrolled(work: Work, folders: Folders) -> list[dict[str, object]]:
    """Open the accounts as version 0; what is written then, the same however often it is done."""
    _, _, people = work_of(folders, work.plan, work.folder)
    rows = charging.SUBSCRIBERS.record.conform(people)
    edge = topology.SUBSCRIBERS.steps[0].reads.name
    cells = [
        {"bucket": bucket, "stream": name, "partition": 0, "offset": 0, "piece": piece, "rows": value}
        for piece, (bucket, name, value) in enumerate(parted(work.plan, Carried({edge: [rows]}), 0))
    ]
    written = carry_bucket(Given(work), 0)(iter([pa.RecordBatch.from_pylist(cells)]))
    return [message for batch in written for message in batch.to_pylist()]


def messages(topic: str, values: Sequence[bytes], first: int = 0, mapping: bytes = b"") -> pa.RecordBatch:
    """Messages as the query gives them, their headers taken apart."""
    count = len(values)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([topic] * count), pa.array([0] * count, pa.int32()),
            pa.array(range(first, first + count), pa.int64()), pa.array([NOW_US] * count, pa.int64()),
            pa.array(values, pa.binary()), pa.array([mapping] * count, pa.binary()),
            pa.array([b""] * count, pa.binary()),
        ],
        names=["topic", "partition", "offset", "time_us", "value", *NAMES],
    )  # fmt: skip


def carried(work: Work, number: int, *given: pa.RecordBatch) -> list[dict[str, object]]:
    """Both tasks, one after the other: the messages that are written."""
    cells = list(decode_messages(Given(work), None)(iter(given)))
    written = carry_bucket(Given(work), number)(iter(cells))
    return [message for batch in written for message in batch.to_pylist()]


def rows_of(plan: Plan, written: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Charged usage among what was written."""
    name = plan.topic(charging.CHARGED)
    found = [rows_in(bytes(m["value"]), charging.CHARGED.record) for m in written if m["topic"] == name]  # type: ignore[call-overload]
    return pl.concat(found) if found else charging.CHARGED.record.empty()


def test_done_again_is_the_same(work: Work, day: Day) -> None:
    """A batch that is done again, even after a later life died in the middle, writes the same to the letter."""
    raw = work.plan.topic(usage.RAW)
    carried(work, 1, messages(raw, day.lines[:500]))
    once = carried(work, 2, messages(raw, day.lines[500:1500], 500))
    again = carried(work, 2, messages(raw, day.lines[500:1500], 500))
    assert once == again
    assert len(rows_of(work.plan, once)) > 900


def test_a_conflict_under_its_own_name(work: Work, day: Day) -> None:
    """What a person lets be charged beside a record of the same name is charged once, as usage of its own."""
    raw = work.plan.topic(usage.RAW)
    first = rows_of(work.plan, carried(work, 1, messages(raw, day.lines[:50])))["record_id"].to_list()
    again = messages(raw, day.lines[:50], 50, b"trunkline~7")
    found = rows_of(work.plan, carried(work, 2, again))["record_id"].to_list()
    assert found == [f"{name}~7" for name in first]
    assert first
    twice = messages(raw, day.lines[:50], 100, b"trunkline~7")
    assert not len(rows_of(work.plan, carried(work, 3, twice)))


def test_cuts_change_nothing(work: Work, day: Day) -> None:
    """However the day is cut into batches, what was charged is what the embedded engine charged."""
    raw, found, at = work.plan.topic(usage.RAW), [], 0
    for number, size in enumerate((1, 700, 13, 2500, 10**6), start=1):
        found += carried(work, number, messages(raw, day.lines[at : at + size], at))
        at += size
    assert compared(rows_of(work.plan, found), USAGE).equals(
        compared(day.embedded.usage(None, *EVER, 10**7), USAGE)
    )


def test_order_of_arrival_changes_nothing(work: Work, day: Day) -> None:
    """A heavy partition is decoded by many tasks; in whatever order a shuffle brings their rows, all is the same.

    So one partition's share of a batch is spread over all cores, and stages may be done again when rows were lost.
    """
    raw = work.plan.topic(usage.RAW)
    once = carried(work, 1, messages(raw, day.lines[:3000]))
    parts = [
        list(decode_messages(Given(work), None)(iter([messages(raw, day.lines[at : at + 100], at)])))
        for at in range(0, 3000, 100)
    ]
    random.Random(4).shuffle(parts)
    written = carry_bucket(Given(work), 1)(iter([batch for part in parts for batch in part]))
    again = [message for batch in written for message in batch.to_pylist()]
    found, wanted = (rows_of(work.plan, each).sort("seq") for each in (again, once))
    assert found.equals(wanted)
    assert len(wanted) > 2900


def test_little_of_the_work_is_bound_to_a_key(work: Work) -> None:
    """Of a heavy subscriber's usage, carrying costs less than decoding, and only carrying is one task's."""
    raw = work.plan.topic(usage.RAW)
    carried(work, 1, messages(raw, [(LINE % (-1, "4915100000001", 1)).encode()]))  # compiles
    lines = [(LINE % (at, "4915100000001", at % 60)).encode() for at in range(30_000)]
    began = time.process_time()
    cells = list(decode_messages(Given(work), None)(iter([messages(raw, lines)])))
    decoded = time.process_time()
    list(carry_bucket(Given(work), 2)(iter(cells)))
    took = decoded - began, time.process_time() - decoded
    assert took[1] < took[0] + 0.2, f"{took[0]:.2f} s to decode, {took[1]:.2f} s to carry"


def test_a_heavy_subscriber_costs_no_more(work: Work) -> None:
    """Thirty thousand uses of one subscriber are carried about as fast as those of three hundred."""
    raw = work.plan.topic(usage.RAW)
    heavy = [(LINE % (at, "4915100000001", at % 60)).encode() for at in range(30_000)]
    many = [(LINE % (at + 10**6, 4915100000000 + at % 300, at % 60)).encode() for at in range(30_000)]
    carried(work, 1, messages(raw, [(LINE % (-1, "4915100000001", 1)).encode()]))  # compiles
    took = []
    for number, lines in enumerate((many, heavy), start=2):
        began = time.process_time()
        carried(work, number, messages(raw, lines))
        took.append(time.process_time() - began)
    assert took[1] < 3 * took[0] + 0.5, f"{took[1]:.2f} s for one subscriber, {took[0]:.2f} s for many"


def test_unreadable_messages_are_set_aside(work: Work, day: Day) -> None:
    """What is no Arrow stream, or names an unknown mapping, goes to its own topic with the reason; the rest goes on."""
    raw, orders = work.plan.topic(usage.RAW), work.plan.topic(charging.MOVEMENTS)
    odd = messages(raw, [b"{}"], 10, b"nobody's")
    written = carried(
        work, 1, messages(raw, day.lines[:10]), odd, messages(raw, [b"\xff\xff\xff\xffbroken"], 11),
        messages(orders, [b"no movement"]),
    )  # fmt: skip
    aside = [m for m in written if m["topic"] == work.plan.undigested]
    reasons = [{pair["key"]: pair["value"] for pair in m["headers"]} for m in aside]  # type: ignore[attr-defined]
    assert sorted(each["topic"].decode() for each in reasons) == sorted([raw, raw, orders])
    assert all(each["reason"] for each in reasons)
    heads = [Bucket(bucket_folder(work.folder, at), work.plan.states, 9) for at in range(PARTITIONS)]
    sums = [s for head in heads for s in head.accounts.values()]
    received, *out = (sum(each) for each in zip(*sums, strict=True))
    assert received == 12 == sum(out[:4])


def test_orders_come_as_json_too(work: Work, day: Day) -> None:
    """A top-up that another system writes as JSON is booked once, however often it comes, and answered each time."""
    people = (day.folder / "subscribers.csv").read_text().splitlines()
    subscriber = to_key(people[1].split(",")[0])
    order = {
        "movement_id": "t1", "cause": 3, "subscriber": subscriber, "time_us": NOW_US, "balance": "main",
        "amount": 5_000_000, "valid_until_s": charging.NEVER_S,
    }  # fmt: skip
    nobody = {**order, "movement_id": "t2", "subscriber": to_key("4900000000000")}
    topic = work.plan.topic(charging.MOVEMENTS)
    values = [json.dumps(each).encode() for each in (order, order, nobody)]
    written = [carried(work, number, messages(topic, values, number * 3)) for number in (1, 2)]
    booked = [
        rows_in(bytes(m["value"]), charging.ENTRIES.record)  # type: ignore[call-overload]
        for m in (*written[0], *written[1])
        if m["topic"] == work.plan.topic(charging.ENTRIES)
    ]
    assert pl.concat(booked)["amount"].to_list() == [5_000_000]
    answers = [
        {told["movement_id"]: (told["status"], told["reason"])
         for m in batch if m["topic"] == work.plan.answers for told in [json.loads(m["value"])]}  # type: ignore[arg-type]
        for batch in written
    ]  # fmt: skip
    assert answers[0]["t1"] == ("booked", "")
    assert answers[1]["t1"] == ("repeated", "")
    assert answers[0]["t2"] == answers[1]["t2"] == ("refused", "unknown_subscriber")


def as_arrow(work: Work, lines: Sequence[bytes]) -> list[bytes]:
    """Lines as another engine's decoder leaves them, in messages, in their order."""
    cells = list(decode_messages(Given(work), None)(iter([messages(work.plan.topic(usage.RAW), lines)])))
    decoded = [
        pl.read_ipc_stream(cell["rows"])
        for batch in cells
        for cell in batch.to_pylist()
        if cell["stream"] == usage.DECODED.name
    ]
    return list(rows_out(pl.concat(decoded).sort("offset")))


def test_arrow_messages_say_the_same(work: Work, day: Day) -> None:
    """Usage that was decoded elsewhere and comes as Arrow, among events or not, is charged like those, in its order."""
    raw, lines = work.plan.topic(usage.RAW), day.lines[:800]
    mixed = [*as_arrow(work, lines[:300]), *lines[300:310], *as_arrow(work, lines[310:600]), *lines[600:]]
    as_events = rows_of(work.plan, carried(work, 1, messages(raw, lines)))
    names = ("source", "record_id", "units", "list_micros", "charged_micros")
    for values in (as_arrow(work, lines), mixed):
        found = rows_of(work.plan, carried(work, 1, messages(raw, values)))
        assert compared(found, names).equals(compared(as_events, names))


def test_state_is_what_was_put(tmp_path: Path) -> None:
    """Over hundreds of versions, some of them written twice, every key holds what it was last given."""
    chance = np.random.default_rng(5)
    known: dict[int, list[int]] = {}
    for number in range(300):
        bucket = Bucket(tmp_path, STATES, number)
        keys = np.unique(chance.integers(0, 400, 30).astype(np.uint64))
        held = bucket.gather(ACCOUNTS, keys)
        assert all(held.rows_of(key)["value"].tolist() == known.get(key, []) for key in keys.tolist())
        counts = chance.integers(0, 4, len(keys))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.zeros(int(offsets[-1]), ACCOUNTS.dtype)
        rows["value"] = chance.integers(0, 10**6, len(rows))
        known |= {
            key: rows["value"][offsets[at] : offsets[at + 1]].tolist() for at, key in enumerate(keys.tolist())
        }
        for _ in range(1 + number % 2):
            life = Bucket(tmp_path, STATES, number)
            life.put(ACCOUNTS, Grouped(keys, offsets, rows), number)
            life.next_row = number
            life.write(number)
    assert len(list(tmp_path.iterdir())) < 40, "files that no version names are removed"
    assert Bucket(tmp_path, STATES, 300).next_row == 299


def test_old_identities_are_forgotten(tmp_path: Path) -> None:
    """Rows of a state with days are let go of when their day is over, and not before."""
    for number in range(130):
        bucket = Bucket(tmp_path, STATES, number)
        rows = np.zeros(1, SEEN.dtype)
        rows["day"] = 20_000 + number
        bucket.put(SEEN, Grouped(np.array([number + 1], np.uint64), np.array([0, 1]), rows), number)
        bucket.write(number)
    held = Bucket(tmp_path, STATES, 130).gather(SEEN, np.arange(1, 131, dtype=np.uint64))
    kept = held.keys[np.diff(held.offsets) > 0]
    assert int(kept.min()) > 1
    assert len(kept) >= (SEEN.days or 0)


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    """A file that is cut short stops the batch, and nothing is charged from half a state."""
    bucket = Bucket(tmp_path, STATES, 0)
    bucket.put(ACCOUNTS, Grouped(np.array([7], np.uint64), np.array([0, 1]), np.zeros(1, ACCOUNTS.dtype)), 0)
    bucket.write(0)
    path = tmp_path / version_before(tmp_path, 1)
    assert head_of(path).keys == 1
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BlobDamaged):
        Bucket(tmp_path, STATES, 1)
