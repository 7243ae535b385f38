"""Re-rating over a data folder: previews that are kept, and booking what one of them shows.

A preview is worked out of one moment of the books and named after what it was made of. Booking goes through its
accounts in parts, each one commit with the movements' names in it; after a kill it is ordered again and goes on. An
account that moved since the preview is left as it is and told: a new preview finds it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from trunkline import topology
from trunkline.bootstrap.catalogues import known_register
from trunkline.bootstrap.reconcile import (
    BEGINNING_US,
    END_US,
    MOMENTS_TRIED,
    Facts,
    arrived_of,
    gather,
)
from trunkline.bootstrap.rerate_parts import About, added_up, part_of
from trunkline.charging.rerating import guards
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.loop import Carrier
from trunkline.mediation.mapping import Mapping as Reading
from trunkline.ports import Commit, FolderDamaged, Movement, Refused, Rerated
from trunkline.records import charging
from trunkline.records.charging import CORRECTIONS, NEVER_S, Cause
from trunkline.stores.embedded.bills import EmbeddedBills
from trunkline.stores.embedded.disk import Disk

FOLDER = "rerates"
ACCOUNTS_AT_ONCE = 5_000
_ID = re.compile(r"[0-9a-f]{16}")


class FolderRerates:
    """Re-ratings of a data folder (`ports.Rerates`). Without an engine nothing can be booked, only previewed."""

    def __init__(
        self,
        data: Path,
        catalogue: Callable[[], Catalogue],
        mappings: dict[str, Reading],
        engine: Engine | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        *,
        at_once: int = ACCOUNTS_AT_ONCE,
    ) -> None:
        """`engine` carries the booking; it comes from the one process that writes."""
        self._data, self._catalogue, self._mappings, self._engine = data, catalogue, mappings, engine
        self._now_us, self._at_once = now_us, at_once
        self._reader = EmbeddedBills(data)
        self._running = threading.Lock()
        self._disk = Disk()

    # -- previews -------------------------------------------------------------------------------------------

    def preview(
        self,
        from_us: int,
        until_us: int,
        subscriber: int | None = None,
        plan: str | None = None,
        tariffs: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Work out and keep what a stretch of time comes to under the tariff in force, or under files of a draft."""
        catalogue = self._catalogue()
        if tariffs is not None:
            catalogue, _ = compile_catalogue(tariffs, known_register(self._data))
        about = About(from_us, until_us, subscriber, plan).checked(catalogue)
        facts, entries, position = self._moment()
        key = (from_us, until_us, subscriber, plan, catalogue.fingerprint, position)
        rerate_id = blake2b(json.dumps(key).encode(), digest_size=8).hexdigest()
        known = self._kept(rerate_id)
        if known is not None:
            return self._told(known)
        now_us = self._now_us()
        ordered = arrived_of(self._data, facts, self._mappings)
        part = part_of(ordered, facts, entries, catalogue, about, rerate_id, now_us)
        summary = {
            "rerate_id": rerate_id,
            "made_us": now_us,
            "from_us": from_us,
            "until_us": until_us,
            "subscriber": subscriber,
            "plan": plan,
            "tariff": catalogue.fingerprint,
            "draft": tariffs is not None,
            "position": position,
            "currency": catalogue.currency,
            **added_up([part.sums]),
        }
        self._keep(rerate_id, summary, part.corrections, part.accounts)
        return self._told(summary)

    def rerates(self, limit: int) -> list[dict[str, Any]]:
        """Previews, the newest first, each with what was booked of it."""
        folder = self._data / FOLDER
        paths = folder.glob("*.json") if folder.is_dir() else ()
        kept = [found for path in paths if (found := self._kept(path.stem)) is not None]
        kept.sort(key=lambda each: (-each["made_us"], each["rerate_id"]))
        return [self._told(each) for each in kept[:limit]]

    def rerate(self, rerate_id: str) -> dict[str, Any] | None:
        """One preview, with what was booked of it."""
        kept = self._kept(rerate_id)
        return None if kept is None else self._told(kept)

    def corrections(self, rerate_id: str) -> pl.DataFrame:
        """The corrections (`CORRECTIONS`) that a preview would book, or booked, in the order of the records."""
        self._known(rerate_id)
        return CORRECTIONS.record.conform(pl.read_parquet(self._path(rerate_id, "parquet"))).sort(
            "corrects_seq"
        )

    # -- booking --------------------------------------------------------------------------------------------

    def book(self, rerate_id: str) -> Rerated:
        """Book what a preview shows; what is booked already stays so. Raises `Refused`."""
        engine = self._engine
        if engine is None:
            raise Refused("This process only reads; order it of the one that writes to the data folder.")
        known = self._known(rerate_id)
        catalogue = self._catalogue()
        if known["tariff"] != catalogue.fingerprint:
            raise Refused(
                "The preview was made with another tariff than is in force. Put that tariff in force first, or make a"
                " new preview."
            )
        if not self._running.acquire(blocking=False):
            raise Refused("A re-rating is being booked already; wait for its end.")
        began = time.monotonic()
        try:
            accounts = pl.read_parquet(self._path(rerate_id, "accounts.parquet")).sort("subscriber")
            rows = self.corrections(rerate_id)
            done = Rerated(rerate_id, 0, 0, 0, 0, 0, 0.0)
            for part in accounts.iter_slices(self._at_once):
                mine = rows.join(
                    part.select("subscriber"), on="subscriber", how="semi", maintain_order="left"
                )
                with engine.correcting:
                    done = _together(done, engine.order(_booking(part, mine, catalogue, done)).result())
        finally:
            self._running.release()
        return replace(done, seconds=round(time.monotonic() - began, 3))

    # -- how ------------------------------------------------------------------------------------------------

    def _moment(self) -> tuple[Facts, pl.DataFrame, int]:
        """What the books hold at one moment, with the ledger's entries and the next arrival number."""
        for left in reversed(range(MOMENTS_TRIED)):
            try:
                with self._reader.moment():
                    facts = gather(self._reader)
                    parts = list(self._reader.scan(charging.ENTRIES, BEGINNING_US, END_US))
                    return (
                        facts,
                        pl.concat([charging.ENTRIES.record.empty(), *parts]),
                        self._reader.position(),
                    )
            except (FileNotFoundError, FolderDamaged, pl.exceptions.ComputeError):
                if not left:
                    raise
        raise AssertionError("a moment was found, or raised")

    def _path(self, rerate_id: str, ending: str) -> Path:
        return self._data / FOLDER / f"{rerate_id}.{ending}"

    def _kept(self, rerate_id: str) -> dict[str, Any] | None:
        path = self._path(rerate_id, "json")
        if not _ID.fullmatch(rerate_id) or not path.exists():
            return None
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def _known(self, rerate_id: str) -> dict[str, Any]:
        kept = self._kept(rerate_id)
        if kept is None:
            raise Refused(f"There is no preview {rerate_id}. `trunkline rerate list` shows them.")
        return kept

    def _keep(
        self, rerate_id: str, summary: dict[str, Any], rows: pl.DataFrame, accounts: pl.DataFrame
    ) -> None:
        """Write a preview durably; it exists when its summary, written last, has its name."""
        folder = self._data / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        contents = (
            ("accounts.parquet", _packed(accounts)),
            ("parquet", _packed(rows)),
            ("json", json.dumps(summary).encode()),
        )
        for ending, octets in contents:
            fresh = self._path(rerate_id, f"{ending}.new")
            self._disk.remove(fresh)
            self._disk.write(fresh, [octets])
            self._disk.rename(fresh, self._path(rerate_id, ending))
        self._disk.fsync_folder(folder)

    def _told(self, summary: dict[str, Any]) -> dict[str, Any]:
        """A preview with its state: nothing is booked of it, a part, or all."""
        booked = self._reader.booked(f"rerate:{summary['rerate_id']}:")
        count = len(booked)
        if count == summary["accounts_differing"]:
            state = "booked" if count else "nothing to book"
        else:
            state = "partly booked" if count else "preview"
        return {
            **summary,
            "state": state,
            "accounts_booked": count,
            "booked_micros": -int(booked["amount"].sum()),
        }


def _packed(frame: pl.DataFrame) -> bytes:
    octets = BytesIO()
    frame.write_parquet(octets, compression="lz4")
    return octets.getvalue()


def _booking(
    accounts: pl.DataFrame, rows: pl.DataFrame, catalogue: Catalogue, begun: Rerated
) -> Callable[[Engine, int], tuple[Commit | None, Rerated]]:
    """One part of a booking, carried in its turn: corrections, entries and movements in one commit."""

    def run(engine: Engine, number: int) -> tuple[Commit | None, Rerated]:
        known = engine.store.booked(accounts["movement_id"].to_list())
        new = accounts.filter(~pl.col("movement_id").is_in(list(known)))
        held = engine.states.gather(charging.ACCOUNTS, new["subscriber"].to_numpy())
        fit = new.join(guards(held), on=("subscriber", "guard"), how="semi", maintain_order="left")
        nothing = replace(begun, booked=0, records=0, micros=0)
        done = replace(nothing, repeated=len(known), moved=len(new) - len(fit))
        if not len(fit):
            return None, done
        mine = rows.join(fit.select("subscriber"), on="subscriber", how="semi", maintain_order="left")
        numbered = CORRECTIONS.record.conform(engine.numbered(mine))
        carried = Carrier(topology.CORRECTING, engine.tables, engine.states).whole(numbered, number)
        commit = engine.commit_of(number, carried, movements=_movements(numbered, catalogue))
        commit = replace(commit, frames={**commit.frames, CORRECTIONS.name: numbered})
        micros = int(numbered["charged_micros"].sum())
        return commit, replace(done, booked=len(fit), records=len(numbered), micros=micros)

    return run


def _movements(numbered: pl.DataFrame, catalogue: Catalogue) -> list[tuple[Movement, int, str, str]]:
    """One movement an account, with the money that goes to it and the number of its first correction."""
    main = catalogue.balances[catalogue.main_balance]
    sums = numbered.group_by("movement_id", maintain_order=True).agg(
        pl.first("subscriber"), pl.col("charged_micros").sum(), pl.first("time_us"), pl.min("seq")
    )
    return [
        (Movement(name, int(Cause.CORRECTION), word, main, -micros, time_us, NEVER_S), seq, "booked", "")
        for name, word, micros, time_us, seq in sums.iter_rows()
    ]


def _together(one: Rerated, other: Rerated) -> Rerated:
    return replace(
        one,
        booked=one.booked + other.booked,
        repeated=one.repeated + other.repeated,
        moved=one.moved + other.moved,
        records=one.records + other.records,
        micros=one.micros + other.micros,
    )
