"""A process that books a re-rating until it is killed: `python -m tests.rerating.killed_booking FOLDER PREVIEW`.

It says `ready` when the booking begins, so that whoever kills it knows that there is something to interrupt.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.rerating.small import rerating


def main() -> None:
    """Book account by account, so that there are many moments to die in."""
    with rerating(Path(sys.argv[1]), right=True, at_once=1) as (_, rerates):
        print("ready", flush=True)
        done = rerates.book(sys.argv[2])
        print(f"done {done.booked} {done.moved}", flush=True)


if __name__ == "__main__":
    main()
