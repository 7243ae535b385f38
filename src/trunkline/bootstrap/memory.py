"""Keeping freed memory for the next batch instead of giving it back to the system in between.

Every batch needs the same few dozen megabytes. By default glibc returns arrays of that size to the system when they
are freed, and the next batch waits while the system clears the same pages again (measured: a tenth of all work,
docs/decisions/0013). What is kept grows into holes between what is in use, over hours; so when it has become much more
than batches need, all of it goes back. Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

# The parameters' numbers, from glibc's malloc.h; each may be set from the environment instead (man 3 mallopt).
_SETTINGS = (
    ("MALLOC_TRIM_THRESHOLD_", -1, (1 << 31) - 1),  # as much as can be said
    ("MALLOC_TOP_PAD_", -2, 64 << 20),
    ("MALLOC_MMAP_THRESHOLD_", -3, 256 << 20),
    ("MALLOC_ARENA_MAX", -8, 1),  # one heap: threads take over from one another what a batch has freed
)

MOST_GROWTH_OCTETS = 1 << 30
_STATM = Path("/proc/self/statm")


def keep_freed_memory() -> None:
    """Set what the environment does not set; safe to call again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, number, value in _SETTINGS:
        if name not in os.environ:
            mallopt(number, value)


class SpareMemory:
    """Returns to the system all memory that was freed, each time the process has grown by so much."""

    def __init__(self, most_octets: int = MOST_GROWTH_OCTETS) -> None:
        """Growth is counted from now on."""
        self._most_octets = most_octets
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if _STATM.exists() else None
        self._before_octets = _own_octets() if self._trim else 0

    def __call__(self) -> None:
        """Look, and give back if it is time."""
        if self._trim is not None and _own_octets() > self._before_octets + self._most_octets:
            self._trim(0)
            self._before_octets = _own_octets()


def _own_octets() -> int:
    """Memory of this process that no file stands behind (`man 5 proc`: resident less shared)."""
    _, resident, shared, *_ = _STATM.read_text("ascii").split()
    return (int(resident) - int(shared)) * resource.getpagesize()
