"""Trunkline: an operator's usage becomes money, alerts and answers, in seconds."""

import os
import sys

# Where Numba keeps compiled loops and when it makes them anew, says compiled.py. It reads this when it is loaded.
_LOCATORS = os.environ.setdefault(
    "NUMBA_CACHE_LOCATOR_CLASSES",
    "trunkline.compiled.Named,trunkline.compiled.BesideSources,trunkline.compiled.InHome,"
    "IPythonCacheLocator,ZipCacheLocator",
)
if "numba" in sys.modules:
    sys.modules["numba"].config.CACHE_LOCATOR_CLASSES = _LOCATORS

__version__ = "0.1.0"
