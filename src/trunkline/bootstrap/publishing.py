"""A draft becomes the tariff, and the tariff of before comes back: by content, in one step, with a history.

What a data folder charges by is one file that is replaced whole. Every tariff that was published stays beside it under
the name of its content. A switch is written into the history before it is made, so a crash between the two leaves an
entry that leads nowhere and is passed over.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from trunkline.bootstrap.catalogues import FOLDER, known_register, remember, remembered_tariff, replace_text
from trunkline.bootstrap.platform import opened
from trunkline.charging.tariffs import Change, compare, compile_catalogue
from trunkline.ports import AuditEvent, Refused
from trunkline.settings import Folders
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.reader import EmbeddedAudit

VERSIONS, HISTORY = "versions", "history.json"
TOLD = 5
_VERSION_OF = re.compile(r"@(\d{4}-\d{2}-\d{2})")


def publish(data: Path, draft: Mapping[str, str], effective: str | None, actor: str) -> dict[str, Any]:
    """Charge by a draft from now on; with `effective`, only when nothing that holds before that day changes.

    Raises `TariffError` with every mistake of the draft, `FolderInUse` while another process charges, and `Refused`
    when there is nothing to publish or a change would hold too early.
    """
    changes = compare(remembered_tariff(data), draft)
    if not changes:
        raise Refused("The draft means the same as the tariff in use; there is nothing to publish.")
    if effective is not None:
        _refuse_early(changes, _day(effective))
    return _switched(data, draft, "publish", effective, actor) | {"changes": len(changes)}


def roll_back(data: Path, to: str | None, actor: str) -> dict[str, Any]:
    """Charge by the tariff of before, or by the published one whose fingerprint begins with `to`."""
    past = history(data)
    now = _fingerprint(data, remembered_tariff(data))
    if to is None:
        found = [each["before"] for each in past if each["after"] == now][-1:]
    else:
        found = [name for name in _names(data) if name.startswith(to)]
    if len(found) != 1:
        known = ", ".join(name[:12] for name in _names(data)) or "none"
        raise Refused(f"It is not clear which tariff to go back to; name one with --to. Kept are: {known}.")
    if found[0] == now:
        raise Refused("That tariff is in use.")
    files: dict[str, str] = json.loads(_path(data, found[0]).read_text(encoding="utf-8"))
    return _switched(data, files, "roll_back", None, actor)


def history(data: Path) -> list[dict[str, Any]]:
    """What was published and rolled back, oldest first."""
    path = data / FOLDER / HISTORY
    known: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return known


def _refuse_early(changes: list[Change], day: date) -> None:
    """Only versions of plans that begin on that day or later may differ."""
    begins = [(change.what, _begins(change)) for change in changes]
    early = [what for what, since in begins if since is None or since < day]
    if early:
        told = "; ".join(early[:TOLD])
        raise Refused(
            f"{len(early):,} changes would hold before {day}: {told}. Write them as new versions of their plans with"
            f" `effective: {day}`, or publish without --effective."
        )


def _begins(change: Change) -> date | None:
    """The day on which the version of a plan begins that a change is about; None for what has no versions."""
    found = _VERSION_OF.search(change.what)
    return date.fromisoformat(found[1]) if found else None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{text} is not a day such as 2026-12-01.") from error


def _switched(
    data: Path, files: Mapping[str, str], action: str, effective: str | None, actor: str
) -> dict[str, Any]:
    """Keep both tariffs, write the switch down, then make it; nobody else may charge meanwhile."""
    with opened(Folders(data=data)) as platform:
        disk = platform.store.disk
        before = _keep(data, remembered_tariff(data), disk)
        after = _keep(data, files, disk)
        now_us = time.time_ns() // 1000
        entry: dict[str, Any] = {
            "time_us": now_us, "actor": actor, "action": action, "before": before, "after": after,
            "effective": effective,
        }  # fmt: skip
        replace_text(disk, data / FOLDER / HISTORY, json.dumps([*history(data), entry], indent=1))
        audit = EmbeddedAudit(data, disk)
        detail = f"{before[:12]} to {after[:12]}"
        audit.record(AuditEvent(now_us, actor, "command line", f"{action}_tariff", 0, detail))
        audit.close()
        remember(data, files, disk)
    return entry


def _keep(data: Path, files: Mapping[str, str], disk: Disk) -> str:
    """Keep a tariff under the name of its content; the name."""
    name = _fingerprint(data, files)
    _path(data, name).parent.mkdir(parents=True, exist_ok=True)
    replace_text(disk, _path(data, name), json.dumps(dict(files)))
    return name


def _fingerprint(data: Path, files: Mapping[str, str]) -> str:
    return compile_catalogue(files, known_register(data))[0].fingerprint


def _names(data: Path) -> list[str]:
    return sorted(path.stem for path in (data / FOLDER / VERSIONS).glob("*.json"))


def _path(data: Path, name: str) -> Path:
    return data / FOLDER / VERSIONS / f"{name}.json"
