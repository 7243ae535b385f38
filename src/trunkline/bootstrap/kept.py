"""Answers worth keeping that no books depend on: one JSON file each, in a folder of the data folder.

An answer is named by what it is made of, so asking the same again replaces it with the same. Some name subscribers, so
the folder is its owner's only. Whoever removes an answer loses nothing: it can be worked out again.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trunkline.stores.embedded.disk import Disk

FOLDER = "answers"
_NAME = re.compile(r"[0-9a-f]{16}")


class KeptAnswers:
    """Answers of one kind in a data folder; any process may write and read."""

    def __init__(self, data: Path, kind: str, disk: Disk | None = None) -> None:
        """Nothing is written before the first answer."""
        self._folder, self._disk = data / FOLDER / kind, disk or Disk()

    def add(self, key: tuple[object, ...], body: dict[str, Any]) -> str:
        """Keep an answer (with `time_us`) under the name that its key makes; the name."""
        name = blake2b(json.dumps(key).encode(), digest_size=8).hexdigest()
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        fresh = self._folder / f"{name}.new"
        self._disk.remove(fresh)
        self._disk.write(fresh, [json.dumps({"id": name, **body}).encode()])
        self._disk.rename(fresh, self._folder / f"{name}.json")
        return name

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Answers, the newest first."""
        if not self._folder.is_dir():
            return []
        found = [self.one(path.stem) for path in self._folder.glob("*.json")]
        kept = [answer for answer in found if answer is not None]
        return sorted(kept, key=lambda answer: (-answer["time_us"], answer["id"]))[:limit]

    def one(self, name: str) -> dict[str, Any] | None:
        """The answer of a name; None when there is none."""
        path = self._folder / f"{name}.json"
        if not _NAME.fullmatch(name) or not path.exists():
            return None
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return answer
