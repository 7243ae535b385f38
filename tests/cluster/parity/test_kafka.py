"""The same day through the embedded engine and through workers on Kafka: the same money, to the micro-unit."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, day_in_two
from tests.cluster.parity.comparing import COMPARED, Embedded, same, same_account
from tests.opinion.families import share
from tests.opinion.test_long_calls import in_parts
from trunkline.records import charging, usage
from trunkline.records.charging import RowKind

RESULTS = (charging.CHARGED, charging.ENTRIES, charging.ALERTS, usage.REJECTED, usage.HELD)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small operator's day; its first hour stands alone, so that every engine knows what time it is after it.

    Families share an account: members' own numbers lie in other buckets than their owner's. Many calls come in parts.
    """
    folder = day_in_two(tmp_path_factory.mktemp("parity") / "operator")
    assert share(folder / "tariffs", folder / "subscribers.csv") > 10
    rest = folder / "rest.ndjson"
    parts = in_parts(rest.read_bytes().splitlines(), Random(7))
    rest.write_bytes(b"".join(line + b"\n" for line in parts))
    return folder


@pytest.fixture(scope="module")
def embedded(operator: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """That day through the embedded engine."""
    parts = [operator / "first.ndjson", operator / "rest.ndjson"]
    return Embedded(operator, tmp_path_factory.mktemp("embedded"), parts)


@pytest.mark.parametrize(("a_message", "workers"), [(1000, 1), (1, 3)])
def test_the_same_day(operator: Path, embedded: Embedded, kafka: Kafka, a_message: int, workers: int) -> None:
    """Rated records, entries, alerts, rejects, conflicts and balances: in batches by one worker, or singly by three."""
    day = Day.made(operator, kafka.settings(), f"parity-{a_message}-{workers}")
    first, rest = ((operator / name).read_bytes() for name in ("first.ndjson", "rest.ndjson"))
    day.enrol()
    with day.running(*(f"worker-{number}" for number in range(workers))):
        day.enrolled()
        day.hand_in(first, a_message)
        day.drained(first.count(b"\n"))
        day.hand_in(rest, a_message)
        day.drained(first.count(b"\n") + rest.count(b"\n"))

    theirs = embedded.rows()
    for stream in RESULTS:
        assert len(theirs[stream.name]), f"a day without {stream.name} proves nothing of it"
        same(stream.name, day.rows(stream, len(theirs[stream.name])), theirs[stream.name])
    assert set(COMPARED) == {stream.name for stream in RESULTS}

    accounts = embedded.reader.accounts()
    ours = day.account(day.built(), accounts.keys)
    differing = [
        int(key)
        for key in accounts.keys
        if not same_account(ours.get(int(key), accounts.rows[:0]), accounts.rows_of(int(key)))
    ]
    assert differing == []
    assert len(accounts) > 200
    assert int((accounts.rows["kind"] == int(RowKind.DRAWN)).sum()) > 10, "nobody shared anything"
    assert int((accounts.rows["kind"] == int(RowKind.CALL)).sum()) > 10, "no call is under way"

    edges, counts = day.edges(), day.accounts()
    for source, sums in embedded.accounting().items():
        of_edge, of_buckets = edges[source], counts.get(source, [0] * 6)
        assert of_edge[0] == sums.received
        rated, duplicate, rejected, held, charged = of_buckets[1:]
        assert (rated, duplicate, charged) == (sums.rated, sums.duplicate, sums.charged_micros)
        assert (rejected + of_edge[2], held + of_edge[3]) == (sums.rejected, sums.held)
    assert np.sum([sums[0] for sums in edges.values()]) == first.count(b"\n") + rest.count(b"\n")
