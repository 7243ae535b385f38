"""Who may do what, worked out from the map: a flow's principal reads and writes what the map says, and nothing else.

Brokers that let nobody do anything unless it is allowed (`allow.everyone.if.no.acl.found=false`) make of this list
what people rely on. Applying it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from trunkline.engines.kafka.client import PATIENCE_S, Lost, Server, told
from trunkline.engines.kafka.events import Doors
from trunkline.engines.plan import Plan


class Role(StrEnum):
    """Who comes to the brokers, besides those who hand in a stream and are called by its name."""

    ENGINE = "engine"  # workers
    READER = "reader"  # whoever studies the results
    SERVER = "server"  # `trunkline serve`: delivers the results, and hands in what comes over HTTP
    EXCHANGE = "exchange"  # `trunkline cluster events`: single events of others, in and out
    CONSUMER = "consumer"  # others who read single events


@dataclass(frozen=True)
class Right:
    """One thing that a principal may do."""

    principal: str
    kind: str  # TOPIC, GROUP, TRANSACTIONAL_ID
    name: str
    operation: str  # READ, WRITE, DELETE, DESCRIBE
    prefixed: bool = False


def roles(plan: Plan, doors: Doors | None = None) -> tuple[str, ...]:
    """Every role that an account may be given: those above, and the streams that somebody hands in."""
    events = (doors.handed_in.name,) if doors and doors.kinds else ()
    alone = (
        doors is not None and not doors.handed_out
    )  # a flow without single events knows nobody who wants them
    none = (Role.EXCHANGE, Role.CONSUMER) if alone else ()
    known = (role.value for role in Role if role not in none)
    return (*known, *(stream.name for stream in plan.edges), *events)


def rights(plan: Plan, principals: Mapping[str, str], doors: Doors | None = None) -> tuple[Right, ...]:
    """All rights of a plan.

    `principals` gives an account for each role (`roles`); whoever is not named gets nothing.
    """
    found: list[Right] = []
    if Role.ENGINE in principals:
        found += _engine(plan, principals[Role.ENGINE])
    if Role.READER in principals:
        found += _reader(plan, principals[Role.READER])
    if Role.SERVER in principals:
        found += _server(plan, principals[Role.SERVER])
    if doors is not None:
        found += _events(doors, principals)
    for stream in plan.edges:
        if stream.name in principals:
            found.append(Right(principals[stream.name], "TOPIC", plan.topic(stream), "WRITE"))
            if stream.name in plan.named:  # who gives orders may hear what became of them
                found.append(Right(principals[stream.name], "TOPIC", plan.answers, "READ"))
                group = f"{plan.prefix}.{principals[stream.name]}."
                found.append(Right(principals[stream.name], "GROUP", group, "READ", prefixed=True))
    return tuple(found)


def _engine(plan: Plan, who: str) -> Iterator[Right]:
    for stream in plan.edges:
        yield Right(who, "TOPIC", plan.topic(stream), "READ")
    for topic in (*plan.between, plan.progress, plan.catalogue, plan.schemas):
        yield Right(who, "TOPIC", topic, "READ")
        yield Right(who, "TOPIC", topic, "WRITE")
    for topic in (*_written(plan), plan.answers, plan.undigested, plan.workers):
        yield Right(who, "TOPIC", topic, "WRITE")
    if plan.asks is not None:
        yield Right(who, "TOPIC", plan.requests, "READ")
        for topic in (plan.replies, plan.reported):
            yield Right(who, "TOPIC", topic, "WRITE")
    for topic, asking in plan.consulted.items():
        yield Right(who, "TOPIC", topic, "READ")
        yield Right(who, "GROUP", asking, "READ")
    for state in plan.kept:
        for operation in ("READ", "WRITE", "DELETE"):  # what a whole round has written again is cut off
            yield Right(who, "TOPIC", plan.changelog(state), operation)
    for group in ("router", "charger", "follower"):
        yield Right(who, "GROUP", f"{plan.prefix}.{group}", "READ")
    for operation in ("WRITE", "DESCRIBE"):
        yield Right(who, "TRANSACTIONAL_ID", f"{plan.prefix}.", operation, prefixed=True)
        if not plan.schemas.startswith(f"{plan.prefix}."):  # the registry is the whole house's
            yield Right(who, "TRANSACTIONAL_ID", plan.schemas, operation)


def _written(plan: Plan) -> list[str]:
    return [plan.topic(stream) for stream in (*plan.results, *plan.beside)]


def _reader(plan: Plan, who: str) -> Iterator[Right]:
    topics = [*_written(plan), plan.topic(plan.raw)]
    topics += [plan.reported] if plan.asks is not None else []
    changelogs = [plan.changelog(state) for state in plan.served]
    for topic in (
        *topics,
        *changelogs,
        plan.answers,
        plan.progress,
        plan.undigested,
        plan.catalogue,
        plan.schemas,
        plan.workers,
    ):
        yield Right(who, "TOPIC", topic, "READ")
    yield Right(who, "GROUP", f"{plan.prefix}.{who}.", "READ", prefixed=True)
    yield Right(who, "GROUP", f"{plan.prefix}.cassandra.", "READ", prefixed=True)


def _server(plan: Plan, who: str) -> Iterator[Right]:
    """As a reader, and it hands in what came over HTTP; movements are delivered to where they are shown."""
    yield from _reader(plan, who)
    if plan.asks is not None:  # who asks for quota comes to it
        yield Right(who, "TOPIC", plan.requests, "WRITE")
        yield Right(who, "TOPIC", plan.replies, "READ")
    for group in ("follower", "intake"):  # a client asks for its group even where it commits nothing
        yield Right(who, "GROUP", f"{plan.prefix}.{group}", "READ")
    yield Right(who, "TOPIC", plan.workers, "WRITE")  # it says how far its deliveries are
    for stream in plan.edges:
        yield Right(who, "TOPIC", plan.topic(stream), "WRITE")
        if stream is not plan.raw:
            yield Right(who, "TOPIC", plan.topic(stream), "READ")
    if (
        plan.told is not None
    ):  # what people do is answered when the places that it goes through have carried it
        for group in ("router", "charger"):
            yield Right(who, "GROUP", f"{plan.prefix}.{group}", "READ")
        yield Right(who, "TOPIC", plan.work, "READ")
        yield Right(who, "TOPIC", plan.catalogue, "WRITE")  # planned work is part of what the steps look up


def _events(doors: Doors, principals: Mapping[str, str]) -> Iterator[Right]:
    plan = doors.plan
    entrances = [topic for _, topic in doors.entrances()]
    exits = [topic for _, _, topic in doors.exits()]
    who = principals.get(Role.EXCHANGE)
    if who is not None:
        results = [plan.topic(stream) for stream in doors.handed_out]
        for topic in (*entrances, *results, plan.schemas):
            yield Right(who, "TOPIC", topic, "READ")
        for topic in (*exits, plan.topic(plan.raw), plan.undigested, plan.schemas):
            yield Right(who, "TOPIC", topic, "WRITE")
        for group in ("events", "follower"):
            yield Right(who, "GROUP", f"{plan.prefix}.{group}", "READ")
        for name, prefixed in ((f"{plan.prefix}.events.", True), (f"{plan.prefix}.schemas", False)):
            for operation in ("WRITE", "DESCRIBE"):
                yield Right(who, "TRANSACTIONAL_ID", name, operation, prefixed)
    consumer = principals.get(Role.CONSUMER)
    if consumer is not None:
        for topic in (*exits, plan.schemas):
            yield Right(consumer, "TOPIC", topic, "READ")
        yield Right(consumer, "GROUP", f"{plan.prefix}.{consumer}.", "READ", prefixed=True)
    producer = principals.get(doors.handed_in.name)
    if producer is not None:
        yield Right(producer, "TOPIC", plan.schemas, "READ")
        for topic in entrances:
            yield Right(producer, "TOPIC", topic, "WRITE")


def held(server: Server, principal: str) -> set[Right]:
    """What an account may do by now, as far as it is of the kinds that we give; raises `Lost`."""
    admin = AdminClient(server.common())
    anything: Any = None  # the client's own word for it, which its types do not know
    every = AclBindingFilter(
        ResourceType.ANY, anything, ResourcePatternType.ANY, f"User:{principal}", anything, AclOperation.ANY,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    try:
        found = admin.describe_acls(every, request_timeout=PATIENCE_S).result(PATIENCE_S)
    except KafkaException as error:
        raise Lost(f"asking for rights: {told(error)}") from error
    return {
        Right(
            principal, each.restype.name, each.name, each.operation.name,
            each.resource_pattern_type is ResourcePatternType.PREFIXED,
        )
        for each in found
    }  # fmt: skip


def _of_client(right: Right) -> tuple[Any, ...]:
    """A right in the client's words, in the order of its own arguments."""
    return (
        ResourceType[right.kind],
        right.name,
        ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
        f"User:{right.principal}",
        "*",
        AclOperation[right.operation],
        AclPermissionType.ALLOW,
    )


def revoke(server: Server, surplus: Iterable[Right]) -> None:
    """Take rights away; raises `Lost` when the brokers do not take it."""
    filters = [AclBindingFilter(*_of_client(right)) for right in surplus]
    if not filters:
        return
    admin = AdminClient(server.common())
    for future in admin.delete_acls(filters, request_timeout=PATIENCE_S).values():
        try:
            future.result(PATIENCE_S)
        except KafkaException as error:
            raise Lost(f"taking rights away: {told(error)}") from error


def grant(server: Server, wanted: Iterable[Right]) -> None:
    """Tell the brokers; the same again changes nothing. Only an administrator may. Raises `Lost`."""
    bindings = [AclBinding(*_of_client(right)) for right in wanted]
    if not bindings:
        return
    admin = AdminClient(server.common())
    for future in admin.create_acls(bindings, request_timeout=PATIENCE_S).values():
        try:
            future.result(PATIENCE_S)
        except KafkaException as error:
            raise Lost(f"granting rights: {told(error)}") from error
