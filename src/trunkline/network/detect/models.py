"""What the detector goes by: its one set of parameters, and the door through which other models come in.

There are two kinds of other models. A `Judge` has learnt before (a scikit-learn pipeline, a neural network) and
remembers nothing: it is shown the features that the platform keeps of every series, for all series of a batch
at once, and stays as replayable as the platform itself. A `Stream` learns on its way (river's models do): one
of them follows one series through a folder with `python -m tests.score_series --model`, where it can be
compared with ours before anything is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trunkline.network.detect.bands import FEATURES, Bands

Floats = npt.NDArray[np.float64]


class Judge(Protocol):
    """A model that has learnt before; it may remember nothing between two calls."""

    @property
    def name(self) -> str:
        """By which a person knows it."""

    def judge(self, features: Floats) -> Floats:
        """How unusual each row of `FEATURES` (n x 12) is, from 0 to 1; from `told_at` on it is told."""


class Stream(Protocol):
    """A model that follows one series, seeing each value once and in order."""

    def score(self, time_us: int, value: float) -> float:
        """How unusual the value is, from 0 to 1, and learn from it."""


@dataclass(frozen=True)
class Models:
    """The table `records.network.MODELS`: parameters for all series, and judges by the KPI they know about."""

    bands: Bands = field(default_factory=Bands)
    judges: dict[str, Judge] = field(default_factory=dict)  # by KPI; "" judges every KPI that has no own
    told_at: float = 0.5


@dataclass(frozen=True)
class Trained:
    """A `Judge` out of anything with scikit-learn's `predict_proba` or `decision_function`.

    A classifier's last class counts as unusual; of an outlier detector (whose decisions below 0 are outliers) the
    decision is brought to 0..1 with 0.5 at its own border, `width` decisions away being 0.27 or 0.73.
    """

    name: str
    model: Any
    width: float = 0.1

    def judge(self, features: Floats) -> Floats:
        """The model's opinion of each row."""
        assert features.shape[1] == len(FEATURES), "a judge is shown the features it was trained on"
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(features), np.float64)[:, -1]
        decision = np.asarray(self.model.decision_function(features), np.float64)
        return 1.0 / (1.0 + np.exp(np.clip(decision / self.width, -50.0, 50.0)))


@dataclass
class River:
    """A `Stream` out of any of river's anomaly detectors, which see the value, its last step and the hour."""

    model: Any
    before: float | None = None

    def score(self, time_us: int, value: float) -> float:
        """The model's opinion, asked before it learns."""
        seen = {
            "value": value,
            "step": 0.0 if self.before is None else value - self.before,
            "hour": float(time_us // 3_600_000_000 % 24),
        }
        self.before = value
        score = float(self.model.score_one(seen))
        self.model.learn_one(seen)
        return min(max(score, 0.0), 1.0)
