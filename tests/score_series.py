"""Run the detector over any folder of series: `python -m tests.score_series DIR OUT`.

Every CSV file under DIR with the columns `timestamp` and `value` is read row by row, in its order, by a
detector that knows nothing of it beforehand and nothing of what follows; the rows go into a file of the same
name under OUT with a third column `anomaly_score` from 0 to 1. A score of 0.5 is where the detector itself
would raise an alarm. One set of parameters serves all series. Other files are named and left alone.

With `--model MODULE:NAME` another detector is tried: NAME makes, for each series, an object with
`score(time_us: int, value: float) -> float` (`trunkline.network.detect.models.Stream`).
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.detect.models import Stream
from trunkline.network.detect.patterns import score_all

Floats = npt.NDArray[np.float64]
Scorer = Callable[[pl.DataFrame, Floats], Floats]


def times_of(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Microseconds of each row's time, dates as they are usually written or seconds since 1970; 0 where it has none."""
    text = frame["timestamp"].str.strip_chars()
    zoned = bool(text.str.contains(r"\d(Z|[+-]\d\d:?\d\d)$").any())
    try:
        parsed = text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC" if zoned else None)
    except pl.exceptions.ComputeError:  # no date that polars knows
        parsed = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    if parsed.null_count() < len(parsed):
        return parsed.dt.timestamp("us").fill_null(0).to_numpy()
    seconds = text.cast(pl.Float64, strict=False).fill_null(0.0).fill_nan(0.0).clip(-1e11, 1e11)
    return (seconds * 1e6).cast(pl.Int64).to_numpy()


def remembered(frame: pl.DataFrame, values: Floats) -> Floats:
    """The scores of the detector that remembers patterns."""
    return score_all([values], [np.ascontiguousarray(times_of(frame))])[0]


def streamed(make: Callable[[], Stream]) -> Scorer:
    """The scores of another model, one value at a time."""

    def score(frame: pl.DataFrame, values: Floats) -> Floats:
        model = make()
        pairs = zip(times_of(frame).tolist(), values.tolist(), strict=True)
        return np.array([model.score(time, value) for time, value in pairs])

    return score


def score_file(source: Path, target: Path, scorer: Scorer = remembered) -> bool:
    """Score one file; False, and nothing written, when it is no series of `timestamp` and `value`."""
    try:
        frame = pl.read_csv(source, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return False
    if not {"timestamp", "value"} <= set(frame.columns):
        return False
    values = frame["value"].str.strip_chars().cast(pl.Float64, strict=False).fill_null(math.nan).to_numpy()
    scores = np.clip(np.nan_to_num(scorer(frame, np.ascontiguousarray(values))), 0.0, 1.0)
    target.parent.mkdir(parents=True, exist_ok=True)
    scored = frame.select("timestamp", "value").with_columns(anomaly_score=pl.Series(scores))
    scored.write_csv(target, float_precision=6)
    return True


def score_folder(source: Path, target: Path, scorer: Scorer = remembered) -> tuple[list[Path], list[Path]]:
    """Score every series of a folder tree; what was scored and which CSV files were no series."""
    scored: list[Path] = []
    left: list[Path] = []
    for path in sorted(source.rglob("*.csv")):
        if target in path.parents:
            continue
        name = path.relative_to(source)
        (scored if score_file(path, target / name, scorer) else left).append(name)
    return scored, left


def main() -> int:
    """Score a folder, and say what was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.score_series", description=__doc__)
    parser.add_argument("source", type=Path, metavar="DIR", help="folder of timestamp,value files")
    parser.add_argument(
        "target", type=Path, metavar="OUT", help="folder for timestamp,value,anomaly_score files"
    )
    parser.add_argument("--model", metavar="MODULE:NAME", help="another detector, to compare")
    asked = parser.parse_args()
    if not asked.source.is_dir():
        parser.error(f"{asked.source} is no folder")
    scorer: Scorer = remembered
    if asked.model:
        module, _, name = asked.model.partition(":")
        scorer = streamed(getattr(importlib.import_module(module), name))
    scored, left = score_folder(asked.source.resolve(), asked.target.resolve(), scorer)
    for name in left:
        print(f"not a series of timestamp and value: {name}", file=sys.stderr)
    print(f"{len(scored)} series scored")
    return 0 if scored else 1


if __name__ == "__main__":
    sys.exit(main())
