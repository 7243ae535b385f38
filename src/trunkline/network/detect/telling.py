"""A finding in a sentence: what was seen, what was expected, and since when; for a person who knows no statistics."""

from __future__ import annotations

import polars as pl

FAR = 10_000  # from here on, decimals say nothing


def amount(column: str) -> pl.Expr:
    """A number of thousandths as people write it: three decimals at most, none where they say nothing."""
    value = pl.col(column) / 1000
    near = value.round(3).cast(pl.String).str.strip_suffix(".0")
    return (
        pl.when(value.abs() >= FAR)
        .then(value.round(0).cast(pl.Int64, strict=False).cast(pl.String))
        .otherwise(near)
    )


def moment(column: str) -> pl.Expr:
    """A time as a clock shows it, in UTC."""
    return pl.from_epoch(column, time_unit="us").dt.strftime("%Y-%m-%d %H:%M:%S UTC")


def thing() -> pl.Expr:
    """The KPI and what it speaks of."""
    of = pl.when(pl.col("slice") > 0).then(pl.format(" (slice {})", "slice")).otherwise(pl.lit(""))
    return pl.format("{} of {}{}", "kpi", pl.col("name").fill_null("an unnamed object"), of)


def begun() -> pl.Expr:
    """Why something is told, by its kind; the frame has the columns of `ANOMALIES` and `slice`."""
    kind = pl.col("kind")
    expected = pl.format("{} to {}", amount("low_milli"), amount("high_milli"))
    return (
        pl.when(kind == "collapse")
        .then(pl.format("{} has collapsed to {}, where {} is expected", thing(), amount("seen_milli"), expected))
        .when(kind == "level_shift")
        .then(pl.format("{} has stayed {} what is expected: {} now, where {} would be usual", thing(), _side(),
                        amount("seen_milli"), expected))
        .when(kind == "drift")
        .then(pl.format("{} has moved away from its usual week little by little: {} now, where {} is expected lately",
                        thing(), amount("seen_milli"), expected))
        .otherwise(pl.format("{} is {}, {} the expected {}", thing(), amount("seen_milli"), _side(), expected))
    ) + pl.format(", since {}.", moment("since_us"))  # fmt: skip


def _side() -> pl.Expr:
    middle = (pl.col("low_milli") + pl.col("high_milli")) / 2
    return pl.when(pl.col("seen_milli") >= middle).then(pl.lit("above")).otherwise(pl.lit("below"))


def back() -> pl.Expr:
    """That it is over, since it is as expected again, or has left what was unusual by the other side."""
    inside = pl.col("seen_milli").is_between("low_milli", "high_milli")
    return pl.format(
        "{} is {}: {}; it was unusual since {}.",
        thing(), pl.when(inside).then(pl.lit("as expected again")).otherwise(pl.lit("back")), amount("seen_milli"),
        moment("since_us"),
    )  # fmt: skip


def accepted() -> pl.Expr:
    """That it is over, since it has lasted so long."""
    return pl.format("{} has stayed as it is now, {}, for so long that it is what is expected from now on; since {}.",
                     thing(), amount("seen_milli"), moment("since_us"))  # fmt: skip


def judged(model: pl.Expr) -> pl.Expr:
    """That a model from outside holds it for unusual."""
    return pl.format(
        "{} is {}, which the model {} holds for unusual (expected {} to {}), since {}.",
        thing(), amount("seen_milli"), model, amount("low_milli"), amount("high_milli"), moment("since_us"),
    )  # fmt: skip


def _seconds(us: pl.Expr) -> pl.Expr:
    """A length of time in seconds, with a decimal where it says something."""
    return (us / 1e6).round(1).cast(pl.String).str.strip_suffix(".0")


def silent() -> pl.Expr:
    """That nothing comes any more; the frame has `name`, `since_us` and `period_us`."""
    period_s = _seconds(pl.col("period_us"))
    return pl.format(
        "{} has reported nothing since {}; it used to report every {} s.",
        pl.col("name"), moment("since_us"), period_s,
    )  # fmt: skip


def heard() -> pl.Expr:
    """That something comes again."""
    return pl.format("{} reports again; it had been silent since {}.", pl.col("name"), moment("since_us"))


def wrong_clock() -> pl.Expr:
    """That times are not what they are said to be; the frame has `name`, `since_us`, `period_us` and `off_us`."""
    side = pl.when(pl.col("off_us") > 0).then(pl.lit("after")).otherwise(pl.lit("before"))
    return pl.format(
        "The clock of {} is wrong: its periods of {} s end {} s {} the full period, since {}; see to its time source.",
        pl.col("name"), _seconds(pl.col("period_us")), _seconds(pl.col("off_us").abs()), side, moment("since_us"),
    )  # fmt: skip


def right_again() -> pl.Expr:
    """That a clock goes right."""
    return pl.format(
        "The clock of {} is right again; it was wrong since {}.", pl.col("name"), moment("since_us")
    )
