"""Online charging put together: the rules of the trade over the embedded engine, and sessions that vanished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import cast

import numpy as np
import polars as pl

from trunkline.api.nchf.notify import Notifier
from trunkline.bootstrap.nchf_port import NchfPort, limited
from trunkline.charging import online as rules
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.online import EngineOnline
from trunkline.engines.online import OnlineRules, opened, owing
from trunkline.kernel.dial import to_texts
from trunkline.kernel.members import Members
from trunkline.ports import Commit, QuotaAnswer, QuotaRequest
from trunkline.records import charging, online, usage
from trunkline.records.usage import Direction, Kind
from trunkline.settings import Online
from trunkline.stores.embedded.reader import EmbeddedReader

SOURCE = "online"
_UNITS = {Kind.VOICE: "duration_ms", Kind.DATA: "octets_down"}  # of all other kinds: events


def usage_lines(charged: pl.DataFrame, members: Members) -> bytes:
    """What sessions used, as records of our own schema; their names are made from session, group and invocation.

    A record names who used; whose account that is it finds by itself, like every record. What it does not say is null.
    """
    kind = pl.col("kind")
    of_others = kind.is_in([int(each) for each in _UNITS]).not_()
    units = {name: kind == int(each) for each, name in _UNITS.items()} | {"events": of_others}
    columns = charged.select(
        pl.concat_str(
            _hexadecimal(charged["session"], ">u8"), pl.col("group", "invocation"), separator="-"
        ).alias("id"),
        pl.lit(SOURCE).alias("source"),
        _named("kind", Kind).alias("type"),
        _dialled(_users(charged, members)).alias("subscriber"),
        _named("direction", Direction).alias("direction"),
        _dialled(charged["calling"]).alias("calling"),
        _dialled(charged["called"]).alias("called"),
        "start_us",
        *(pl.when(counted).then("units").alias(name) for name, counted in units.items()),
        pl.when(pl.col("visited_plmn") > 0).then(pl.col("visited_plmn").cast(pl.String)),
        pl.when(pl.col("slice") > 0).then(_hexadecimal(charged["slice"], ">u4")).alias("snssai"),
        pl.when(pl.col("five_qi") > 0).then("five_qi"),
        "service",
    )
    return columns.write_ndjson().encode()


def _named(column: str, names: type[IntEnum]) -> pl.Expr:
    return pl.col(column).replace_strict(
        {int(each): each.name.lower() for each in names}, return_dtype=pl.String
    )


def _users(charged: pl.DataFrame, members: Members) -> pl.Series:
    """Dial word of who used: the member, else the owner of the account."""
    users, numbers = charged["subscriber"].to_list(), charged["member"].to_list()
    words = {owner: members.words_of(owner) for owner, number in zip(users, numbers, strict=True) if number}
    return pl.Series(
        [words[owner][number] if number else owner for owner, number in zip(users, numbers, strict=True)],
        dtype=pl.UInt64,
    )


def _dialled(words: pl.Series) -> pl.Series:
    """The numbers behind dial words; null for none."""
    texts = pl.Series(to_texts(words.fill_null(0).to_numpy()))
    return texts.set(texts == "", None)


def _hexadecimal(numbers: pl.Series, form: str) -> pl.Series:
    """Numbers of a fixed width (NumPy's word for it, the highest octet first) as hexadecimal digits."""
    octets = numbers.fill_null(0).to_numpy().astype(form)
    digits = np.frombuffer(octets.tobytes().hex().encode(), f"S{2 * octets.itemsize}")
    return pl.Series(digits.astype(str))


_EXAMPLE = np.zeros(1, online.REQUEST_ROW)
_EXAMPLE["session"], _EXAMPLE["action"], _EXAMPLE["kind"] = 1, int(online.Action.RESERVE), int(Kind.DATA)
_EXAMPLE["wanted"], _EXAMPLE["says"] = 1, True

RULES = OnlineRules(
    online.SESSIONS,
    charging.ACCOUNTS,
    charging.TARIFFS,
    usage.MEMBERS,
    online.REQUEST_ROW,
    rules.decide,
    rules.owed,
    rules.struck,
    rules.owing,
    usage_lines,
    int(online.Action.RELEASE),
    int(online.Action.LAPSE),
    _EXAMPLE,
    online.REFUSALS,
)


def watch_movements(notifier: Notifier) -> Callable[[Commit], None]:
    """Let a notifier hear of money that was added to an account."""

    def heard(commit: Commit) -> None:
        for movement, _, status, _ in commit.movements:
            if status == "booked" and movement.amount > 0:
                notifier.topped_up(movement.subscriber)

    return heard


def online_of(
    engine: Engine,
    reader: EmbeddedReader,
    heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
) -> EngineOnline:
    """Online charging over an engine, with the sessions that its folder keeps."""
    kept = reader.every(online.SESSIONS)
    return EngineOnline(engine, RULES, opened(kept), owing(kept, RULES), heard)


class OnlineLife(NchfPort):
    """Online charging beside the running platform: answering, lapsing, and the port of network functions."""

    online: EngineOnline

    def __init__(
        self, engine: Engine, reader: EmbeddedReader, settings: Online, networks: Sequence[str]
    ) -> None:
        """Listen; nothing is answered before `works` run. Raises `Refused` for what would not be safe."""
        super().__init__(settings, networks, engine.clock_us)
        self._engine = engine
        self.online = online_of(engine, reader, self._heard)
        engine.listeners.append(watch_movements(self.notifier))

    def payer_of(self, subscriber: int) -> int:
        """Whose account pays for a subscriber."""
        members = cast("Members", self._engine.tables[usage.MEMBERS.name])
        return members.account_of(subscriber)[0]

    def _heard(self, request: QuotaRequest, answers: list[QuotaAnswer]) -> None:
        if request.action != online.Action.RESERVE:
            self.notifier.ended(request.session, vanished=request.action == online.Action.LAPSE)
        else:
            self.notifier.answered(request.session, limited(answers))
