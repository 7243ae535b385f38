"""What customers choose of their alerts: one channel's choice from a form, many from a file, every mistake told.

An address is looked at for its shape only; whether somebody lives there shows when it is used. A file with mistakes
is not taken at all, so that it can be corrected and loaded again as a whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from io import StringIO

from trunkline.charging.delivery import CHANNELS, EMAIL, SMS, WEBHOOK, Choice, parse_kinds, parse_quiet
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.kernel import dial

COLUMNS = ("subscriber", "channel", "address", "language", "time_zone", "quiet_hours", "opted_out")
LONGEST = 320  # octets of a mailbox's address (RFC 3696, erratum 1690)
TOLD_AT_MOST = 1000
_MAILBOX = re.compile(r"[^\s@<>\"',;:\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
# A host in Latin letters or an address of IP, a port, and a path without spaces, quotes or fragments.
_ADDRESS = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:[/?][!-~]*)?")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_NUMBER = re.compile(r"\d{5,15}")


class ChoiceError(ValueError):
    """Choices cannot be used; the text names every mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        """Say them all, each on a line."""
        more = len(mistakes) - TOLD_AT_MOST
        shown = mistakes[:TOLD_AT_MOST] + ([f"and {more} more"] if more > 0 else [])
        super().__init__("\n".join(shown))


def parse_choice(said: Mapping[str, str]) -> Choice:
    """A choice from its fields (`COLUMNS` without `subscriber`); raises `ChoiceError`."""
    mistakes: list[str] = []
    channel, address = said.get("channel", ""), said.get("address", "").strip()
    quiet, opted_out = None, frozenset[str]()
    if channel not in CHANNELS:
        mistakes.append(f"{channel!r} is no channel; known are {', '.join(CHANNELS)}")
    elif wrong := _wrong_address(channel, address):
        mistakes.append(wrong)
    language, zone = said.get("language", "").strip(), said.get("time_zone", "").strip()
    if language and not _LANGUAGE.fullmatch(language):
        mistakes.append(f"{language!r} is no language such as en or de (ISO 639)")
    if zone and not _is_zone(zone):
        mistakes.append(f"{zone!r} is no time zone such as Europe/Berlin")
    try:
        quiet = parse_quiet(said["quiet_hours"]) if said.get("quiet_hours", "").strip() else None
    except ValueError as error:
        mistakes.append(str(error))
    try:
        opted_out = parse_kinds(said.get("opted_out", ""))
    except ValueError as error:
        mistakes.append(str(error))
    if mistakes:
        raise ChoiceError(mistakes)
    return Choice(channel, address, language, zone, quiet, opted_out)


def read_choices(name: str, content: bytes) -> list[tuple[int, Choice]]:
    """Dial word and choice of each row of a CSV file with a heading; raises `ChoiceError` with lines."""
    try:
        reader = csv.DictReader(StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        heading = reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise ChoiceError([f"{name}: not UTF-8 CSV"]) from error
    unknown = [column for column in heading if column not in COLUMNS]
    missing = [column for column in COLUMNS[:2] if column not in heading]
    if unknown or missing:
        said = [f"{name}:1: {column!r} is no column; known are {', '.join(COLUMNS)}" for column in unknown]
        raise ChoiceError(said + [f"{name}:1: the column {column!r} is missing" for column in missing])
    found: list[tuple[int, Choice]] = []
    mistakes: list[str] = []
    first_line: dict[tuple[int, str], int] = {}
    try:
        for row in reader:
            line = reader.line_num
            try:
                word, choice = _row(row)
            except ChoiceError as error:
                mistakes += [f"{name}:{line}: {each}" for each in str(error).split("\n")]
                continue
            before = first_line.setdefault((word, choice.channel), line)
            if before != line:
                mistakes.append(f"{name}:{line}: line {before} says of the same channel of the same customer")
            found.append((word, choice))
    except csv.Error as error:
        mistakes.append(f"{name}:{reader.line_num}: {error}")
    if mistakes:
        raise ChoiceError(mistakes)
    return found


def _row(row: Mapping[str | None, str | None]) -> tuple[int, Choice]:
    if None in row:
        raise ChoiceError(["there are more fields than the heading has"])
    said = {str(column): value or "" for column, value in row.items()}
    number = said["subscriber"].strip().removeprefix("+")
    if not _NUMBER.fullmatch(number):  # what was said is somebody's number, and not repeated
        raise ChoiceError(["the subscriber is no number in international form"])
    return dial.to_key(number), parse_choice(said)


def _wrong_address(channel: str, address: str) -> str:
    """What is wrong with an address; empty when nothing is. It is personal, and not repeated."""
    if len(address) > LONGEST:
        return f"an address has at most {LONGEST} letters"
    if channel == EMAIL and not _MAILBOX.fullmatch(address):
        return "the address is no mailbox such as name@example.org"
    if channel == SMS and address and not _NUMBER.fullmatch(address.removeprefix("+")):
        return "the address is no number in international form; leave it out for the customer's own"
    if channel == WEBHOOK and address and not _ADDRESS.fullmatch(address):
        return "the address is no http or https address"
    return ""


def _is_zone(name: str) -> bool:
    try:
        time_zone(name)
    except (ValueError, OSError):  # no such file, or no such name
        return False
    return True
