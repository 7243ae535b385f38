"""Keeping freed memory for the next batch instead of giving it back to the system in between.

Every batch needs the same few dozen megabytes. By default glibc returns arrays of that size to the system when they
are freed, and the next batch waits while the system clears the same pages again (measured: a tenth of all work,
docs/decisions/0013). Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import os

# The parameters' numbers, from glibc's malloc.h; each may be set from the environment instead (man 3 mallopt).
_SETTINGS = (
    ("MALLOC_TRIM_THRESHOLD_", -1, 1 << 30),
    ("MALLOC_TOP_PAD_", -2, 64 << 20),
    ("MALLOC_MMAP_THRESHOLD_", -3, 256 << 20),
    ("MALLOC_ARENA_MAX", -8, 1),  # one heap: threads take over from one another what a batch has freed
)


def keep_freed_memory() -> None:
    """Set what the environment does not set; safe to call again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for name, number, value in _SETTINGS:
        if name not in os.environ:
            mallopt(number, value)
