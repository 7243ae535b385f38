"""The process at the network's side of online charging: it speaks with network functions and asks the platform.

Started by `nchf_port`, which hands it the listening socket and its end of the line; it goes when the line ends, so it
neither outlives the platform nor needs a signal.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time

from trunkline.api.access import Access
from trunkline.api.logs import configure
from trunkline.api.nchf.http2 import serve, tls_of
from trunkline.api.nchf.line import NetworkSide
from trunkline.api.nchf.service import Charging


async def _served(listener: socket.socket, line: socket.socket) -> None:
    _, platform = await asyncio.get_running_loop().create_unix_connection(NetworkSide, sock=line)
    begun = await platform.begun
    tls = tls_of(begun.certificate, begun.key, begun.clients) if begun.certificate else None
    application = Charging(platform, Access(platform.tokens, time.time), begun.quotas, begun.root)
    gc.freeze()
    await serve(listener, application, tls, platform.over)


def main() -> None:
    """Answer until the line ends; the two arguments are the numbers of the listening socket and of the line."""
    for name in (signal.SIGINT, signal.SIGTERM):  # meant for the platform, which then ends the line
        signal.signal(name, signal.SIG_IGN)
    configure()
    listener, line = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    try:
        asyncio.run(_served(listener, line))
    except asyncio.CancelledError:
        return  # the platform went before it began


if __name__ == "__main__":
    main()
