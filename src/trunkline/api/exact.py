"""JSON in and out without a float: amounts are decimals from the first byte to the last.

Reading is strict (UTF-8, no lone surrogates, no NaN, no whole number beyond 64 bits, which could not be written
again, no exponent that would blow up exact arithmetic);
writing puts a `Decimal` as the number it is.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
from fastapi.responses import JSONResponse

EXPONENT_MAX = 40
LONGEST_WHOLE = 20  # digits and sign


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """The value behind JSON text, with `Decimal` for every number that is not whole; ValueError otherwise."""
    orjson.loads(body)  # refuses what the standard module would let pass
    return json.loads(body, parse_float=_decimal, parse_int=_whole)


def write_json(value: object) -> bytes:
    """JSON text of a value; decimals as numbers, written out without an exponent."""
    return orjson.dumps(value, default=_fragment)


def _whole(text: str) -> int:
    number = int(text) if len(text) <= LONGEST_WHOLE else 1 << 64
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError("a whole number beyond 64 bits")
    return number


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > EXPONENT_MAX or abs(int(number.as_tuple().exponent)) > EXPONENT_MAX:
        raise ValueError(f"a number with more than {EXPONENT_MAX} digits")
    return number


def _fragment(value: object) -> orjson.Fragment:
    assert isinstance(value, Decimal), f"cannot be written as JSON: {type(value)}"
    return orjson.Fragment(f"{value:f}".encode())


class ExactResponse(JSONResponse):
    """A response whose decimals keep every digit."""

    def render(self, content: object) -> bytes:
        """The body."""
        return write_json(content)
