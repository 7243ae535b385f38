"""Who may do what, worked out from the map: a flow's principal reads and writes what the map says, and nothing else.

Brokers that let nobody do anything unless it is allowed (`allow.everyone.if.no.acl.found=false`) make of this list
what people rely on. Applying it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from trunkline.engines.kafka.client import PATIENCE_S, Lost, Server, told
from trunkline.engines.plan import Plan


class Role(StrEnum):
    """Who comes to the brokers."""

    ENGINE = "engine"  # workers
    READER = "reader"  # whoever serves or studies the results


@dataclass(frozen=True)
class Right:
    """One thing that a principal may do."""

    principal: str
    kind: str  # TOPIC, GROUP, TRANSACTIONAL_ID
    name: str
    operation: str  # READ, WRITE, DELETE, DESCRIBE
    prefixed: bool = False


def rights(plan: Plan, principals: dict[str, str]) -> tuple[Right, ...]:
    """All rights of a plan.

    `principals` gives an account for `engine`, for `reader`, and for the name of each entry stream that somebody
    hands in, such as `usage.raw`; whoever is not named gets nothing.
    """
    found: list[Right] = []
    if Role.ENGINE in principals:
        found += _engine(plan, principals[Role.ENGINE])
    if Role.READER in principals:
        found += _reader(plan, principals[Role.READER])
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
    for topic in (plan.work, plan.progress, plan.catalogue):
        yield Right(who, "TOPIC", topic, "READ")
        yield Right(who, "TOPIC", topic, "WRITE")
    for topic in (*(plan.topic(stream) for stream in plan.results), plan.answers, plan.undigested):
        yield Right(who, "TOPIC", topic, "WRITE")
    for state in plan.states:
        for operation in ("READ", "WRITE", "DELETE"):  # what a whole round has written again is cut off
            yield Right(who, "TOPIC", plan.changelog(state), operation)
    for group in ("router", "charger", "follower"):
        yield Right(who, "GROUP", f"{plan.prefix}.{group}", "READ")
    for operation in ("WRITE", "DESCRIBE"):
        yield Right(who, "TRANSACTIONAL_ID", f"{plan.prefix}.", operation, prefixed=True)


def _reader(plan: Plan, who: str) -> Iterator[Right]:
    topics = [plan.topic(stream) for stream in (*plan.results, plan.raw)]
    changelogs = [plan.changelog(state) for state in plan.states if state.key == plan.bucket]
    for topic in (
        *topics,
        *changelogs,
        plan.answers,
        plan.progress,
        plan.undigested,
        plan.catalogue,
    ):
        yield Right(who, "TOPIC", topic, "READ")
    yield Right(who, "GROUP", f"{plan.prefix}.{who}.", "READ", prefixed=True)
    yield Right(who, "GROUP", f"{plan.prefix}.cassandra.", "READ", prefixed=True)


def grant(server: Server, wanted: Iterable[Right]) -> None:
    """Tell the brokers; raises `Lost` when they do not take it. Only an administrator may."""
    bindings = [
        AclBinding(
            ResourceType[right.kind],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            f"User:{right.principal}",
            "*",
            AclOperation[right.operation],
            AclPermissionType.ALLOW,
        )
        for right in wanted
    ]
    admin = AdminClient(server.common())
    for future in admin.create_acls(bindings, request_timeout=PATIENCE_S).values():
        try:
            future.result(PATIENCE_S)
        except KafkaException as error:
            raise Lost(f"granting rights: {told(error)}") from error
