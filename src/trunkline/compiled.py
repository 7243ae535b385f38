"""Compiled loops are kept on disk, and made anew when anything that they were compiled from has changed.

Numba looks at the file of a loop alone. A constant or an inlined loop of another file would live on in what was kept:
after an upgrade in place, money would be counted by half of each version. So a loop's stamp is that of its file and
of all files of the package that it imports, whichever way.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator


class _Stamped:
    """A place for loops whose stamp is that of everything a loop was compiled from."""

    _py_file: str

    def get_source_stamp(self) -> bytes:
        """What the loop was compiled from."""
        return stamp(Path(self._py_file))


class Named(_Stamped, UserProvidedCacheLocator):
    """Kept in the folder that NUMBA_CACHE_DIR names, where it names one."""


class BesideSources(_Stamped, InTreeCacheLocator):
    """Kept beside the sources, where those may be written to."""


class InHome(_Stamped, UserWideCacheLocator):
    """Kept in the folder of the person who runs it, where the sources belong to somebody else."""


def stamp(path: Path) -> bytes:
    """A digest of a source and of all sources of its package that it imports, directly or not."""
    seen, ahead = set[Path](), [path]
    while ahead:
        source = ahead.pop()
        if source not in seen:
            seen.add(source)
            ahead += _read(source)[1]
    return hashlib.sha256(b"".join(_read(source)[0] for source in sorted(seen))).digest()


@cache
def _read(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """The digest of a source, and the sources of its own package that it names in imports."""
    octets = path.read_bytes()
    top = path.parent
    while (top.parent / "__init__.py").exists():
        top = top.parent
    named = re.findall(
        rb"^\s*(?:from|import)\s+(%s[.\w]*)" % re.escape(top.name.encode()), octets, re.MULTILINE
    )
    found: list[Path] = []
    for name in dict.fromkeys(named):
        place = top.parent.joinpath(*name.decode().split("."))
        # Of a package anything may have been meant.
        found += [place.with_suffix(".py")] if not place.is_dir() else sorted(place.glob("*.py"))
    return hashlib.sha256(octets).digest(), tuple(source for source in found if source.is_file())
