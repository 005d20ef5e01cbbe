"""Identity numbers: one per distinct set of labels, stable over compiles.

In: the world and the numbers of an earlier compile. Out: numbers, and the document of identities.json. Numbers below
256 are reserved (host 1, world 2,
remote node 6, as Cilium numbers them); label sets take 256-65535.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpfence.errors import BudgetError
from bpfence.identity.world import Entity, World

FIRST, LAST = 256, 65535
RESERVED = {
    "host": 1,
    "world": 2,
    "unmanaged": 3,
    "health": 4,
    "init": 5,
    "remote-node": 6,
    "kube-apiserver": 7,
    "ingress": 8,
}
_PERSONAL = frozenset(("meta:name", "meta:node", "meta:kind"))
"""keys that tell apart members of one identity"""


@dataclass(frozen=True, slots=True)
class Identities:
    """``of``: pod name -> number. ``labels``: number -> its labels as sorted ``key=value`` texts."""

    of: Mapping[str, int]
    labels: Mapping[int, tuple[str, ...]]

    def document(self) -> dict[str, Any]:
        """identities.json."""
        return {
            "format_version": "1.0",
            "reserved": RESERVED,
            "identities": {str(number): list(self.labels[number]) for number in sorted(self.labels)},
        }


def identity_labels(entity: Entity) -> tuple[str, ...]:
    """The labels that make an identity: what any selector could see, without the pod's own name and place."""
    return tuple(sorted(f"{k}={v}" if v else k for k, v in entity.labels.items() if k not in _PERSONAL))


def number_identities(world: World, previous: Mapping[str, Any] | None = None) -> Identities:
    """Keep the numbers of label sets known before, give new ones the lowest free numbers in the order of their
    labels.
    """
    known = _known_numbers(previous or {})
    by_labels: dict[tuple[str, ...], list[str]] = {}
    for pod in world.pods:
        by_labels.setdefault(identity_labels(pod), []).append(pod.name)
    numbers = {labels: known[labels] for labels in by_labels if labels in known}
    taken = set(known.values())
    free = (number for number in range(FIRST, LAST + 1) if number not in taken)
    for labels in sorted(by_labels):
        if labels not in numbers:
            number = next(free, None)
            if number is None:
                raise BudgetError(
                    f"more than {LAST - FIRST + 1} identities: the cluster has {len(by_labels)} distinct label sets"
                )
            numbers[labels] = number
    of = {name: numbers[labels] for labels, names in by_labels.items() for name in names}
    return Identities(of, {number: labels for labels, number in numbers.items()})


def _known_numbers(previous: Mapping[str, Any]) -> dict[tuple[str, ...], int]:
    """Well-formed entries of an earlier identities.json; anything else in it is not trusted."""
    entries = previous.get("identities", {})
    known: dict[tuple[str, ...], int] = {}
    if not isinstance(entries, dict):
        return known
    for text, labels in entries.items():
        if isinstance(text, str) and text.isascii() and text.isdigit() and isinstance(labels, list):
            number = int(text)
            if FIRST <= number <= LAST and all(isinstance(label, str) for label in labels):
                known[tuple(labels)] = number
    return known
