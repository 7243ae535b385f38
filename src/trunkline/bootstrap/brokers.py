"""Preparing brokers of one's own: everything that the map asks of them, shown before it is done.

Topics, accounts, rights and schemas follow from the map. What is there is compared; what is missing is made; what is
otherwise than it should be is only changed when that was asked for by name, because others may have meant it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from trunkline.bootstrap import kafka as charging
from trunkline.bootstrap import network_cluster
from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.schemas import doors_of
from trunkline.engines.kafka.client import PATIENCE_S, Lost, Server, Unfit, told
from trunkline.engines.kafka.events import Doors
from trunkline.engines.kafka.registry import Registry, Wanted, of_plan
from trunkline.engines.kafka.rights import Right, grant, held, revoke, rights, roles
from trunkline.engines.kafka.topics import Difference, Topic, differences, event_topics, make, settle, topics
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.book import Book
from trunkline.ports import Refused
from trunkline.records.events import USAGE_EVENT
from trunkline.settings import Kafka

SCRAM_ROUNDS = 8192
_SECURITY = ("security.protocol", "sasl.mechanism", "sasl.mechanisms", "ssl.ca.location", "ssl.ca.pem")


@dataclass(frozen=True)
class Wish:
    """What brokers should have for a flow: everything out of the settings and the map, and an account for each role.

    `other` is the other flow's plan: what it would give the same accounts is not too much.
    """

    server: Server
    plan: Plan
    doors: Doors
    topics: tuple[Topic, ...]
    copies: int
    principals: Mapping[str, str]
    other: Plan

    @property
    def rights(self) -> tuple[Right, ...]:
        """What each account may do."""
        return tuple(dict.fromkeys(rights(self.plan, self.principals, self.doors)))

    @property
    def schemas(self) -> list[Wanted]:
        """What must be in the registry."""
        return [*of_plan(self.plan), *self.doors.schemas()]

    @property
    def given_elsewhere(self) -> set[Right]:
        """What the other flow gives these accounts."""
        return set(rights(self.other, self.principals))

    def is_ours(self, right: Right) -> bool:
        """Whether a right is about this flow; an account may have others, for other things."""
        theirs = f"{self.other.prefix}."
        inside = self.other.prefix.startswith(f"{self.plan.prefix}.") and right.name.startswith(theirs)
        return right.name.startswith(f"{self.plan.prefix}.") and not inside


def wish_of(kafka: Kafka, principals: Mapping[str, str] | None = None, *, network: bool = False) -> Wish:
    """What the settings ask for, of usage or of the network; raises `Refused` at a role that nobody has."""
    usage, watching = (
        each.plan_of(kafka.kafka_prefix, kafka.kafka_buckets) for each in (charging, network_cluster)
    )
    plan, other = (watching, usage) if network else (usage, watching)
    doors = Doors(watching, USAGE_EVENT, (), ()) if network else doors_of(usage, kafka)
    known = roles(plan, doors)
    strange = sorted(set(principals or {}) - set(known))
    if strange:
        raise Refused(f"There is no role {', '.join(strange)}. Known are: {', '.join(known)}.")
    edges, copies = kafka.kafka_edge_partitions, kafka.kafka_copies
    wanted = (*topics(plan, edges, copies), *event_topics(doors, edges, copies))
    return Wish(charging.server_of(kafka), plan, doors, wanted, copies, principals or {}, other)


@dataclass
class Found:
    """How brokers differ from what they should have."""

    topics: dict[str, list[Difference] | None]
    accounts: dict[str, bool] = field(default_factory=dict)  # whether it has a password
    missing: list[Right] = field(default_factory=list)
    surplus: list[Right] = field(default_factory=list)
    schemas: dict[str, str] = field(default_factory=dict)  # by subject: there, new, or what it breaks

    @property
    def unfit(self) -> list[str]:
        """What no preparing mends, in words."""
        wrong = [
            f"The topic {name} has {each.found} partitions and should have {each.wanted}."
            for name, found in self.topics.items()
            for each in found or ()
            if each.what == "partitions"
        ]
        return wrong + [
            f"{subject}: {state}" for subject, state in self.schemas.items() if state not in ("there", "new")
        ]


def look(wish: Wish, *, accounts: bool = False) -> Found:
    """Compare; changes nothing. Raises `Refused` when the brokers do not answer or do not let us ask."""
    try:
        found = Found(differences(wish.server, wish.topics))
        names = sorted(set(wish.principals.values()))
        if accounts:
            found.accounts = _accounts(wish.server, names)
        wanted = set(wish.rights)
        for name in names:
            has = held(wish.server, name)
            found.missing += sorted((r for r in wanted - has if r.principal == name), key=_order)
            more = has - wanted - wish.given_elsewhere
            found.surplus += sorted((right for right in more if wish.is_ours(right)), key=_order)
        there = found.topics[wish.plan.schemas] is not None
        found.schemas = judged(Registry(wish.server, wish.plan).read() if there else Book(), wish.schemas)
    except (Lost, KafkaException) as error:
        raise Refused(f"The brokers did not answer as they should: {_words(error)}") from error
    return found


def judged(book: Book, wanted: Iterable[Wanted]) -> dict[str, str]:
    """Of each subject whether its schema is there, is new, or what it would break."""
    found = {}
    for each in wanted:
        wrong = book.judge(each.subject, each.schema, each.rule)
        if book.find(each.subject, each.schema) is not None:
            found[each.subject] = "there"
        else:
            found[each.subject] = "; ".join(wrong) or "new"
    return found


def prepare(
    wish: Wish, secrets: Path | None = None, *, change_settings: bool = False, take_away: bool = False
) -> Found:
    """Make what is missing, and tell how it was before; raises `Refused` before anything when something is unfit.

    `secrets` is a folder: each account that has no password yet gets one there, with the settings of its client.
    """
    found = look(wish, accounts=secrets is not None)
    if found.unfit:
        raise Refused("\n".join(found.unfit))
    try:
        make(wish.server, wish.topics, wish.copies)
        if change_settings:
            settle(wish.server, [topic for topic in wish.topics if found.topics[topic.name]])
        if secrets is not None:
            for name, there in found.accounts.items():
                if not there:
                    _open_account(wish.server, name, secrets)
        grant(wish.server, found.missing)
        if take_away:
            revoke(wish.server, found.surplus)
        Registry(wish.server, wish.plan).enter(wish.schemas)
    except Unfit as error:
        raise Refused(str(error)) from error
    except (Lost, KafkaException) as error:
        raise Refused(f"The brokers did not take it: {_words(error)}") from error
    return found


def _words(error: Exception) -> str:
    return told(error) if isinstance(error, KafkaException) else str(error)


def _order(right: Right) -> tuple[str, str, str]:
    return right.kind, right.name, right.operation


def _accounts(server: Server, names: list[str]) -> dict[str, bool]:
    """Of each account whether it has a password for SCRAM-SHA-512."""
    if not names:
        return {}
    admin = AdminClient(server.common())  # kept until all have answered: its end would be theirs
    asked: Any = admin.describe_user_scram_credentials(names, request_timeout=PATIENCE_S)
    found = {}
    for name, future in asked.items():
        try:
            known = future.result(PATIENCE_S).scram_credential_infos
        except KafkaException as error:
            if error.args[0].code() != KafkaError.RESOURCE_NOT_FOUND:
                raise
            known = []
        found[name] = any(each.mechanism == ScramMechanism.SCRAM_SHA_512 for each in known)
    return found


def _open_account(server: Server, name: str, secrets: Path) -> None:
    """Give an account a password, kept in a file of its own before the brokers know it."""
    file = credentials.password_file(secrets.absolute(), name)
    asked: Any = UserScramCredentialUpsertion(
        name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ROUNDS), file.read_bytes()
    )
    admin = AdminClient(server.common())
    for future in admin.alter_user_scram_credentials([asked], request_timeout=PATIENCE_S).values():
        future.result(PATIENCE_S)
    said = {name: value for name, value in server.properties().items() if name in _SECURITY}
    said |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": name, "sasl.password.file": str(file)}
    credentials.keep(
        secrets / f"{name}.properties", "".join(f"{key}={value}\n" for key, value in said.items())
    )
