"""Structured logs: one JSON object a line, with nothing in it that tells who somebody is.

Requests are logged by the route's pattern, never by their address or query. As a last defence, anything in
a message that could be a telephone number is masked before it is written.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

import orjson

from trunkline.api.people import mask_text

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; `extra` fields become fields of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_text(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = mask_text(value) if isinstance(value, str) else value
        if record.exc_info:
            line["error"] = mask_text(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all logs as JSON to standard error (or `stream`); uvicorn's own access log, which holds queries, is off."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
