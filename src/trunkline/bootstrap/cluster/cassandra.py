"""One Cassandra node: TLS and a password for every client, and writes that are on disk before they are acknowledged.

`commitlog_sync: group` waits for the disk, a few milliseconds at a time for all writers together; the default of
Cassandra acknowledges up to ten seconds of writes that a power cut takes back.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.place import LOOPBACK, Place, listens
from trunkline.ports import Refused

ARTIFACTS = "cassandra"
ADMIN = "admin"
HEAP_MB = 640
_FIRST = "cassandra"  # name and password of the account that a new node has
_ASK_S = 5.0
_SETTLED_S = 240.0  # a first start compiles everything, beside whatever else the machine does
_PAUSE_S = 1.0

_LOG = """<configuration scan="false">
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""

_YAML = """cluster_name: {cluster}
num_tokens: 1
initial_token: 0
allocate_tokens_for_local_replication_factor: 1
hinted_handoff_enabled: false
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
credentials_validity: 2000ms
roles_validity: 2000ms
permissions_validity: 2000ms
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["{folder}/data"]
commitlog_directory: "{folder}/commitlog"
saved_caches_directory: "{folder}/saved_caches"
hints_directory: "{folder}/hints"
cdc_raw_directory: "{folder}/cdc_raw"
cdc_enabled: false
commitlog_sync: group
commitlog_sync_group_window: 5ms
commitlog_segment_size: 32MiB
disk_failure_policy: stop
commit_failure_policy: stop
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage}"}}]
listen_address: 127.0.0.1
storage_port: {storage}
rpc_address: 127.0.0.1
start_native_transport: true
native_transport_port: {cql}
memtable_heap_space: {memtables}MiB
memtable_offheap_space: {memtables}MiB
concurrent_reads: 16
concurrent_writes: 32
concurrent_counter_writes: 2
auto_snapshot: false
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: "{key}"
  truststore: "{ca}"
"""

# What Cassandra's own start script gives a Java 17 (conf/jvm17-server.options of its distribution).
_OPENED = (
    "java.base/java.io", "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.module",
    "java.base/java.math", "java.base/java.net", "java.base/java.nio", "java.base/java.util",
    "java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math", "java.base/jdk.internal.module", "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect", "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac", "jdk.management.agent/jdk.internal.agent",
    "jdk.management/com.sun.management.internal",
)  # fmt: skip
_EXPORTED = (
    "java.base/java.lang.ref", "java.base/jdk.internal.misc", "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql", "jdk.attach/sun.tools.attach",
    "jdk.unsupported/sun.misc",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A cluster of one node."""

    name: str = "cassandra"
    wave: int = 0
    heap_mb: int = HEAP_MB  # enough to try things; under a steady load its collector would never rest

    @property
    def port_names(self) -> tuple[str, ...]:
        """For clients (CQL), for other nodes, and for its keepers (JMX)."""
        return ("cql", "storage", "jmx")

    def command(self, place: Place) -> list[str]:
        """Write the configuration; how the node is started."""
        conf = place.folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        for each in ("data", "commitlog", "saved_caches", "hints", "cdc_raw"):
            (place.folder / each).mkdir(exist_ok=True)
        key = place.secrets / f"{self.name}.pem"
        if not key.exists():
            credentials.issue(place.secrets, key.name, "cassandra")
        yaml = _YAML.format(
            cluster=cluster_name(place), folder=place.folder, storage=place.port("storage"),
            cql=place.port("cql"), key=key, ca=credentials.authority(place.secrets),
            memtables=self.heap_mb // 5,
        )  # fmt: skip
        (conf / "cassandra.yaml").write_text(yaml, "utf-8")
        (conf / "logback.xml").write_text(_LOG, "utf-8")
        program, *options = place.java(ARTIFACTS, heap_mb=self.heap_mb)
        opened = [f"--add-opens={each}=ALL-UNNAMED" for each in _OPENED]
        exported = [f"--add-exports={each}=ALL-UNNAMED" for each in _EXPORTED]
        said = {
            "cassandra.config": f"file://{conf / 'cassandra.yaml'}",
            "cassandra.storagedir": place.folder,
            "logback.configurationFile": conf / "logback.xml",
            "cassandra-foreground": "yes",
            # One node waits for nobody.
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.ring_delay_ms": 0,
            "cassandra.superuser_setup_delay_ms": 0,
            "cassandra.jmx.local.port": place.port("jmx"),
            "java.rmi.server.hostname": LOOPBACK,
            "io.netty.tryReflectionSetAccessible": "true",
            "jdk.attach.allowAttachSelf": "true",
        }
        return [
            program, "-ea", "-Xss256k", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=300", "-XX:+PerfDisableSharedMem",
            *opened, *exported, *(f"-D{name}={value}" for name, value in said.items()), *options,
            "org.apache.cassandra.service.CassandraDaemon",
        ]  # fmt: skip

    def answers(self, place: Place) -> bool:
        """Whether the node answers; raises `Refused` when another cluster does."""
        if not listens(place.port("cql")):
            return False
        for user in (ADMIN, _FIRST):
            try:
                with _session(place, user) as session:
                    found = session.execute("SELECT cluster_name FROM system.local").one().cluster_name
            except _unreachable():
                continue
            if found != cluster_name(place):
                raise Refused(
                    f"Port {place.port('cql')} belongs to the Cassandra cluster {found}, not to ours."
                )
            return True
        return False

    def settle(self, place: Place) -> None:
        """Make our administrator, and shut the door that every new node leaves open.

        A node that has just begun is slow to answer on a busy machine, so what could not be done is tried again.
        """
        deadline = time.monotonic() + _SETTLED_S
        while True:
            try:
                _shut(place)
            except _unreachable():
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def password_file(self, place: Place) -> Path:
        """Where the administrator's password is."""
        return credentials.password_file(place.secrets, f"cassandra-{ADMIN}")


def cluster_name(place: Place) -> str:
    """The name by which we know that it is ours."""
    return f"trunkline {place.cluster_id}"


def _shut(place: Place) -> None:
    """Let our administrator in, and nobody under the name that stands in every manual; again, it changes nothing."""
    try:
        with _session(place, ADMIN) as session:
            first = session.execute(
                "SELECT can_login FROM system_auth.roles WHERE role = %s", (_FIRST,)
            ).one()
            if first is not None and first.can_login:
                session.execute(f"ALTER ROLE {_FIRST} WITH SUPERUSER = false AND LOGIN = false")
            return
    except _unreachable():
        pass  # nobody has made it yet, or the node is slow: then the first account cannot come in, either
    with _session(place, _FIRST) as session:
        session.execute(
            f"CREATE ROLE IF NOT EXISTS {ADMIN} WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = %s",
            (credentials.password(place.secrets, f"cassandra-{ADMIN}"),),
        )
    with _session(place, ADMIN) as session:
        session.execute(f"ALTER ROLE {_FIRST} WITH SUPERUSER = false AND LOGIN = false")


def _unreachable() -> tuple[type[BaseException], ...]:
    from cassandra import AuthenticationFailed, OperationTimedOut, Unavailable
    from cassandra.cluster import NoHostAvailable

    return (NoHostAvailable, AuthenticationFailed, OperationTimedOut, Unavailable)


def _session(place: Place, user: str) -> Any:  # noqa: ANN401 -- the driver carries no types
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import RoundRobinPolicy

    secret = _FIRST if user == _FIRST else credentials.password(place.secrets, f"cassandra-{user}")
    cluster = Cluster(
        [LOOPBACK],
        port=place.port("cql"),
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(user, secret),
        ssl_context=ssl.create_default_context(cafile=str(credentials.authority(place.secrets))),
        ssl_options={"server_hostname": LOOPBACK},
        connect_timeout=_ASK_S,
        control_connection_timeout=_ASK_S,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(RoundRobinPolicy(), request_timeout=_ASK_S)
        },
    )
    return _Session(cluster)


class _Session:
    """A session whose cluster is shut down with it, also when it could not connect."""

    def __init__(self, cluster: Any) -> None:  # noqa: ANN401 -- the driver carries no types
        self._cluster = cluster

    def __enter__(self) -> Any:  # noqa: ANN401 -- the driver carries no types
        try:
            return self._cluster.connect()
        except BaseException:
            self._cluster.shutdown()
            raise

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()
