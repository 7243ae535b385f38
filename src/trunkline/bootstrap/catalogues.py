"""Tariffs and mappings on their way from files to the engine.

The data folder remembers the tariff it was last given, and the register of numbers that accounts store. The
register only grows and is written before anything can use a new number, so a crash leaves at most numbers
that nobody uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from trunkline.charging.tariffs import compile_catalogue, empty_register, with_members, with_time_zones
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.mediation.mapping import SHIPPED, parse_mapping
from trunkline.mediation.mapping import Mapping as UsageMapping
from trunkline.ports import Refused
from trunkline.stores.embedded.disk import Disk

FOLDER = "catalogue"
TARIFF_ENDINGS = (".yaml", ".yml", ".csv")


def tariff_files(folder: Path) -> dict[str, str]:
    """The texts of a tariff's files by name; subfolders are part of the name."""
    if not folder.is_dir():
        raise Refused(f"{folder} is not a folder. Name the folder that holds the tariff's YAML files.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix in TARIFF_ENDINGS and path.is_file())
    files = {path.relative_to(folder).as_posix(): path for path in paths if path.stem != "subscribers"}
    if not any(name.endswith((".yaml", ".yml")) for name in files):
        raise Refused(f"{folder} holds no YAML file. Name the folder that holds the tariff.")
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def load_catalogue(
    data: Path,
    tariffs: Path | None,
    disk: Disk | None = None,
    time_zones: Iterable[str] = (),
    members: Iterable[tuple[int, int]] = (),
) -> Catalogue:
    """Compile the tariff that was named, or the one that the data folder remembers; with a disk, remember it.

    `time_zones` are those that subscribers live in besides the operator's; `members` are pairs of dial words (member,
    owner of the account) of those who share one.
    """
    files = tariff_files(tariffs) if tariffs else remembered_tariff(data)
    register = with_members(with_time_zones(known_register(data), time_zones), members)
    catalogue, grown = compile_catalogue(files, register)
    if disk is not None:
        _remember(data, files, grown, disk)
    return catalogue


def remember(data: Path, files: Mapping[str, str], disk: Disk) -> None:
    """Let a data folder charge by this tariff when it is opened next; raises `TariffError` before anything changes."""
    _, grown = compile_catalogue(files, known_register(data))
    _remember(data, files, grown, disk)


def _remember(data: Path, files: Mapping[str, str], register: Register, disk: Disk) -> None:
    kept = data / FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    replace_text(disk, kept / "register.json", json.dumps(asdict(register), indent=1))
    replace_text(disk, kept / "tariff.json", json.dumps(dict(files)))


def remembered_tariff(data: Path) -> dict[str, str]:
    """The tariff that a data folder was last given, as texts by file name."""
    path = data / FOLDER / "tariff.json"
    if not path.exists():
        raise Refused(f"{data} knows no tariff yet. Name its folder once with --tariffs.")
    files: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return files


def known_register(data: Path) -> Register:
    """The register of a data folder; empty for a new one."""
    path = data / FOLDER / "register.json"
    if not path.exists():
        return empty_register()
    return Register(**json.loads(path.read_text(encoding="utf-8")))


def replace_text(disk: Disk, path: Path, text: str) -> None:
    """Write a small file, or replace it whole; the same text is not written again."""
    content = text.encode()
    if path.exists() and path.read_bytes() == content:
        return
    fresh = path.with_suffix(".new")
    disk.remove(fresh)
    disk.write(fresh, [content])
    disk.rename(fresh, path)


def load_mappings(own: Path | None = None) -> dict[str, UsageMapping]:
    """The shipped mappings, and those of a folder of one's own (which win over a shipped one of the same name)."""
    shipped = resources.files("trunkline.mediation") / "mappings"
    texts = {name: (shipped / f"{name}.yaml").read_text(encoding="utf-8") for name in SHIPPED}
    if own is not None:
        texts |= {path.stem: path.read_text(encoding="utf-8") for path in sorted(own.glob("*.yaml"))}
    return {name: parse_mapping(name, text) for name, text in texts.items()}
