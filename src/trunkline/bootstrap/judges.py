"""Models from outside that judge KPIs beside our own detector: named by a setting, loaded and tried at the start."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trunkline.network.detect.bands import FEATURES
from trunkline.network.detect.models import Judge, Models
from trunkline.ports import Refused

Floats = npt.NDArray[np.float64]

log = logging.getLogger("trunkline.network")

SETTING = "TRUNKLINE_NETWORK_JUDGES"
_FORM = f'Write {SETTING} as "KPI=module:function", separated by commas; without a KPI ("=module:function") all others.'


@dataclass
class Guarded:
    """A judge whose trouble is its own: what it cannot judge is not unusual by it, and our own detector goes on."""

    judged_by: Judge
    failed: int = 0  # times

    @property
    def name(self) -> str:
        """By which a person knows it."""
        return self.judged_by.name

    def judge(self, features: Floats) -> Floats:
        """Its opinion of each row, within 0 and 1; 0 for all when it has none, which the log tells."""
        try:
            return _opinion(self.judged_by, features)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the model's
            self.failed += 1
            if self.failed & (self.failed - 1) == 0:  # the first time, the second, the fourth, the eighth
                log.warning("the model %s failed, %d times so far: %s", self.name, self.failed, error)
            return np.zeros(len(features))


def models_of(text: str, kpis: Iterable[str]) -> Models:
    """The detector's table with the judges that a setting names; `kpis` are the KPIs that there are.

    The function takes nothing and gives a `Judge`. Raises `Refused` for one that cannot be had or answers nonsense.
    """
    known, judges = set(kpis), dict[str, Judge]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        kpi, equals, place = (each.strip() for each in part.partition("="))
        if not equals or kpi in judges:
            raise Refused(f'{SETTING}: "{part}" {"names no KPI" if not equals else "comes twice"}. {_FORM}')
        if kpi and kpi not in known:
            raise Refused(f"{SETTING}: there is no KPI {kpi}. There are {', '.join(sorted(known))}.")
        judges[kpi] = _tried(_loaded(place), place)
    return Models(judges=judges)


def refuse_judges(text: str, engine: str) -> None:
    """A model that only some of many processes have would make findings depend on who looks."""
    if text.strip():
        raise Refused(
            f"{SETTING} is set, and engine {engine} takes no models of your own. Unset it, or watch embedded."
        )


def _loaded(place: str) -> Judge:
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise Refused(f'{SETTING}: "{place}" names no function. {_FORM}')
    try:
        judge: Judge = getattr(importlib.import_module(module), name)()
    except Exception as error:
        raise Refused(
            f"{SETTING}: {place} gives no model: {type(error).__name__}: {error}. Its module must lie where Python"
            " finds it (PYTHONPATH), and the function takes no arguments."
        ) from error
    return judge


def _tried(judge: Judge, place: str) -> Judge:
    """The judge, guarded, after it was shown two rows of features as they are before anything was seen."""
    try:
        _named(judge)
        _opinion(judge, np.zeros((2, len(FEATURES))))
    except Exception as error:
        raise Refused(
            f"{SETTING}: what {place} gives is no judge: {type(error).__name__}: {error}. It needs a name, and"
            f" judge(features) that takes rows of {len(FEATURES)} features and gives one number from 0 to 1 for each."
        ) from error
    return Guarded(judge)


def _named(judge: Judge) -> None:
    if not judge.name:
        raise ValueError("it has no name")


def _opinion(judge: Judge, features: Floats) -> Floats:
    scores = np.asarray(judge.judge(features), np.float64)
    if scores.shape != (len(features),) or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{len(features)} rows need as many numbers from 0 to 1")
    return scores
