"""The programs of the servers: asked for by name and version, and checked against what they were when pinned.

Maven finds and fetches them, from wherever this machine is told to fetch; a jar that is not octet for octet the
pinned one is refused before anything of it runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trunkline.ports import Refused

PINS = Path(__file__).with_name("pins")
FETCHING_S = 600


@dataclass(frozen=True)
class Artifacts:
    """The jars of one server: what Maven is asked for, and the digests of everything that must come."""

    name: str
    coordinates: tuple[str, ...]  # group:artifact:version
    sha256: dict[str, str]  # by file name


def pinned(name: str) -> Artifacts:
    """What `pins/<name>.json` says."""
    pin = json.loads((PINS / f"{name}.json").read_text("utf-8"))
    return Artifacts(name, tuple(pin["coordinates"]), pin["sha256"])


def fetched(artifacts: Artifacts, jars: Path) -> Path:
    """The folder that holds the jars, after they were fetched if need be; raises `Refused` when they are not right."""
    named = hashlib.sha256(json.dumps(artifacts.sha256, sort_keys=True).encode()).hexdigest()[:12]
    folder = jars / f"{artifacts.name}-{named}"
    if folder.exists():
        return folder
    jars.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{artifacts.name}-", dir=jars))
    try:
        resolve(artifacts.coordinates, fresh)
        _judge(artifacts, fresh)
        fresh.chmod(0o755)
        if not folder.exists():
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def resolve(coordinates: tuple[str, ...], folder: Path) -> None:
    """Let Maven put the artifacts and all that they need into a folder."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Refused(
            "Maven (mvn) is not installed, and the servers' programs come through it."
            " On Debian and Ubuntu: apt-get install maven default-jre-headless"
        )
    with tempfile.TemporaryDirectory() as place:
        pom = Path(place) / "pom.xml"
        pom.write_text(_pom(coordinates), "utf-8")
        command = [
            maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime",
            f"-DoutputDirectory={folder}",
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 -- our own words
            command, capture_output=True, text=True, timeout=FETCHING_S, check=False
        )
    if done.returncode != 0:
        raise Refused(
            f"Maven could not fetch {', '.join(coordinates)}:\n{(done.stdout + done.stderr)[-2000:].strip()}"
        )


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each jar of a folder, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.jar"))}


def _judge(artifacts: Artifacts, folder: Path) -> None:
    found = digests(folder)
    if found == artifacts.sha256:
        return
    other = sorted(
        name
        for name in found.keys() | artifacts.sha256.keys()
        if found.get(name) != artifacts.sha256.get(name)
    )
    raise Refused(
        f"What came for {artifacts.name} is not what was pinned: {', '.join(other[:5])}"
        f"{' and others' if len(other) > 5 else ''}. Nothing of it was started."
    )


def _pom(coordinates: tuple[str, ...]) -> str:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
            *each.split(":")
        )
        for each in coordinates
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>trunkline</groupId><artifactId>servers</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
