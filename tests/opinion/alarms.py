"""A second and simpler opinion on the life of alarms: names for words, lists for indexes, all looked at each time.

It shares nothing with the rooms but the figures of the rules. Before each signal it walks through every moment at which
some rule may end, and asks of every alarm again whether it is held back; so it is slow, and easy to believe. It expects
signals in the order of their times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

S = 1_000_000
OUTAGES = {"communicationsAlarm", "processingErrorAlarm", "environmentalAlarm", "equipmentAlarm"}
SYMPTOMS = {"communicationsAlarm", "qualityOfServiceAlarm"}

Told = tuple[int, str, str, str]  # microsecond, object, action, held by


@dataclass
class Alarm:
    """One alarm of one object."""

    name: str
    kind: str
    security: bool
    severity: int = 5
    standing: bool = False
    raised_us: int = 0
    last_us: int = 0
    cleared_us: int = 0
    eased_us: int = 0
    held_by: str = ""
    acknowledged: bool = False
    charges: list[tuple[int, int]] = field(default_factory=list)  # moment, penalty after it
    damped_until_us: int = 0

    @property
    def is_slight(self) -> bool:
        """Whether it lapses when nobody tells it again."""
        return self.standing and self.severity > 3

    @property
    def is_outage(self) -> bool:
        """Whether it takes along what hangs on its object."""
        return self.standing and self.severity <= 2 and not self.security and self.kind in OUTAGES


@dataclass
class Opinion:
    """What should be told. `above` is a list of ways up: what carries what, directly; `rules` has the figures."""

    above: dict[str, list[str]]
    rules: Any
    alarms: dict[tuple[str, str], Alarm] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    lives: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("told", "suppressed", "correlated"), 0)
    )
    raised: int = 0
    repeated: int = 0
    now_us: int = 0

    def carriers(self, name: str) -> list[str]:
        """Without which the core cannot be reached, the nearest to the core last."""
        tops = {each for each in self.above if not self.above[each]}
        reached_by = [each for each in self.above if each != name and not self._reaches(name, tops, each)]
        return sorted(reached_by, key=lambda each: -len(self._all_above(each)))

    def _all_above(self, name: str) -> set[str]:
        found: set[str] = set()
        for each in self.above.get(name, []):
            found |= {each} | self._all_above(each)
        return found

    def _reaches(self, name: str, tops: set[str], without: str) -> bool:
        if name in tops:
            return name != without
        return any(self._reaches(each, tops, without) for each in self.above.get(name, []) if each != without)

    def signal(self, time_us: int, name: str, action: str, severity: int, kind: str, security: bool) -> None:
        """One signal."""
        self.pass_time(time_us)
        key = (name, kind)
        if action == "raise" and severity != 6:
            self.raised += 1
            self._raise(self.alarms.setdefault(key, Alarm(name, kind, security)), time_us, severity)
            return
        alarm = self.alarms.get(key)
        if alarm is not None and alarm.standing:
            self._end(alarm, time_us)

    def _end(self, alarm: Alarm, time_us: int) -> None:
        self._tell(time_us, alarm, "clear")
        self.lives[{"": "told", "c": "correlated"}.get(alarm.held_by[:1], "suppressed")] += 1
        if alarm.is_outage:
            alarm.eased_us = time_us
        alarm.standing, alarm.cleared_us = False, time_us

    def _raise(self, alarm: Alarm, time_us: int, severity: int) -> None:
        was_outage = alarm.is_outage
        if alarm.standing:
            self.repeated += 1
            alarm.last_us = time_us
            if severity == alarm.severity:
                return
            alarm.severity = severity
            self._tell(time_us, alarm, "update")
        else:
            if alarm.raised_us:
                self._charge(alarm, time_us)
            alarm.standing, alarm.severity = True, severity
            alarm.raised_us = alarm.last_us = time_us
            alarm.held_by = self._rule(alarm, time_us)
            self._tell(time_us, alarm, "raise")
        if was_outage and not alarm.is_outage:
            alarm.eased_us = time_us
        if alarm.is_outage and not was_outage:
            for other in self._sorted():
                free = other.standing and not other.held_by and other is not alarm
                if free and alarm.name in self.carriers(other.name):
                    rule = self._carried(other, time_us)
                    if rule:
                        other.held_by = rule
                        self._tell(time_us, other, "suppress")

    def pass_time(self, time_us: int) -> None:
        """Walk through every moment at which a rule may end."""
        hold = self.rules.hold_back
        moments = {window.end_us for window in self.rules.windows}
        moments |= {alarm.damped_until_us for alarm in self.alarms.values()}
        moments |= {alarm.eased_us + hold.grace_s * S for alarm in self.alarms.values() if alarm.eased_us}
        moments |= {self._lapses_us(alarm) for alarm in self.alarms.values() if alarm.is_slight}
        for moment in sorted(each for each in moments if self.now_us <= each <= time_us):
            for alarm in self._sorted():
                if alarm.standing and alarm.held_by and not self._still(alarm, moment):
                    alarm.held_by = self._rule(alarm, moment)
                    self._tell(moment, alarm, "suppress" if alarm.held_by else "unsuppress")
                if alarm.is_slight and self._lapses_us(alarm) <= moment:
                    self._end(alarm, moment)
        self.now_us = max(self.now_us, time_us)

    def _lapses_us(self, alarm: Alarm) -> int:
        return alarm.last_us + int(self.rules.lapse.slight_s) * S

    def _still(self, alarm: Alarm, time_us: int) -> bool:
        """Whether the rule that holds an alarm back does so still; a window may be followed by another one."""
        if alarm.held_by.startswith("maintenance"):
            return bool(self._maintenance(alarm, time_us))
        if alarm.held_by == "flapping":
            return alarm.damped_until_us > time_us
        grace_us = self.rules.hold_back.grace_s * S
        above = [each for each in self.alarms.values() if f"carried_by:{each.name}" == alarm.held_by]
        return any(each.is_outage or (each.eased_us and each.eased_us + grace_us > time_us) for each in above)

    def _rule(self, alarm: Alarm, time_us: int) -> str:
        flapping = "flapping" if alarm.damped_until_us > time_us else ""
        return self._maintenance(alarm, time_us) or flapping or self._carried(alarm, time_us)

    def _maintenance(self, alarm: Alarm, time_us: int) -> str:
        for name in [alarm.name, *self.carriers(alarm.name)]:
            for window in self.rules.windows:
                if name in window.objects and window.begin_us <= time_us < window.end_us:
                    return f"maintenance:{window.name}"
        return ""

    def _carried(self, alarm: Alarm, time_us: int) -> str:
        if alarm.kind not in SYMPTOMS or alarm.security:
            return ""
        hold = self.rules.hold_back
        standing, eased = "", ("", 0)
        for name in self.carriers(alarm.name):
            for other in self._sorted():
                near = -hold.before_s * S <= alarm.raised_us - other.raised_us <= hold.within_s * S
                if other.name != name or not near:
                    continue
                if other.is_outage:
                    standing = name
                elif other.eased_us:
                    eased = max(eased, (name, other.eased_us + hold.grace_s * S), key=lambda each: each[1])
        found = standing or (eased[0] if eased[1] > time_us else "")
        return f"carried_by:{found}" if found else ""

    def _charge(self, alarm: Alarm, time_us: int) -> None:
        damping = self.rules.damping
        before = self.faded(*alarm.charges[-1], time_us) if alarm.charges else 0
        after = min(before + damping.penalty, damping.most)
        alarm.charges.append((time_us, after))
        if after >= damping.hold_from or (alarm.damped_until_us > time_us and after > damping.release_at):
            low, high = time_us, time_us + 60 * damping.half_life_s * S
            while low < high:
                middle = (low + high) // 2
                if self.faded(time_us, after, middle) <= damping.release_at:
                    high = middle
                else:
                    low = middle + 1
            alarm.damped_until_us = low

    def faded(self, since_us: int, penalty: int, time_us: int) -> int:
        """What is left of a penalty."""
        half_us = self.rules.damping.half_life_s * S
        halvings, rest_us = divmod(time_us - since_us, half_us)
        for _ in range(halvings):
            penalty //= 2
        return int(penalty - penalty * rest_us // (2 * half_us))

    def _sorted(self) -> list[Alarm]:
        return [self.alarms[key] for key in sorted(self.alarms)]

    def _tell(self, time_us: int, alarm: Alarm, action: str) -> None:
        self.told.append((time_us, alarm.name, action, alarm.held_by))

    @property
    def counts(self) -> dict[str, int]:
        """The arithmetic, counted from the lives."""
        standing = [alarm for alarm in self.alarms.values() if alarm.standing]
        carried = [alarm for alarm in standing if alarm.held_by.startswith("carried_by")]
        held = [alarm for alarm in standing if alarm.held_by]
        return {
            "raised": self.raised,
            "active": len(standing) - len(held),
            "cleared": self.lives["told"],
            "deduplicated": self.repeated,
            "suppressed": self.lives["suppressed"] + len(held) - len(carried),
            "correlated": self.lives["correlated"] + len(carried),
        }
