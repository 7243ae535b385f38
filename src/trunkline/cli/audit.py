"""What is done at the command line is written down under the name of the account that does it."""

from __future__ import annotations

import getpass
import time
from contextlib import closing
from pathlib import Path

from trunkline.cli.app import EngineName
from trunkline.ports import AuditEvent, AuditTrail
from trunkline.stores.embedded.audit_file import FileAudit
from trunkline.stores.embedded.reader import EmbeddedAudit


def saw(
    data: Path, word: int, action: str, detail: str = "", engine: EngineName = EngineName.EMBEDDED
) -> None:
    """Write down in a folder's own trail who looked at what or changed it; a driver of Spark has no manifest there."""
    with closing(FileAudit(data) if engine is EngineName.SPARK else EmbeddedAudit(data)) as audit:
        write_down(audit, action, detail, word)


def write_down(audit: AuditTrail, action: str, detail: str, word: int) -> None:
    """Write down who does what, and whose data it concerns."""
    audit.record(AuditEvent(now_us(), getpass.getuser(), "command line", action, word, detail))


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000
