"""Ships a growing log to trunkline: new lines go out in batches, over HTTP, each charged exactly once.

    TRUNKLINE_TOKEN=… ship.py FILE --url http://127.0.0.1:8450 --mapping kamailio_log [--only "log_write_cdr(): "]

The position in FILE is kept beside it, in FILE.shipped, and moves only when trunkline has answered that the lines are
durable. After a crash some lines may go out again; they have the same identity and are recognised as duplicates. So
nothing is lost and nothing is charged twice. A platform that is busy (429) or away is waited for. When the log is
rotated, hand the old file in once more with `trunkline ingest`: whatever went out before is recognised.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

BATCH_OCTETS = 1 << 20
LOOK_EVERY_S = 0.2
RETRY_S_MAX = 30.0
TIMEOUT_S = 30.0


class Shipper:
    """One file, one address, one position."""

    def __init__(self, file: Path, address: str, token: str, only: bytes, stop: threading.Event) -> None:
        """`only` is what a line must contain to be shipped; other lines of the log are no usage."""
        self._file, self._address, self._token, self._only, self._stop = file, address, token, only, stop
        self._kept = file.with_name(f"{file.name}.shipped")

    def run(self, *, follow: bool) -> int:
        """Ship what is there and, when following, what comes; how many lines went out."""
        shipped = 0
        while not self._stop.is_set():
            inode, position = self._position()
            lines, after = self._read(inode, position)
            if after > position:
                if lines and not self._send(b"".join(lines)):
                    break
                self._keep(inode, after)
                shipped += len(lines)
            elif not follow:
                break
            else:
                self._stop.wait(LOOK_EVERY_S)
        return shipped

    def _position(self) -> tuple[int, int]:
        """Which file we are in and how far; a log that was rotated or cut begins anew."""
        known = json.loads(self._kept.read_text()) if self._kept.exists() else {"inode": 0, "position": 0}
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return known["inode"], known["position"]
        if found.st_ino != known["inode"] or found.st_size < known["position"]:
            return found.st_ino, 0
        return found.st_ino, known["position"]

    def _read(self, inode: int, position: int) -> tuple[list[bytes], int]:
        """Whole new lines that are usage, and the position after them; half a line waits for its end."""
        try:
            with self._file.open("rb") as log:
                if os.fstat(log.fileno()).st_ino != inode:
                    return [], position
                log.seek(position)
                new = log.read(BATCH_OCTETS)
        except FileNotFoundError:
            return [], position
        whole = new[: new.rfind(b"\n") + 1]
        return [line for line in whole.splitlines(keepends=True) if self._only in line], position + len(whole)

    def _keep(self, inode: int, position: int) -> None:
        """Remember durably how far we are."""
        fresh = self._kept.with_name(f"{self._kept.name}.new")
        with fresh.open("w") as output:
            json.dump({"inode": inode, "position": position}, output)
            output.flush()
            os.fsync(output.fileno())
        fresh.replace(self._kept)

    def _send(self, body: bytes) -> bool:
        """Offer a batch until it is taken; False when we were asked to stop before."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "text/plain"}
        wait_s = 0.5
        while not self._stop.is_set():
            request = urllib.request.Request(self._address, body, headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                    return True
            except urllib.error.HTTPError as error:
                if error.code != 429 and error.code < 500:
                    sys.exit(
                        f"{self._address} refused the lines ({error.code}): {error.read().decode(errors='replace')}"
                    )
                wait_s = float(error.headers.get("Retry-After") or wait_s)
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                print(f"{self._address} does not answer ({error}); trying again", file=sys.stderr)
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, RETRY_S_MAX)
        return False


def main() -> None:
    """Ship until stopped, or once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8450")
    parser.add_argument("--mapping", default="kamailio_log")
    parser.add_argument("--only", default="", help="ship only lines that contain this")
    parser.add_argument("--once", action="store_true", help="ship what is there and end")
    asked = parser.parse_args()
    if not asked.url.startswith(("http://", "https://")):
        parser.error("--url begins with http:// or https://")
    token = os.environ.get("TRUNKLINE_TOKEN", "")
    if not token:
        parser.error(
            "put a token of the role billing into TRUNKLINE_TOKEN: trunkline token add proxy --role billing"
        )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    address = f"{asked.url.rstrip('/')}/api/v1/events?mapping={urllib.parse.quote(asked.mapping)}"
    shipped = Shipper(asked.file, address, token, asked.only.encode(), stop).run(follow=not asked.once)
    print(f"{shipped} lines shipped.")


if __name__ == "__main__":
    main()
