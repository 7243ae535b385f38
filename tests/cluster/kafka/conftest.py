"""A small operator's day, whole and through one undisturbed process, for every test that disturbs a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, day_in_two
from tests.cluster.kafka.workers import Workers
from tests.cluster.parity.comparing import Embedded, same, same_account
from trunkline.records import charging, usage


@dataclass(frozen=True)
class Truth:
    """A day's operator, and what one undisturbed process makes of the day."""

    operator: Path
    embedded: Embedded

    @property
    def first(self) -> bytes:
        """The day's first hour, which stands alone, so that every engine knows what time it is after it."""
        return (self.operator / "first.ndjson").read_bytes()

    @property
    def rest(self) -> bytes:
        """The other hours."""
        return (self.operator / "rest.ndjson").read_bytes()

    def begun(self, day: Day) -> None:
        """The subscribers are enrolled and the first hour is carried; somebody must be working."""
        day.enrolled(300)
        day.hand_in(self.first, 50)
        day.drained(self.first.count(b"\n"), 300)

    def finished(self, day: Day) -> None:
        """All of the day is carried, and what the cluster holds is what one undisturbed process holds."""
        day.drained(self.first.count(b"\n") + self.rest.count(b"\n"), 300)
        theirs = self.embedded.rows()
        for stream in (charging.CHARGED, charging.ENTRIES, charging.ALERTS, usage.REJECTED, usage.HELD):
            same(stream.name, day.rows(stream, len(theirs[stream.name])), theirs[stream.name])
        accounts = self.embedded.reader.accounts()
        ours = day.account(day.built(), accounts.keys)
        assert all(same_account(ours[int(key)], accounts.rows_of(int(key))) for key in accounts.keys)
        charged = sum(sums[5] for sums in day.accounts().values())
        assert charged == sum(each.charged_micros for each in self.embedded.accounting().values())


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The day and what is right."""
    operator = day_in_two(tmp_path_factory.mktemp("truth") / "operator")
    parts = [operator / "first.ndjson", operator / "rest.ndjson"]
    return Truth(operator, Embedded(operator, tmp_path_factory.mktemp("embedded"), parts))


@pytest.fixture
def workers(
    truth: Truth, kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Workers]]:
    """Makes workers' processes on a day of their own, which has its topics and its subscribers."""
    started: list[Workers] = []

    def make(*names: str, **told: object) -> Workers:
        prefix = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        day = Day.made(truth.operator, kafka.settings(), f"{prefix}-{len(started)}")
        day.enrol()
        started.append(Workers(day, dict(kafka.settings()), tmp_path))
        for name in names:
            started[-1].start(name, **told)
        return started[-1]

    yield make
    for each in started:
        each.close()
