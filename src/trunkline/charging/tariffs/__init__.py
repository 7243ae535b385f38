"""Tariffs: read what a clerk writes, tell every mistake with its line, and compile it for the kernels."""

from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.charging.tariffs.checking import check
from trunkline.charging.tariffs.compiling import (
    compile_catalogue,
    empty_register,
    members_of,
    with_members,
    with_time_zones,
)
from trunkline.charging.tariffs.describing import Change, Description, compare, describe
from trunkline.charging.tariffs.mistakes import Mistake, TariffError
from trunkline.charging.tariffs.sections import amount_in
from trunkline.charging.tariffs.source import Source, read_tariffs

__all__ = [
    "Catalogue",
    "Change",
    "Description",
    "Mistake",
    "Register",
    "Source",
    "TariffError",
    "amount_in",
    "check",
    "compare",
    "compile_catalogue",
    "describe",
    "empty_register",
    "members_of",
    "read_tariffs",
    "with_members",
    "with_time_zones",
]
