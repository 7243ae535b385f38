"""Tokens are read from their file as it is now: a running platform lets nobody in, or stay, by an old one."""

from __future__ import annotations

from pathlib import Path

from trunkline.api.access import Access, Role
from trunkline.bootstrap.tokens import KeptTokens, add_token, remove_token


def test_tokens_come_and_go_while_it_runs(tmp_path: Path) -> None:
    """Whoever is given a token is in at once, whoever loses it is out at once."""
    access = Access(KeptTokens(tmp_path), lambda: 0.0)
    assert access.by_token("anything") is None
    secret = add_token(tmp_path, "noc", "viewer")
    caller = access.by_token(secret)
    assert caller is not None
    assert (caller.name, caller.role) == ("noc", Role.VIEWER)
    other = add_token(tmp_path, "care", "care")
    assert access.by_token(other) is not None
    remove_token(tmp_path, "noc")
    assert access.by_token(secret) is None
    assert access.by_token(other) is not None
