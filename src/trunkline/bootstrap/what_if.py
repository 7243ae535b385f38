"""What if: what is stored, priced once more by the tariff in use and by a draft, and the answer as people ask for it.

The usage, its order, the contracts and the movements of money are those of reconciliation, so the running side is what
the ledger holds wherever the raw records are still kept; the answer says whether it is.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.bootstrap.catalogues import known_register, remembered_tariff
from trunkline.bootstrap.kept import KeptAnswers
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US, Facts, arrived, metered_anew
from trunkline.charging.anew import opening
from trunkline.charging.corrections import RECORD
from trunkline.charging.reversal import reversed_records
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.what_if import SEGMENTS, SIDES, WhatIf, compare_sides, laid_out, price_side
from trunkline.kernel.money import to_text
from trunkline.mediation.mapping import Mapping as UsageMapping
from trunkline.ports import Refused
from trunkline.stores.embedded.reader import EmbeddedReader

KIND = "what-if"
TOP = 20
NAMES_TOLD = 200  # of a segment; the others are summed
OTHERS = "all others"
DAY_US = 86_400_000_000


def days(first: str | None, last: str | None) -> tuple[int, int]:
    """First moment of the first day and first after the last, in UTC; left out: since ever, for ever."""
    from_us = BEGINNING_US if first is None else _day_us(first)
    until_us = END_US if last is None else _day_us(last) + DAY_US
    if from_us >= until_us:
        raise Refused(f"The period ends ({last}) before it begins ({first}).")
    return from_us, until_us


def _day_us(text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{text} is not a day such as 2026-11-01.") from error
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def both_tariffs(folder: Path, draft: Mapping[str, str]) -> tuple[Catalogue, Catalogue]:
    """The tariff that a data folder remembers and the draft, both with the numbers that accounts hold.

    Nothing is remembered of the draft. Raises `TariffError` with every mistake of it, and `Refused` when its amounts
    cannot be compared.
    """
    running, register = compile_catalogue(remembered_tariff(folder), known_register(folder))
    drafted, _ = compile_catalogue(draft, register)
    if drafted.currency != running.currency:
        raise Refused(
            f"The draft is in {drafted.currency} and the tariff in use in {running.currency}: amounts of two currencies"
            " cannot be compared."
        )
    return running, drafted


def what_if(
    reader: EmbeddedReader,
    draft: Mapping[str, str],
    mappings: dict[str, UsageMapping],
    from_us: int = BEGINNING_US,
    until_us: int = END_US,
) -> dict[str, Any]:
    """Price usage that began in a stretch of time by both tariffs; subscribers stand in the answer as dial words."""
    began = time.monotonic()
    tariffs = both_tariffs(reader.folder, draft)
    part = studied(*arrived(reader, mappings), tariffs, from_us, until_us)
    return answer_of([part], tariffs, from_us, until_us, began)


def studied(
    ordered: pl.DataFrame, facts: Facts, tariffs: tuple[Catalogue, Catalogue], from_us: int, until_us: int
) -> dict[str, Any]:
    """What the usage of some accounts, all that each has, comes to by both tariffs: a part for `answer_of`.

    `ordered` are decoded records in the order of their arrival (`seq`).
    """
    taken_back = reversed_records(facts.corrections)
    metered = metered_anew(ordered).join(taken_back, on=RECORD, how="anti", maintain_order="left")
    accounts = opening(facts.accounts, metered, facts.movements)
    usage, orders = laid_out(metered, facts.movements)
    sides = [(price_side(usage, orders, accounts, catalogue), catalogue) for catalogue in tariffs]
    stored = facts.stored.filter(pl.col("start_us") >= from_us, pl.col("start_us") < until_us)
    books = {"records": len(stored), "charged_micros": int(stored["charged_micros"].sum())}
    return {**told(compare_sides(usage, sides[0], sides[1], from_us, until_us)), "ledger": books}


def answer_of(
    parts: Sequence[dict[str, Any]],
    tariffs: tuple[Catalogue, Catalogue],
    from_us: int,
    until_us: int,
    began: float,
) -> dict[str, Any]:
    """The answer out of its parts; `began` is by the monotonic clock. Raises `Refused` when nothing was used.

    The ledger agrees with the running side unless raw records were let go, or the tariff was changed.
    """
    found: dict[str, Any] = added_up(parts) if parts else {"records": 0}
    if not found["records"]:
        raise Refused("No usage that is stored with its raw records began in that period; choose other days.")
    running, drafted = tariffs
    segments = {name: _shortened(rows) for name, rows in found["segments"].items()}
    agrees = found["ledger"]["charged_micros"] == found["running_micros"]
    return {
        "from_us": None if from_us == BEGINNING_US else from_us,
        "until_us": None if until_us == END_US else until_us,
        "running_fingerprint": running.fingerprint,
        "draft_fingerprint": drafted.fingerprint,
        **found,
        "segments": segments,
        "ledger": {**found["ledger"], "agrees": agrees},
        "seconds": round(time.monotonic() - began, 3),
    }


def told(found: WhatIf) -> dict[str, Any]:
    """The answer as one value, made of plain parts; every name of every segment is there."""
    counts = {name: found.pays(sign) for name, sign in (("more", 1), ("less", -1), ("same", 0))}
    more = found.subscribers.filter(pl.col("difference_micros") > 0)
    less = found.subscribers.filter(pl.col("difference_micros") < 0)
    return {
        "currency": found.currency,
        "records": found.records,
        "subscribers": len(found.subscribers),
        "running_micros": found.running_micros,
        "draft_micros": found.draft_micros,
        "difference_micros": found.draft_micros - found.running_micros,
        "pays": {
            name: {"subscribers": count, "difference_micros": micros}
            for name, (count, micros) in counts.items()
        },
        "segments": {
            segment: found.segments.filter(pl.col("segment") == segment).drop("segment").to_dicts()
            for segment in SEGMENTS
        },
        "bands": found.bands.to_dicts(),
        "refused": found.refused.to_dicts(),
        "most_more": more.head(TOP).to_dicts(),
        "most_less": less.tail(TOP).reverse().to_dicts(),
    }


def added_up(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Parts whose subscribers differ (what `told` makes of each) as one, in the order that each has by itself."""
    counts = ("records", "subscribers", *SIDES)
    largest = (pl.col("difference_micros").abs(), pl.col("records"), pl.col("name"))
    segments = {
        segment: _summed([row for part in parts for row in part["segments"][segment]], _NAMED)
        .sort(largest, descending=[True, True, False])
        .to_dicts()
        for segment in SEGMENTS
    }
    refused = _summed([row for part in parts for row in part["refused"]], _REFUSED)
    people = pl.DataFrame(
        [row for part in parts for row in (*part["most_more"], *part["most_less"])], _OF_ONE, orient="row"
    ).sort("difference_micros", "subscriber", descending=[True, False])
    more, less = (people.filter(pl.col("difference_micros").sign() == sign) for sign in (1, -1))
    return {
        "currency": parts[0]["currency"],
        **{name: sum(part[name] for part in parts) for name in counts},
        "pays": {
            name: {field: sum(part["pays"][name][field] for part in parts) for field in fields}
            for name, fields in parts[0]["pays"].items()
        },
        "segments": segments,
        "bands": [_band(rows) for rows in zip(*(part["bands"] for part in parts), strict=True)],
        "refused": refused.sort("records", "running", "draft", descending=[True, False, False]).to_dicts(),
        "most_more": more.head(TOP).to_dicts(),
        "most_less": less.tail(TOP).reverse().to_dicts(),
        "ledger": {
            field: sum(part["ledger"][field] for part in parts) for field in ("records", "charged_micros")
        },
    }


def _band(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    fields = ("subscribers", "difference_micros")
    return {"band": rows[0]["band"], **{field: sum(row[field] for row in rows) for field in fields}}


_SUMS = dict.fromkeys(("records", *SIDES), pl.Int64())
_NAMED: dict[str, pl.DataType] = {"name": pl.String(), **_SUMS}
_REFUSED: dict[str, pl.DataType] = {"running": pl.String(), "draft": pl.String(), **_SUMS}
_OF_ONE: dict[str, pl.DataType] = {"subscriber": pl.UInt64(), **_SUMS}


def _summed(rows: Sequence[dict[str, Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    keys = [name for name in schema if name not in _SUMS]
    return pl.DataFrame(rows, schema, orient="row").group_by(keys).agg(pl.col(list(_SUMS)).sum())


def _shortened(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the largest differences, and the others summed, so that the sum stays the whole."""
    if len(rows) <= NAMES_TOLD:
        return rows
    rest = {field: sum(row[field] for row in rows[NAMES_TOLD:]) for field in ("records", *SIDES)}
    return [*rows[:NAMES_TOLD], {"name": OTHERS, **rest}]


def as_csv(answer: dict[str, Any], show: Callable[[int], str]) -> str:
    """The answer as one table with a heading; amounts in the currency, numbers as `show` lets them be seen."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("part", "name", "records", "subscribers", "running", "draft", "difference", "currency"))
    for part, name, row in _parts(answer, show):
        counts = [row.get(key, "") for key in ("records", "subscribers")]
        amounts = [to_text(row[key]) if key in row else "" for key in SIDES]
        rows.writerow((part, name, *counts, *amounts, answer["currency"]))
    return text.getvalue()


def _parts(answer: dict[str, Any], show: Callable[[int], str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "total", "", answer
    for name, row in answer["pays"].items():
        yield "pays", name, row
    for segment in SEGMENTS:
        for row in answer["segments"][segment]:
            yield segment, row["name"], row
    for row in answer["bands"]:
        yield "band", row["band"], row
    for row in answer["refused"]:
        yield "no price", f"running: {row['running'] or 'priced'}; draft: {row['draft'] or 'priced'}", row
    for row in (*answer["most_more"], *answer["most_less"]):
        yield "subscriber", show(row["subscriber"]), row


def keep(
    folder: Path, answer: dict[str, Any], first: str | None, last: str | None, actor: str
) -> dict[str, Any]:
    """Keep an answer in a data folder, under the name of both tariffs and the days; the answer with its name."""
    answer |= {"from": first, "to": last, "actor": actor, "time_us": time.time_ns() // 1000}
    key = (answer["running_fingerprint"], answer["draft_fingerprint"], first, last)
    return {"id": KeptAnswers(folder, KIND).add(key, answer), **answer}


@dataclass(frozen=True)
class FolderWhatIfs:
    """What-ifs of a data folder (`ports.WhatIfs`)."""

    reader: EmbeddedReader
    mappings: dict[str, UsageMapping]

    def check(self, draft: Mapping[str, str], first: str | None, last: str | None) -> None:
        """Raise what keeps a draft from being compared over these days, before any long work."""
        days(first, last)
        both_tariffs(self.reader.folder, draft)

    def run(
        self, draft: Mapping[str, str], first: str | None, last: str | None, actor: str
    ) -> dict[str, Any]:
        """Work it out and keep the answer."""
        answer = what_if(self.reader, draft, self.mappings, *days(first, last))
        return keep(self.reader.folder, answer, first, last, actor)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Kept answers, the newest first."""
        return self._kept().newest(limit)

    def one(self, name: str) -> dict[str, Any] | None:
        """One kept answer."""
        return self._kept().one(name)

    def table(self, answer: dict[str, Any], show: Callable[[int], str]) -> str:
        """An answer as CSV."""
        return as_csv(answer, show)

    def _kept(self) -> KeptAnswers:
        return KeptAnswers(self.reader.folder, KIND)
