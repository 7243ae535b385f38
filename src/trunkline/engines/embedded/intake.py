"""Orders to the one process that writes: usage over HTTP, top-ups, decisions about records that were set aside.

Each returns only when its effect is durable. Usage is durable in a spool at once and charged a moment later; all
else is carried by the engine in the one order of arrival, and answered after its commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.files import Block, Framing, heading_of
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.loop import POISON, Carrier
from trunkline.engines.naming import mark_of, renamed
from trunkline.kernel.flow import Flow, Stream
from trunkline.ports import Busy, Commit, Movement, Receipt, Refused, SetAside, Settled, SourceFile

MOST_UNREAD_OCTETS = 64 << 20
_DRAINED_OCTETS_A_SECOND = 20 << 20


@dataclass(frozen=True)
class MoneyFlow:
    """The flow of movements: its first step reads movements and writes the refused ones with a `reason`."""

    flow: Flow
    refused: Stream


class Spooling:
    """Whole records become durable in a spool at once, and are carried a moment later. Any thread may call."""

    def __init__(
        self,
        engine: Engine,
        live: LiveSources | None = None,
        most_unread_octets: int = MOST_UNREAD_OCTETS,
    ) -> None:
        """`live` is the source that is driven, so that it hears of new octets at once."""
        self._engine, self._live = engine, live
        self._most_unread_octets = most_unread_octets

    def usage(self, mapping: str, lines: bytes, source: str | None = None) -> Receipt:
        """Take usage lines for the named mapping; raises `Busy` or `Refused`."""
        if self._live is not None:
            unread = self._live.unread_octets
            if unread > self._most_unread_octets:
                raise Busy(max(1, (unread - self._most_unread_octets // 2) // _DRAINED_OCTETS_A_SECOND))
        lines = self._whole(mapping, lines)
        # The same source as a file of that mapping has, so that a record is known whichever way it comes.
        return self._append(mapping, source or self._engine.framing(mapping).source, lines, b"")

    def settle_reject(self, number: int, lines: bytes | None, actor: str) -> None:
        """Offer a rejected record again with corrected octets, or close it for good when `lines` is None."""
        aside = self._engine.store.set_aside("rejected", number)
        if lines is not None:
            heading = self._heading(aside)
            self._append(aside.mapping, aside.source, self._whole(aside.mapping, lines, headed=True), heading)
        decision = "closed" if lines is None else "offered again"
        self._engine.store.settle(Settled("rejected", number, decision, actor))

    def _append(self, mapping: str, source: str, lines: bytes, heading: bytes) -> Receipt:
        file, end = self._engine.store.append(mapping, source, lines, heading)
        if self._live is not None:
            self._live.arrived(file.file, end)
        return Receipt(sum(1 for line in lines.splitlines() if line.strip()), file.file, end)

    def _whole(self, mapping: str, lines: bytes, *, headed: bool = False) -> bytes:
        """The octets as whole records that end in a newline; raises `Refused` when they are none."""
        try:
            framing = self._engine.framing(mapping)
        except KeyError:
            raise Refused(f"There is no mapping {mapping!r}.") from None
        return whole_records(mapping, framing, lines, headed=headed)

    def _heading(self, aside: SetAside) -> bytes:
        if not self._engine.framing(aside.mapping).header_lines or aside.path is None:
            return b""
        return heading_of(aside.path)


def whole_records(mapping: str, framing: Framing, lines: bytes, *, headed: bool = False) -> bytes:
    """What was handed in as whole records that end in a newline; raises `Refused` when it is none."""
    if framing.header_lines and not headed:
        raise Refused(f"The mapping {mapping!r} reads files with a heading; hand it in as a file.")
    if not lines.strip():
        raise Refused("There is nothing in it.")
    for ending in (b"", b"\n", b"\n\n"):
        whole = lines + ending
        if whole.endswith(b"\n") and framing.record_end(whole) == len(whole):
            return whole
    raise Refused("It does not end with a whole record.")


class EngineIntake(Spooling):
    """The embedded engine's intake (`ports.Intake`). Any thread may call."""

    def __init__(
        self,
        engine: Engine,
        money: MoneyFlow,
        live: LiveSources | None = None,
        most_unread_octets: int = MOST_UNREAD_OCTETS,
        *,
        waiting: Collection[str] = (),
    ) -> None:
        """`live` is the source that is driven, so that it hears of new octets at once.

        `waiting` are the reasons of held records that wait for another record and not for a person.
        """
        super().__init__(engine, live, most_unread_octets)
        self._money, self._waiting = money, frozenset(waiting)
        self._in_flight: dict[str, tuple[str, str]] = {}

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """Book movements; one answer each: booked, repeated or refused with a reason."""
        asked = list(movements)
        answer: list[dict[str, Any]] = self._engine.order(
            lambda engine, number: self._book(engine, number, asked)
        ).result()
        for movement in asked:
            self._in_flight.pop(movement.movement_id, None)
        return answer

    def settle_held(self, number: int, decision: str, actor: str) -> None:
        """Decide a conflict: "discard" the second record, or "charge" it as usage of its own."""
        if decision not in ("discard", "charge"):
            raise Refused(f'A held record is decided with "discard" or "charge", not {decision!r}.')
        aside = self._engine.store.set_aside("held", number)
        settled = Settled("held", number, decision, actor)
        if aside.reason in self._waiting and decision != "discard":
            raise Refused(
                "It is no conflict: it waits for the record that it cancels or corrects. Discard it, or wait."
            )
        if decision == "discard":
            with self._engine.correcting:
                self._engine.store.settle(settled)
        else:
            self._engine.order(lambda engine, commit: self._release(engine, commit, aside, settled)).result()

    # -- carried by the engine ------------------------------------------------------------------------------

    def _book(self, engine: Engine, number: int, asked: list[Movement]) -> tuple[Commit | None, Any]:
        known = engine.store.booked([movement.movement_id for movement in asked]) | {
            movement.movement_id: self._in_flight[movement.movement_id]
            for movement in asked
            if movement.movement_id in self._in_flight
        }
        new = list({m.movement_id: m for m in reversed(asked) if m.movement_id not in known}.values())[::-1]
        booked: dict[str, tuple[str, str]] = {}
        commit = None
        if new:
            stream = self._money.flow.steps[0].reads
            rows = engine.numbered(
                pl.DataFrame([vars(m) for m in new], schema_overrides=_types(stream, new[0]))
            )
            carried = Carrier(self._money.flow, engine.tables, engine.states).whole(
                stream.record.conform(rows), number
            )
            refused = dict(carried.rows(self._money.refused).select("movement_id", "reason").iter_rows())
            results = [
                (m, seq, "refused" if m.movement_id in refused else "booked", refused.get(m.movement_id, ""))
                for m, seq in zip(new, rows["seq"], strict=True)
            ]
            booked = {m.movement_id: (status, reason) for m, _, status, reason in results}
            commit = engine.commit_of(number, carried, movements=results)
            self._in_flight |= booked
        return commit, [self._answer(m, known, booked) for m in asked]

    @staticmethod
    def _answer(
        m: Movement, known: dict[str, tuple[str, str]], booked: dict[str, tuple[str, str]]
    ) -> dict[str, Any]:
        status, reason = known.get(m.movement_id) or booked.pop(m.movement_id, ("booked", ""))
        if m.movement_id in known and status == "booked":
            status = "repeated"
        known[m.movement_id] = ("booked" if status == "repeated" else status, reason)
        return {"movement_id": m.movement_id, "status": status, "reason": reason}

    def _release(
        self, engine: Engine, number: int, aside: SetAside, settled: Settled
    ) -> tuple[Commit | None, Any]:
        """Charge a held record: a conflict as usage of its own, a poisonous one as what it is."""
        file = SourceFile(
            aside.file, aside.path, aside.source, aside.mapping, "held", aside.offset, aside.line
        )
        block = Block(file, aside.offset, aside.line, aside.raw, 1, self._heading(aside), last=False)

        def rename(rows: pl.DataFrame) -> pl.DataFrame:
            return rows if aside.reason == POISON else renamed(rows, mark_of(aside.number))

        carried, counts = engine.carry_usage([block], number, rename)
        return engine.commit_of(number, carried, counts=counts, settled=[settled]), None


def _types(stream: Stream, movement: Movement) -> dict[str, Any]:
    return {name: dtype for name, dtype in stream.record.schema.items() if name in vars(movement)}
