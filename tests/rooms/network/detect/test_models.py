"""Other models come in by two doors: judges that have learnt before, and streams that learn on their way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.rooms.network.detect.watching import MONDAY_US, Watched, busy, days, kpi_frame, told
from tests.score_series import score_folder, streamed
from trunkline.network.detect.bands import FEATURES
from trunkline.network.detect.models import Models, River, Trained

Floats = npt.NDArray[np.float64]
TUESDAY = 288 * 15 + 180


@dataclass
class Keeping:
    """A judge that finds nothing unusual and keeps what it was shown."""

    name: str = "keeping"
    seen: list[Floats] | None = None

    def judge(self, features: Floats) -> Floats:
        """Nothing is unusual."""
        self.seen = [*(self.seen or []), features.copy()]
        return np.zeros(len(features))


def shown(values: list[float]) -> Floats:
    """The features of each value of a series, as a judge sees them."""
    judge = Keeping()
    Watched(Models(judges={"": judge})).detect(kpi_frame("Site/Cell", values))
    return np.concatenate(judge.seen or [])


def test_a_judge_is_told_like_ours_and_remembered_between_batches() -> None:
    """What a judge holds for unusual begins once and ends once, wherever batches end."""

    @dataclass
    class Above:
        name: str = "far-above"

        def judge(self, features: Floats) -> Floats:
            return (features[:, FEATURES.index("deviation")] > 8).astype(np.float64)

    values = days(17, lambda _h, _d: 50.0, 1, 0.02)
    for at in range(5):
        values[TUESDAY + at] = 62.0
    frame = kpi_frame("Site/Cell", values)
    watched = Watched(Models(judges={"DLVolume": Above()}))
    found = [watched.detect(part) for part in (frame[: TUESDAY + 2], frame[TUESDAY + 2 :])]
    its = [each.filter(each["since_us"] == MONDAY_US + TUESDAY * 300_000_000) for each in found]
    assert [told(each) for each in its] == [[("spike", 0), ("spike", 0)], [("spike", 1), ("spike", 1)]]
    first = its[0].row(1, named=True)
    assert "the model far-above holds for unusual" in first["text"]
    others = Watched(Models(judges={"Other": Above()})).detect(frame)
    assert not others["text"].str.contains("the model").any()


def test_a_trained_model_of_scikit_learn_is_a_judge() -> None:
    """An isolation forest that learnt a quiet fortnight's features tells a strange afternoon."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    forest: Any = ensemble.IsolationForest(n_estimators=50, contamination=0.001, random_state=1)
    forest.fit(shown(days(14, busy, 2))[1000:])
    values = days(17, busy, 3)
    for at in range(12):
        values[TUESDAY + at] *= 0.3
    judge = Trained("forest", forest)
    scores = judge.judge(shown(values))
    assert ((scores >= 0) & (scores <= 1)).all()
    anomalies = Watched(Models(judges={"": judge})).detect(kpi_frame("Site/Cell", values))
    mine = anomalies.filter(anomalies["text"].str.contains("the model forest"))
    assert MONDAY_US + TUESDAY * 300_000_000 in mine["since_us"].to_list()


def test_a_classifier_of_scikit_learn_is_a_judge() -> None:
    """Of a classifier, the probability of its last class is the score."""
    linear = pytest.importorskip("sklearn.linear_model")
    features = shown(days(10, busy, 4))
    strange = np.abs(features[:, 0]) > 2
    judge = Trained("logistic", linear.LogisticRegression(max_iter=5000).fit(np.abs(features), strange))
    scores = judge.judge(np.abs(features))
    assert scores[strange].mean() > scores[~strange].mean() + 0.3


def test_a_model_of_river_is_a_stream(tmp_path: Path) -> None:
    """Half-space trees follow a folder of series, each from nothing, and score in 0..1."""
    anomaly = pytest.importorskip("river.anomaly")
    preprocessing = pytest.importorskip("river.preprocessing")

    def make() -> River:
        return River(preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1, window_size=100))

    rng = np.random.default_rng(1)
    values = 50 + rng.normal(0, 1, 600)
    values[450:455] = 90
    lines = [f"2026-01-01 {at // 60:02}:{at % 60:02}:00,{value}" for at, value in enumerate(values)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.csv").write_text("\n".join(["timestamp,value", *lines]))
    score_folder(tmp_path / "in", tmp_path / "out", streamed(make))
    scores = np.array(
        [
            float(line.rpartition(",")[2])
            for line in (tmp_path / "out" / "one.csv").read_text().splitlines()[1:]
        ]
    )
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[450:455].max() > np.quantile(scores[200:450], 0.95)
