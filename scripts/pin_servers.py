"""Pins the programs of the servers again: resolves what is asked for by name and writes down each jar's digest.

Change a version below, run `python -m scripts.pin_servers`, read what changed, and run the tests of the cluster.
"""

import json
import tempfile
from pathlib import Path

from trunkline.bootstrap.cluster.artifacts import PINS, digests, resolve

KAFKA = "4.3.1"
SERVERS = {
    "kafka": (
        f"org.apache.kafka:kafka_2.13:{KAFKA}",
        f"org.apache.kafka:kafka-tools:{KAFKA}",
        f"org.apache.kafka:connect-runtime:{KAFKA}",
        f"org.apache.kafka:connect-file:{KAFKA}",
        f"org.apache.kafka:connect-json:{KAFKA}",
        f"org.apache.kafka:connect-mirror:{KAFKA}",
        f"org.apache.kafka:connect-basic-auth-extension:{KAFKA}",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ),
    "cassandra": ("org.apache.cassandra:cassandra-all:5.0.9",),
    "debezium": ("io.debezium:debezium-connector-postgres:3.6.3.Final",),
}


def main() -> None:
    """Write a file of pins a server."""
    for name, coordinates in SERVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            resolve(coordinates, Path(folder))
            pin = {"coordinates": coordinates, "sha256": digests(Path(folder))}
        (PINS / f"{name}.json").write_text(json.dumps(pin, indent=1) + "\n", "utf-8")
        print(f"{name}: {len(pin['sha256'])} jars")


if __name__ == "__main__":
    main()
