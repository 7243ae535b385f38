"""Moving to another site: what a mirror copied there is looked at, and taken over when it is whole."""

from __future__ import annotations

from confluent_kafka import KafkaException

from trunkline.bootstrap import network_cluster
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.engines.kafka import cutover
from trunkline.engines.kafka.client import Lost, Unfit, told
from trunkline.engines.kafka.registry import Registry
from trunkline.ports import Refused
from trunkline.settings import Kafka


def look(kafka: Kafka) -> tuple[cutover.Site, bool]:
    """How the brokers that the settings name stand, and whether their topics are copies that nobody took over yet."""
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    try:
        home, here = Registry(server, plan).home()
        return cutover.look(server, plan), bool(home) and home != here
    except (Lost, KafkaException) as error:
        raise Refused(f"The brokers did not answer as they should: {_words(error)}") from error


def move(kafka: Kafka, again_since_ms: int | None, *, planned: bool) -> cutover.Site:
    """Let workers go on at these brokers. `planned`: nothing may be behind, and nothing is read again."""
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    site, copied = look(kafka)
    if not copied:
        raise Refused(f"The topics {plan.prefix}.* live on these brokers already; there is nothing to move.")
    if planned and site.behind:
        raise Refused(
            f"{site.behind} messages are not carried yet. Let the other site's workers and the mirror finish, or move"
            " without --planned."
        )
    try:
        cutover.go_on(server, plan, site, None if planned else again_since_ms)
        Registry(server, plan).move_in()
    except Unfit as error:
        raise Refused(str(error)) from error
    except (Lost, KafkaException) as error:
        raise Refused(f"The move was not finished; run it again: {_words(error)}") from error
    return site


def network(kafka: Kafka) -> str:
    """Of the network, which is not moved: `none` watched here or there, `here`, or `copied` from another site."""
    server, plan = server_of(kafka), network_cluster.plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    try:
        (home, here), before = Registry(server, plan).home(), cutover.carried_by(server, plan)
    except (Lost, KafkaException) as error:
        raise Refused(f"The brokers did not answer as they should: {_words(error)}") from error
    if not before:
        return "none"
    return "copied" if home and home != here else "here"


def _words(error: Exception) -> str:
    return told(error) if isinstance(error, KafkaException) else str(error)
