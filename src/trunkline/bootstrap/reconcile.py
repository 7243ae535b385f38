"""Reconciliation: the raw records are read and charged once more, all at once, and compared with what the store holds.

It shares the rules with the stream (a step has one meaning) but none of its state: identities, sessions and accounts
begin empty, and one pass takes everything that is kept. What is taken from the store is only what happened outside the
records: the order of arrival, what stands as rejected, the contracts, the movements of money, and what people decided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trunkline.bootstrap.catalogues import known_register
from trunkline.charging.anew import Again, in_turns, keys_of, opening, take_turns, with_reversals
from trunkline.charging.corrections import corrected, is_reversal
from trunkline.charging.reconcile import KEY, SIDES, Differences, compare
from trunkline.charging.tariffs import members_of
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.files import FileBlocks
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import identities
from trunkline.mediation.decode import decode
from trunkline.mediation.deduplicate import deduplicate
from trunkline.mediation.mapping import Mapping
from trunkline.mediation.meter import meter
from trunkline.ports import FolderDamaged, SourceFile
from trunkline.records import charging, usage
from trunkline.records.charging import MOVEMENTS, NEVER_S, Cause, RowKind
from trunkline.records.usage import Action
from trunkline.stores.embedded.reader import EmbeddedReader

BLOCK_OCTETS = 32 << 20
BEGINNING_US, END_US = -(2**62), 2**62
MOMENTS_TRIED = 5
_COMPARED = ("seq", "source", "record_id", *KEY, *SIDES, "start_us")
_TOLD = 100


@dataclass(frozen=True)
class Books:
    """What one reconciliation found: records, and balances of accounts."""

    usage: Differences
    accounts: int
    account_differences: int
    account_micros: int

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """The result as the command and the interface give it."""
        return {
            "records": self.usage.records,
            "differences": self.usage.count + self.account_differences,
            "difference_micros": self.usage.micros,
            "by_cause": self.usage.by_cause(),
            "accounts": self.accounts,
            "account_differences": self.account_differences,
            "account_difference_micros": self.account_micros,
            "examples": [
                {"source": row["source"], "record_id": row["record_id"], "cause": row["cause"],
                 "difference_micros": row["difference_micros"]}
                for row in self.usage.rows.head(_TOLD).iter_rows(named=True)
            ],
            "seconds": round(seconds, 3),
        }  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What the store holds at one moment: one side of the comparison, and what happened outside the records."""

    stored: pl.DataFrame  # CHARGED, each record with what its corrections made of it
    accounts: Grouped
    movements: pl.DataFrame
    files: pl.DataFrame
    rejected: pl.DataFrame  # file, line: what stands as rejected is no usage, and its name may be used again
    decided: pl.DataFrame  # file, line, number: conflicts that a person let be charged
    corrections: pl.DataFrame = field(default_factory=charging.CORRECTIONS.record.empty)


def gather(reader: EmbeddedReader) -> Facts:
    """Everything that is asked of the store, at one moment, so that a running platform does not move underneath."""
    for _ in range(MOMENTS_TRIED - 1):
        try:
            return _gathered(reader)
        except (FileNotFoundError, FolderDamaged, pl.exceptions.ComputeError):
            continue  # a merge took a file away; the next moment has another
    return _gathered(reader)


def _gathered(reader: EmbeddedReader) -> Facts:
    place = {"file": pl.Int32}
    with reader.moment():
        corrections, charged = (
            pl.concat([stream.record.empty(), *reader.scan(stream, BEGINNING_US, END_US)])
            for stream in (charging.CORRECTIONS, charging.CHARGED)
        )
        return Facts(
            stored=corrected(charged, corrections),
            accounts=reader.accounts(),
            movements=_movements(reader),
            files=reader.files().filter(pl.col("offset") > 0),
            rejected=reader.rejected_places().cast(place),  # type: ignore[arg-type]
            decided=reader.charged_conflicts().cast(place),  # type: ignore[arg-type]
            corrections=corrections,
        )


def reconcile(
    reader: EmbeddedReader,
    catalogue: Catalogue,
    mappings: dict[str, Mapping],
    from_us: int = BEGINNING_US,
    until_us: int = END_US,
) -> dict[str, Any]:
    """Compare the usage that began in a stretch of time; differences by cause, to the micro-unit."""
    began = time.monotonic()
    ordered, facts = arrived(reader, mappings)
    return judged(ordered, facts, catalogue, from_us, until_us).as_dict(time.monotonic() - began)


def arrived(reader: EmbeddedReader, mappings: dict[str, Mapping]) -> tuple[pl.DataFrame, Facts]:
    """Every record of the kept octets, decoded anew, in the order of arrival (`seq`), and what the store says."""
    facts = gather(reader)
    return arrived_of(reader.folder, facts, mappings), facts


def arrived_of(folder: Path, facts: Facts, mappings: dict[str, Mapping]) -> pl.DataFrame:
    """Every record of the octets that are kept in a folder, decoded anew, in the order of its arrival (`seq`)."""
    return _ordered(raw_records(folder, facts.files, mappings), facts)


def judged(
    ordered: pl.DataFrame,
    facts: Facts,
    catalogue: Catalogue,
    from_us: int = BEGINNING_US,
    until_us: int = END_US,
) -> Books:
    """Charge decoded records, in the order of their arrival (`seq`), anew and compare with what a store holds.

    All of it, or one bucket's part.
    """
    recomputed, accounts = _charged_anew(ordered, facts, catalogue)
    within = (pl.col("start_us") >= from_us) & (pl.col("start_us") < until_us)
    found = compare(
        facts.stored.select(_COMPARED).filter(within), recomputed.select(_COMPARED).filter(within)
    )
    whole = from_us == BEGINNING_US and until_us == END_US
    differing, micros = _balances_differ(facts.accounts, accounts, catalogue) if whole else (0, 0)
    return Books(found, len(facts.accounts) if whole else 0, differing, micros)


def raw_records(folder: Path, files: pl.DataFrame, mappings: dict[str, Mapping]) -> pl.DataFrame:
    """Every readable record of the octets that are kept and were committed, decoded anew."""
    parts, members = [], members_of(known_register(folder))
    for file in files.iter_rows(named=True):
        frames = file_blocks(folder, file, mappings[file["mapping"]])
        parts += [decode(usage.RAW.record.conform(frame), mappings, members).rows[0] for frame in frames]
    return pl.concat(parts) if parts else usage.DECODED.record.empty()


def file_blocks(folder: Path, file: dict[str, Any], mapping: Mapping) -> Iterator[pl.DataFrame]:
    """The octets of one file, as far as it was read, in blocks of whole records (`RAW`)."""
    path = folder / file["raw"] if file["raw"] else Path(file["path"])
    kind = "spool" if file["kind"] == "spool" else "ingest"
    blocks = FileBlocks(SourceFile(file["file"], path, file["source"], file["mapping"], kind), mapping)
    end = None if file["ended"] == "done" and kind != "spool" else file["offset"]
    try:
        while blocks.offset < file["offset"]:
            block = blocks.next(BLOCK_OCTETS, end)
            if block is None:
                break
            yield pl.DataFrame(
                {
                    "file": [block.file.file],
                    "source": [block.file.source],
                    "mapping": [block.file.mapping],
                    "offset": [block.offset],
                    "line": [block.line],
                    "bytes": [bytes(block.octets)],
                    "header": pl.Series([block.header], dtype=pl.Binary),
                }
            )
            if block.last:
                break
    finally:
        blocks.close()


def _ordered(raw: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """Raw records in the order of their arrival; what the store lacks stands behind its neighbour in the file."""
    place = ("file", "line")
    raw = raw.join(facts.rejected, on=place, how="anti")
    known = facts.stored.select(*place, pl.col("seq")).unique(place, keep="first")
    named = _named_by_people(_told_anew(raw, known), facts.decided)
    return (
        named.join(known, on=place, how="left")
        .sort(place)
        .with_columns(pl.col("seq").forward_fill().over("file"))
        .with_columns(pl.col("seq").backward_fill().over("file"))
        .with_columns(
            pl.col("seq").forward_fill().fill_null(-1)
        )  # a file of nothing but copies came after the one before
        .sort("seq", *place)
    )


def _told_anew(raw: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Raw records without those that take one back; one that corrects is usage where the store charged it as such."""
    if not (raw["action"] != Action.NONE).any():
        return raw
    anew = raw.filter(pl.col("action") == Action.CORRECT).join(known, on=("file", "line"), how="semi")
    return pl.concat(
        [raw.filter(pl.col("action") == Action.NONE), anew.with_columns(pl.lit(0, pl.UInt8).alias("action"))]
    )


def _named_by_people(raw: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """Conflicts that a person let be charged bear a name of their own, as they do in the store."""
    if not len(decided):
        return raw
    place = ("file", "line")
    renamed = raw.join(decided, on=place, how="inner")
    names = renamed["record_id"] + "~" + renamed["number"].cast(pl.String)
    identity, check = identities(renamed["source"].cast(pl.String), names)
    renamed = renamed.drop("number").with_columns(
        record_id=names, identity=pl.Series(identity), check=pl.Series(check)
    )
    return pl.concat([raw.join(decided, on=place, how="anti"), renamed.select(raw.columns)])


def metered_anew(ordered: pl.DataFrame) -> pl.DataFrame:
    """Decoded records, in the order of their arrival, as usage that is counted once, session by session."""
    unique = deduplicate(ordered, Grouped.empty(usage.SEEN.dtype, keys_of(ordered["identity"]))).rows[0]
    return meter(unique, Grouped.empty(usage.SESSIONS.dtype, keys_of(unique["session_key"]))).rows[0]


def _charged_anew(raw: pl.DataFrame, facts: Facts, catalogue: Catalogue) -> tuple[pl.DataFrame, Grouped]:
    """Usage charged from nothing, and the accounts that result."""
    metered = metered_anew(raw)
    orders = with_reversals(facts.movements, facts.corrections)
    accounts = opening(facts.accounts, metered, orders)
    again = Again(catalogue, facts.corrections.filter(is_reversal())["subscriber"].unique())
    usage, orders = in_turns(metered, orders)
    accounts = take_turns(usage, orders, accounts, catalogue, again.charge_turn, again.take_back)
    return again.all_usage(), accounts


def _movements(reader: EmbeddedReader) -> pl.DataFrame:
    """What was booked besides usage, and the opening amounts, as movements in their order.

    Corrections are none of them: what they booked comes out of charging the records once more.
    """
    booked = reader.movements(None, 2**31).filter(
        (pl.col("status") == "booked") & (pl.col("cause") != int(Cause.CORRECTION))
    )
    opening = [
        part.filter((pl.col("cause") == int(Cause.TOPUP)) & ~pl.col("seq").is_in(booked["seq"].implode()))
        for part in reader.scan(charging.ENTRIES, BEGINNING_US, END_US)
    ]
    rows = [MOVEMENTS.record.conform(booked)]
    for part in opening:
        given = (
            pl.when(pl.col("credit").cast(pl.String) == "balance")
            .then(pl.col("amount"))
            .otherwise(-pl.col("amount"))
        )
        rows.append(
            MOVEMENTS.record.conform(
                part.with_columns(
                    amount=given,
                    cause=pl.lit(int(Cause.ADJUSTMENT)),
                    movement_id=pl.lit("opening"),
                    valid_until_s=pl.lit(NEVER_S),
                )
            )
        )
    return pl.concat(rows)


def _balances_differ(held: Grouped, recomputed: Grouped, catalogue: Catalogue) -> tuple[int, int]:
    """How many balances of accounts differ, and the money between both sides."""
    both = _balances(held).join(
        _balances(recomputed),
        on=("subscriber", "member", "definition", "period", "valid_until_s"),
        how="full",
        coalesce=True,
        suffix="_anew",
    )
    between = both.with_columns(pl.col("value").fill_null(0) - pl.col("value_anew").fill_null(0)).filter(
        pl.col("value") != 0
    )
    money = between.filter(pl.col("definition") == catalogue.main_balance)
    return len(between), int(money["value"].sum())


def _balances(accounts: Grouped) -> pl.DataFrame:
    names = ("kind", "member", "definition", "period", "valid_until_s", "value")
    frame = pl.DataFrame({name: np.ascontiguousarray(accounts.rows[name]) for name in names})
    owner = np.repeat(accounts.keys, np.diff(accounts.offsets))
    return (
        frame.with_columns(subscriber=pl.Series(owner))
        .filter(pl.col("kind") == int(RowKind.BALANCE))
        .drop("kind")
    )
