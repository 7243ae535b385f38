"""The operator itself as the platform needs it: tariff files as a clerk keeps them, and the list of subscribers.

The tariff is plain files in `tariff/`, copied as they are; they price every use that this simulator makes.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl

from trunkline.simulator.people import PLANS, PREPAID_PLANS, People, Role
from trunkline.simulator.settings import Purpose, Settings, chance

CREDIT_LIMITS = ("100.00", "200.00", "500.00")
BALANCES = ("5.00", "10.00", "15.00", "25.00", "40.00", "60.00")
OTHER_ZONES = ("Europe/London", "Europe/Lisbon", "Europe/Athens", "America/New_York")
CSV_HEADER = "subscriber,plan,from,payment,credit_limit,time_zone,cycle_day,balance"


def write_tariffs(folder: Path) -> None:
    """The demonstration tariff."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(
        files("trunkline.simulator").joinpath("tariff").iterdir(), key=lambda entry: entry.name
    ):
        if source.name.endswith((".yaml", ".csv")):
            (folder / source.name).write_bytes(source.read_bytes())


def write_subscribers(settings: Settings, people: People, path: Path) -> None:
    """Plan, payment, limits and zone of everybody; those who change their plan have a second row."""
    rng = chance(settings.seed, Purpose.PEOPLE, 1)
    count = len(people)
    zone = np.where(
        (rng.random(count) < 0.02) & (people.role < Role.METER),
        rng.integers(1, len(OTHER_ZONES) + 1, count),
        0,
    )
    frame = pl.DataFrame(
        {
            "order": np.arange(count),
            "subscriber": people.number,
            "plan": people.plan,
            "next_plan": people.next_plan,
            "changes_day": people.changes_day,
            "limit": rng.integers(0, len(CREDIT_LIMITS), count),
            "zone": zone,
            "cycle": rng.choice([1, 1, 1, 1, 5, 10, 15, 20, 28], count),
            "balance": rng.integers(0, len(BALANCES), count),
        }
    )
    changed = frame.filter(pl.col("changes_day") >= 0)
    pl.concat(
        [
            _rows(frame.with_columns(step=pl.lit(0)), pl.lit(None, pl.String)),
            _rows(
                changed.with_columns(pl.col("next_plan").alias("plan"), step=pl.lit(1)),
                _change_days(settings),
            ),
        ]
    ).sort("order", "step").drop("order", "step").write_csv(path)


def _change_days(settings: Settings) -> pl.Expr:
    """Every other change takes effect at noon, the rest at midnight."""
    day = (pl.lit(settings.start) + pl.duration(days=pl.col("changes_day"))).dt.strftime("%Y-%m-%d")
    noon = (pl.col("order") % 2 == 0) | (pl.col("changes_day") == 0)
    return pl.when(noon).then(day + "T12:00:00").otherwise(day)


def _rows(frame: pl.DataFrame, since: pl.Expr) -> pl.DataFrame:
    """The columns of the subscribers' file; the opening balance stands in the first row only."""
    prepaid = pl.col("plan").is_in([PLANS.index(name) for name in PREPAID_PLANS])
    empty = pl.lit(None, pl.String)

    def word(column: str, words: tuple[str, ...]) -> pl.Expr:
        return pl.col(column).replace_strict(range(len(words)), words, return_dtype=pl.String)

    return frame.select(
        "order",
        "step",
        pl.col("subscriber").cast(pl.String),
        word("plan", PLANS),
        since.alias("from"),
        pl.when(prepaid).then(pl.lit("prepaid")).otherwise(pl.lit("postpaid")).alias("payment"),
        pl.when(prepaid).then(empty).otherwise(word("limit", CREDIT_LIMITS)).alias("credit_limit"),
        pl.when(pl.col("zone") > 0).then(word("zone", ("", *OTHER_ZONES))).alias("time_zone"),
        pl.when(prepaid).then(empty).otherwise(pl.col("cycle").cast(pl.String)).alias("cycle_day"),
        pl.when(prepaid & (pl.col("step") == 0))
        .then(word("balance", BALANCES))
        .otherwise(empty)
        .alias("balance"),
    )
