"""A process that settles what waits until it is killed: `python -m tests.withdrawals.killed_settling FOLDER`.

It says `ready` when it begins, so that whoever kills it knows that there is something to interrupt.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.billing import small
from trunkline.bootstrap.platform import opened, withdrawals
from trunkline.settings import Folders


def main() -> None:
    """Settle one record in a commit, so that there are many moments to die in."""
    folder = Path(sys.argv[1])
    with opened(Folders(data=folder / "data", tariffs=str(small.write(folder)))) as platform:
        print("ready", flush=True)
        done = withdrawals(platform, at_once=1).settle()
        print(f"done {done.cancelled} {done.corrected}", flush=True)


if __name__ == "__main__":
    main()
