"""Who may send traps: SNMPv3 users with their passwords, and communities, out of a file that only its owner may read.

The file is apart from the mappings, because a mapping is shown to people and kept in repositories. No message about a
mistake repeats what stands in the file.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trunkline.kernel.mappings import MappingError, Problem
from trunkline.network.telemetry.mapping import User
from trunkline.network.telemetry.usm import PRIVACIES, SHORTEST_PASSWORD, TRUNCATED

_KNOWN = ("user", "engine", "auth", "auth_password", "privacy", "privacy_password")
_MOST_ENGINE_OCTETS = 32  # RFC 3411 5, SnmpEngineID


def parse_users(name: str, text: str) -> tuple[tuple[User, ...], tuple[str, ...]]:
    """Users and communities; raises `MappingError` with every mistake.

    `users` is a list of mappings with `user`, `engine` (hexadecimal; absent: any), `auth` and `auth_password`,
    `privacy` and `privacy_password`; `communities` a list of texts (absent: a community is not looked at).
    """
    try:
        tree: Any = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise MappingError(name, [Problem(1, "not YAML")]) from error
    problems: list[Problem] = []
    if not isinstance(tree, dict) or set(tree) - {"users", "communities"}:
        raise MappingError(name, [Problem(1, "the file holds `users`, a list, and `communities`, a list")])
    users = [_user(at, one, problems) for at, one in enumerate(_list(tree, "users", problems), start=1)]
    communities = _list(tree, "communities", problems)
    if not all(isinstance(one, str) and one for one in communities):
        problems.append(Problem(1, "communities are texts"))
    if problems:
        raise MappingError(name, problems)
    return tuple(users), tuple(communities)


def _list(tree: dict[str, Any], key: str, problems: list[Problem]) -> list[Any]:
    found = tree.get(key) or []
    if not isinstance(found, list):
        problems.append(Problem(1, f"{key} is a list"))
        return []
    return found


def _user(at: int, given: object, problems: list[Problem]) -> User:
    """One user; what is wrong is told by the user's place in the list."""

    def wrong(text: str) -> None:
        problems.append(Problem(1, f"user {at}: {text}"))

    if not isinstance(given, dict):
        wrong("it is a mapping")
        return User("")
    if set(given) - set(_KNOWN):
        wrong(f"it knows {', '.join(_KNOWN)}")
    told = {key: str(given.get(key) or "") for key in _KNOWN}
    try:
        engine = bytes.fromhex(told["engine"].removeprefix("0x"))
    except ValueError:
        engine = b""
        wrong("engine is hexadecimal")
    if not told["user"] or len(engine) > _MOST_ENGINE_OCTETS:
        wrong("its name is missing, or its engine is longer than 32 octets")
    if told["auth"] and told["auth"] not in TRUNCATED:
        wrong(f"auth is one of {', '.join(TRUNCATED)}")
    if told["privacy"] and (told["privacy"] not in PRIVACIES or not told["auth"]):
        wrong(f"privacy is one of {', '.join(PRIVACIES)}, and needs auth")
    for what in ("auth", "privacy"):
        if told[what] and len(told[f"{what}_password"]) < SHORTEST_PASSWORD:
            wrong(f"{what}_password has fewer than {SHORTEST_PASSWORD} characters")
    return User(
        told["user"], engine, told["auth"], told["auth_password"], told["privacy"], told["privacy_password"]
    )
