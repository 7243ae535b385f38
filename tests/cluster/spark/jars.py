"""The connector's jars for tests and benchmarks, pinned, with a stand-in for the one that is not to be had everywhere.

Users name the connector and Spark fetches it with all that it needs (docs/operating/cluster-spark.md). One of its
dependencies, which gives Kerberos delegation tokens, is refused by some registries; where tests run it is replaced by
three small classes that give none (`TokenProviderStandIn.scala`). Passwords, certificates and plain text work as ever.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pyspark

SHA256 = {
    "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0":
    "64539c45e5d39f7ddb747312c239f38f5208d08c1a0ddf7d70beb2fbd9373705",
    "org.apache.kafka:kafka-clients:3.9.2": "014b4ef36884478a932641818b080c36a8f8e2e92dc771e800c9d2694f4f83d8",
    "org.apache.commons:commons-pool2:2.13.1": "f77a5060d6936a9144023584232f9de3f2248f1abfe156e9d31795f18770674f",
}  # fmt: skip
STAND_IN = Path(__file__).with_name("TokenProviderStandIn.scala")
FETCHING_S = 600


def connector(folder: Path) -> str:
    """Paths of the jars, separated by commas; fetched and compiled once into a folder."""
    place = folder / "spark-connector-4.2.0"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".spark-", dir=folder) as name:
            fresh = Path(name) / "jars"
            fresh.mkdir()
            for coordinate, sha256 in SHA256.items():
                _fetch(coordinate, sha256, fresh)
            _compile(fresh)
            if not place.exists():
                shutil.move(fresh, place)
    return ",".join(str(path) for path in sorted(place.glob("*.jar")))


def _fetch(coordinate: str, sha256: str, folder: Path) -> None:
    command = [
        "mvn", "-B", "-q", "dependency:copy", f"-Dartifact={coordinate}", f"-DoutputDirectory={folder}",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=FETCHING_S, capture_output=True, cwd=folder)
    _, artifact, version = coordinate.split(":")
    found = hashlib.sha256((folder / f"{artifact}-{version}.jar").read_bytes()).hexdigest()
    assert found == sha256, f"{coordinate} is not what was pinned"


def _compile(folder: Path) -> None:
    """The stand-in, by the Scala compiler that pyspark brings along."""
    jars = Path(pyspark.__file__).parent / "jars"
    classes = folder / "classes"
    classes.mkdir()
    subprocess.run(
        ["java", "-cp", f"{jars}/*", "scala.tools.nsc.Main", "-usejavacp", "-d", str(classes), str(STAND_IN)],
        check=True, timeout=FETCHING_S, capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(folder / "token-provider-stand-in.jar", "w") as jar:
        for path in sorted(classes.rglob("*.class")):
            jar.write(path, path.relative_to(classes))
    shutil.rmtree(classes)
