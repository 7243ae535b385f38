"""Cancelled and corrected records of a cluster: what was held until its original came is settled by those who serve.

An order to the bucket of the account brings what the original caused, and the bucket takes it back once. What was
booked is seen in Cassandra, as everybody sees it: only then does a correcting record come again, as usage under a name
of its own, and only after that is the held one settled. So whoever dies anywhere leaves it waiting, whoever settles it
again changes nothing, and any number of processes may do it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl
from confluent_kafka import KafkaException

from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.kafka import MAPPING
from trunkline.bootstrap.wishes import ACTOR, REMEMBERED_US, WAITING, Wish, read_again
from trunkline.charging.corrections import RECORD, taken_back
from trunkline.charging.parts import is_part, parts_beside
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.withdrawals import order_of
from trunkline.engines.kafka.client import Lost, told
from trunkline.engines.naming import mark_of, place_mark_of, reading, renamed
from trunkline.kernel.identity import identity_of
from trunkline.mediation.deduplicate import CORRECTS
from trunkline.mediation.mapping import Mapping as Reading
from trunkline.ports import NoAnswer, Refused
from trunkline.records.charging import CHARGED
from trunkline.records.usage import HELD
from trunkline.records.withdrawals import WITHDRAWALS
from trunkline.stores.cassandra.reader import CassandraReader
from trunkline.stores.cassandra.withdrawals import CassandraWithdrawals, Withdrawers

log = logging.getLogger("trunkline.withdrawals")

AT_ONCE = 500
Record = tuple[int, int]  # identity and check


class ClusterWithdrawals:
    """Settles what waits for its original, a step further with each look."""

    def __init__(
        self,
        kept: CassandraWithdrawals,
        reader: CassandraReader,
        intake: ClusterIntake,
        catalogue: Callable[[], Catalogue],
        mappings: Mapping[str, Reading],
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is the clock."""
        self._kept, self._reader, self._intake = kept, reader, intake
        self._catalogue, self._mappings, self._now_us = catalogue, dict(mappings), now_us

    def settle(self) -> int:
        """Go on with everything that waits, as far as can be now; how many records were settled."""
        found = self._kept.withdrawers(WAITING, "corrected")
        if not len(found.waiting):
            return 0
        try:
            newest_us = self._kept.newest_us()
            return sum(self._settle(part, found, newest_us) for part in found.waiting.iter_slices(AT_ONCE))
        except (KafkaException, Lost) as error:
            trouble = told(error) if isinstance(error, KafkaException) else str(error)
            raise NoAnswer(f"The brokers do not answer: {trouble}.") from error

    def _settle(self, waiting: pl.DataFrame, found: Withdrawers, newest_us: int) -> int:
        wishes = list(self._wishes(waiting, found))
        charged = self._originals(wishes, newest_us)
        subscribers = {int(row["subscriber"].item()) for row in charged.values()}
        # What was booked before this moment must be seen, or it would not be taken back with the record.
        delivered = bool(charged) and self._intake.is_delivered(subscribers)
        corrections = self._kept.corrections(subscribers if delivered else ())
        before = taken_back(corrections)
        settled = 0
        for wish in wishes:
            original = charged.get(wish.original)
            if original is not None and not delivered:
                continue
            report = None if original is None else int(original["report"].item())
            judged = wish.judged(report, before.get(wish.original), newest_us)
            if judged is None:
                continue
            if judged.reason or judged.done:
                settled += self._settled(judged)
            elif original is not None:
                self._order(judged, original, corrections)
        return settled

    # -- what waits, and what it is of ------------------------------------------------------------------------

    def _wishes(self, waiting: pl.DataFrame, found: Withdrawers) -> Iterator[Wish]:
        """Held records as they were decoded; one that cannot be read any more goes on waiting for a person."""
        waiting = waiting.with_columns(pl.col("mapping").replace("", MAPPING))
        read = waiting.with_row_index("at").with_columns(
            pl.col("at").cast(pl.Int32).alias("file"),
            pl.lit(1, pl.Int64).alias("line"),
            pl.col("mapping").map_elements(lambda said: reading(said)[0], pl.String),
        )
        known = read.filter(pl.col("mapping").is_in(list(self._mappings)), pl.col("raw").is_not_null())
        for at, rows in read_again(known, self._mappings).partition_by("file", as_dict=True).items():
            row = waiting.row(int(at[0]), named=True)
            (said,) = renamed(rows, reading(row["mapping"])[1]).to_dicts()
            corrects = row["reason"] == CORRECTS
            name = said["record_id"] + (place_mark_of(row["number"]) if corrects else "")
            yield Wish(row, said, _original(said, found), name)

    def _originals(self, wishes: list[Wish], newest_us: int) -> dict[Record, pl.DataFrame]:
        """The charged usage that wishes are of and that is not too old to be taken back, each a row."""
        rows = self._kept.charged({wish.original[0] for wish in wishes})
        wanted = {wish.original for wish in wishes}
        rows = rows.filter(pl.col("start_us") >= newest_us - REMEMBERED_US)
        found = rows.partition_by(RECORD, as_dict=True)
        return {(int(a), int(b)): row for (a, b), row in found.items() if (int(a), int(b)) in wanted}

    # -- step by step -----------------------------------------------------------------------------------------

    def _order(self, wish: Wish, original: pl.DataFrame, corrections: pl.DataFrame) -> None:
        """Have the original taken back by the bucket that keeps its account."""
        others = CHARGED.record.empty()
        if len(original.filter(is_part())):
            others = self._other_parts(original)
        mine = original.with_columns(
            correction_id=pl.lit(wish.reversal_id),
            movement_id=pl.lit(wish.movement_id),
            time_us=pl.lit(self._now_us(), pl.Int64),
        )
        records = pl.concat([original, others])
        of_account = corrections.filter(pl.col("subscriber") == original["subscriber"].item())
        caused = pl.concat(
            [
                records.select("seq"),
                of_account.join(records, on=RECORD, how="semi").select("seq"),
            ]
        )
        entries = self._kept.entries(records).join(caused, on="seq", how="semi")
        order = order_of(mine, others, entries, of_account, self._catalogue())
        self._intake.hand_in(WITHDRAWALS, order)

    def _other_parts(self, original: pl.DataFrame) -> pl.DataFrame:
        """All other parts under the reference of a part's call."""
        begun_us, subscriber = int(original["start_us"].item()), int(original["subscriber"].item())
        near = self._kept.usage(subscriber, begun_us - REMEMBERED_US, begun_us + REMEMBERED_US)
        return parts_beside(near, original).join(original, on=RECORD, how="anti")

    def _settled(self, wish: Wish) -> bool:
        """Do what is left of a wish that was judged; whether nobody else has settled it."""
        row = wish.row
        said, number = row["mapping"], int(row["number"])
        if wish.reason:
            # Offered again it gets a name of its own, since its own name is known by now.
            rejected = wish.refused().with_columns(
                path=pl.lit(row["path"]), mapping=pl.lit(said + mark_of(number))
            )
            self._kept.reject(number, rejected)
        elif wish.corrects and not self._takes_place(said + place_mark_of(number), row):
            return False
        try:
            self._reader.settle(HELD, number, wish.decision, ACTOR)
        except Refused:  # another process, or a person, was quicker
            return False
        return True

    def _takes_place(self, said: str, row: Mapping[str, Any]) -> bool:
        """Hand a correcting record in as usage; what cannot be handed in goes on waiting, and is told."""
        try:
            self._intake.take_place(said, row["raw"], row["source"])
        except Refused as refused:
            log.warning("the held record %d cannot be charged in its place: %s", row["number"], refused)
            return False
        return True


def _original(said: Mapping[str, Any], found: Withdrawers) -> Record:
    """The record that another one is of: where that one took a place itself, by the name under which it was charged."""
    source, of = str(said["source"]), str(said["of"])
    number = found.charged.get((source, of))
    name = of if number is None else of + place_mark_of(number)
    return identity_of(source, name)
