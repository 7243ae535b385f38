"""A bucket that is asked for quota, without brokers: every request is answered or set aside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.cluster.kafka.charging_online import operator
from tests.online.world import ALICE, BOB
from trunkline.bootstrap.catalogues import load_mappings, tariff_files
from trunkline.bootstrap.kafka import new_held, plan_of
from trunkline.bootstrap.online import RULES
from trunkline.charging.subscribers import read_subscribers
from trunkline.charging.tariffs import compile_catalogue, empty_register
from trunkline.engines.kafka.asking import FAILED, UNKNOWN, look_out, request_out
from trunkline.engines.kafka.bucket import ASKED, MOST_TRIES, Bucket
from trunkline.engines.kafka.desk import Desk
from trunkline.engines.online import OnlineRules
from trunkline.engines.wire import Message, change_in, progress_in
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Rows
from trunkline.ports import QuotaRequest
from trunkline.records import charging, online, usage
from trunkline.records.online import Action
from trunkline.records.usage import Direction, Kind

DEADLY = 666
NOW_US = 1_795_000_000_000_000
HOUR_US = 3_600_000_000
MB = 1_000_000


class Taken:
    """A message as the client gives it, as far as a desk looks at it."""

    def __init__(self, offset: int, value: bytes) -> None:
        self._offset, self._value = offset, value

    def topic(self) -> str:
        """Where it lies."""
        return "t.online.requests"

    def partition(self) -> int:
        """Where it lies."""
        return 0

    def offset(self) -> int:
        """Where it lies."""
        return self._offset

    def value(self) -> bytes:
        """What it says."""
        return self._value


class Asking:
    """A bucket of Alice and Bob, and doors that ask it."""

    def __init__(self, tables: dict[str, object], rules: OnlineRules = RULES) -> None:
        self.plan, self.tables, self.rules = plan_of("t", 1), tables, rules
        self.bucket = Bucket(0, self.plan, tables, new_held)
        self.offset = 0
        self.desk = Desk(self.bucket, rules, tables, NOW_US, 0.0)

    def asked(self, session: int, number: int = 1, action: Action = Action.RESERVE, *, used: int = 0,
              wanted: int = 0, who: str = ALICE, group: int = 10) -> bytes:  # fmt: skip
        """A request of a door called d1."""
        said = dict.fromkeys(("calling", "called", "visited_plmn", "slice", "five_qi"), 0)
        said |= {"kind": int(Kind.DATA), "direction": int(Direction.ORIGINATING), "start_us": NOW_US}
        request = QuotaRequest(
            to_key(who), session, number, int(action), number == 1, NOW_US, NOW_US + HOUR_US,
            ((group, used, wanted),), said | {"service": None},
        )  # fmt: skip
        return request_out("d1", session * 100 + number, request)

    def take(self, *values: bytes) -> list[Any]:
        """Messages one behind the other."""
        taken = [Taken(self.offset + at, value) for at, value in enumerate(values)]
        self.offset += len(taken)
        return taken

    def turn(self) -> list[Message]:
        """What is written."""
        return self.bucket.turn(self.bucket.position, self.bucket.trying)

    def told(self, messages: list[Message]) -> dict[int, Any]:
        """What the door is told, by its own numbers."""
        found: dict[int, Any] = {}
        for message in messages:
            if message.topic == self.plan.replies and message.key == b"d1":
                found |= dict(orjson.loads(message.value))
        return found


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a worker's steps look up."""
    folder = operator(tmp_path_factory.mktemp("desk"), {ALICE: "1.00", BOB: "1.00"})
    catalogue, _ = compile_catalogue(tariff_files(folder / "tariffs"), empty_register())
    return {
        usage.MAPPINGS.name: load_mappings(None),
        usage.MEMBERS.name: catalogue.members,
        charging.TARIFFS.name: catalogue,
        "people": (Path(folder) / "subscribers.csv").read_bytes(),
    }


@pytest.fixture
def asking(tables: dict[str, object]) -> Asking:
    """With their accounts."""
    return with_people(Asking(tables))


def with_people(asking: Asking) -> Asking:
    """Enrol Alice and Bob."""
    people: Any = asking.tables["people"]
    catalogue: Any = asking.tables[charging.TARIFFS.name]
    asking.bucket.carry(charging.SUBSCRIBERS.name, read_subscribers("subscribers.csv", people, catalogue))
    asking.turn()
    return asking


def rows_of(asking: Asking, messages: list[Message]) -> Rows:
    """Sessions in a turn's changelog."""
    topic = asking.plan.changelog(online.SESSIONS)
    (change,) = [change_in(m.value, online.SESSIONS) for m in messages if m.topic == topic]
    return change.groups.rows


def test_a_turn_holds_answers_sessions_and_how_far_it_is(asking: Asking) -> None:
    """Two requests of one session and one of another, in one turn; a look sees what they left."""
    first, second = asking.asked(1, wanted=30 * MB), asking.asked(1, 2, used=30 * MB, wanted=100 * MB)
    look = look_out("d1", 7, to_key(ALICE))
    asking.desk.answer(asking.take(look, first, second, asking.asked(2, wanted=50 * MB)), 0.0)
    messages = asking.turn()
    told = asking.told(messages)
    assert told[101] == [[10, 1, 30 * MB, 30 * MB, ""]]
    assert told[102] == [[10, 2, 100 * MB, 20 * MB, ""]]  # session 2 was asked beside the first round
    assert told[201] == [[10, 1, 50 * MB, 50 * MB, ""]]
    held = np.frombuffer(__import__("base64").b64decode(told[7]["sessions"]), online.SESSIONS.dtype)
    assert sorted(held["session"]) == [1, 1, 2]
    assert len(rows_of(asking, messages)) == 3
    progress = progress_in(messages[-1].value)
    assert (progress["more"][ASKED], progress["position"], progress["commit"]) == (4, 0, 2)


def test_what_is_owed_is_charged_once_and_kept_as_records(asking: Asking) -> None:
    """In one turn: the record, the account, and the session without it."""
    asking.desk.answer(asking.take(asking.asked(1, wanted=30 * MB)), 0.0)
    asking.desk.answer(asking.take(asking.asked(1, 2, Action.RELEASE, used=30 * MB)), 0.0)
    asking.turn()
    assert not asking.desk.owes(0.1), "somebody has just asked"
    assert asking.desk.owes(0.3)
    assert asking.desk.charge(NOW_US, 0.3)
    messages = asking.turn()
    (lines,) = [message for message in messages if message.topic == asking.plan.reported]
    assert orjson.loads(lines.value)["octets_down"] == 30 * MB
    assert lines.key == b"%d" % asking.bucket.commit
    assert asking.bucket.accounts["online"] == [1, 1, 0, 0, 0, 300_000]
    assert {asking.plan.topic(stream) for stream in (charging.CHARGED, charging.ENTRIES)} <= {
        message.topic for message in messages
    }
    assert not asking.desk.owes(9.9)
    assert not asking.desk.charge(NOW_US, 9.9)


def test_the_next_owner_goes_on(asking: Asking, tables: dict[str, object]) -> None:
    """Out of the changelog alone: the same answer to what comes again, what was promised, what is owed, what lapses."""
    first = asking.asked(1, wanted=30 * MB)
    asking.desk.answer(asking.take(first, asking.asked(2, wanted=10 * MB)), 0.0)
    asking.desk.answer(asking.take(asking.asked(2, 2, used=10 * MB)), 0.0)
    was = asking.told(asking.turn())[101]
    next_ = Asking(tables)
    for name, memory in asking.bucket.memories.items():
        next_.bucket.memories[name].held.put(memory.held.gather(memory.held.all_keys()))
    next_.bucket.begin(progress_in(asking.bucket.progress().value))
    desk = Desk(next_.bucket, RULES, tables, NOW_US, 5.0)
    assert (desk.position, desk.open) == (3, 2)
    next_.desk, next_.offset = desk, 3
    desk.answer(next_.take(first, next_.asked(3, wanted=100 * MB)), 5.0)
    told = next_.told(next_.turn())
    assert told[101] == was
    assert told[301] == [[10, 1, 100 * MB, 60 * MB, ""]]
    assert desk.owes(9.0)
    assert desk.lapse(NOW_US + 2 * HOUR_US)
    (ended,) = [m for m in next_.turn() if m.topic == next_.plan.replies and m.key is None]
    assert sorted(orjson.loads(ended.value)["ended"]) == [1, 2, 3]
    assert desk.open == 0


def test_nobody_s_session_and_nobody_s_words(asking: Asking) -> None:
    """A session that was never opened is unknown; what is no request is set aside; the others are answered."""
    unknown = asking.asked(5, 2, used=1)
    asking.desk.answer(asking.take(unknown, b"not a request", b'["d1", 9]', asking.asked(1, wanted=MB)), 0.0)
    messages = asking.turn()
    assert asking.told(messages) == {502: UNKNOWN, 101: [[10, 1, MB, MB, ""]]}
    aside = [message for message in messages if message.topic == asking.plan.undigested]
    assert [message.value for message in aside] == [b"not a request", b'["d1", 9]']
    assert progress_in(messages[-1].value)["more"][ASKED] == 4


def test_a_request_that_breaks_the_rules_is_set_aside_alone(tables: dict[str, object]) -> None:
    """Its door is told; those beside it are answered."""

    def decide(requests: Rows, *others: Any) -> Any:
        if (requests["wanted"] == DEADLY).any():
            raise ValueError("nobody thought of this")
        return RULES.decide(requests, *others)

    asking = with_people(Asking(tables, replace(RULES, decide=decide)))
    bad = asking.asked(2, wanted=DEADLY)
    asking.desk.answer(asking.take(asking.asked(1, wanted=MB), bad, asking.asked(3, wanted=MB)), 0.0)
    messages = asking.turn()
    told = asking.told(messages)
    assert told == {101: [[10, 1, MB, MB, ""]], 201: FAILED, 301: [[10, 1, MB, MB, ""]]}
    assert [message.value for message in messages if message.topic == asking.plan.undigested] == [bad]


def test_a_request_that_workers_die_of_is_given_up(asking: Asking, tables: dict[str, object]) -> None:
    """Each life writes down what it tries; after some of them the request is set aside, and its door is told."""
    (deadly,) = asking.take(asking.asked(1, wanted=MB))
    told = progress_in(asking.bucket.progress().value)
    for _ in range(MOST_TRIES):
        dying = Asking(tables)
        dying.bucket.begin(told)
        assert dying.desk.position == 0
        assert dying.desk.announced(deadly)
        told = progress_in(dying.bucket.progress().value)  # committed; then it dies
    next_ = Asking(tables)
    next_.bucket.begin(told)
    assert not next_.desk.announced(deadly)
    next_.desk.give_up(deadly)
    messages = next_.turn()
    assert next_.told(messages) == {101: FAILED}
    assert [message.value for message in messages if message.topic == next_.plan.undigested] == [
        deadly.value()
    ]
    assert next_.desk.position == 1
