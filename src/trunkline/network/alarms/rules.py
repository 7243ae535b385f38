"""What an operator decides about alarms: damping, holding back by topology, maintenance windows. Data, not code.

A rule is read from a document with all its mistakes told at once, and is a value: changed rules are new ones, given to
the running platform between two batches. Nothing here stops an element from being watched, and nothing holds back the
end of an alarm; rules only say which alarms nobody is called for, and each alarm that is held back names its rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import name_words
from trunkline.records.network import Severity

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]

SECOND_US = 1_000_000
NAME_OCTETS_MOST = 200


class RulesError(ValueError):
    """The rules cannot be used; every mistake is named, with what to change."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        """Tell all of them."""
        super().__init__("\n".join(mistakes))
        self.mistakes = list(mistakes)


@dataclass(frozen=True)
class Damping:
    """An alarm that comes and goes is told a few times and then held back until it has been quiet.

    Each return of an ended alarm adds `penalty`; the sum halves every `half_life_s`. From `hold_from` on the alarm is
    held back until the sum has fallen to `release_at`; it never grows over `most`, so that quiet is always rewarded in
    bounded time. The manner is that of route flap damping, RFC 2439.
    """

    penalty: int = 1_000
    hold_from: int = 3_000
    release_at: int = 1_500
    most: int = 12_000
    half_life_s: int = 300


@dataclass(frozen=True)
class HoldBack:
    """An outage of what carries an object explains the object's loss of service; only the outage is told.

    An alarm is held back when its own object can only be reached through one with a standing outage, and it was
    raised from `before_s` before to `within_s` after that outage. It is told after all when it still stands `grace_s`
    after the outage has ended.
    """

    before_s: int = 120
    within_s: int = 900
    grace_s: int = 60


@dataclass(frozen=True)
class Lapse:
    """A slight alarm (warning, indeterminate) that is not told again for so long is taken to be over.

    Many senders of such alarms never end them: care tells of a complaint, a firewall of a scan. What is minor or worse
    never lapses.
    """

    slight_s: int = 86_400


@dataclass(frozen=True)
class Findings:
    """Which findings of detector and forecast are raised as alarms, and how severe they are."""

    silence: int = Severity.CRITICAL
    collapse: int = Severity.MAJOR
    level_shift: int = Severity.MINOR
    dip: int = Severity.WARNING
    spike: int = Severity.WARNING
    drift: int = Severity.WARNING
    clock: int = Severity.WARNING
    burn: int = Severity.WARNING
    score_milli: int = 0  # findings below it raise nothing
    risk_raise_milli: int = 600
    risk_clear_milli: int = 500


KINDS = tuple(
    each.name for each in fields(Findings) if not each.name.endswith("_milli")
)  # the rest are severities


@dataclass(frozen=True)
class Window:
    """Planned work: alarms on the named objects and on everything that hangs on them are held back meanwhile."""

    name: str
    objects: tuple[str, ...]
    begin_us: int
    end_us: int
    reason: str = ""
    author: str = ""

    @property
    def word(self) -> int:
        """By which the window is known in what is remembered."""
        return int(name_words(pl.Series([self.name]))[0])


@dataclass(frozen=True)
class CompiledWindows:
    """Windows as arrays: the object `objects[i]` is named by the windows `of[first[i]:first[i + 1]]`."""

    objects: Words
    first: Longs
    of: Longs
    begin_us: Longs
    end_us: Longs
    words: Words


@dataclass(frozen=True, eq=False)
class AlarmRules:
    """All rules about alarms."""

    damping: Damping = field(default_factory=Damping)
    hold_back: HoldBack = field(default_factory=HoldBack)
    findings: Findings = field(default_factory=Findings)
    windows: tuple[Window, ...] = ()
    lapse: Lapse = field(default_factory=Lapse)

    @cached_property
    def compiled(self) -> CompiledWindows:
        """The windows for compiled loops."""
        pairs = [(number, name) for number, window in enumerate(self.windows) for name in window.objects]
        named = name_words(pl.Series([name for _, name in pairs], dtype=pl.String))
        numbers = np.array([number for number, _ in pairs], np.int64)
        order = np.lexsort((numbers, named))
        objects, counts = np.unique(named, return_counts=True)
        return CompiledWindows(
            objects,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            numbers[order],
            np.array([window.begin_us for window in self.windows], np.int64),
            np.array([window.end_us for window in self.windows], np.int64),
            np.array([window.word for window in self.windows], np.uint64),
        )

    @cached_property
    def window_names(self) -> dict[int, str]:
        """Name of each window by its word."""
        return {window.word: window.name for window in self.windows}

    def with_window(self, window: Window) -> AlarmRules:
        """The rules with one window more, or another of the same name in its place."""
        others = tuple(each for each in self.windows if each.name != window.name)
        return replace(self, windows=(*others, window))

    def without_window(self, name: str) -> AlarmRules:
        """The rules without a window; what it holds back is told when time moves on. `KeyError` when there is none."""
        if name not in {window.name for window in self.windows}:
            raise KeyError(name)
        others = tuple(each for each in self.windows if each.name != name)
        return replace(self, windows=others)


def read_rules(document: Mapping[str, Any]) -> AlarmRules:
    """Rules from a document (YAML or JSON, already parsed): `damping`, `hold_back`, `lapse`, `findings`, `windows`.

    Raises `RulesError` with every mistake.
    """
    mistakes: list[str] = []
    parts: dict[str, Any] = {}
    kinds: dict[str, type[Any]] = {
        "damping": Damping, "hold_back": HoldBack, "lapse": Lapse, "findings": Findings,
    }  # fmt: skip
    mistakes += [
        f"unknown part {name!r}; known are {', '.join([*kinds, 'windows'])}"
        for name in document
        if name not in {*kinds, "windows"}
    ]
    for name, kind in kinds.items():
        parts[name] = _numbers(name, kind, document.get(name, {}), mistakes)
    windows = [
        read_window(each, mistakes, f"windows[{number}]")
        for number, each in enumerate(document.get("windows") or [])
    ]
    told = [window for window in windows if window is not None]
    names = [window.name for window in told]
    mistakes += [
        f"two windows are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if not mistakes:
        _judge(parts["damping"], parts["hold_back"], parts["lapse"], parts["findings"], mistakes)
    if mistakes:
        raise RulesError(mistakes)
    return AlarmRules(**parts, windows=tuple(told))


def read_window(document: Any, mistakes: list[str], where: str = "window") -> Window | None:  # noqa: ANN401 -- from outside
    """One window, or None with what is wrong added to `mistakes`."""
    before = len(mistakes)
    if not isinstance(document, Mapping):
        mistakes.append(f"{where}: is no set of fields")
        return None
    known = [each.name.removesuffix("_us") for each in fields(Window)]
    mistakes += [
        f"{where}: unknown field {name!r}; known are {', '.join(known)}"
        for name in document
        if name not in known
    ]
    name, objects = document.get("name"), document.get("objects")
    if not isinstance(name, str) or not name.strip() or len(name.encode()) > NAME_OCTETS_MOST:
        mistakes.append(f"{where}: name must be a text of 1 to {NAME_OCTETS_MOST} octets")
    if (
        not isinstance(objects, list | tuple)
        or not objects
        or not all(isinstance(o, str) and o for o in objects)
    ):
        mistakes.append(f"{where}: objects must be a list of at least one name")
    begin_us, end_us = (
        _moment(document.get(each), f"{where}: {each}", mistakes) for each in ("begin", "end")
    )
    if begin_us is not None and end_us is not None and end_us <= begin_us:
        mistakes.append(f"{where}: end must be after begin")
    for each in ("reason", "author"):
        if not isinstance(document.get(each, ""), str):
            mistakes.append(f"{where}: {each} must be a text")
    if len(mistakes) > before or begin_us is None or end_us is None:
        return None
    return Window(
        str(name).strip(), tuple(objects or ()), begin_us, end_us,
        document.get("reason", ""), document.get("author", ""),
    )  # fmt: skip


def _moment(value: Any, where: str, mistakes: list[str]) -> int | None:  # noqa: ANN401 -- from outside
    """A moment with its offset from UTC, in microseconds."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.utcoffset() is None:
        mistakes.append(f"{where}: must be a moment with an offset, such as 2026-03-01T22:00:00+01:00")
        return None
    whole_s = int(moment.replace(microsecond=0).timestamp())
    return whole_s * SECOND_US + moment.microsecond


def _numbers(part: str, kind: type[Any], document: Any, mistakes: list[str]) -> Any:  # noqa: ANN401 -- one of three
    """The whole numbers of one part."""
    if not isinstance(document, Mapping):
        mistakes.append(f"{part}: is no set of fields")
        return kind()
    known = {each.name for each in fields(kind)}
    good = {}
    for name, value in document.items():
        if name not in known:
            mistakes.append(f"{part}: unknown field {name!r}; known are {', '.join(sorted(known))}")
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000_000:
            mistakes.append(f"{part}.{name}: must be a whole number from 0 to 10000000")
        else:
            good[name] = value
    return kind(**good)


def _judge(
    damping: Damping, hold_back: HoldBack, lapse: Lapse, findings: Findings, mistakes: list[str]
) -> None:
    """What no single figure shows."""
    if lapse.slight_s <= hold_back.before_s:
        mistakes.append(
            "lapse.slight_s: must be more than hold_back.before_s, or outages explain what has lapsed"
        )
    if damping.half_life_s == 0:
        mistakes.append("damping.half_life_s: must be at least 1")
    if not 0 < damping.release_at < damping.hold_from <= damping.most:
        mistakes.append("damping: must be 0 < release_at < hold_from <= most")
    mistakes += [
        f"findings.{kind}: must be a severity from 1 (critical) to 5 (indeterminate)"
        for kind in KINDS
        if not Severity.CRITICAL <= getattr(findings, kind) <= Severity.INDETERMINATE
    ]
    if findings.risk_clear_milli > findings.risk_raise_milli:
        mistakes.append("findings: risk_clear_milli must not be above risk_raise_milli")
