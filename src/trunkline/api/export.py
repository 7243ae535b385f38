"""Writes the OpenAPI description to a file, for API catalogues: `python -m trunkline.api.export OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from trunkline.api.app import PUBLIC, ROUTERS
from trunkline.api.describe import document


def main(arguments: list[str]) -> int:
    """Write the description to the one path that is given."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m trunkline.api.export OUT\n")
        return 2
    text = orjson.dumps(document(ROUTERS, PUBLIC), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    Path(arguments[0]).write_bytes(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
