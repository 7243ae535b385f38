"""Closed, ordered lists of reasons: what bad data is called, and which reason wins when several hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why a record was set aside: a stored name, and the sentence that tells a person what to do."""

    name: str
    text: str


def precedence(reasons: tuple[Reason, ...]) -> dict[str, int]:
    """Rank of each reason: a record with several faults gets the one that stands first."""
    ranks = {reason.name: rank for rank, reason in enumerate(reasons)}
    assert len(ranks) == len(reasons), "a reason is listed twice"
    return ranks
