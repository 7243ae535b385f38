"""Which servers the profile has, and in which order they are started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.place import Recipe
from trunkline.ports import Refused
from trunkline.settings import Servers

RACKS = ("kafka-1", "kafka-2", "kafka-3")


def brokers(*, racks: bool = False, secure: bool = True) -> tuple[Broker, ...]:
    """One broker, or three in three racks."""
    group = RACKS if racks else ("kafka",)
    return tuple(Broker(name, group, secure) for name in group)


def profile(*, racks: bool = False, secure: bool = True) -> tuple[Recipe, ...]:
    """All servers, in the order of their start."""
    return (*brokers(racks=racks, secure=secure), Node())


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
