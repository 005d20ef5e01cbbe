"""Profiles: what an endpoint that no tier decided about may do, and the labels it inherits.

In: the input's Profile objects and the inventory. Out: per profile name its facts. Calico generates profiles of
namespaces (``kns.``) and service accounts (``ksa.``) and one that allows everything; those need no object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bpfence.dialects.calico.model import Profile, ProfileSpec
from bpfence.dialects.calico.selectors import ACCOUNT_PREFIX, NAMESPACE_PREFIX
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory

DEFAULT_ALLOW = "projectcalico-default-allow"
OF_NAMESPACE = "kns."
OF_ACCOUNT = "ksa."
GENERATED = (OF_NAMESPACE, OF_ACCOUNT, DEFAULT_ALLOW)
_NAME = "projectcalico.org/name"
_METADATA_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """``item``: the object of the input, None for a generated profile. ``allows_all``: it allows both directions."""

    name: str
    item: PolicyObject | None = None
    spec: ProfileSpec = field(default_factory=ProfileSpec)
    allows_all: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def is_generated(name: str) -> bool:
    """Whether Calico makes profiles of this name itself."""
    return name.startswith((OF_NAMESPACE, OF_ACCOUNT)) or name == DEFAULT_ALLOW


def known_profiles(objects: Sequence[PolicyObject], inventory: Inventory) -> Mapping[str, ProfileFacts]:
    """Every profile there is, by name."""
    found = {DEFAULT_ALLOW: ProfileFacts(DEFAULT_ALLOW, allows_all=True)}
    for item in objects:
        if isinstance(item.model, Profile) and not is_generated(item.name):
            spec = item.model.spec
            found[item.name] = ProfileFacts(item.name, item, spec, labels=spec.labels_to_apply)
    found.update((facts.name, facts) for facts in _generated(inventory))
    return found


def usual_profiles(namespace: str, account: str) -> tuple[ProfileFacts, ProfileFacts]:
    """The two profiles that Calico gives a pod, as far as they follow from these names alone."""
    labels = _inherited(NAMESPACE_PREFIX, {_METADATA_NAME: namespace}, namespace)
    return (
        ProfileFacts(f"{OF_NAMESPACE}{namespace}", allows_all=True, labels=labels),
        ProfileFacts(f"{OF_ACCOUNT}{namespace}.{account}", labels=_inherited(ACCOUNT_PREFIX, {}, account)),
    )


def _generated(inventory: Inventory) -> Iterable[ProfileFacts]:
    for space in inventory.namespaces:
        labels = _inherited(NAMESPACE_PREFIX, space.labels, space.name)
        yield ProfileFacts(f"{OF_NAMESPACE}{space.name}", allows_all=True, labels=labels)
    for account in inventory.service_accounts:
        labels = _inherited(ACCOUNT_PREFIX, account.labels, account.name)
        yield ProfileFacts(f"{OF_ACCOUNT}{account.namespace}.{account.name}", labels=labels)


def _inherited(prefix: str, labels: Mapping[str, str], name: str) -> Mapping[str, str]:
    return {**{f"{prefix}{key}": value for key, value in labels.items()}, f"{prefix}{_NAME}": name}


def effective_labels(own: Mapping[str, str], profiles: Iterable[ProfileFacts]) -> Mapping[str, str]:
    """Own labels, else those of the first profile that has the key."""
    found: dict[str, str] = dict(own)
    for profile in profiles:
        for key, value in profile.labels.items():
            found.setdefault(key, value)
    return found
