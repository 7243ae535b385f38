"""Memory that was freed is kept for the next batch, but not for ever: what a process has grown by goes back."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PIECES = 300
# Small and large pieces in turn, so that what is freed lies in holes between what is in use.
GROWN = f"""
import json
import numpy as np
from bench.figures import resident_octets
from trunkline.bootstrap.memory import SpareMemory, keep_freed_memory

keep_freed_memory()
spare = SpareMemory(100 << 20)
begun = resident_octets()
pieces = [np.ones((1 << 20) if at % 2 else (1 << 10), np.uint8) for at in range(2 * {PIECES})]
del pieces[1::2]
freed = resident_octets()
spare()
given = resident_octets()
spare()
print(json.dumps([begun, freed, given, resident_octets(), len(pieces)]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc keeps memory so on Linux only")
def test_holes_in_memory_are_given_back() -> None:
    """What lies in holes stays with the process until it has grown by the limit, and is gone then."""
    done = subprocess.run(
        [sys.executable, "-c", GROWN], capture_output=True, text=True, timeout=120, check=True
    )
    begun, freed, given, again, kept = json.loads(done.stdout)
    assert kept == PIECES
    assert freed - begun > PIECES << 19, "freed memory was kept"
    assert given - begun < PIECES << 18, "and was given back"
    assert again <= given + (PIECES << 18)
