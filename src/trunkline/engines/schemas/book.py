"""The registry's book: subjects with their versions, numbers and rules, as a compacted topic tells them.

Messages are laid out as Confluent's Schema Registry lays out its own topic (`_schemas`), so that whoever runs one may
let it read ours. A schema's number is given once and never again; the same schema has one number wherever it stands.
Nothing here knows of brokers: a book is made of messages and says which message would change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from trunkline.engines.schemas.compatible import Rule, broken
from trunkline.engines.schemas.shapes import Kind, Schema


class Incompatible(Exception):
    """A schema may not follow those of its subject; the text says why and what to do."""


@dataclass(frozen=True)
class Version:
    """A version of a subject."""

    subject: str
    version: int
    number: int
    schema: Schema


Entry = tuple[bytes, bytes]
"""Key and value of a message of the topic."""


@dataclass
class Book:
    """What the topic says so far."""

    subjects: dict[str, dict[int, Version]] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    numbers: dict[int, Schema] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)  # what a subject's setting says besides its rule
    offset: int = 0  # of the next message

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one message; keys of other registries that mean nothing to us are passed over."""
        if key is None:
            return
        told = orjson.loads(key)
        kind, subject = told.get("keytype"), told.get("subject")
        body = orjson.loads(value) if value else None
        if kind == "CONFIG" and subject:
            if body is None:
                self.rules.pop(subject, None)
            else:
                self.rules[subject] = Rule(body.get("compatibilityLevel") or Rule.NONE)
                self.aliases[subject] = body.get("alias") or ""
        elif kind == "SCHEMA":
            versions = self.subjects.setdefault(subject, {})
            if body is None or body.get("deleted"):
                versions.pop(told["version"], None)
                return
            schema = Schema(Kind(body.get("schemaType", "AVRO")), body["schema"])
            versions[told["version"]] = Version(subject, told["version"], body["id"], schema)
            self.numbers[body["id"]] = schema

    def versions(self, subject: str) -> list[Version]:
        """Versions of a subject, the oldest first."""
        return [version for _, version in sorted(self.subjects.get(subject, {}).items())]

    def find(self, subject: str, schema: Schema) -> Version | None:
        """The version of a subject that is this very schema."""
        return next((each for each in self.versions(subject) if each.schema == schema), None)

    def judge(self, subject: str, schema: Schema, rule: Rule | None = None) -> list[str]:
        """What a schema would break as the next version of a subject, by the subject's rule or else by `rule`."""
        held = self.rules.get(subject, rule or Rule.BACKWARD)
        return broken(held, schema, [each.schema for each in self.versions(subject)])

    def enter(self, subject: str, schema: Schema, rule: Rule) -> tuple[Version, list[Entry]]:
        """The version that this schema is or becomes, and the messages that make it so; raises `Incompatible`.

        `rule` holds for a subject that has none yet.
        """
        entries: list[Entry] = []
        if subject not in self.rules:
            entries.append(rule_entry(subject, rule))
        there = self.find(subject, schema)
        if there is not None:
            return there, entries
        wrong = self.judge(subject, schema, rule)
        if wrong:
            held = self.rules.get(subject, rule)
            raise Incompatible(
                f"The schema of {subject} may not change like this (its rule is {held}): {'; '.join(wrong)}."
                " Add columns that may be null instead of changing or taking away, or move to a new prefix"
                " (docs/operating/cluster-schemas.md)."
            )
        number = next((each for each, known in self.numbers.items() if known == schema), None)
        last = max(self.subjects.get(subject, {0: None}), default=0)
        made = Version(subject, last + 1, number or max(self.numbers, default=0) + 1, schema)
        entries.append(schema_entry(made))
        return made, entries


def schema_entry(version: Version) -> Entry:
    """The message of a version."""
    key = {"keytype": "SCHEMA", "subject": version.subject, "version": version.version, "magic": 1}
    told: dict[str, Any] = {"subject": version.subject, "version": version.version, "id": version.number}
    if version.schema.kind is not Kind.AVRO:
        told["schemaType"] = version.schema.kind.value
    return orjson.dumps(key), orjson.dumps({**told, "schema": version.schema.text, "deleted": False})


def rule_entry(subject: str, rule: Rule, alias: str = "") -> Entry:
    """The message of a subject's rule."""
    key: Mapping[str, Any] = {"keytype": "CONFIG", "subject": subject, "magic": 0}
    told = {"compatibilityLevel": rule.value}
    return orjson.dumps(key), orjson.dumps({**told, "alias": alias} if alias else told)
