"""What really happened, beside what was written: the key by which tests and people score the platform.

Every record has one row in `usage/part-NNNNN.parquet`, in the file that bears the number of the part in which
it arrived; every fault has a line in `faults.ndjson`; `summary.json` adds them up and says what a platform that
makes no mistake must count.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.simulator.arrivals import Arrivals, Born
from trunkline.simulator.country import Country
from trunkline.simulator.faults import DAMAGES, FAULT_NAMES, Fault
from trunkline.simulator.lines import MISSING
from trunkline.simulator.people import PLANS, People, Role
from trunkline.simulator.schema import DIRECTIONS, REPORTS, TYPES, record_id, session_id
from trunkline.simulator.settings import Settings, describe

UNITS = {"voice": "ms", "sms": "events", "data": "octets", "iot": "events", "content": "events"}


class Tally:
    """Sums over all hours, kept small."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.records: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.delivered_units: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.lines_of_part: list[int] = []

    def add_born(self, born: Born) -> None:
        """Count what was used, and how much of it undamaged records tell."""
        originals = born.rows.filter(pl.col("copy") == 0)
        for kind, records, units in (
            originals.group_by("type").agg(pl.len(), pl.col("units").sum()).iter_rows()
        ):
            self.records[TYPES[kind]] += records
            self.units[TYPES[kind]] += units
            self.delivered_units[TYPES[kind]] += units
        for kind, units in _lost(originals).iter_rows():
            self.delivered_units[TYPES[kind]] -= units
        for fault, count in originals.group_by("fault").len().iter_rows():
            self.faults[FAULT_NAMES[fault]] += count
        damaged = originals.filter(pl.col("fault") == Fault.CORRUPT)
        for damage, count in damaged.group_by("damage").len().iter_rows():
            self.reasons[DAMAGES[damage].reason] += count

    def add_arrivals(self, arrived: Arrivals) -> None:
        """Count the lines of a part."""
        self.lines_of_part.append(len(arrived.rows))

    def summary(self, settings: Settings) -> dict[str, Any]:
        """All of it as plain values."""
        received, rejected = sum(self.lines_of_part), sum(self.reasons.values())
        duplicate, held = self.faults["duplicate"], self.faults["conflict"]
        return {
            "settings": describe(settings),
            "units_of": UNITS,
            "records": {kind: self.records[kind] for kind in TYPES},
            "units": {kind: self.units[kind] for kind in TYPES},
            "delivered_units": {kind: self.delivered_units[kind] for kind in TYPES},
            "faults": {name: self.faults[name] for name in FAULT_NAMES if name},
            "parts": len(self.lines_of_part),
            "lines_of_part": self.lines_of_part,
            "expected": {
                "received": received,
                "rated": received - duplicate - rejected - held,
                "duplicate": duplicate,
                "rejected": rejected,
                "held": held,
                "rejected_by_reason": dict(sorted(self.reasons.items())),
            },
        }


def _lost(originals: pl.DataFrame) -> pl.DataFrame:
    """Units by kind that damaged lines take with them: of a session, what no sound report tells any more."""
    damaged = originals.filter(pl.col("fault") == Fault.CORRUPT)
    alone = damaged.filter(pl.col("session_n") == MISSING).select("type", "units")
    sessions = originals.filter(pl.col("session_n") != MISSING).join(
        damaged.select("type", "session_n").unique(), on=["type", "session_n"], how="semi"
    )
    total = pl.col("octets_up") + pl.col("octets_down")
    told = total.filter(pl.col("fault") != Fault.CORRUPT).max().fill_null(0)
    untold = sessions.group_by("type", "session_n").agg(units=total.max() - told).select("type", "units")
    return pl.concat([alone, untold]).group_by("type").agg(pl.col("units").sum())


def part_name(number: int) -> str:
    """Files of one part bear its number."""
    return f"part-{number:05d}"


def write_usage(arrived: Arrivals, folder: Path) -> None:
    """The true records of a part, with their place; copies are not records."""
    rows = arrived.rows.with_row_index("line", offset=1).filter(pl.col("copy") == 0)
    rows.select(
        id=record_id(),
        type=_word("type", TYPES),
        subscriber=pl.col("subscriber"),
        direction=_word("direction", DIRECTIONS),
        start_us=pl.col("start_us"),
        end_us=pl.col("end_us"),
        units=pl.col("units"),
        session=session_id(),
        report=_word("report", REPORTS),
        due_us=pl.col("due_us"),
        fault=_word("fault", FAULT_NAMES),
        reason=_reason(),
        part=pl.lit(arrived.number, pl.Int32),
        line=pl.col("line").cast(pl.Int64),
    ).write_parquet(folder / f"{part_name(arrived.number)}.parquet", compression="lz4")


def _word(column: str, words: tuple[str, ...]) -> pl.Expr:
    """The words behind a column of places in a list; null where the row has none."""
    return pl.when(pl.col(column) != MISSING).then(pl.col(column)).cast(pl.UInt8).cat.to(pl.Enum(words))


def _reason() -> pl.Expr:
    """Why a damaged line must be rejected; null for others."""
    reasons = list(dict.fromkeys(damage.reason for damage in DAMAGES))
    place = pl.col("damage").replace_strict(
        range(len(DAMAGES)),
        [reasons.index(damage.reason) for damage in DAMAGES],
        default=None,
        return_dtype=pl.UInt8,
    )
    return place.cat.to(pl.Enum(reasons))


def fault_lines(arrived: Arrivals) -> bytes:
    """A line for each fault that arrives in the part; of duplicates and conflicts, the second coming."""
    rows = arrived.rows.with_row_index("line", offset=1).filter(pl.col("fault") != Fault.NONE)
    twice = pl.col("fault").is_in([Fault.DUPLICATE, Fault.CONFLICT])
    out = io.BytesIO()
    rows.filter(~twice | (pl.col("copy") == 1)).select(
        fault=_word("fault", FAULT_NAMES).cast(pl.String),
        id=record_id(),
        file=pl.lit(f"{part_name(arrived.number)}.ndjson"),
        line=pl.col("line"),
        reason=_reason().cast(pl.String),
        delay_s=(pl.col("due_us") - pl.col("end_us")) / 1_000_000,
    ).write_ndjson(out)
    return out.getvalue()


def write_cells(country: Country, path: Path) -> None:
    """Every cell with its city and place."""
    pl.DataFrame(
        {
            "cell": [f"C{number:04d}" for number in range(country.cells)],
            "city": [country.city_names[city] for city in country.cell_city.tolist()],
            "latitude": country.cell_latitude.round(5),
            "longitude": country.cell_longitude.round(5),
        }
    ).write_csv(path)


def write_people(people: People, start_us: int, path: Path) -> None:
    """Every subscriber with home, work, family, plan and journey; all of them invented."""
    cell = [f"C{number:04d}" for number in range(int(max(people.home.max(), people.work.max())) + 1)]
    goes = people.away_until_us > people.away_from_us
    pl.DataFrame(
        {
            "subscriber": people.number,
            "role": people.role,
            "household": people.household,
            "home": people.home,
            "work": people.work,
            "plan": people.plan,
            "next_plan": people.next_plan,
            "away_from_us": start_us + people.away_from_us,
            "away_until_us": start_us + people.away_until_us,
            "away_plmn": people.away_plmn,
            "goes": goes,
        }
    ).select(
        "subscriber",
        pl.col("role").replace_strict(
            range(len(Role)), [role.name.lower() for role in Role], return_dtype=pl.String
        ),
        "household",
        pl.col("home", "work").replace_strict(range(len(cell)), cell, return_dtype=pl.String),
        pl.col("plan", "next_plan").replace_strict(range(len(PLANS)), PLANS, return_dtype=pl.String),
        *(
            pl.when(pl.col("goes")).then(pl.col(name)).alias(name)
            for name in ("away_from_us", "away_until_us", "away_plmn")
        ),
    ).write_csv(path)


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """The sums as JSON that a person can read."""
    path.write_text(json.dumps(summary, indent=2) + "\n")
