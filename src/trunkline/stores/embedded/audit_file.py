"""An audit trail as a file, for the folder of a cluster's driver, which holds no manifest.

A line is one event as JSON, durable before the answer is shown. Lines of several processes do not mix: each is one
append.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from trunkline.ports import AuditEvent

NAME = "audit.ndjson"


class FileAudit:
    """Where looks at personal data and changes are written down (`ports.AuditTrail`)."""

    def __init__(self, folder: Path) -> None:
        """The file is made with the first event, for its owner only."""
        self._path = folder / NAME

    def record(self, event: AuditEvent) -> None:
        """Write one event durably."""
        line = json.dumps(asdict(event)).encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)
        assert written == len(line), "a line of the audit trail is written whole"

    def close(self) -> None:
        """Nothing is held open."""
