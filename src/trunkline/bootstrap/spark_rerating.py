"""Re-rating on a cluster: a period of its history charged once more, bucket by bucket, kept, and booked by the query.

The buckets' tasks do what embedded is done at once, with the same functions, so what a record and an account come to is
the embedded answer. What they find is kept as orders, one an account. Booking hands in those that were never carried;
the query books each once by its name, or leaves an account that moved. So whoever dies, the same is ordered again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.bootstrap.catalogues import known_register, load_catalogue
from trunkline.bootstrap.kafka import handed_in, server_of
from trunkline.bootstrap.rerate_parts import About, added_up, part_of
from trunkline.bootstrap.spark import (
    Running,
    bucket_facts,
    charged_by_spark,
    opened,
    set_aside,
    settings_of,
)
from trunkline.charging.corrections import RECORD
from trunkline.charging.rerating_orders import corrections_of, orders_of
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.orders import sort_out
from trunkline.engines.plan import BUCKET_BITS, CARRIED, Plan
from trunkline.engines.spark import history
from trunkline.engines.spark.blobs import NEWEST, BlobDamaged, Bucket, newest_versions
from trunkline.engines.spark.carry import bucket_folder
from trunkline.engines.wire import MOST_OCTETS, rows_out
from trunkline.ports import NoAnswer, Refused, Rerated
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS, RERATES
from trunkline.records.usage import RAW
from trunkline.settings import Folders, Kafka, Spark
from trunkline.stores.embedded.rerate_files import RerateFiles

FOLDER = "rerates"  # in the checkpoint's folder, whose fate previews share
WAIT_S = 60.0
_LOOK_S = 0.5
_MOMENTS_TRIED = 5
_MANY = 1_000  # corrections of one account, from which on it is measured whether one message takes them
TOO_MANY = "too_many"
_READ = (RAW, MOVEMENTS, CHARGED, ENTRIES, CORRECTIONS)
_WAITING = "waiting"

Send = Callable[[Iterable[bytes]], None]


class SparkRerates:
    """Re-ratings of a cluster that Spark charges (`ports.Rerates`): only previewing needs Spark itself."""

    def __init__(self, folders: Folders, kafka: Kafka, spark: Spark) -> None:
        """Nothing is opened before it is asked for."""
        self._folders, self._kafka, self._spark = folders, kafka, spark
        settings, plan = settings_of(folders, kafka, spark), charged_by_spark(kafka)
        self._books = ClusterRerates(
            RerateFiles(settings.checkpoint / FOLDER),
            plan,
            settings.state,
            lambda: load_catalogue(folders.data, None).fingerprint,
            lambda values: handed_in(
                server_of(kafka), plan.topic(RERATES), ((value, None) for value in values)
            ),
        )

    def preview(
        self,
        from_us: int,
        until_us: int,
        subscriber: int | None = None,
        plan: str | None = None,
        tariffs: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Work out and keep what a period comes to under the tariff in force, or under files of a draft.

        Raises `TariffError` with the draft's mistakes.
        """
        draft = None if tariffs is None else compile_catalogue(tariffs, known_register(self._folders.data))[0]
        with opened(self._folders, self._kafka, self._spark, looking=True) as running:
            catalogue = draft or running.catalogue
            about = About(from_us, until_us, subscriber, plan).checked(catalogue)
            summary = previewed(running, self._books.files, catalogue, about, draft=draft is not None)
        return self._books.told(summary)

    def rerates(self, limit: int) -> list[dict[str, Any]]:
        """Previews, the newest first, each with what was booked of it."""
        return [self._books.told(each) for each in self._books.files.every()[:limit]]

    def rerate(self, rerate_id: str) -> dict[str, Any] | None:
        """One preview, with what was booked of it."""
        kept = self._books.files.kept(rerate_id)
        return None if kept is None else self._books.told(kept)

    def corrections(self, rerate_id: str) -> pl.DataFrame:
        """The corrections (`CORRECTIONS`) that a preview would book, or booked, in the order of the records."""
        self._books.known(rerate_id)
        parts = [corrections_of(orders) for _, orders in self._books.files.orders(rerate_id)]
        return pl.concat([CORRECTIONS.record.empty(), *parts]).sort("corrects_seq", "subscriber")

    def book(self, rerate_id: str) -> Rerated:
        """Hand in what was never carried of a preview, and wait until the query has carried it."""
        return self._books.book(rerate_id, WAIT_S)


class ClusterRerates:
    """Kept previews beside the state of the query that books them."""

    def __init__(
        self, files: RerateFiles, plan: Plan, state: str, tariff: Callable[[], str], send: Send
    ) -> None:
        """`state` is the folder of the buckets' state; `tariff` tells the tariff in force; `send` hands orders in."""
        self.files, self._plan, self._state, self._tariff, self._send = files, plan, state, tariff, send

    def known(self, rerate_id: str) -> dict[str, Any]:
        """A preview's summary; raises `Refused`."""
        kept = self.files.kept(rerate_id)
        if kept is None:
            raise Refused(
                f"There is no preview {rerate_id}. `trunkline rerate list --engine spark` shows them."
            )
        return kept

    def told(self, summary: dict[str, Any]) -> dict[str, Any]:
        """A preview with its state: nothing is booked of it, a part, or all."""
        fates = self._fates(self._brief(summary["rerate_id"]))
        booked = fates.filter(pl.col("fate") == "")
        if len(booked) == summary["accounts_differing"]:
            state = "booked" if len(booked) else "nothing to book"
        else:
            state = "partly booked" if len(booked) else "preview"
        amounts = {"accounts_booked": len(booked), "booked_micros": -int(booked["amount"].sum())}
        return {**summary, "state": state, **amounts}

    def book(self, rerate_id: str, wait_s: float) -> Rerated:
        """Hand in what was never carried of a preview, and wait until the query has carried it.

        Raises `NoAnswer` when it does not within `wait_s`, and `Refused`.
        """
        began = time.monotonic()
        if self.known(rerate_id)["tariff"] != self._tariff():
            raise Refused(
                "The preview was made with another tariff than is in force. Start the query with that tariff first, or"
                " make a new preview."
            )
        brief = self._brief(rerate_id)
        before = self._fates(brief)
        for bucket, orders in self.files.orders(rerate_id):
            waiting = before.filter(pl.col("bucket") == bucket, pl.col("fate") == _WAITING)
            self._send(rows_out(orders.join(waiting, on="movement_id", how="semi", maintain_order="left")))
        after = self._fates(brief)
        while (after["fate"] == _WAITING).any():
            if time.monotonic() - began > wait_s:
                count = int((after["fate"] == _WAITING).sum())
                raise NoAnswer(
                    f"The orders of {count:,} accounts are handed in, and the query has not carried them yet. Let it"
                    " run, and order the same again to hear of them: each is booked once."
                )
            threading.Event().wait(_LOOK_S)
            after = self._fates(brief)
        if (after["fate"] == "other_tariff").any():
            raise Refused(
                "The query charges by another tariff than the preview was made with. Start it with that tariff, and"
                " make a new preview."
            )
        repeated = before.filter(pl.col("fate") == "")
        booked = after.filter(pl.col("fate") == "").join(repeated, on="movement_id", how="anti")
        return Rerated(
            rerate_id,
            booked=len(booked),
            repeated=len(repeated),
            moved=int((after["fate"] == "moved_since").sum()),
            records=int(booked["records"].sum()),
            micros=-int(booked["amount"].sum()),
            seconds=round(time.monotonic() - began, 3),
        )

    def _brief(self, rerate_id: str) -> pl.DataFrame:
        """The orders of a preview, without what they are made of."""
        empty = RERATES.record.empty()
        parts = [*self.files.orders(rerate_id), (0, empty)]
        return pl.concat(
            orders.select(
                pl.lit(bucket).alias("bucket"),
                "movement_id",
                "amount",
                pl.col("corrections").list.len().alias("records"),
            )
            for bucket, orders in parts
        )

    def _fates(self, brief: pl.DataFrame) -> pl.DataFrame:
        """What became of orders: `fate` is empty where they are booked, the reason where they were left, or waiting."""
        fates: dict[str, str] = {}
        for (bucket,), orders in brief.group_by("bucket"):
            answers = _patiently(partial(self._answers, int(str(bucket)), orders))
            fates |= {each["movement_id"]: each["reason"] for each in answers}
        names = brief["movement_id"].to_list()
        fate = pl.Series("fate", [fates.get(name, _WAITING) for name in names], dtype=pl.String)
        return brief.with_columns(fate)

    def _answers(self, bucket: int, orders: pl.DataFrame) -> list[dict[str, Any]]:
        state = Bucket(bucket_folder(self._state, bucket), self._plan.states, NEWEST)
        return sort_out(RERATES.name, "movement_id", orders, lambda keys: state.gather(CARRIED, keys)).answers


def _patiently(look: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Look into a bucket's state; a merge may take a file away meanwhile, and the next moment has another."""
    for _ in range(_MOMENTS_TRIED - 1):
        try:
            return look()
        except BlobDamaged:
            continue
    return look()


def previewed(
    running: Running, files: RerateFiles, catalogue: Catalogue, about: About, *, draft: bool
) -> dict[str, Any]:
    """Let every bucket work out and keep its part, out of what is whole in topics and state, and add them up.

    The same question of the same books is the same preview, and is not worked out again.
    """
    engine, now_us = running.engine, time.time_ns() // 1000
    before = history.whole_until(engine.settings)
    position = [head.next_row for head, _ in newest_versions(Path(engine.settings.state), before)]
    rerate_id = name_of(catalogue, about, position)
    kept = files.kept(rerate_id)
    if kept is not None:
        return kept
    begun = files.begun(rerate_id)
    known = running.spark.sparkContext.broadcast((catalogue, set_aside(running)))
    folder = files.folder

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        orders, sums = previewed_bucket(rows, state, *known.value, about, rerate_id, now_us)
        RerateFiles(folder).add(begun, int(state.folder.name), orders)
        return sums

    parts = history.found(running.spark, engine.sent, engine.settings, judge, _READ, before)
    summary = summary_of(parts, catalogue, about, rerate_id, now_us, draft=draft) | {"position": position}
    files.keep(begun, rerate_id, summary)
    return summary


def previewed_bucket(
    rows: Mapping[str, pl.DataFrame],
    state: Bucket,
    catalogue: Catalogue,
    rejected: pl.DataFrame,
    about: About,
    rerate_id: str,
    now_us: int,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """One bucket's orders (`RERATES`), and what it says of itself; `state` is as it was when all before it was whole.

    `rejected` holds the places of all that was set aside. What arrived later than the state is passed over.
    """
    cut_seq = state.next_row << BUCKET_BITS
    within = {
        name: frame.filter(pl.col("seq") < cut_seq)
        if name in (CHARGED.name, ENTRIES.name, CORRECTIONS.name)
        else frame
        for name, frame in rows.items()
    }
    ordered, facts = bucket_facts(within, state, rejected)
    ordered = ordered.join(facts.stored, on=RECORD, how="semi", maintain_order="left")
    entries = within.get(ENTRIES.name, ENTRIES.record.empty())
    part = part_of(ordered, facts, entries, catalogue, about, rerate_id, now_us)
    orders = orders_of(part.corrections, part.accounts, catalogue)
    many = orders.filter(pl.col("corrections").list.len() >= _MANY)
    too_many = [row["movement_id"][0] for row in many.iter_slices(1) if _octets(row) > MOST_OCTETS]
    return orders.filter(~pl.col("movement_id").is_in(too_many)), part.sums | {TOO_MANY: len(too_many)}


def _octets(order: pl.DataFrame) -> int:
    return sum(map(len, rows_out(order)))


def summary_of(
    parts: list[dict[str, Any]],
    catalogue: Catalogue,
    about: About,
    rerate_id: str,
    now_us: int,
    *,
    draft: bool,
) -> dict[str, Any]:
    """The buckets' parts as one preview; accounts whose corrections one message does not take are left out."""
    sums = added_up(parts)
    too_many = sum(part[TOO_MANY] for part in parts)
    if too_many:
        sums["left_out"][TOO_MANY] = too_many
    return {
        "rerate_id": rerate_id, "made_us": now_us, **vars(about), "tariff": catalogue.fingerprint, "draft": draft,
        "currency": catalogue.currency, **sums,
    }  # fmt: skip


def name_of(catalogue: Catalogue, about: About, position: list[int]) -> str:
    """A preview's name, after what was asked of which books."""
    question = (*vars(about).values(), catalogue.fingerprint, position)
    return blake2b(json.dumps(question).encode(), digest_size=8).hexdigest()
