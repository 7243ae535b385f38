"""Who may come in: bearer tokens by name and role, of which the data folder keeps only digests."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from trunkline.api.access import Role, Token, digest
from trunkline.ports import Refused
from trunkline.stores.embedded.disk import Disk

FILE = "tokens.json"


def known_tokens(data: Path) -> list[Token]:
    """The tokens of a data folder."""
    path = data / FILE
    if not path.exists():
        return []
    return [
        Token(each["name"], Role[each["role"]], each["sha256"])
        for each in json.loads(path.read_text("utf-8"))
    ]


class KeptTokens(Sequence[Token]):
    """The tokens of a data folder as they are now: who is given one is in at once, who loses it is out at once."""

    def __init__(self, data: Path) -> None:
        """Read them when they are first asked for."""
        self._data = data
        self._read: tuple[tuple[int, int] | None, list[Token]] = (None, [])

    def __iter__(self) -> Iterator[Token]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    @overload
    def __getitem__(self, at: int) -> Token: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Token]: ...

    def __getitem__(self, at: int | slice) -> Token | Sequence[Token]:
        return self._now()[at]

    def _now(self) -> list[Token]:
        try:
            status = (self._data / FILE).stat()
        except FileNotFoundError:
            return []
        mark = status.st_ino, status.st_mtime_ns
        if self._read[0] != mark:  # the file is replaced whole, so another one has another mark
            self._read = mark, known_tokens(self._data)
        return self._read[1]


def add_token(data: Path, name: str, role: str) -> str:
    """Make a token; it is told here once, and never again."""
    tokens = known_tokens(data)
    if any(token.name == name for token in tokens):
        raise Refused(f'There is a token "{name}" already. Take it away first: trunkline token remove {name}')
    if role.upper() not in Role.__members__:
        raise Refused(
            f'There is no role "{role}". Known are: {", ".join(each.name.lower() for each in Role)}.'
        )
    secret = f"trunkline-{secrets.token_urlsafe(24)}"
    _keep(data, [*tokens, Token(name, Role[role.upper()], digest(secret))])
    return secret


def remove_token(data: Path, name: str) -> None:
    """Take a token away."""
    tokens = known_tokens(data)
    if all(token.name != name for token in tokens):
        raise Refused(f'There is no token "{name}". List them: trunkline token list')
    _keep(data, [token for token in tokens if token.name != name])


def _keep(data: Path, tokens: list[Token]) -> None:
    data.mkdir(parents=True, exist_ok=True)
    content = [{"name": token.name, "role": token.role.name, "sha256": token.sha256} for token in tokens]
    fresh = data / f"{FILE}.new"
    disk = Disk()
    disk.write(fresh, [json.dumps(content, indent=1).encode()])
    fresh.chmod(0o600)
    disk.rename(fresh, data / FILE)
