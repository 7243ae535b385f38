"""A network of a few cells, each on a site of its own behind one router, as files."""

from __future__ import annotations


def inventory(cells: int) -> dict[str, bytes]:
    """Lists of sites, cells, routers and links."""
    numbers = range(1, cells + 1)
    return {
        "sites.csv": _csv("site,latitude,longitude", [f"S{n},{51 + n / 100:.2f},-0.1" for n in numbers]),
        "cells.csv": _csv(
            "cell,site,technology,latitude,longitude",
            [f"C{n},S{n},NR,{51 + n / 100:.2f},-0.1" for n in numbers],
        ),
        "routers.csv": _csv("router,kind", ["R1,router", "CORE1,router"]),
        "links.csv": _csv("link,from,to", [*(f"S{n}-R1,S{n},R1" for n in numbers), "R1-CORE1,R1,CORE1"]),
    }


def _csv(head: str, rows: list[str]) -> bytes:
    return "\n".join([head, *rows, ""]).encode()
