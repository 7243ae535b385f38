"""Alerts as text messages by an HTTP gateway: any whose body can be written as JSON or as a form with places to fill.

The template is data. `{to}`, `{text}`, `{id}`, `{language}` and `{attempt}` stand for the number, the words, the
delivery's name, the language and the attempt; they are put into the body's values, never into its punctuation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from trunkline.api.callbacks import Callbacks
from trunkline.api.channels.answers import hand_over
from trunkline.api.channels.webhook import ATTEMPT, KEY
from trunkline.api.exact import write_json
from trunkline.charging.delivery import SMS
from trunkline.ports import AlertMessage, Undeliverable

PLACES = ("to", "text", "id", "language", "attempt")


class SmsGateway:
    """A gateway that takes one message a request."""

    name = SMS

    def __init__(
        self, callbacks: Callbacks, address: str, template: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """`headers` let us in, such as `Authorization`. Raises ValueError for a template that no body comes of."""
        self._callbacks, self._address, self._headers = callbacks, address, dict(headers or {})
        self._tree, self._pairs = parse_template(template)

    def send(self, message: AlertMessage) -> None:
        """Post one message; see `ports.AlertChannel`."""
        number = message.address or message.subscriber
        if not number:
            raise Undeliverable("there is no number")
        said = {
            "to": number, "text": message.short, "id": message.key, "language": message.language,
            "attempt": str(message.attempt),
        }  # fmt: skip
        if self._pairs is not None:
            content = "application/x-www-form-urlencoded"
            body = urlencode([(name, _filled(value, said)) for name, value in self._pairs]).encode()
        else:
            content, body = "application/json", write_json(_filled(self._tree, said))
        headers = {**self._headers, "Content-Type": content, KEY: message.key, ATTEMPT: str(message.attempt)}
        hand_over(self._callbacks, self._address, body, headers)


def parse_template(template: str) -> tuple[Any, list[tuple[str, str]] | None]:
    """A JSON object, or a form's pairs; raises ValueError with a sentence."""
    if template.lstrip().startswith("{"):
        try:
            tree = json.loads(template)
        except json.JSONDecodeError as error:
            raise ValueError(f"the body of text messages is not JSON: {error.msg}") from error
        pairs = None
        written = json.dumps(tree)
    else:
        try:
            pairs = parse_qsl(template, keep_blank_values=True, strict_parsing=True)
        except ValueError as error:
            raise ValueError(
                "the body of text messages is neither a JSON object nor a form (a=b&c=d)"
            ) from error
        tree, written = None, template
    missing = [place for place in ("to", "text") if "{" + place + "}" not in written]
    if missing:
        raise ValueError(f"the body of text messages has no place for {{{missing[0]}}}")
    return tree, pairs


def _filled(tree: Any, said: Mapping[str, str]) -> Any:  # noqa: ANN401 -- JSON is anything
    """A template's values with their places filled, once: what a filled text holds is not looked at again."""
    if isinstance(tree, dict):
        return {name: _filled(value, said) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_filled(value, said) for value in tree]
    if not isinstance(tree, str):
        return tree
    parts, rest = [], tree
    while rest:
        before, brace, after = rest.partition("{")
        parts.append(before)
        name, end, behind = after.partition("}")
        if brace and end and name in said:
            parts.append(said[name])
            rest = behind
        else:
            parts.append(brace)
            rest = after
    return "".join(parts)
