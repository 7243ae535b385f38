"""Trunkline: an operator's usage becomes money, alerts and answers, in seconds."""

import os

# Polars' own allocator clears pages that were free for half a second, and the next period clears them again as it takes
# them: a third of all processor time. It is asked when Polars is loaded, so this stands before everything else.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:300000")

__version__ = "0.1.0"
