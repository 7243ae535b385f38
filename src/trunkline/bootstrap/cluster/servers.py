"""Which servers the profile has, and in which order they are started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trunkline.bootstrap.cluster import cassandra, credentials
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.connect import Connect
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.place import LOOPBACK, Recipe
from trunkline.bootstrap.cluster.postgresql import Server
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.ports import Refused
from trunkline.settings import PREFIX, Servers

RACKS = ("kafka-1", "kafka-2", "kafka-3")


def brokers(*, racks: bool = False, secure: bool = True) -> tuple[Broker, ...]:
    """One broker, or three in three racks."""
    group = RACKS if racks else ("kafka",)
    return tuple(Broker(name, group, secure) for name in group)


def profile(*, racks: bool = False, secure: bool = True) -> tuple[Recipe, ...]:
    """All servers, in the order of their start."""
    group = brokers(racks=racks, secure=secure)
    return (*group, Node(), Server(), Connect(broker=group[0]))


def chosen(only: Sequence[str] | None, *, racks: bool = False, secure: bool = True) -> tuple[Recipe, ...]:
    """The named servers of the profile, or all; raises `Refused` at a name that it does not have."""
    known = profile(racks=racks, secure=secure)
    if not only:
        return known
    unknown = sorted(set(only) - {recipe.name for recipe in known})
    if unknown:
        raise Refused(
            f"There is no server {', '.join(unknown)}. Known are: {', '.join(recipe.name for recipe in known)}."
        )
    return tuple(recipe for recipe in known if recipe.name in only)


def jars_folder(servers: Servers) -> Path:
    """Where the servers' programs are kept."""
    if servers.cluster_jars:
        return Path(servers.cluster_jars)
    return Path.home() / ".cache" / "trunkline" / "servers"


def settings_file(cluster: Cluster, recipes: Sequence[Recipe]) -> Path:
    """A file of settings by which the engines and `trunkline serve` find these servers; it names files of secrets."""
    told: dict[str, object] = {}
    broker = next((recipe for recipe in recipes if isinstance(recipe, Broker)), None)
    if broker is not None:
        endpoint = broker.endpoint(cluster.place(broker.name))
        told |= {"kafka_brokers": endpoint.bootstrap_servers, "kafka_copies": len(broker.group)}
        if endpoint.user:
            spoken = {
                "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": endpoint.user,
                "sasl.password.file": endpoint.password_file, "ssl.ca.location": endpoint.ca_file,
            }  # fmt: skip
            lines = "".join(f"{name}={value}\n" for name, value in spoken.items())
            told["kafka_properties"] = credentials.keep(
                cluster.folder / "secrets" / "kafka.properties", lines
            )
    node = next((recipe for recipe in recipes if isinstance(recipe, Node)), None)
    if node is not None:
        place = cluster.place(node.name)
        told |= {
            "cassandra_hosts": LOOPBACK, "cassandra_port": place.port("cql"), "cassandra_user": cassandra.ADMIN,
            "cassandra_password_file": node.password_file(place),
            "cassandra_ca_file": credentials.authority(place.secrets), "cassandra_copies": 1,
        }  # fmt: skip
    path = cluster.folder / "settings.env"
    path.write_text("".join(f"{PREFIX}{name.upper()}={value}\n" for name, value in told.items()), "utf-8")
    return path
