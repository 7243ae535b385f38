"""Which object explains what several others show: the smallest thing that all of them hang on, or one that says so.

An object is held to be the cause for two reasons. It has raised an outage itself about that time; or most of the cells
that can only be reached through it show trouble at once, though it has said nothing. Each object in trouble is given to
the cause that explains most and claims least: a cause is worth the number of cells in trouble that hang on it, times
the share of its cells that are in trouble (1 when it has raised an outage itself). A warning is explained like any
other, but explains nothing: a fan that fails beside a cell that does is no failure of their link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.network.carriage import Carriage

SHARE_LEAST = 0.6  # of the cells behind a silent cause must show it
BEFORE_US, WITHIN_US = (
    120_000_000,
    900_000_000,
)  # an outage explains what was raised from then to then around it


@dataclass(frozen=True)
class Trouble:
    """One standing alarm of an object at a place of the carriage."""

    place: int
    raised_us: int
    is_outage: bool
    is_serious: bool


@dataclass(frozen=True)
class Explained:
    """The cause of an object's trouble, and why it is held to be that."""

    root: int
    own: bool  # it has raised an outage itself
    showing: int  # cells in trouble that hang on it
    cells: int  # cells that hang on it


def explain(troubles: Iterable[Trouble], carriage: Carriage) -> dict[int, Explained]:
    """The cause of each place in trouble; a place that nothing else explains is its own cause."""
    first_us: dict[int, int] = {}
    outages: dict[int, list[int]] = {}
    serious = set()
    for trouble in troubles:
        first_us[trouble.place] = min(trouble.raised_us, first_us.get(trouble.place, trouble.raised_us))
        if trouble.is_outage:
            outages.setdefault(trouble.place, []).append(trouble.raised_us)
        if trouble.is_serious:
            serious.add(trouble.place)
    chains = {place: carriage.chain(place) for place in first_us}
    showing: Counter[int] = Counter()
    for place, chain in chains.items():
        if carriage.is_cell[place] and place in serious:
            showing.update(chain)
    return {
        place: _best(chain, first_us[place], outages, showing, carriage) for place, chain in chains.items()
    }


def _best(
    chain: list[int],
    raised_us: int,
    outages: dict[int, list[int]],
    showing: Counter[int],
    carriage: Carriage,
) -> Explained:
    """The best cause along one chain. Of equals one that speaks wins, nearest to the core; else a link, the lowest."""
    best: tuple[tuple[float, bool, bool, int], Explained] | None = None
    for level, place in enumerate(chain):
        count, cells = showing[place], int(carriage.cells[place])
        own = any(each - BEFORE_US <= raised_us <= each + WITHIN_US for each in outages.get(place, []))
        if own:
            worth = float(max(count, 1))
        elif count >= 2 and count >= SHARE_LEAST * cells:
            worth = count * count / cells
        else:
            worth = 1.0 if level == 0 else 0.0
        is_link = carriage.kinds[place] == "link"
        rank = (worth, own, is_link and not own and level > 0, level if own else -level)
        if best is None or rank > best[0]:
            best = rank, Explained(place, own, count, cells)
    assert best is not None, "a chain holds its own place"
    return best[1]
