"""Records that take others back, given to the small operator of the bills' tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from tests.billing import small
from trunkline.bootstrap.platform import Ingested, ingest, opened
from trunkline.settings import Folders

Said = Mapping[str, object]


def told(folder: Path, *batches: Iterable[Said]) -> list[Ingested]:
    """Charge batches of records one after the other, each as a file of its own."""
    tariffs = small.write(folder)
    done = []
    with opened(Folders(data=folder / "data", tariffs=str(tariffs))) as platform:
        for lines in batches:
            octets = b"".join(orjson.dumps(line) + b"\n" for line in lines)
            path = folder / f"{len(list(folder.glob('*.ndjson')))}.ndjson"
            path.write_bytes(octets)
            done.append(ingest(platform, [path], None, "msc"))
            assert not done[-1].troubles
    return done


def cancels(of: Said, name: str | None = None) -> Said:
    """The record that cancels another one; it says no more than it must."""
    kept = {key: of[key] for key in ("source", "type", "subscriber", "start")}
    return {**kept, "id": name or f"x-{of['id']}", "action": "cancel", "of": of["id"]}


def corrects(of: Said, name: str | None = None, **changed: object) -> Said:
    """The record that takes another one's place."""
    return {**of, "id": name or f"c-{of['id']}", "action": "correct", "of": of["id"], **changed}
