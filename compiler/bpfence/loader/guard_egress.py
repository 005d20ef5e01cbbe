"""Whether anything at all may leave the node by an interface.

Meaning: some TCP or UDP port that is not a failsafe port, or a ping, to some address of the family.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.artefact import Artefact, HostEntry, HostRowEntry
from bpfence.plan.layout import CELL_ALLOW, CELL_NEXT
from bpfence.simulate.arrays import Cells, Ints, TableArrays, halves
from bpfence.simulate.simulator import holds

Truths = NDArray[np.bool_]
_PLACES = {0: 6, 1: 17}
"""Place of a protocol among those with ports -> its number."""
_EPHEMERAL = slice(32768, 61000)
"""Source ports that Linux chooses."""
_ECHO = {4: 8, 6: 128}
_LOT = 1024
"""Peer classes looked at together; mostly the first lot has something that may leave."""


class EgressTables:
    """One artefact's tables, asked as a whole."""

    def __init__(self, artefact: Artefact) -> None:
        self._arrays = TableArrays(artefact.manifest, artefact.tables)
        hosts = artefact.manifest.hosts
        self._node = next((host for host in hosts if host.name.startswith("node/")), None)
        self._codes = bool(artefact.manifest.features["icmp_codes"])

    def lets_out(self, host: HostEntry | None, family: int, own: Iterable[str]) -> bool:
        """``host``: the host endpoint of the interface; ``own``: the interface's addresses."""
        addresses = [text for text in own if ip_address(text).version == family]
        peers, l4 = self._peers(family)[:, None], self._l4(family, host or self._node)[None, :]
        lots = [peers[start : start + _LOT] for start in range(0, len(peers), _LOT)]
        return not addresses or any(self._passing(host, own, lot, l4).any() for own in addresses for lot in lots)

    def _passing(self, host: HostEntry | None, own: str, peers: Ints, l4: Ints) -> Truths:
        """What passes; a word before connection tracking settles the matter."""
        settled = np.zeros(np.broadcast_shapes(peers.shape, l4.shape), dtype=np.bool_)
        passing = ~settled
        if host is not None:
            early = self._cells(host, "untracked", own, peers, l4)
            settled = (early & CELL_ALLOW) != 0
            passing = _allows(early) & _allows(self._cells(host, "endpoint", own, peers, l4))
        if self._node is not None:
            passing &= _allows(self._cells(self._node, "endpoint", own, peers, l4))
        return np.asarray(settled | passing, dtype=np.bool_)

    def _cells(self, host: HostEntry, point: str, own: str, peers: Ints, l4: Ints) -> Cells:
        """CELL_NEXT where nothing restricts the host at the point."""
        row = _row(host, point, own)
        if row is None or row.offset is None:
            return np.full(np.broadcast_shapes(peers.shape, l4.shape), CELL_NEXT, dtype=np.uint16)
        return self._arrays.cells(row.offset, peers, l4)

    def _peers(self, family: int) -> Ints:
        """The peer classes of the family's addresses."""
        if family == 4:
            return np.unique(self._arrays.classes4(self._arrays.cuts4()))
        return np.unique(self._arrays.classes6(*halves(sorted(self._arrays.cuts6()))))

    def _l4(self, family: int, host: HostEntry | None) -> Ints:
        """The L4 classes of what is not spared anyway."""
        found = [self._port_classes(place, protocol, host) for place, protocol in _PLACES.items()]
        echo = _ECHO[family] << 8 if self._codes else _ECHO[family]
        found.append(self._arrays.icmp[0 if family == 4 else 1][[echo]])
        return np.unique(np.concatenate(found))

    def _port_classes(self, place: int, protocol: int, host: HostEntry | None) -> Ints:
        destinations, sources = self._arrays.port_classes(place)
        spared = host.settings.failsafe_egress if host is not None else ()
        ports = [item.port for item in spared if item.protocol == protocol]
        left = np.unique(np.delete(destinations, ports))
        return self._arrays.pair_classes(left[:, None], np.unique(sources[_EPHEMERAL])[None, :]).reshape(-1)


def _row(host: HostEntry, point: str, own: str) -> HostRowEntry | None:
    rows = [item for item in host.rows if (item.direction, item.point) == ("egress", point)]
    exact = next((item for item in rows if item.own and holds(item.own, ip_address(own))), None)
    return exact or next((item for item in rows if not item.own), None)


def _allows(cells: Cells) -> Truths:
    return np.asarray((cells & (CELL_ALLOW | CELL_NEXT)) != 0, dtype=np.bool_)
