"""Reading keys and words out of trees: what does not fit becomes a mistake, and reading goes on.

Every method answers with a usable value even after a mistake, so that one pass finds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from trunkline.charging.tariffs.mistakes import Mistakes, Place, nearest
from trunkline.charging.tariffs.source import Fields, Items, Node, Scalar
from trunkline.charging.tariffs.tariff import Named

T = TypeVar("T")
Keys = dict[str, Node]

# One thing may be one or many; clerks write both forms of the word.
SINGULARS = {"class": "classes", "direction": "directions", "zone": "zones", "usages": "usage"}


class Reader:
    """Reads values and collects mistakes."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes

    def pairs(self, node: Node, what: str) -> list[tuple[Scalar, Node]]:
        """Keys and values of a section; a key that comes twice is a mistake and its first value counts."""
        if isinstance(node, Scalar) and node.null:
            return []
        if not isinstance(node, Fields):
            self.mistakes.add(node.place, f"{what} holds keys with values, such as `name: value`")
            return []
        seen: dict[str, Scalar] = {}
        found = []
        for key, value in node.items:
            if key.text in seen:
                self.mistakes.add(
                    key.place,
                    f'"{key.text}" stands in line {seen[key.text].place.line} already; remove one of the two',
                )
            else:
                seen[key.text] = key
                found.append((key, value))
        return found

    def keys(self, node: Node, known: Collection[str], what: str) -> Keys:
        """Values by key; an unknown key is a mistake."""
        found: Keys = {}
        for key, value in self.pairs(node, what):
            name = SINGULARS.get(key.text, key.text)
            if name not in known:
                hint = (
                    "; write an amount with a point and in quotes"
                    if key.text.isdigit()
                    else nearest(key.text, known)
                )
                self.mistakes.add(key.place, f'{what} has no key "{key.text}"{hint}')
            elif name in found:
                self.mistakes.add(key.place, f'"{key.text}" and "{name}" are the same key; keep one')
            else:
                found[name] = value
        return found

    def word(self, node: Node, what: str) -> Scalar | None:
        """One written word, or None after a mistake."""
        if isinstance(node, Scalar) and not node.null:
            return node
        self.mistakes.add(
            node.place,
            f"{what} is one word or number"
            + (", and nothing is written here" if isinstance(node, Scalar) else ""),
        )
        return None

    def words(self, node: Node, what: str) -> tuple[Scalar, ...]:
        """A list of words; one word stands for a list of one."""
        if isinstance(node, Scalar):
            return () if node.null else (node,)
        if isinstance(node, Items):
            found = (self.word(each, f"each entry of {what}") for each in node.items)
            return tuple(each for each in found if each is not None)
        self.mistakes.add(node.place, f"{what} is a list such as [one, two]")
        return ()

    def parse(self, word: Scalar, parse: Callable[[str], T]) -> T | None:
        """What a word says, or None after a mistake."""
        try:
            return parse(word.text)
        except ValueError as error:
            self.mistakes.add(word.place, str(error))
            return None

    def value(self, keys: Keys, name: str, parse: Callable[[str], T], default: T) -> T:
        """The parsed value of a key, or the default."""
        if name not in keys:
            return default
        word = self.word(keys[name], f"`{name}`")
        found = None if word is None else self.parse(word, parse)
        return default if found is None else found

    def values(self, keys: Keys, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        """The parsed words of a list."""
        if name not in keys:
            return ()
        found = (self.parse(word, parse) for word in self.words(keys[name], f"`{name}`"))
        return tuple(each for each in found if each is not None)

    def choice(self, keys: Keys, name: str, known: Mapping[str, T], default: T) -> T:
        """One of a closed list of words."""
        return self.value(keys, name, lambda text: choose(text, known, name), default)

    def choices(self, keys: Keys, name: str, known: Mapping[str, T]) -> tuple[T, ...]:
        """Some of a closed list of words, each once, in the written order."""
        return tuple(dict.fromkeys(self.values(keys, name, lambda text: choose(text, known, name))))

    def name(self, keys: Keys, name: str) -> Named | None:
        """A name to be looked up later."""
        if name not in keys:
            return None
        word = self.word(keys[name], f"`{name}`")
        return None if word is None else Named(word.place, word.text)

    def names(self, keys: Keys, name: str) -> tuple[Named, ...]:
        """Names to be looked up later; one that is repeated is a mistake."""
        if name not in keys:
            return ()
        found: dict[str, Named] = {}
        for word in self.words(keys[name], f"`{name}`"):
            if word.text in found:
                self.mistakes.add(word.place, f'"{word.text}" is listed twice in `{name}`')
            found.setdefault(word.text, Named(word.place, word.text))
        return tuple(found.values())

    def need(self, keys: Keys, place: Place, name: str, text: str) -> bool:
        """Whether a key is there; its absence is a mistake."""
        if name not in keys:
            self.mistakes.add(place, text)
        return name in keys

    def look_up(self, names: Iterable[Named], known: Collection[str], what: str) -> None:
        """Names that nothing defines are mistakes."""
        for place, name in names:
            if name not in known:
                self.mistakes.add(place, f'no {what} is called "{name}"{nearest(name, known)}')


def choose(text: str, known: Mapping[str, T], what: str) -> T:
    """What a word of a closed list stands for."""
    if text not in known:
        close = nearest(text, known)
        raise ValueError(f'`{what}` cannot be "{text}"{close or "; known are " + ", ".join(sorted(known))}')
    return known[text]
