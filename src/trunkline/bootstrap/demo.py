"""The demonstration operator on the live platform: its day streams in as fast as asked, and goes on where
it stopped.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from trunkline.ports import Busy, Intake
from trunkline.simulator import LIVELY_FAULTS, Settings, World, make_world, stream, write_operator

MAPPING = "trunkline"
FOLDER = "demonstration"
SPEED = 120.0  # simulated seconds in one: a day in twelve minutes


def prepare(data: Path, today: date, subscribers: int, cells: int) -> World:
    """The demonstration operator of a data folder: made once, the same at every start."""
    folder = data / FOLDER
    remembered = folder / "day.json"
    if remembered.exists():
        told = json.loads(remembered.read_text("utf-8"))
        settings = Settings(
            subscribers=told["subscribers"],
            cells=told["cells"],
            start=date.fromisoformat(told["start"]),
            **LIVELY_FAULTS,
        )
        return make_world(settings)
    settings = replace(
        Settings(**LIVELY_FAULTS), subscribers=subscribers, cells=cells, start=today - timedelta(days=1)
    )
    world = make_world(settings)
    write_operator(world, folder)
    remembered.write_text(
        json.dumps({"subscribers": subscribers, "cells": cells, "start": settings.start.isoformat()}), "utf-8"
    )
    return world


def play(
    world: World,
    intake: Intake,
    stop: threading.Event,
    skip: int,
    speed: float = SPEED,
    told: Callable[[int, int], None] = lambda _records, _until_us: None,
) -> None:
    """Hand in the day at its pace; the first `skip` records came before. A busy platform is waited for."""
    handed = 0
    began: float | None = None
    for chunk in stream(world.settings, speed, world):
        handed += chunk.records
        if handed <= skip:
            continue
        if began is None:
            began = time.monotonic() - chunk.due_s
        if stop.wait(max(0.0, began + chunk.due_s - time.monotonic())):
            return
        while True:
            try:
                intake.usage(MAPPING, chunk.text)
                break
            except Busy as busy:
                if stop.wait(busy.retry_after_s):
                    return
        told(handed, chunk.until_us)
