"""What is done at the command line is written down under the name of the account that does it."""

from __future__ import annotations

import getpass
import time

from trunkline.ports import AuditEvent, AuditTrail


def write_down(audit: AuditTrail, action: str, detail: str, word: int) -> None:
    """Write down who does what, and whose data it concerns."""
    audit.record(AuditEvent(now_us(), getpass.getuser(), "command line", action, word, detail))


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000
