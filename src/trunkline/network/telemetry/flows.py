"""NetFlow v5 and v9 and IPFIX: what interfaces carried, summed up by datagram (RFC 3954, RFC 7011, RFC 7012).

Flows say who spoke with whom; none of that goes on, only how much each of an exporter's interfaces carried and to how
many destinations and ports, which is what scans and floods are seen by. A datagram's sums are the reading: its period
ends when it was exported, with its sequence number as microseconds, so that no two datagrams have the same period.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from struct import unpack_from
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.kernel.envelope import octets_of
from trunkline.network.telemetry.lines import NEVER_RECEIVED, Lines
from trunkline.network.telemetry.mapping import Mapping
from trunkline.network.telemetry.readings import Readings, filled
from trunkline.network.telemetry.templates import FIRST_DATA_SET, sets_of
from trunkline.records.network import Counting

_V5_HEADER, _V9_HEADER, _IPFIX_HEADER = 24, 20, 16
_V5 = np.dtype({
    "names": ["12", "10", "2", "1", "11", "4"], "offsets": [4, 12, 16, 20, 34, 38],
    "formats": [">u4", ">u2", ">u4", ">u4", ">u2", "u1"], "itemsize": 48,
})  # fmt: skip
# Information elements (RFC 7012, IANA): octets and packets as difference or total, interface, destination, port.
_OCTETS, _PACKETS, _INTERFACE, _PORT = (1, 85), (2, 86), (10,), (11,)
_DESTINATION = (12, 28)
_WANTED = {*_OCTETS, *_PACKETS, *_INTERFACE, *_PORT, *_DESTINATION}
_VARIABLE = 65535
_MOST_FIELDS = 256
_MOST_OCTETS = 2**53  # a count above is no count of one flow


class Garbled(ValueError):
    """The octets are no datagram of a flow exporter."""


@dataclass(frozen=True)
class Template:
    """How records of a set lie: element and length of each field; options say nothing of flows."""

    fields: tuple[tuple[int, int], ...]
    options: bool


@dataclass
class Sums:
    """What one interface carried."""

    octets: int = 0
    packets: int = 0
    flows: int = 0
    destinations: set[bytes] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)


def read_datagrams(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one datagram, with the templates that it needs beside it."""
    received = lines.places.received_us.tolist()
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        try:
            datagram, *carried = octets_of(message)
            end_us, sums, unknown = _summed(datagram, b"".join(carried), received[record])
        except Garbled as fault:
            readings.reject(record, "unreadable", str(fault))
            continue
        except ValueError:
            readings.reject(record, "unreadable", "not base64")
            continue
        for template in unknown:
            readings.reject(record, "unknown_template", f"template {template} has not come yet")
        if not sums and not unknown:
            readings.reject(record, "not_telemetry", "the datagram brings templates or options, and no flow")
        _read(record, lines.peers[record], end_us, sums, mapping, readings)


def _read(
    record: int, exporter: str, end_us: int, sums: dict[int, Sums], mapping: Mapping, readings: Readings
) -> None:
    """Sums of a datagram become measurements of its exporter's interfaces."""
    for interface, told in sums.items():
        fields = {"exporter": exporter, "interface": str(interface)}
        name = filled(mapping.object, fields.get) or (f"{exporter}:{interface}" if exporter else "")
        if not name:
            readings.reject(
                record, "missing_object", "the datagram came in no envelope, so its exporter is not known"
            )
            continue
        for counter, value in (
            ("IF.FlowOctets", told.octets), ("IF.FlowPackets", told.packets), ("IF.Flows", told.flows),
            ("IF.FlowDestinations", len(told.destinations)), ("IF.FlowPorts", len(told.ports)),
        ):  # fmt: skip
            known = mapping.counters.get(counter)
            factor = (1, 1) if known is None else (known.numerator, known.denominator)
            readings.value(
                record, (name, filled(mapping.technology, fields.get), 0, 0), (counter, int(Counting.DELTA)),
                (end_us - 1_000_000, end_us), str(value), factor,
            )  # fmt: skip


def _summed(datagram: bytes, carried: bytes, received_us: int) -> tuple[int, dict[int, Sums], list[int]]:
    """When a datagram was exported, its sums by interface, and the templates that are not known."""
    if len(datagram) < 2:
        raise Garbled("too short")
    (version,) = unpack_from("!H", datagram)
    sums: dict[int, Sums] = defaultdict(Sums)
    if version == 5:
        return _end_us(*_v5(datagram, sums), received_us), sums, []
    header = {9: _V9_HEADER, 10: _IPFIX_HEADER}.get(version, 0)
    if not header or len(datagram) < header:
        raise Garbled("neither NetFlow v5 or v9 nor IPFIX")
    if version == 9:
        seconds, sequence = unpack_from("!II", datagram, 8)
    else:
        length, seconds, sequence = unpack_from("!HII", datagram, 2)
        if length > len(datagram):
            raise Garbled("the datagram is cut short")
        datagram = datagram[:length]
    templates: dict[int, Template] = {}
    _sets(carried, 0, version, templates, sums)
    unknown = _sets(datagram, header, version, templates, sums)
    return _end_us(seconds, sequence, received_us), sums, unknown


def _end_us(seconds: int, sequence: int, received_us: int) -> int:
    """When a datagram was exported; by our clock when its own says no time."""
    if seconds == 0 and received_us != NEVER_RECEIVED:
        seconds = received_us // 1_000_000
    return seconds * 1_000_000 + sequence % 1_000_000


def _v5(datagram: bytes, sums: dict[int, Sums]) -> tuple[int, int]:
    """Records of a v5 datagram."""
    if len(datagram) < _V5_HEADER:
        raise Garbled("the datagram is cut short")
    count, _, seconds, _, sequence = unpack_from("!HIIII", datagram, 2)
    if len(datagram) < _V5_HEADER + count * _V5.itemsize:
        raise Garbled("the datagram is cut short")
    records = np.frombuffer(datagram, _V5, count, _V5_HEADER)
    _add(sums, records)
    return int(seconds), int(sequence)


def _sets(
    octets: bytes, at: int, version: int, templates: dict[int, Template], sums: dict[int, Sums]
) -> list[int]:
    """Every set of a datagram in its order."""
    unknown: list[int] = []
    end = at
    for set_id, begin, stop in sets_of(octets, at):
        end = stop
        if set_id in ((0, 1) if version == 9 else (2, 3)):
            _learn(octets, set_id, begin, stop, version, templates)
        elif set_id >= FIRST_DATA_SET:
            template = templates.get(set_id)
            if template is None:
                unknown.append(set_id)
            elif not template.options:
                _data(octets[begin:stop], template, sums)
    if any(octets[end:]):
        raise Garbled("a set's length leads out of the datagram")
    return unknown


def _learn(
    octets: bytes, set_id: int, at: int, stop: int, version: int, templates: dict[int, Template]
) -> None:
    """Templates of a set."""
    options = set_id in (1, 3)
    while at + 4 <= stop:
        number, count = unpack_from("!HH", octets, at)
        if number < FIRST_DATA_SET:
            return  # padding
        at += 6 if options else 4
        if options and version == 9:
            (more,) = unpack_from("!H", octets, at - 2) if at <= stop else (0,)
            templates[number] = Template((), options=True)
            at += count + more
            continue
        fields = []
        for _ in range(count):
            if at + 4 > stop or count > _MOST_FIELDS:
                raise Garbled("a template is cut short or too long")
            element, length = unpack_from("!HH", octets, at)
            wide = version == 10 and element & 0x8000
            fields.append((0 if wide else element, length))
            at += 8 if wide else 4
        if count == 0:
            templates.pop(number, None)  # RFC 7011 8.1: withdrawn
        else:
            templates[number] = Template(tuple(fields), options=options)


def _data(octets: bytes, template: Template, sums: dict[int, Sums]) -> None:
    """Records of a data set; what is shorter than a record at the end is padding."""
    lengths = [length for _, length in template.fields]
    if _VARIABLE in lengths:
        octets, template = _straightened(octets, template)
    width = sum(length for _, length in template.fields)
    if width == 0:
        return
    names, offsets, formats, at = [], [], [], 0
    for element, length in template.fields:
        kind = {1: "u1", 2: ">u2", 4: ">u4", 8: ">u8"}.get(length, f"V{length}")
        if element in _WANTED and str(element) not in names and length:
            names.append(str(element))
            offsets.append(at)
            formats.append(f"V{length}" if element == 28 else kind)
        at += length
    dtype = np.dtype({"names": names, "offsets": offsets, "formats": formats, "itemsize": width})
    _add(sums, np.frombuffer(octets, dtype, len(octets) // width))


def _straightened(octets: bytes, template: Template) -> tuple[bytes, Template]:
    """Records with fields of variable length (RFC 7011 7) as records without those fields."""
    into = bytearray()
    at = 0
    while at < len(octets):
        begin = len(into)
        for _, length in template.fields:
            size, wanted = length, length != _VARIABLE
            if not wanted:
                if at >= len(octets):
                    break
                size = octets[at]
                at += 1
                if size == 255:
                    if at + 2 > len(octets):
                        break
                    (size,) = unpack_from("!H", octets, at)
                    at += 2
            if at + size > len(octets):
                break
            if wanted:
                into += octets[at : at + size]
            at += size
        else:
            continue
        del into[begin:]  # padding, or a record that is cut short
        break
    fields = tuple((element, length) for element, length in template.fields if length != _VARIABLE)
    return bytes(into), Template(fields, template.options)


def _add(sums: dict[int, Sums], records: npt.NDArray[Any]) -> None:
    """Add records to the sums of their interfaces."""
    if not len(records):
        return
    names = records.dtype.names or ()
    octets, packets = _counts(records, names, _OCTETS), _counts(records, names, _PACKETS)
    interfaces = _counts(records, names, _INTERFACE)
    ports = _counts(records, names, _PORT)
    destination = next((str(element) for element in _DESTINATION if str(element) in names), None)
    for interface in np.unique(interfaces).tolist():
        at = interfaces == interface
        told = sums[interface]
        told.octets += int(octets[at].sum())
        told.packets += int(packets[at].sum())
        told.flows += int(at.sum())
        told.ports.update(np.unique(ports[at]).tolist())
        if destination is not None:
            told.destinations.update(one.tobytes() for one in records[destination][at])


def _counts(
    records: npt.NDArray[Any], names: tuple[str, ...], elements: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """The first of some elements that the records have, as whole numbers; zeros when they have none."""
    for element in elements:
        if str(element) in names and records.dtype[str(element)].kind == "u":
            values = records[str(element)].astype(np.uint64)
            return np.minimum(values, np.uint64(_MOST_OCTETS)).astype(np.int64)
    return np.zeros(len(records), np.int64)
