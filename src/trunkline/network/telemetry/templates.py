"""Templates of flow exporters, kept by the listener so that each datagram in the spool can be read by itself.

NetFlow v9 and IPFIX send what a record means (a template) once in a while and data in between. Decoding remembers
nothing, so that a replay or another cut of the batches gives the same rows; the listener therefore writes behind each
datagram the templates that its data need and that it does not bring itself, as they were at that moment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from struct import unpack_from

MOST_TEMPLATES = 4096
LONGEST_TEMPLATE = 4096  # octets
_NETFLOW9, _IPFIX = 9, 10
_HEADER = {_NETFLOW9: 20, _IPFIX: 16}
_TEMPLATE_SETS = {_NETFLOW9: (0, 1), _IPFIX: (2, 3)}
FIRST_DATA_SET = 256

Key = tuple[str, int, int, int]  # exporter, version, observation domain or source id, template


class Templates:
    """What exporters' data mean; the least recently needed templates give way to new ones."""

    def __init__(self, most: int = MOST_TEMPLATES) -> None:
        self._sets: OrderedDict[Key, bytes] = OrderedDict()
        self._most = most
        self.changes = 0  # grows whenever something was learnt, so that it can be written down

    def needed(self, exporter: str, datagram: bytes) -> bytes:
        """Template sets that the datagram needs and does not bring; learns those that it brings. Empty for v5."""
        version, domain = domain_of(datagram)
        if version not in _HEADER:
            return b""
        brought: set[int] = set()
        needed: dict[int, bytes] = {}
        for set_id, begin, end in sets_of(datagram, _HEADER[version]):
            if set_id in _TEMPLATE_SETS[version]:
                for template, octets in templates_of(datagram, set_id, begin, end, version):
                    self._learn((exporter, version, domain, template), octets)
                    brought.add(template)
            elif set_id >= FIRST_DATA_SET and set_id not in brought and set_id not in needed:
                key = (exporter, version, domain, set_id)
                if key in self._sets:
                    self._sets.move_to_end(key)
                    needed[set_id] = self._sets[key]
        return b"".join(needed.values())

    def _learn(self, key: Key, octets: bytes) -> None:
        if self._sets.get(key) != octets:
            self._sets[key] = octets
            self.changes += 1
            if len(self._sets) > self._most:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)

    def written(self) -> str:
        """Everything that is known, a line a template, to be read again after a restart."""
        lines = (f"{exporter} {version} {domain} {template} {octets.hex()}"
                 for (exporter, version, domain, template), octets in list(self._sets.items()))  # fmt: skip
        return "".join(line + "\n" for line in lines)

    @classmethod
    def read(cls, text: str, most: int = MOST_TEMPLATES) -> Templates:
        """What `written` wrote; raises ValueError when it is something else."""
        known = cls(most)
        for line in text.splitlines():
            exporter, version, domain, template, octets = line.split(" ")
            known._learn((exporter, int(version), int(domain), int(template)), bytes.fromhex(octets))
        known.changes = 0
        return known


def domain_of(datagram: bytes) -> tuple[int, int]:
    """Version, and source id (RFC 3954 5.1) or observation domain (RFC 7011 3.1); (0, 0) when it is neither."""
    if len(datagram) < 2:
        return 0, 0
    (version,) = unpack_from("!H", datagram)
    if version not in _HEADER or len(datagram) < _HEADER[version]:
        return version, 0
    return version, int(unpack_from("!I", datagram, _HEADER[version] - 4)[0])


def sets_of(datagram: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Sets of a datagram: id, begin and end of what is in them; ends where a length is impossible."""
    while at + 4 <= len(datagram):
        set_id, length = unpack_from("!HH", datagram, at)
        if length < 4 or at + length > len(datagram):
            return
        yield set_id, at + 4, at + length
        at += length


def templates_of(
    datagram: bytes, set_id: int, at: int, end: int, version: int
) -> Iterator[tuple[int, bytes]]:
    """Templates in a template set: number, and a template set with this one alone."""
    options = set_id == _TEMPLATE_SETS[version][1]
    head = 6 if options else 4
    while at + head <= end:
        template, count = unpack_from("!HH", datagram, at)
        if template < FIRST_DATA_SET:
            return  # padding
        if options and version == _NETFLOW9:  # RFC 3954 6.1: lengths of scope and options in octets
            stop = at + 6 + count + int(unpack_from("!H", datagram, at + 4)[0])
        else:
            stop = at + head
            for _ in range(count):
                if stop + 4 > end:
                    return
                wide = (
                    version == _IPFIX and datagram[stop] & 0x80
                )  # RFC 7011 3.2: an enterprise number follows
                stop += 8 if wide else 4
        if stop > end or stop - at > LONGEST_TEMPLATE:
            return
        octets = datagram[at:stop]
        yield template, set_id.to_bytes(2, "big") + (len(octets) + 4).to_bytes(2, "big") + octets
        at = stop
