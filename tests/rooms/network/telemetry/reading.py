"""What tests of telemetry share: the shipped mappings, captures of real programs, and blocks of octets."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import polars as pl

from trunkline.network.telemetry.decode import decode
from trunkline.network.telemetry.mapping import SHIPPED, Mapping, User, parse_mapping
from trunkline.records.network import TELEMETRY

CAPTURES = Path(__file__).parents[3] / "data" / "telemetry"
NOW_US = 1_795_334_431_000_000  # 2026-11-22 08:00:31 UTC
PEER = "127.0.0.5"
ENGINE = bytes.fromhex("80001f888001020304")
USERS = (
    User("noauth"),
    User("authsha", ENGINE, "sha", "labauthpass"),
    User("authmd5", b"", "md5", "labauthpass"),
    User("privaes", ENGINE, "sha", "labauthpass", "aes", "labprivpass"),
    User("priv256", ENGINE, "sha256", "labauthpass", "aes", "labprivpass"),
    User("privdes", ENGINE, "md5", "labauthpass", "des", "labprivpass"),
)


@cache
def shipped() -> dict[str, Mapping]:
    """All mappings of the package; the one for traps knows the captures' users."""
    texts = resources.files("trunkline.network.telemetry") / "mappings"
    mappings = {name: parse_mapping(name, (texts / f"{name}.yaml").read_text()) for name in SHIPPED}
    return mappings | {"snmp_traps": mappings["snmp_traps"].with_users(USERS, ("public",))}


def captured(pattern: str) -> list[bytes]:
    """Captured datagrams or streams in the order of their names."""
    found = [path.read_bytes() for path in sorted(CAPTURES.glob(pattern))]
    assert found, pattern
    return found


class Read:
    """What became of some blocks."""

    def __init__(self, blocks: pl.DataFrame, mappings: dict[str, Mapping]) -> None:
        """Decode; every frame must be as its stream promises."""
        self.measured, self.events, self.rejected = decode(blocks, mappings).rows

    @property
    def reasons(self) -> list[str]:
        """Why readings were set aside, in order."""
        return self.rejected.get_column("reason").to_list()

    def values(self) -> dict[tuple[str, str], int]:
        """Thousandths by object and counter."""
        columns = self.measured.select("name", "counter", "value_milli").iter_rows()
        return {(name, counter): value for name, counter, value in columns}


def block(
    octets: bytes, mapping: str, *, offset: int = 0, line: int = 1, header: bytes | None = None,
    received_us: int | None = NOW_US,
) -> pl.DataFrame:  # fmt: skip
    """One block of TELEMETRY."""
    row = {
        "file": 1, "source": None, "mapping": mapping, "offset": offset, "line": line, "bytes": octets,
        "header": header, "received_us": received_us, "newest_us": None,
    }  # fmt: skip
    return pl.DataFrame([row], schema=TELEMETRY.record.schema)


def read(octets: bytes, mapping: str, received_us: int | None = NOW_US) -> Read:
    """One block through a shipped mapping."""
    return Read(block(octets, mapping, received_us=received_us), shipped())


def read_with(octets: bytes, text: str, received_us: int | None = NOW_US) -> Read:
    """One block through a mapping of the test's own."""
    return Read(block(octets, "own", received_us=received_us), {"own": parse_mapping("own", text)})
