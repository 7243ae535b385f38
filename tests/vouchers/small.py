"""A small operator with vouchers: its real engine over a real data folder, and a clock that tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.giving.small import START_US, word, write
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.serve import Serving, prepare
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.ports import VoucherBatch
from trunkline.settings import Folders, Guessing, Http, Keeping

HOUR_US = 3_600_000_000
GUESSING = Guessing(voucher_wrong_most=3, voucher_wrong_hours=2)
__all__ = ["GUESSING", "HOUR_US", "START_US", "Clock", "batch", "codes", "vouching", "word"]


class Clock:
    """The time that the tests say it is."""

    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us


@contextmanager
def vouching(folder: Path, clock: Clock | None = None) -> Iterator[tuple[Platform, Serving, FolderVouchers]]:
    """The operator's platform, what serves it, and its vouchers, in a folder that may have been used before."""
    with opened(Folders(data=folder / "data", tariffs=str(write(folder)))) as platform:
        serving = prepare(platform, Http(), Keeping())
        vouchers = FolderVouchers(folder / "data", clock or Clock(), platform.engine, GUESSING)
        yield platform, serving, vouchers
        serving.audit.close()


def batch(
    name: str = "b",
    size: int = 10,
    amount: int = 5_000_000,
    balance: str = "main",
    valid_days: int | None = None,
    hours: int = 100,
    state: str = "active",
) -> VoucherBatch:
    """A batch to be made; it expires so many hours after the beginning."""
    return VoucherBatch(
        name, balance, amount, valid_days, START_US + hours * HOUR_US, size, state, START_US, "a clerk"
    )


def codes(vouchers: FolderVouchers, name: str = "b") -> list[str]:
    """The codes of a batch, by number from 1."""
    return [code for _, code in vouchers.codes(name)]
