"""Traps: each is told, and only where it is one."""

from __future__ import annotations

import pytest

from bpfence.diagnostics import Severity

WARN, NOTE = Severity.WARNING, Severity.NOTE
DNS = "egress: [{ports: [{protocol: UDP, port: 53}]}]"


def np(spec: str, name: str = "p", namespace: str = "shop") -> str:
    return (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


def rule(text: str, direction: str = "ingress") -> str:
    return np(f"{{podSelector: {{}}, policyTypes: [{direction.capitalize()}], {direction}: [{text}]}}")


def cnp(rest: str, tier: str = "Admin") -> str:
    return (
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n"
        f"spec: {{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, {rest}}}\n"
    )


BANP = """
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {}}}
"""
UNKNOWN_NAMESPACE = """
---
apiVersion: v1
kind: Pod
metadata: {name: x, namespace: elsewhere, labels: {app: x}}
spec: {nodeName: n1, containers: [{name: a}]}
status: {podIP: 10.1.0.77}
"""
OPENS = "ingress: [{action: Accept, from: [{namespaces: {}}]}]"
TRAPS = [
    ("no spec", np("{}"), "K8S071", WARN),
    ("no podSelector", np("{ingress: []}"), "K8S072", WARN),
    ("empty egress", np("{podSelector: {}, egress: []}"), "K8S075", WARN),
    ("port item without protocol", rule("{ports: [{}]}"), "K8S076", WARN),
    ("items ORed", rule("{from: [{namespaceSelector: {}}, {podSelector: {}}]}"), "K8S077", WARN),
    ("no DNS", np("{podSelector: {}, policyTypes: [Egress]}"), "K8S078", WARN),
    ("no DNS over TCP alone", rule("{ports: [{port: 53}]}", "egress"), "K8S078", WARN),
    (
        "name of an address",
        rule("{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: http}]}", "egress"),
        "K8S079",
        WARN,
    ),
    ("name that nobody has", rule("{ports: [{port: nobody}]}"), "K8S091", WARN),
    ("name of another protocol", rule("{ports: [{port: http, protocol: UDP}]}"), "K8S091", WARN),
    ("nothing selected", np("{podSelector: {matchLabels: {app: nothing}}}"), "K8S092", NOTE),
    ("no peer", rule("{from: [{podSelector: {matchLabels: {app: nothing}}}]}"), "K8S092", NOTE),
    ("key of nobody", np("{podSelector: {matchLabels: {ap: web}}}"), "K8S093", WARN),
    ("key of no namespace", rule("{from: [{namespaceSelector: {matchLabels: {tem: a}}}]}"), "K8S093", WARN),
    (
        "host network",
        rule("{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: agent}}}]}"),
        "K8S094",
        NOTE,
    ),
    (
        "made-up namespace",
        rule("{from: [{namespaceSelector: {matchLabels: {team: a}}}]}") + UNKNOWN_NAMESPACE,
        "K8S095",
        WARN,
    ),
    ("Baseline opens isolated pods", cnp(OPENS, "Baseline") + np("{podSelector: {}}"), "K8S081", WARN),
    ("Deny of pods alone", cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]"), "K8S082", WARN),
    ("replaced version", BANP, "K8S084", NOTE),
]


@pytest.mark.parametrize(("text", "code", "severity"), [row[1:] for row in TRAPS], ids=[row[0] for row in TRAPS])
def test_trap_is_told(text, code, severity, load, world):
    loaded = load(text + world)
    loaded.lint()
    assert loaded.errors == []
    assert code in {found for found, _ in loaded.found(severity)}


QUIET = [
    ("plain policy", rule("{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}")),
    ("DNS by its own rule", np(f"{{podSelector: {{}}, policyTypes: [Egress], {DNS}}}")),
    (
        "DNS by another policy",
        np("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}")
        + np(f"{{podSelector: {{}}, policyTypes: [Egress], {DNS}}}", "dns"),
    ),
    ("DNS by a rule for everything", rule("{}", "egress")),
    ("both selectors in one item", rule("{from: [{namespaceSelector: {}, podSelector: {}}]}")),
    ("name on egress", rule("{to: [{podSelector: {}}], ports: [{port: http}, {protocol: UDP}]}", "egress")),
    ("name beside a block on ingress", rule("{from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: http}]}")),
    (
        "namespace by its name",
        rule("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}"),
    ),
    ("Baseline before nothing", cnp(OPENS, "Baseline")),
]


@pytest.mark.parametrize("text", [row[1] for row in QUIET], ids=[row[0] for row in QUIET])
def test_no_trap(text, load, world):
    loaded = load(text + world)
    loaded.lint()
    assert loaded.codes == set()


def test_without_inventory_nothing_is_missing(load):
    loaded = load(np("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}"))
    loaded.lint()
    assert loaded.codes == set()


def test_wildcard_without_its_apex(load):
    text = cnp("egress: [{action: Accept, to: [{domainNames: ['*.Kasse.example', '*.b.example', b.example]}]}]")
    loaded = load(text, allow_unsupported=True)
    loaded.lint()
    (found,) = [item for item in loaded.diagnostics.items if item.code == "K8S083"]
    assert "kasse.example" in found.message
