"""Balances go before history, and history comes on all the same."""

from __future__ import annotations

import time

import pytest

from trunkline.bootstrap import balance_delivery as delivery


def test_history_stands_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """While balances are written, and after it as long as they are late; never for longer than its patience."""
    monkeypatch.setattr(delivery, "_ASIDE_S", 0.0)
    way = delivery.Way()
    assert way.free()
    with way.taken(time.time_ns() // 1000 + 3_600_000_000):
        assert not way.free()
    assert way.free()
    with way.taken(0):
        assert not way.free()
    assert not way.free()
    way.leave()
    assert way.free()
