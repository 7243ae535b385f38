"""NAB's scoring, so that the detector can be judged as it is judged elsewhere.

Written from the published description: A. Lavin and S. Ahmad, "Evaluating Real-time Anomaly Detection
Algorithms - the Numenta Anomaly Benchmark", ICMLA 2015, arXiv:1510.03336, sections II.B to II.D, and the
benchmark's description of its "standard" profile. How it is computed:

1. The first 15 % of a series (750 points at most) are for learning; nothing in them counts.
2. With a threshold, each point whose score reaches it is a detection.
3. In a labelled window only the earliest of the detections counts, and the earlier the more: its worth is s(p)
   / s(-1), where s(p) = 2 / (1 + exp(5 p)) - 1 and p goes from -1 at the window's first point to nearly 0 at
   its last. A window without a detection costs 1.
4. A detection outside all windows costs 0.11 x -s(p), where p is its distance from the end of the window before
   it in widths of that window; three widths away, or before any window, it costs the whole 0.11.
5. The sum over all series is taken for one threshold, the same for all, the one with the highest sum. It is
   scaled so that a detector that never speaks has 0 and one that tells each window at its first point has 100.

`python -m tests.nab DETECTED` tells the score of a folder that `python -m tests.score_series` has written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

NAB = Path(__file__).parents[2] / "shared" / "data" / "nab"

# What a false alarm and what a missed window costs; a true alarm is worth 1 (arXiv:1510.03336, table I).
PROFILES = {"standard": (0.11, 1.0), "reward_low_FP_rate": (0.22, 1.0), "reward_low_FN_rate": (0.11, 2.0)}

LEARNING_SHARE = 0.15
LEARNING_POINTS_MAX = 750


@dataclass(frozen=True)
class Worths:
    """What a detection at each scored point of one series is worth, before a profile weighs it.

    `window` is the number of the labelled window a point lies in, or -1; `worth` is 0..1 within and -1..0 outside.
    """

    score: Floats
    window: Longs
    worth: Floats
    windows: int


@dataclass(frozen=True)
class Result:
    """The score in 0..100 (it can be negative), the threshold it is reached at, and what was detected there."""

    score: float
    threshold: float
    windows: int
    detected: int
    false_alarms: int


def sigmoid(position: Floats) -> Floats:
    """Worth by place: 0.987 a window's width before its end, 0 at its end, -1 three widths behind."""
    return np.where(position >= 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


def worths(times: list[str], scores: Floats, windows: list[tuple[str, str]]) -> Worths:
    """Judge each point of a series; `times` and the windows' first and last points are written alike."""
    count = len(times)
    place = {time: at for at, time in enumerate(times)}
    index = np.arange(count)
    window = np.full(count, -1, np.int64)
    position = np.full(count, 3.0)
    for number, (first, last) in enumerate(windows):
        begin, end = place[first], place[last]
        width = end - begin + 1
        inside = slice(begin, end + 1)
        window[inside] = number
        position[inside] = -(end - index[inside] + 1) / width
        position[end + 1 :] = (index[end + 1 :] - end) / max(width - 1, 1)
    worth = sigmoid(position)
    worth[window >= 0] /= float(sigmoid(np.array([-1.0]))[0])
    skip = min(int(LEARNING_SHARE * count), LEARNING_POINTS_MAX)
    return Worths(
        scores[skip:], window[skip:], worth[skip:], len(np.unique(window[skip:][window[skip:] >= 0]))
    )


def judge(series: list[Worths], profile: str = "standard") -> Result:
    """The score of a detector over all series, at the one threshold that suits it best."""
    false_cost, miss_cost = PROFILES[profile]
    score = np.concatenate([each.score for each in series])
    worth = np.concatenate([each.worth for each in series])
    shift = np.cumsum([0, *(int(each.window.max(initial=-1)) + 1 for each in series[:-1])])
    window = np.concatenate(
        [np.where(each.window >= 0, each.window + at, -1) for each, at in zip(series, shift, strict=True)]
    )
    windows = sum(each.windows for each in series)
    order = np.argsort(-score, kind="stable")
    score, worth, window = score[order], worth[order], window[order]
    gain, detected = _gains(worth, window, miss_cost, false_cost)
    total = np.concatenate([[0.0], np.cumsum(gain)]) - miss_cost * windows
    hits = np.concatenate([[0], np.cumsum(detected)])
    false = np.concatenate([[0], np.cumsum(window < 0)])
    # A threshold takes all points of one score or none: only ends of runs of equal scores can be chosen.
    ends = np.concatenate([[True], score[1:] != score[:-1], [True]]) if len(score) else np.array([True])
    total = np.where(ends, total, -np.inf)
    best = int(np.argmax(total))
    perfect = float(windows)
    scaled = 100.0 * (total[best] + miss_cost * windows) / (perfect + miss_cost * windows) if windows else 0.0
    threshold = float(score[best - 1]) if best else 1.1
    return Result(float(scaled), threshold, windows, int(hits[best]), int(false[best]))


def _gains(
    worth: Floats, window: Longs, miss_cost: float, false_cost: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What each point adds to the sum when points become detections in this order, and whether its window is new."""
    gain = np.where(window < 0, false_cost * worth, 0.0)
    new = np.zeros(len(worth), np.bool_)
    best: dict[int, float] = {}
    for at in np.flatnonzero(window >= 0):
        number, value = int(window[at]), float(worth[at])
        before = best.get(number)
        if before is None:
            new[at] = True
            gain[at] = value + miss_cost
            best[number] = value
        elif value > before:
            gain[at] = value - before
            best[number] = value
    return gain, new


def read_windows(nab: Path) -> dict[str, list[tuple[str, str]]]:
    """The labelled windows by series, in the form in which series write their times."""
    labelled = json.loads((nab / "combined_windows.json").read_text())
    return {
        name: [(first.split(".")[0], last.split(".")[0]) for first, last in windows]
        for name, windows in labelled.items()
    }


def judge_folder(detected: Path, nab: Path = NAB, profile: str = "standard") -> Result:
    """The score of a folder of `timestamp,value,anomaly_score` files, named as the labelled series are."""
    series = []
    for name, windows in read_windows(nab).items():
        frame = pl.read_csv(detected / name, schema_overrides={"timestamp": pl.String})
        times = [time.split(".")[0] for time in frame["timestamp"]]
        series.append(worths(times, frame["anomaly_score"].cast(pl.Float64).to_numpy(), windows))
    return judge(series, profile)


def main() -> int:
    """Tell the score under each profile."""
    parser = argparse.ArgumentParser(prog="python -m tests.nab", description="NAB's score of a folder.")
    parser.add_argument("detected", type=Path, help="what python -m tests.score_series wrote")
    parser.add_argument(
        "--nab", type=Path, default=NAB, help="the labelled series; ../shared/data/nab by default"
    )
    asked = parser.parse_args()
    for profile in PROFILES:
        result = judge_folder(asked.detected, asked.nab, profile)
        print(
            f"{profile:20} {result.score:6.2f}  at {result.threshold:.6f}: {result.detected} of "
            f"{result.windows} windows, {result.false_alarms} false alarms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
