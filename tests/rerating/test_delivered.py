"""What a cluster books of a re-rating is shown among the subscriber's movements, as it is embedded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from trunkline.bootstrap.delivery import Delivery
from trunkline.bootstrap.kafka import plan_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.plan import Plan
from trunkline.engines.wire import progress_out, rows_out
from trunkline.kernel.flow import Stream
from trunkline.records.charging import MOVEMENTS, NEVER_S, RERATES, Cause

NAME = "rerate:4f1c09a2be77d310:00"


@dataclass
class Message:
    """A message as the client gives it."""

    told: str
    octets: bytes

    def topic(self) -> str:
        """Where it lay."""
        return self.told

    def partition(self) -> int:
        """There."""
        return 0

    def offset(self) -> int:
        """And there."""
        return 0

    def value(self) -> bytes:
        """What it holds."""
        return self.octets

    def timestamp(self) -> tuple[int, int]:
        """When it was written."""
        return 1, 1000


@dataclass
class Kept:
    """A writer that keeps what it is given."""

    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def messages(self, stream: Stream, frames: Sequence[pl.DataFrame]) -> None:
        """Rows of a stream."""
        self.frames.setdefault(stream.name, []).extend(frames)

    def answers(self, answers: Sequence[tuple[Any, ...]], _partition: int) -> None:
        """What became of movements."""
        self.told += answers


def test_an_order_is_shown_as_its_movement() -> None:
    """Beside plain movements of the same turn: name, account, cause and amount, and what became of it."""
    plan: Plan = plan_of("t", 2)
    said = {"movement_id": NAME, "subscriber": 491511, "cause": int(Cause.CORRECTION), "time_us": 7, "balance": "main",
            "amount": -130_000, "valid_until_s": NEVER_S, "guard": "…", "tariff": "…"}  # fmt: skip
    order = RERATES.record.conform(pl.DataFrame(said))
    other = MOVEMENTS.record.conform(order.with_columns(movement_id=pl.lit("topup:1")))
    answer = {"movement_id": NAME, "status": "booked", "reason": ""}
    taken: list[Any] = [
        *(Message(plan.topic(MOVEMENTS), value) for value in rows_out(other)),
        *(Message(plan.topic(RERATES), value) for value in rows_out(order)),
        Message(plan.answers, progress_out(answer)),
    ]

    def never() -> Any:
        raise AssertionError("nobody connects")

    writer: Any = Kept()
    Delivery(Server(""), plan, never).write(taken, writer)
    assert list(writer.frames) == [MOVEMENTS.name]
    rows = pl.concat(writer.frames[MOVEMENTS.name])
    assert rows["movement_id"].to_list() == ["topup:1", NAME]
    assert rows.drop("movement_id").n_unique() == 1
    assert [each[1:] for each in writer.told] == [(NAME, "booked", "")]
