"""A process that redeems until it is killed: `python -m tests.vouchers.killed_redeeming FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.giving.small import PEOPLE
from tests.vouchers.small import batch, codes, vouching, word

SIZE = 60


def main() -> None:
    """One after the other, each twice under its name, so that there are many moments to die in."""
    with vouching(Path(sys.argv[1])) as (_, _, vouchers):
        vouchers.make(batch(size=SIZE))
        print("ready", flush=True)
        for number, code in enumerate(codes(vouchers), start=1):
            for _ in range(2):
                vouchers.redeem(f"r{number}", word(number % PEOPLE), code)
        print("done", flush=True)


if __name__ == "__main__":
    main()
