"""A second opinion on the band: one series, plain Python, a dictionary for the week, written from the rules alone."""

from __future__ import annotations

from dataclasses import dataclass, field

HOUR_US = 3_600_000_000


@dataclass
class PlainSeries:
    """Follows one series; `see` returns what is told of a value as (change, kind, since)."""

    week: dict[int, int] = field(default_factory=dict)  # whole units from the middle
    middle: float = 0.0
    unit: float = 0.0
    last_us: int = 0
    since_us: int = 0
    told_us: int = 0
    points: int = 0
    recent: float = 0.0
    offset: float = 0.0
    scale: float = 0.0
    reach: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    most: float = 0.0
    climb: float = 0.0
    times: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: {"rise": 0.0, "fall": 0.0})
    sums_us: dict[str, int] = field(default_factory=lambda: {"rise": 0, "fall": 0})
    peak: float = 0.0
    hour: int = -1
    of_hour: list[float] = field(default_factory=list)
    kind: str = ""
    outside: int = 0
    calm: int = 0

    def hour_mean(self, hour: int) -> tuple[float, bool] | None:
        """The mean of the latest day that knows this hour, and whether it is this day of the week."""
        for days in range(7):
            kept = self.week.get((hour - 24 * days) % 168)
            if kept is not None:
                return self.middle + kept * self.unit, days == 0
        return None

    def baseline(self, time_us: int) -> tuple[float, bool] | None:
        """The week's mean at a time, between the middles of two hours."""
        hours = (time_us - 1) // HOUR_US
        here = self.hour_mean((hours + 72) % 168)
        if here is None:
            return None
        share = (time_us - hours * HOUR_US) / HOUR_US - 0.5
        beside = self.hour_mean((hours + 72 + (1 if share > 0 else -1)) % 168)
        if beside is None:
            return here
        return here[0] + abs(share) * (beside[0] - here[0]), here[1]

    def see(
        self, begin_us: int, end_us: int, value: float, numerator: float, denominator: float
    ) -> list[tuple[str, str, int]]:
        """Judge a value and learn from it."""
        if self.points and end_us <= self.last_us:
            return []
        passed_s = min((end_us - self.last_us) / 1e6, 3600.0) if self.points else 0.0
        self.turn_hour((end_us - 1) // HOUR_US)
        base = self.baseline(end_us)
        if self.points == 0:
            expected = value
        else:
            expected = self.recent if base is None else base[0] + self.offset
        away = value - expected
        if numerator and denominator:
            self.times = abs(value / (numerator / denominator))
        one_event = self.times / denominator if denominator > 0 else 0.0
        scale = max(self.scale, 0.01 * abs(expected) + 0.05, one_event)
        sure = base is not None and base[1]
        half = max(6.0 * scale, 1.2 * self.reach[sure])
        if base is not None and not base[1]:
            half *= 2.0
        self.add_up(away if sure else 0.0, scale, begin_us)
        collapsed = expected > 0 and value <= 0.1 * expected
        may = base is not None or collapsed
        dead = base is None and value <= 0.1 * self.peak
        told = self.judge(away, half, collapsed, may, sure, dead, begin_us, end_us)
        if told and told[0][0] == "accepted":
            expected = value
        if told and told[0][0] == "back" and not self.kind and abs(away) > half:
            if base is None:
                self.recent = expected = value
            else:
                self.outside, self.since_us = 1, begin_us
        self.learn(value, expected, base is not None, sure, scale, half, passed_s)
        self.last_us = end_us
        return told

    def turn_hour(self, hour: int) -> None:
        """Keep the hour that is over."""
        if hour == self.hour:
            return
        if self.of_hour:
            slot = (self.hour + 72) % 168
            mean = sum(self.of_hour) / len(self.of_hour) - self.offset
            self.keep(slot, mean)
        self.hour, self.of_hour = hour, []

    def keep(self, slot: int, mean: float) -> None:
        """An hour of the week, in at most 120 units to each side of a middle; both are chosen anew when it is out."""
        if self.unit == 0.0:
            self.middle, self.unit = mean, 2.0**-20
        if slot in self.week:
            before = self.middle + self.week[slot] * self.unit
            mean = before + 0.3 * (mean - before)
        if abs(mean - self.middle) > 120 * self.unit:
            means = {at: self.middle + kept * self.unit for at, kept in self.week.items()}
            low, high = min([mean, *means.values()]), max([mean, *means.values()])
            self.middle, self.unit = 0.5 * (low + high), 0.625 * (high - low) / 120
            self.week = {at: round((each - self.middle) / self.unit) for at, each in means.items()}
        self.week[slot] = round((mean - self.middle) / self.unit)

    def add_up(self, away: float, scale: float, begin_us: int) -> None:
        """Page's sums."""
        for side, sign in (("rise", 1.0), ("fall", -1.0)):
            if self.sums[side] <= 0.0:
                self.sums_us[side] = begin_us
            step = sign * max(min(away / scale, 4.0), -4.0)
            self.sums[side] = max(0.0, self.sums[side] + step - 1.0)

    def judge(
        self,
        away: float,
        half: float,
        collapsed: bool,
        may: bool,
        sure: bool,
        dead: bool,
        begin_us: int,
        end_us: int,
    ) -> list[tuple[str, str, int]]:
        """What begins, ends or gets worse."""
        if not self.kind:
            if self.points >= 32 and self.begins(away, half, collapsed, may, sure, begin_us, end_us):
                self.peak, self.told_us = abs(away), end_us
                return [("begun", self.kind, self.since_us)]
            return []
        sides = {"dip": -away, "collapse": -away, "spike": away}
        self.peak = max(self.peak, sides.get(self.kind, abs(away)))
        far = abs(self.offset) if self.kind == "drift" else sides.get(self.kind, abs(away))
        if dead and self.kind == "collapse":
            far = 2 * half
        self.calm = self.calm + 1 if far <= (0.25 if self.kind == "level_shift" else 0.5) * half else 0
        told = (self.kind, self.since_us)
        if self.calm >= (6 if self.kind == "level_shift" else 3):
            self.settle(away, accepted=False)
            return [("back", *told)]
        if end_us - self.told_us > 86_400 * 10**6:
            self.settle(away, accepted=True)
            return [("accepted", *told)]
        if self.kind == "dip" and collapsed:
            self.kind = "collapse"
            return [("back", *told), ("begun", "collapse", self.since_us)]
        return []

    def begins(
        self, away: float, half: float, collapsed: bool, may: bool, sure: bool, begin_us: int, end_us: int
    ) -> bool:
        """Whether this value begins something."""
        if abs(away) > half and may:
            self.outside += 1
            if self.outside == 1:
                self.since_us = begin_us
            if self.outside < 2 and abs(away) < 1.5 * half:
                return False
            self.kind = "spike" if away > 0 else ("collapse" if collapsed else "dip")
            return True
        self.outside = 0
        side = "rise" if self.sums["rise"] >= self.sums["fall"] else "fall"
        if sure and self.sums[side] > max(25.0, 1.2 * self.most):
            self.kind = "collapse" if away < 0 and collapsed else "level_shift"
            self.since_us = self.sums_us[side]
            return True
        if sure and abs(self.offset) > half:
            self.kind, self.since_us = "drift", end_us - 172_800 * 10**6
            return True
        return False

    def settle(self, away: float, *, accepted: bool) -> None:
        """End what is going on."""
        if accepted:
            moved = self.offset if self.kind == "drift" else self.offset + away
            self.middle += moved
            self.recent += away
            self.of_hour = [mean + moved for mean in self.of_hour]
            self.offset = 0.0
        elif self.kind != "collapse":
            for sure, reach in self.reach.items():
                self.reach[sure] = max(reach, 0.7 * min(self.peak, 4.0 * max(reach, self.scale)))
        self.kind, self.outside, self.calm, self.peak = "", 0, 0, 0.0
        self.climb = 0.0
        self.sums = {"rise": 0.0, "fall": 0.0}

    def learn(
        self,
        value: float,
        expected: float,
        known: bool,
        sure: bool,
        scale: float,
        half: float,
        passed_s: float,
    ) -> None:
        """Move what is known by one value."""
        away, share = value - expected, 1.0 / (self.points + 1)
        most = max(half, scale)
        near = expected + max(min(away, most), -most)
        if self.points == 0:
            self.recent = value
        else:
            self.recent += max(passed_s / (1800.0 + passed_s), share) * (near - self.recent)
        if sure:
            self.offset += passed_s / (172_800.0 + passed_s) * max(min(away, 3 * scale), -3 * scale)
        if not self.kind:
            self.scale += max(passed_s / (86_400.0 + passed_s), share) * (
                min(abs(away), 4 * scale) - self.scale
            )
            fading = 1.0 - passed_s / 1_209_600.0
            self.most *= fading
            for each in (True, False):
                self.reach[each] *= fading
            self.climb = max(self.climb, *self.sums.values())
            if max(self.sums.values()) < 1.0:
                self.most, self.climb = max(self.most, self.climb), 0.0
            if self.outside:
                self.peak = max(self.peak, abs(away))
            elif sure or self.points >= 16:
                self.reach[sure] = max(self.reach[sure], abs(away), self.peak)
                self.peak = 0.0
        if known or not self.kind:
            self.of_hour.append(expected + max(min(away, 4 * scale), -4 * scale) if known else value)
        self.points += 1
