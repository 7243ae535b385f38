"""What routes ask of comparisons that nobody's books depend on: what-ifs and shadow runs, each kept under a name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, Protocol

from trunkline.ports import Refused

log = logging.getLogger("trunkline.api")

Show = Callable[[int], str]  # a dial word as the caller may see it


class Kept(Protocol):
    """Answers that were worked out before; subscribers stand in them as dial words."""

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Answers, the newest first."""

    def one(self, name: str) -> dict[str, Any] | None:
        """The answer of a name; None when there is none."""

    def table(self, answer: dict[str, Any], show: Show) -> str:
        """An answer as CSV with a heading."""


class WhatIfs(Kept, Protocol):
    """Stored usage priced by a draft."""

    def check(self, draft: Mapping[str, str], first: str | None, last: str | None) -> None:
        """Raise `Refused` or `TariffError` when the draft or the days cannot be used, before any long work."""

    def run(
        self, draft: Mapping[str, str], first: str | None, last: str | None, actor: str
    ) -> dict[str, Any]:
        """Work it out and keep the answer; may take minutes. Raises `Refused`."""


@dataclass
class Background:
    """One long work at a time in a thread of its own; what kept the last one from ending well is told."""

    trouble: str = ""
    _lock: Lock = field(default_factory=Lock)

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._lock.locked()

    def start(self, work: Callable[[], object]) -> bool:
        """Start the work; False when another one is under way."""
        if not self._lock.acquire(blocking=False):
            return False
        self.trouble = ""
        Thread(target=self._run, args=(work,), name="study", daemon=True).start()
        return True

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Refused as error:
            self.trouble = str(error)
        except Exception:
            log.exception("a what-if failed")
            self.trouble = "It failed for a reason that we did not foresee; the server's log has it."
        finally:
            self._lock.release()


@dataclass(frozen=True)
class Studies:
    """The comparisons that a process can make, and the one that is under way."""

    what_ifs: WhatIfs
    shadows: Kept
    background: Background = field(default_factory=Background)
