"""Reading fields of inventory objects: plain dictionary access on the fast path, a diagnostic with the place otherwise.

Inventory comes by the ten thousand from the API server, so there is no model per object; null reads as absent, as the
server writes it. Codes: INV001 wrong type, INV002 unquoted text, INV005 address, INV006 prefix, INV009 port or
protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.identity.inventory import Address, Network
from bpfence.source.documents import Document, Path
from bpfence.source.scalars import UnquotedDate

_PORT_PROTOCOLS = {name: PROTOCOL_NUMBERS[name] for name in ("TCP", "UDP", "SCTP")}


@dataclass(frozen=True, slots=True)
class ObjectFields:
    """One object's document and where its mistakes go. ``at`` is always the path of the mapping that holds ``key``."""

    document: Document
    diagnostics: Diagnostics

    def error(self, code: str, path: Path, message: str, help_text: str = "") -> None:
        self.diagnostics.error(code, self.document.span(*path), message, help_text, self.document.title)

    def mapping(self, parent: Mapping[str, Any], key: str, at: Path) -> dict[str, Any]:
        value = parent.get(key)
        if type(value) is dict:
            return value
        if value is not None:
            self._wrong((*at, key), "a mapping")
        return {}

    def mappings(self, parent: Mapping[str, Any], key: str, at: Path) -> list[dict[str, Any]]:
        """A list of mappings; INVARIANT: an item's index is its place in the input (anything else reads as empty)."""
        values = self.listing(parent, key, at)
        for index, value in enumerate(values):
            if type(value) is not dict:
                self._wrong((*at, key, index), "a mapping")
        return [value if type(value) is dict else {} for value in values]

    def listing(self, parent: Mapping[str, Any], key: str, at: Path) -> list[Any]:
        value = parent.get(key)
        if type(value) is list:
            return value
        if value is not None:
            self._wrong((*at, key), "a list")
        return []

    def text(self, parent: Mapping[str, Any], key: str, at: Path, default: str = "") -> str:
        value = parent.get(key)
        if type(value) is str:
            return value
        if value is not None:
            self._not_text(value, (*at, key))
        return default

    def flag(self, parent: Mapping[str, Any], key: str, at: Path, default: bool = False) -> bool:
        value = parent.get(key)
        if type(value) is bool:
            return value
        if value is not None:
            self._wrong((*at, key), "true or false")
        return default

    def labels(self, parent: Mapping[str, Any], key: str, at: Path) -> Mapping[str, str]:
        """A mapping of text to text (labels, annotations, a service's selector)."""
        values = self.mapping(parent, key, at)
        wrong = [name for name, value in values.items() if type(value) is not str]
        for name in wrong:
            self._not_text(values[name], (*at, key, name))
        return {name: value for name, value in values.items() if name not in wrong} if wrong else values

    def port(self, parent: Mapping[str, Any], key: str, at: Path) -> int:
        """A port number; 0 after an error. A missing one is an error too."""
        value = parent.get(key)
        if type(value) is int and 1 <= value <= 65535:
            return value
        self.error("INV009", (*at, key), f"{key} must be a port number from 1 to 65535")
        return 0

    def protocol(self, parent: Mapping[str, Any], at: Path) -> int:
        """The number of ``protocol``, TCP when missing; 0 after an error."""
        name = self.text(parent, "protocol", at, "TCP") or "TCP"
        number = _PORT_PROTOCOLS.get(name, 0)
        if not number:
            self.error("INV009", (*at, "protocol"), f"unknown protocol {name}", "write TCP, UDP or SCTP")
        return number

    def address(self, value: object, path: Path) -> Address | None:
        """An IP address; None after an error."""
        try:
            address = _parsed(value) if type(value) is str else None
        except ValueError:
            address = None
        if address is None or not _is_plain(address):
            self.error("INV005", path, "not an IP address", "write an IPv4 or IPv6 address without zone or mapping")
            return None
        return address

    def network(self, value: object, path: Path) -> Network | None:
        """A prefix without host bits; None after an error."""
        try:
            network = ip_network(value) if type(value) is str and "/" in value else None
        except ValueError:
            network = None
        if network is None:
            self.error("INV006", path, "not an IP prefix", "write ADDRESS/LENGTH, with zeros after the prefix")
        return network

    def _wrong(self, path: Path, wanted: str) -> None:
        self.error("INV001", path, f"{path[-1]} must be {wanted}")

    def _not_text(self, value: object, path: Path) -> None:
        if isinstance(value, bool | int | float | UnquotedDate):
            self.error("INV002", path, f"the value of {path[-1]} must be text", "quote it")
        else:
            self.error("INV001", path, f"the value of {path[-1]} must be text", 'write "" for an empty text')


def _is_plain(address: Address) -> bool:
    """No zone (it has a meaning on one machine only), no IPv4 address in IPv6 clothes."""
    if not isinstance(address, IPv6Address):
        return True
    return address.scope_id is None and address.ipv4_mapped is None


def _parsed(text: str) -> Address:
    """What `ip_address` gives, which tries IPv4 first and pays for the failure. ValueError for anything else."""
    return IPv6Address(text) if ":" in text else IPv4Address(text)
