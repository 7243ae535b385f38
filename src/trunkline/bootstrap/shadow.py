"""Shadow run: another system's rated file is read through a mapping and held against what the data folder charged.

The file is read by the same mappings as usage, so its records get the same identities; its amounts are what that system
charged. Nothing of it is charged or booked here.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.bootstrap.kept import KeptAnswers
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US, file_blocks, gather, raw_records
from trunkline.bootstrap.what_if import DAY_US, days
from trunkline.charging.corrections import corrected
from trunkline.charging.shadow import KEY, MILLION, MONEY, Gate, Shadow, compare
from trunkline.charging.tariffs.bill_rules import minor_decimals
from trunkline.kernel.money import MICROS, to_text
from trunkline.mediation.decode import decode
from trunkline.mediation.mapping import Mapping, parse_mapping
from trunkline.ports import Refused
from trunkline.records import charging, usage
from trunkline.stores.embedded.reader import EmbeddedReader

KIND = "shadow"
TOP = 20
EXAMPLES = 100
ROOM_US = 2 * DAY_US  # the two systems may put a record on different days
HELD_MOST = 2**31


def gate_of(equal_percent: str, money_per_mille: str) -> Gate:
    """Thresholds as people write them; at most four decimals of a percent, three of a thousandth."""
    return Gate(
        _millionths(equal_percent, 100, "the share of equal records in percent"),
        _millionths(money_per_mille, 1000, "the difference of money in thousandths"),
    )


def _millionths(text: str, whole: int, what: str) -> int:
    try:
        value = Decimal(text) * (MILLION // whole)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value != int(value) or not 0 <= value <= MILLION:
        raise Refused(
            f"{text} cannot be {what}: a number from 0 to {whole} is expected, such as 99.9 or 0.5."
        )
    return int(value)


def mapping_of(said: str, known: dict[str, Mapping]) -> Mapping:
    """The mapping in a file, or the known one of that name; it must say where the amount stands."""
    path = Path(said)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise Refused(f"{path} is not a file. Name the mapping file of the other system.")
        mapping = parse_mapping(path.stem, path.read_text(encoding="utf-8"))
    elif said in known:
        mapping = known[said]
    else:
        raise Refused(f"{said} is neither a mapping file nor one of: {', '.join(sorted(known))}.")
    if "amount" not in mapping.columns:
        raise Refused(f"The mapping {mapping.name} has no column `amount`: what the other system charged.")
    return mapping


@dataclass(frozen=True)
class RatedFile:
    """What another system charged."""

    rows: pl.DataFrame  # DECODED
    rejected: dict[str, int]  # rows that could not be read, by reason
    fingerprint: str


def read_rated(path: Path, mapping: Mapping, source: str | None = None) -> RatedFile:
    """Read a rated file (plain, .gz or .zst); raises `Refused` when there is none or nothing in it can be read."""
    if not path.is_file():
        raise Refused(f"{path} is not a file. Name the rated file of the other system.")
    file = {
        "file": 0, "path": str(path), "raw": None, "kind": "ingest", "source": source or mapping.source,
        "mapping": mapping.name, "ended": "done", "offset": END_US,
    }  # fmt: skip
    digest, good, bad = blake2b(digest_size=8), [], []
    for block in file_blocks(path.parent, file, mapping):
        digest.update(block["bytes"][0])
        read = decode(usage.RAW.record.conform(block), {mapping.name: mapping})
        good.append(read.rows[0])
        bad.append(read.rows[1])
    rows = pl.concat([usage.DECODED.record.empty(), *good])
    reasons = pl.concat([usage.REJECTED.record.empty(), *bad])["reason"].value_counts(sort=True)
    rejected = dict(zip(reasons["reason"].to_list(), reasons["count"].to_list(), strict=True))
    if not len(rows):
        told = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items()) or "it is empty"
        raise Refused(f"Nothing in {path} can be compared: {told}. Look at the mapping.")
    return RatedFile(rows, rejected, digest.hexdigest())


def shadow(
    reader: EmbeddedReader,
    mappings: dict[str, Mapping],
    rated: RatedFile,
    currency: str,
    from_us: int = BEGINNING_US,
    until_us: int = END_US,
) -> Shadow:
    """Compare a rated file with what was charged; without a period, over the days of the file."""
    if from_us == BEGINNING_US:
        from_us = int(rated.rows["start_us"].min()) // DAY_US * DAY_US  # type: ignore[arg-type]
    if until_us == END_US:
        until_us = (int(rated.rows["start_us"].max()) // DAY_US + 1) * DAY_US  # type: ignore[arg-type]
    here = _charged(reader, from_us - ROOM_US, until_us + ROOM_US)
    missing = rated.rows.join(here, on=KEY, how="anti").select(*KEY).unique()
    why = _why(reader, mappings, missing) if len(missing) else _no_reasons()
    smallest = MICROS // 10 ** minor_decimals(currency)
    return compare(rated.rows, here, why, currency, smallest, from_us, until_us)


def _charged(reader: EmbeddedReader, from_us: int, until_us: int) -> pl.DataFrame:
    with reader.moment():
        charged, corrections = (
            pl.concat([stream.record.empty(), *reader.scan(stream, *within)])
            for stream, within in (
                (charging.CHARGED, (from_us, until_us)),
                (charging.CORRECTIONS, (BEGINNING_US, END_US)),
            )
        )
    return corrected(charged, corrections)


def _no_reasons() -> pl.DataFrame:
    return pl.DataFrame(schema={"identity": pl.UInt64, "check": pl.UInt64, "detail": pl.String})


def _why(reader: EmbeddedReader, mappings: dict[str, Mapping], missing: pl.DataFrame) -> pl.DataFrame:
    """Why these identities are not charged here, as far as what was handed in tells."""
    facts = gather(reader)
    place = ("file", "line")
    read = raw_records(reader.folder, facts.files, mappings).join(missing, on=KEY, how="semi")
    held = reader.held(HELD_MOST).select(*place, pl.lit("held").alias("held"))
    open_ = reader.rejects(None, HELD_MOST).select(*place, "reason")
    settled = facts.rejected.with_columns(settled=pl.lit("settled"))
    found = read.select(*KEY, *(pl.col(name).cast(pl.Int64) for name in place))
    for known in (held, open_, settled):
        found = found.join(
            known.unique(place).with_columns(pl.col(place).cast(pl.Int64)), on=place, how="left"
        )
    told = found.with_columns(detail=pl.coalesce("held", "reason", "settled", pl.lit("other_time")))
    return told.select(*KEY, "detail").sort(pl.col("detail") == "other_time", maintain_order=True)


def told(found: Shadow, gate: Gate, rated: RatedFile) -> dict[str, Any]:
    """The comparison as one value, made of plain parts; subscribers stand in it as dial words."""
    people = found.by_subscriber()
    differs = people.filter(pl.col("difference_micros") != 0)
    return {
        "counts": found.counts(),
        "money": found.money(),
        "unreadable": rated.rejected,
        "gate": found.judged(gate),
        "causes": found.by_cause().to_dicts(),
        "lines": found.by_line().head(TOP).to_dicts(),
        "days": found.by_day().to_dicts(),
        "bills": {"compared": len(people), "equal": len(people) - len(differs), "differing": len(differs)},
        "bills_most": differs.head(TOP).to_dicts(),
        "examples": _without_people(found.differing.head(EXAMPLES)).to_dicts(),
    }


def _without_people(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("source", "record_id", "day_us", "plan", "destination", "cause", "detail", *MONEY)


def differing_csv(found: Shadow, currency: str) -> str:
    """Every record that differs, as a table with a heading; amounts in the currency."""
    rows = _without_people(found.differing)
    return _table(
        (
            "source",
            "record_id",
            "day",
            "plan",
            "destination",
            "cause",
            "detail",
            "here",
            "there",
            "difference",
        ),
        [_amounts({**row, "day": _day(row["day_us"])}) for row in rows.iter_rows(named=True)],
        currency,
    )


def summary_csv(answer: dict[str, Any], show: Callable[[int], str]) -> str:
    """A kept comparison as one table: causes, days, lines and bills; numbers as `show` lets them be seen."""
    rows: list[dict[str, Any]] = [{"part": "total", "records": answer["counts"]["all"], **answer["money"]}]
    for part in ("causes", "days", "lines", "bills_most"):
        rows += [
            {**row, "part": part.removesuffix("_most"), "name": _name(part, row, show)}
            for row in answer[part]
        ]
    return _table(
        ("part", "name", "records", "here", "there", "difference"),
        [_amounts(row) for row in rows],
        answer["currency"],
    )


def _name(part: str, row: dict[str, Any], show: Callable[[int], str]) -> str:
    if part == "days":
        return _day(row["day_us"])
    if part == "bills_most":
        return f"{show(row['subscriber'])} {row['period']}"
    names = ("cause", "detail") if part == "causes" else ("plan", "destination", "cause")
    return " ".join(filter(None, (row[name] for name in names)))


def _amounts(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name.removesuffix("_micros"): to_text(row[name]) for name in MONEY}


def _day(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).date().isoformat()


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]], currency: str) -> str:
    text = io.StringIO()
    written = csv.writer(text, lineterminator="\n")
    written.writerow((*columns, "currency"))
    written.writerows((*(row.get(name, "") for name in columns), currency) for row in rows)
    return text.getvalue()


@dataclass(frozen=True)
class FolderShadows:
    """Shadow runs of a data folder (`api.studies.Kept`)."""

    reader: EmbeddedReader
    mappings: dict[str, Mapping]

    def run(
        self,
        path: Path,
        mapping: Mapping,
        gate: Gate,
        first: str | None,
        last: str | None,
        source: str | None,
        actor: str,
    ) -> tuple[dict[str, Any], Shadow]:
        """Compare a rated file, and keep what came of it."""
        began = time.monotonic()
        currency = load_catalogue(self.reader.folder, None).currency
        rated = read_rated(path, mapping, source)
        found = shadow(self.reader, self.mappings, rated, currency, *days(first, last))
        if not len(found.records):
            raise Refused("Neither side has a record that began in that period; choose other days.")
        answer = {
            "from": first, "to": last, "actor": actor, "time_us": time.time_ns() // 1000, "file": path.name,
            "file_fingerprint": rated.fingerprint, "currency": currency, **told(found, gate, rated),
            "seconds": round(time.monotonic() - began, 3),
        }  # fmt: skip
        name = self._kept().add((rated.fingerprint, first, last, source), answer)
        return {"id": name, **answer}, found

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Kept comparisons, the newest first."""
        return self._kept().newest(limit)

    def one(self, name: str) -> dict[str, Any] | None:
        """One kept comparison."""
        return self._kept().one(name)

    def table(self, answer: dict[str, Any], show: Callable[[int], str]) -> str:
        """A comparison as CSV."""
        return summary_csv(answer, show)

    def _kept(self) -> KeptAnswers:
        return KeptAnswers(self.reader.folder, KIND)
