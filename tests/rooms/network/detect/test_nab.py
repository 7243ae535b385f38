"""NAB's scoring as published, by small cases worked out by hand; and what our detector reaches by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.nab import NAB, PROFILES, judge, judge_folder, read_windows, worths
from tests.score_series import main, score_folder

GOAL = 60.0


def one_window(scores: dict[int, float]) -> tuple[float, int, int]:
    """A hundred points, a window from 50 to 59; score, windows detected and false alarms at the best threshold."""
    times = [str(at) for at in range(100)]
    values = np.zeros(100)
    for at, score in scores.items():
        values[at] = score
    result = judge([worths(times, values, [("50", "59")])])
    return round(result.score, 2), result.detected, result.false_alarms


# What is detected; the score by hand: worth s(p)/s(-1), false alarms 0.11 each where far from the window.
CASES = [
    ({}, (0.0, 0, 0)),
    ({50: 1.0}, (100.0, 1, 0)),
    ({59: 1.0}, (62.41, 1, 0)),  # p = -0.1: 0.2449 / 0.9866 = 0.2482
    ({50: 1.0, 55: 1.0}, (100.0, 1, 0)),  # only the earliest counts
    ({20: 1.0, 50: 1.0}, (94.5, 1, 1)),  # before any window a false alarm costs the whole 0.11
    ({20: 1.0, 50: 0.9}, (94.5, 1, 1)),  # the threshold is the one that suits best
    ({20: 0.9, 50: 1.0}, (100.0, 1, 0)),
    ({10: 1.0, 50: 1.0}, (100.0, 1, 0)),  # in the first 15 of 100 nothing counts
    ({50: 1.0, 60: 1.0}, (98.51, 1, 1)),  # one ninth of a width behind: 0.11 x 0.2709 of 2
    ({99: 1.0}, (0.0, 0, 0)),  # nothing right is worse than to be silent
]


@pytest.mark.parametrize(("scores", "expected"), CASES)
def test_scores_by_hand(scores: dict[int, float], expected: tuple[float, int, int]) -> None:
    """The published rules, worked out on a hundred points."""
    assert one_window(scores) == expected


def test_random_scores_are_worth_little() -> None:
    """Chance reaches what is published for it, about 11 over all 58 series, and never much."""
    if not NAB.is_dir():
        pytest.skip("../shared is not beside this checkout")
    rng = np.random.default_rng(1)
    series = []
    for name, windows in read_windows(NAB).items():
        lines = (NAB / name).read_text().splitlines()[1:]
        times = [line.split(",")[0] for line in lines]
        series.append(worths(times, rng.random(len(times)), windows))
    assert 3 < judge(series).score < 20


def test_the_detector_reaches_its_goal(tmp_path: Path) -> None:
    """The standard profile gives at least 60 on the public series that are here."""
    if not NAB.is_dir():
        pytest.skip("../shared is not beside this checkout")
    scored, _ = score_folder(NAB, tmp_path)
    assert len(scored) == len(read_windows(NAB))
    for profile in PROFILES:
        assert judge_folder(tmp_path, NAB, profile).score >= GOAL, profile


def test_a_folder_keeps_its_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each series goes into the same place with its rows as they were and a score in 0..1; other files are named."""
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    rows = [f"2026-01-01 {at // 60:02}:{at % 60:02}:00,{at % 7}.50" for at in range(400)]
    rows[17] = "2026-01-01 00:17:00,"
    rows[18] = "2026-01-01 00:18:00,n/a"
    (source / "deep" / "er" / "one.csv").write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    (source / "labels.csv").write_text("file,label\na,1\n")
    (source / "empty.csv").write_text("")
    (source / "none.csv").write_text("timestamp,value\n")
    monkeypatch.setattr("sys.argv", ["score_series", str(source), str(target)])
    assert main() == 0
    told = capsys.readouterr()
    assert "labels.csv" in told.err
    assert "empty.csv" in told.err
    lines = (target / "deep" / "er" / "one.csv").read_text().splitlines()
    assert lines[0] == "timestamp,value,anomaly_score"
    assert [line.rpartition(",")[0] for line in lines[1:]] == rows
    assert all(0 <= float(line.rpartition(",")[2]) <= 1 for line in lines[1:])
    assert sorted(path.name for path in target.rglob("*.csv")) == ["none.csv", "one.csv"]
