"""Everything that can be chosen, one frozen dataclass a part; the only reader of the environment.

Each setting has a default that is safe on a laptop. `TRUNKLINE_<NAME>` in the environment overrides it, an
option of the command line overrides both, and all mistakes are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "TRUNKLINE_"
DATA = Path("trunkline-data")
SERVERS = Path("trunkline-cluster")
Part = TypeVar("Part")


class SettingsError(ValueError):
    """Some settings cannot be used; the text names each and says what it takes."""


def _setting(default: Any, doc: str) -> Any:  # noqa: ANN401 -- the field's own annotation says the type
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Folders:
    """Where things lie."""

    data: Path = _setting(DATA, "Data folder: everything that is kept lies in it.")  # noqa: RUF009 -- it makes a field
    tariffs: str = _setting("", "Folder of the tariff. Empty: the one that the data folder remembers.")
    subscribers: str = _setting(
        "",
        "Subscribers file (CSV). Empty: `subscribers.csv` in the tariff's folder or beside it, if there is one.",
    )
    mappings: str = _setting("", "Folder of mapping files of your own, beside the shipped ones.")
    watch: str = _setting("", "Folder that is watched for usage files. Empty: none.")
    watch_mapping: str = _setting("trunkline", "Mapping that reads the files of the watched folder.")


@dataclass(frozen=True)
class Http:
    """How the API and the page are served."""

    host: str = _setting("127.0.0.1", "Address to listen on. Anything but loopback also needs `hosts`.")
    port: int = _setting(8450, "Port to listen on; 0 takes any free one.")
    hosts: str = _setting("", "Further host names to answer to, separated by commas.")
    public_url: str = _setting("", "Address that other systems see, such as https://charging.example.")
    notify_networks: str = _setting(
        "", "Networks that TM Forum notifications may be sent to besides loopback, separated by commas."
    )


@dataclass(frozen=True)
class Keeping:
    """How long things are kept, and when work is set aside."""

    usage_days: int = _setting(400, "Days that charged usage, ledger entries and alerts are kept.")
    raw_days: int = _setting(90, "Days that raw input is kept for reconciliation.")
    spool_mb: int = _setting(
        256, "Unread megabytes in the intake at which senders are told to slow down (429)."
    )


@dataclass(frozen=True)
class Guessing:
    """How many wrong codes of vouchers are borne."""

    voucher_wrong_most: int = _setting(
        5, "Wrong codes of vouchers that may be tried for a subscriber before redeeming is blocked."
    )
    voucher_wrong_hours: int = _setting(24, "Hours for which a wrong code of a voucher is counted.")


@dataclass(frozen=True)
class ShadowGate:
    """What a shadow run must reach before another system is switched off."""

    shadow_equal_percent: str = _setting(
        "99.9", "Share of all records whose money must be equal, at least, in percent; four decimals at most."
    )
    shadow_money_per_mille: str = _setting(
        "0.5",
        "Sum of differences without their signs, at most, in thousandths of the other system's money; three decimals.",
    )


@dataclass(frozen=True)
class Watched:
    """Where telemetry of the network comes from besides HTTP."""

    telemetry_mappings: str = _setting(
        "", "Folder of telemetry mappings of your own, beside the shipped ones."
    )
    telemetry_watch: str = _setting("", "Folder that is watched for telemetry files. Empty: none.")
    telemetry_watch_mapping: str = _setting(
        "pm_xml", "Mapping that reads the telemetry files of that folder."
    )
    network_judges: str = _setting(
        "", "Models of your own that judge KPIs, as KPI=module:function separated by commas. Empty: none."
    )


@dataclass(frozen=True)
class Listening:
    """What the network sends by itself, and where it is listened for. A listener is off while its port is 0."""

    listen_host: str = _setting("127.0.0.1", "Address that the listeners for telemetry listen on.")
    syslog_udp: int = _setting(0, "Port for syslog over UDP (RFC 5426).")
    syslog_tcp: int = _setting(0, "Port for syslog over TCP (RFC 6587, either framing).")
    syslog_tls: int = _setting(0, "Port for syslog over TLS (RFC 5425).")
    tls_certificate: str = _setting("", "PEM file with the certificate for syslog over TLS.")
    tls_key: str = _setting("", "PEM file with that certificate's key.")
    tls_clients: str = _setting(
        "", "PEM file with the certificates that senders over TLS must have. Empty: they need none."
    )
    traps: int = _setting(0, "Port for SNMP traps and informs over UDP.")
    snmp_users: str = _setting(
        "", "YAML file with SNMPv3 users and communities, readable by its owner only. Empty: v3 is refused."
    )
    flows: int = _setting(0, "Port for NetFlow v5, v9 and IPFIX over UDP.")
    scrape: str = _setting(
        "", "Exporters to scrape, as name=http://host:port/metrics, separated by commas. Empty: none."
    )
    scrape_every_s: int = _setting(15, "Seconds between two scrapes of an exporter.")
    scrape_metrics: str = _setting("node_.*|up", "Pattern of the names of metrics that are taken.")


@dataclass(frozen=True)
class Online:
    """Online charging for network functions (Nchf_ConvergedCharging, 3GPP TS 32.291). Off while its port is 0."""

    online_port: int = _setting(0, "Port for charging requests over HTTP/2.")
    online_host: str = _setting("127.0.0.1", "Address that charging requests are listened for on.")
    online_certificate: str = _setting(
        "", "PEM file with the certificate for TLS. Empty: cleartext, which only loopback may have."
    )
    online_key: str = _setting("", "PEM file with that certificate's key.")
    online_clients: str = _setting(
        "",
        "PEM file with the authorities whose certificates network functions must show. Empty: none has to.",
    )
    online_octets: int = _setting(50_000_000, "Octets granted where a request does not say how many.")
    online_seconds: int = _setting(300, "Seconds of a call granted where a request does not say how many.")
    online_events: int = _setting(1, "Messages or events granted where a request does not say how many.")
    online_validity_s: int = _setting(
        3600, "Seconds after which a network function has to ask again, whether its quota is used up or not."
    )
    online_grace_s: int = _setting(
        120, "Seconds after that until a session that was not heard of again is closed."
    )


@dataclass(frozen=True)
class Delivery:
    """How customers are told of alerts. Nobody is told anything before a channel is set up."""

    alert_channels: str = _setting(
        "",
        "Channels by which customers are told who chose none: webhook, sms, or both, separated by commas."
        " Empty: they are not told.",
    )
    alert_language: str = _setting("en", "Language of customers who chose none.")
    alert_quiet: str = _setting(
        "", "Hours in which nobody is told, such as 22:00-07:00 by the customer's clock. Empty: none."
    )
    alert_urgent: str = _setting(
        "spend_cap,low_balance",
        "Kinds of alerts whose critical ones (a cap is reached, nothing is left, the worst incidents) are told in"
        " quiet hours, too.",
    )
    alert_hours: int = _setting(
        48, "Alerts of usage longer ago than so many hours are told to nobody; 0: however long ago."
    )
    alert_attempts: int = _setting(
        12,
        "Failed attempts after which a delivery is a dead letter; the pauses between double up to an hour.",
    )
    alert_per_second: int = _setting(20, "Most deliveries a second by one channel.")
    alert_templates: str = _setting(
        "", "Folder with words of your own: en.yaml, de.yaml and so on. Empty: the shipped ones."
    )
    alert_webhook: str = _setting("", "Address that is told of alerts as CloudEvents. Empty: none.")
    alert_webhook_key_file: str = _setting(
        "", "File with the secret that signs them, at least 32 octets, readable by its owner only."
    )
    alert_smtp: str = _setting("", "Relay for mail, such as mail.example:465. Empty: no mail.")
    alert_smtp_security: str = _setting(
        "tls", "tls, starttls, or plain, which only a relay on this machine may have."
    )
    alert_smtp_sender: str = _setting("", "Whom mail comes from, such as alerts@operator.example.")
    alert_smtp_user: str = _setting("", "User of the relay. Empty: it asks for none.")
    alert_smtp_password_file: str = _setting(
        "", "File with that user's password, readable by its owner only."
    )
    alert_sms: str = _setting("", "Address of an HTTP gateway for text messages. Empty: none.")
    alert_sms_body: str = _setting(
        '{"to": "{to}", "text": "{text}", "id": "{id}"}',
        "What it is sent: a JSON object, or a form such as to={to}&text={text}, with places for to, text, id,"
        " language and attempt.",
    )
    alert_sms_headers_file: str = _setting(
        "",
        "File with headers that let us in, such as `Authorization: Bearer …`, one a line, readable by its owner only.",
    )


@dataclass(frozen=True)
class Servers:
    """The servers that `trunkline cluster` starts on this machine, for tests and demonstrations."""

    cluster_folder: Path = _setting(SERVERS, "Folder of the servers: data, configuration, logs, secrets.")  # noqa: RUF009 -- it makes a field
    cluster_jars: str = _setting(
        "",
        "Folder that keeps the servers' programs from one start to the next. Empty: `.cache/trunkline/servers`"
        " in the home folder.",
    )


@dataclass(frozen=True)
class Kafka:
    """The brokers that carry the streams of a cluster."""

    kafka_brokers: str = _setting("127.0.0.1:9092", "Addresses of some brokers, separated by commas.")
    kafka_prefix: str = _setting("trunkline", "What the name of every topic begins with.")
    kafka_buckets: int = _setting(12, "Parts into which subscribers are divided; never changed afterwards.")
    kafka_edge_partitions: int = _setting(
        12,
        "Partitions of the topics where others hand in, when they are made; more may be added at any time.",
    )
    kafka_copies: int = _setting(
        3, "Brokers that hold each topic; one fewer must have a write before it counts."
    )
    kafka_events: str = _setting(
        "",
        "Formats in which others exchange single events with us: avro, json, or both, separated by commas."
        " Empty: none.",
    )
    kafka_worker: str = _setting(
        "",
        "Name of this worker, the same after a restart; no two may share one. Empty: a new one at each start.",
    )
    kafka_standby: int = _setting(
        0,
        "Copies of each bucket that other workers keep in memory beside its owner, so that one of them takes over"
        " quickly.",
    )
    kafka_rack: str = _setting("", "Rack of this worker, to read from replicas nearby. Empty: from leaders.")
    kafka_properties: str = _setting(
        "",
        "File with what librdkafka must be told, such as security.protocol and sasl.username;"
        " `sasl.password.file` names a file with the password. Read again at each new life. Empty: nothing.",
    )


@dataclass(frozen=True)
class Cassandra:
    """The serving store of a cluster: where results are delivered, and where the API reads them."""

    cassandra_hosts: str = _setting("127.0.0.1", "Addresses of some nodes, separated by commas.")
    cassandra_port: int = _setting(9042, "Port of their native protocol (CQL).")
    cassandra_user: str = _setting("trunkline", "Role that we log in as.")
    cassandra_password_file: str = _setting("", "File with that role's password; read at every connection.")
    cassandra_ca_file: str = _setting(
        "", "Certificates (PEM) that the nodes' own must lead to. Empty: no TLS, which only a test should do."
    )
    cassandra_keyspace: str = _setting("trunkline", "Keyspace of all tables.")
    cassandra_datacenter: str = _setting("datacenter1", "Our own data centre: quorums are asked of it.")
    cassandra_copies: int = _setting(3, "Copies of each row in that data centre, when the keyspace is made.")
    cassandra_buckets: int = _setting(
        64,
        "Parts into which subscribers are divided there; never changed afterwards. So many that a day's usage of"
        " one stays below a million records.",
    )


@dataclass(frozen=True)
class Spark:
    """How Spark carries the flows (`--engine spark`)."""

    spark_master: str = _setting("local[*]", "Where Spark runs. Under spark-submit its own `--master` wins.")
    spark_jars: str = _setting(
        "", "Jars of the Kafka connector, separated by commas. Empty: Spark fetches it by name."
    )
    spark_checkpoint: str = _setting(
        "",
        "Folder of offsets and state that the driver and every executor see; `trunkline serve` looks for bills in it."
        " Empty: `spark` in the data folder.",
    )
    spark_messages: int = _setting(200_000, "Most messages that one micro-batch takes.")
    spark_pause_ms: int = _setting(200, "Shortest time from the beginning of one micro-batch to the next.")
    spark_metrics_port: int = _setting(
        0, "Port on loopback where the driver serves its metrics for Prometheus. 0: none."
    )
    spark_properties: str = _setting(
        "",
        "File with what Kafka's Java client must be told, such as security.protocol and sasl.jaas.config."
        " Empty: nothing.",
    )


def read(part: type[Part], environment: Mapping[str, str] | None = None, **chosen: object) -> Part:
    """One part of the settings: defaults, then the environment, then what was chosen on the command line."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for setting in fields(part):  # type: ignore[arg-type]
        kind: Callable[[Any], Any] = type(setting.default)
        if chosen.get(setting.name) is not None:
            values[setting.name] = kind(chosen[setting.name])
            continue
        text = environment.get(PREFIX + setting.name.upper())
        if text is None:
            continue
        try:
            values[setting.name] = kind(text)
        except ValueError:
            mistakes.append(
                f"{PREFIX}{setting.name.upper()}={text!r} is not a whole number. {setting.metadata['doc']}"
            )
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return part(**values)


PARTS = (
    Folders,
    Http,
    Keeping,
    Guessing,
    ShadowGate,
    Watched,
    Listening,
    Online,
    Delivery,
    Servers,
    Kafka,
    Spark,
    Cassandra,
)
