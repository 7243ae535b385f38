"""What is known of which alarm brings which about, applied to alarms that stand: which group follows from which."""

from __future__ import annotations

from trunkline.network.carriage import Carriage
from trunkline.network.causes.graph import CausalGraph
from trunkline.network.incidents.board import Member

AFTER_US = 300_000_000  # an effect comes so long after its cause at most
CLOCKS_US = 10_000_000  # and may seem to come so long before it, by another clock


def causal_links(groups: list[list[Member]], carriage: Carriage, causes: CausalGraph) -> dict[int, int]:
    """For each group that follows from another one: that one, which itself follows from none.

    A cause stands on the effect's own object or on one that is joined to it directly, and comes before it. Of several
    causes the one that brings the effect about most often is taken.
    """
    if not len(causes):
        return {}
    known: dict[int, list[tuple[int, int]]] = {}
    for cause, effect, strength in zip(
        causes.cause.tolist(), causes.effect.tolist(), causes.strength_milli.tolist(), strict=True
    ):
        known.setdefault(effect, []).append((cause, strength))
    standing: dict[tuple[int, int], list[tuple[int, Member]]] = {}
    for number, group in enumerate(groups):
        for member in group:
            standing.setdefault((member.object, member.problem), []).append((number, member))
    best: dict[int, tuple[tuple[int, int, int], int]] = {}
    for number, group in enumerate(groups):
        for effect in group:
            for problem, strength in known.get(effect.problem, []):
                for other, cause in _beside(effect, problem, standing, carriage):
                    after_us = effect.raised_us - cause.raised_us
                    if other == number or not -CLOCKS_US <= after_us <= AFTER_US:
                        continue
                    rank = (strength, -cause.raised_us, -other)
                    if number not in best or rank > best[number][0]:
                        best[number] = (rank, other)
    return _to_their_roots({number: other for number, (_, other) in best.items()})


def _beside(
    effect: Member,
    problem: int,
    standing: dict[tuple[int, int], list[tuple[int, Member]]],
    carriage: Carriage,
) -> list[tuple[int, Member]]:
    """Standing alarms of a kind on the object itself and on those joined to it."""
    objects = [effect.object]
    place = carriage.place(effect.object)
    if place >= 0:
        first, others = carriage.joined
        objects += carriage.objects[others[first[place] : first[place + 1]]].tolist()
    return [found for each in objects for found in standing.get((each, problem), [])]


def _to_their_roots(links: dict[int, int]) -> dict[int, int]:
    """Follow each link to a group that follows from none; a circle is opened at its first group."""
    rooted = {}
    for number in links:
        seen, at = [number], number
        while at in links and links[at] not in seen:
            at = links[at]
            seen.append(at)
        root = min(seen[seen.index(links[at]) :]) if at in links else at
        if root != number:
            rooted[number] = root
    return rooted
