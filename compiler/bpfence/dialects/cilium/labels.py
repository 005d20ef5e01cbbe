"""Label keys with sources and label selectors: the written forms in, tests of one label each out.

Upstream: ``pkg/labels/labels.go``, ``pkg/policy/api/selector.go``, ``pkg/labelsfilter``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bpfence.dialects.cilium.model import Selector
from bpfence.dialects.label_syntax import DOES_NOT_EXIST, EXISTS, IN, NOT_IN, label_key_problem
from bpfence.ir.expressions import LabelOperator
from bpfence.source.documents import Path

ANY, K8S, NODE, RESERVED, CIDR_GROUP = "any", "k8s", "node", "reserved", "cidrgroup"

NAMESPACE_KEY = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS_PREFIX = "io.cilium.k8s.namespace.labels."
CLUSTER_KEY = "io.cilium.k8s.policy.cluster"
DERIVED_KEYS = {
    NAMESPACE_KEY: "meta:namespace",
    "io.cilium.k8s.policy.serviceaccount": "meta:serviceaccount",
    CLUSTER_KEY: "meta:cluster",
}

_SOURCE = re.compile(r"[A-Za-z0-9]+\Z")
_KEPT = re.compile(r"io\.kubernetes\.pod\.namespace|io\.cilium\.k8s\.|app\.kubernetes\.io")
_FILTERED = re.compile(
    r"io\.kubernetes|kubernetes\.io|[^/]*beta\.kubernetes\.io|k8s\.io|pod-template-(?:hash|generation)|controller-(?:revision-hash|uid)"
    r"|statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index|batch\.kubernetes\.io/(?:job-completion-index|controller-uid)"
    r"|annotation|etcd_node"
)
_FILTERED_NEW = re.compile(r"topology\.kubernetes\.io")

_OPERATORS = {
    IN: LabelOperator.IN,
    NOT_IN: LabelOperator.NOT_IN,
    EXISTS: LabelOperator.EXISTS,
    DOES_NOT_EXIST: LabelOperator.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Key:
    """A label key and the source that its label must have; ``any`` matches a label of every source."""

    source: str
    name: str

    def names(self, name: str, source: str = K8S) -> bool:
        """Whether the key can mean the label ``name`` of this source."""
        return self.name == name and self.source in (ANY, source)


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one label. ``path``: its place inside the selector."""

    key: Key
    operator: LabelOperator
    values: tuple[str, ...]
    path: Path

    @property
    def is_negative(self) -> bool:
        """Whether an absent label satisfies it."""
        return self.operator in (LabelOperator.NOT_IN, LabelOperator.ABSENT)

    def accepts(self, value: str | None) -> bool:
        """Whether a label of this value (None: no such label) satisfies the test."""
        if value is None:
            return self.is_negative
        if self.operator is LabelOperator.IN:
            return value in self.values
        if self.operator is LabelOperator.NOT_IN:
            return value not in self.values
        return self.operator is LabelOperator.EXISTS


def parse_key(text: str) -> Key:
    """Split a key that passed `key_problem` into source and name."""
    if text.startswith("$"):
        return Key(RESERVED, text[1:])
    source, colon, name = text.partition(":")
    if colon:
        return Key(source, name)
    if text.startswith("reserved."):
        return Key(RESERVED, text.removeprefix("reserved."))
    return Key(ANY, text)


def key_problem(text: str) -> str | None:
    """What is wrong with a selector key, source included."""
    if text.count(":") > 1:
        return "has more than one ':'"
    source, colon, _ = text.partition(":")
    if colon and not _SOURCE.match(source):
        return "has a source that is not letters and digits"
    return label_key_problem(parse_key(text).name)


def selector_tests(selector: Selector) -> tuple[Test, ...]:
    """The tests of a selector that passed the checks; all must hold."""
    tests = [
        Test(parse_key(key), LabelOperator.IN, (value,), ("matchLabels", key))
        for key, value in (selector.match_labels or {}).items()
    ]
    for index, item in enumerate(selector.match_expressions or ()):
        values = tuple(sorted(set(item.values or ())))
        tests.append(Test(parse_key(item.key), _OPERATORS[item.operator], values, ("matchExpressions", index)))
    return tuple(tests)


def is_filtered(key: Key, old_profile: bool) -> bool:
    """Whether Cilium's default label filter hides this label from policy."""
    if key.source not in (ANY, K8S) or _KEPT.match(key.name):
        return False
    return bool(_FILTERED.match(key.name) or (not old_profile and _FILTERED_NEW.match(key.name)))
