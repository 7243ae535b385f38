"""Schemas put to use: every writer asks the registry before its first message."""

from __future__ import annotations

from trunkline.engines.kafka.client import Server, Unfit
from trunkline.engines.kafka.cutover import carried_by
from trunkline.engines.kafka.events import Doors
from trunkline.engines.kafka.registry import Registry, of_plan
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.shapes import Kind
from trunkline.ports import Refused
from trunkline.records.charging import ALERTS, CHARGED
from trunkline.records.events import USAGE_EVENT
from trunkline.settings import Kafka


def doors_of(plan: Plan, kafka: Kafka) -> Doors:
    """Single events in the formats that the settings name: usage comes in, charged usage and alerts go out."""
    named = [each.strip().upper() for each in kafka.kafka_events.split(",") if each.strip()]
    unknown = sorted(set(named) - set(Kind))
    if unknown:
        raise Refused(f"kafka_events names {', '.join(unknown).lower()}; known are avro and json.")
    return Doors(plan, USAGE_EVENT, (CHARGED, ALERTS), tuple(kind for kind in Kind if kind in named))


def declare(server: Server, plan: Plan, engine: str = "") -> bool:
    """Have the schemas of everything that an engine writes in the registry, or refuse to start and say what to do.

    An `engine` charges: it is refused topics that a mirror copied from another site, whose positions are those of the
    other brokers, and topics that another engine has charged on. Who answers people names none and may go on with them.
    Returns whether this engine has charged on them before.
    """
    registry = Registry(server, plan)
    try:
        home, here = registry.home()
        if engine and home and home != here:
            raise Refused(
                f"The topics {plan.prefix}.* are copies of those on the brokers {home}, and these are {here}. To go on"
                " here, stop everything there and run: trunkline cluster cutover apply"
                " (docs/operating/cluster-sites.md)."
            )
        before = carried_by(server, plan) if engine else ""
        if before not in ("", engine):
            raise Refused(
                f"The engine {before} has charged under {plan.prefix}, and {engine} knows neither its accounts nor how"
                f" far it is: it would charge everything once more. Go on with --engine {before}, or begin under"
                " another prefix (docs/operating/cluster.md, Another engine)."
            )
        if not home:
            registry.move_in()
    except Unfit as error:
        raise Refused(str(error)) from error
    enter(server, plan)
    return before != ""


def settle(server: Server, plan: Plan, engine: str) -> None:
    """As `declare`, for an engine that watches the network, which no cut-over takes anywhere.

    Topics that somebody was in, at other brokers or with another engine, are refused: those positions and that state
    mean nothing here. Topics that are still empty are ours from now on.
    """
    registry = Registry(server, plan)
    try:
        (home, here), before = registry.home(), carried_by(server, plan)
        if home and home != here and before:
            raise Refused(
                f"The topics {plan.prefix}.* are copies of those on the brokers {home}, and these are {here}. The"
                " network is not taken over: stop the mirror, delete these topics, and watch anew"
                " (docs/operating/cluster-network.md, At another site)."
            )
        if before not in ("", engine):
            raise Refused(
                f"The engine {before} has watched the network under {plan.prefix}, and {engine} cannot go on with its"
                " state. Watch under another prefix, or delete these topics and watch anew"
                " (docs/operating/cluster-network.md, Another engine)."
            )
        if home != here:
            registry.move_in()
    except Unfit as error:
        raise Refused(str(error)) from error
    enter(server, plan)


def enter(server: Server, plan: Plan) -> None:
    """Have the schemas of everything that an engine writes in the registry; refuse what would break others."""
    try:
        Registry(server, plan).enter(of_plan(plan))
    except Unfit as error:
        raise Refused(str(error)) from error
