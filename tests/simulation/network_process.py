"""A process that lives a network's short day for each line on standard input, made to be killed.

As `charging_process`: started once with everything imported, it forks for each life and answers with the life's process
number, then `ready` and `done`, then `over`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.simulation.network_days import live, prepared, tables
from trunkline.stores.embedded.disk import Disk


def main() -> None:
    """Fork a life for each line."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                folder = Path(line.strip())
                files, looked_up = prepared(folder), tables()
                print("ready", flush=True)
                live(folder / "data", looked_up, Disk(), files)
                print("done", flush=True)
            except BaseException as error:  # noqa: BLE001 -- told to the test through the pipe
                print(f"failed {error!r}", flush=True)
            os._exit(0)
        print(f"life {child}", flush=True)
        os.waitpid(child, 0)
        print("over", flush=True)


if __name__ == "__main__":
    main()
