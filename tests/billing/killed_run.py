"""A process that makes bills until it is killed: `python -m tests.billing.killed_run FOLDER` bills October and ends.

It says `ready` when the run begins, so that whoever kills it knows that there is something to interrupt.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.billing.small import billing


def main() -> None:
    """Bill in small parts, so that there are many moments to die in."""
    with billing(Path(sys.argv[1]), at_once=2) as (_, bills):
        print("ready", flush=True)
        print(f"done {bills.run(202610).bills}", flush=True)


if __name__ == "__main__":
    main()
