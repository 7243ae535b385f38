"""A process that hands on until it is killed: `python -m tests.giving.killed_transfers FOLDER`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from tests.giving.small import PEOPLE, giving, order
from trunkline.ports import NotTransferred

ORDERS = [
    order(f"t{at}", at % PEOPLE, (at * 3 + 1) % PEOPLE, 1_000_000 + 37 * at)
    for at in range(120)
    if at % PEOPLE != (at * 3 + 1) % PEOPLE
]


def main() -> None:
    """One after the other, so that there are many moments to die in; the first refusal of each is its last."""
    with giving(Path(sys.argv[1])) as (_, _, transfers):
        print("ready", flush=True)
        for each in ORDERS:
            with suppress(NotTransferred):
                transfers.transfer(each)
        print("done", flush=True)


if __name__ == "__main__":
    main()
