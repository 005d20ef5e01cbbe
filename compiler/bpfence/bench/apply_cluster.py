"""A made-up cluster for the bench ``apply``: pods in full, as ``kubectl get -o json`` prints them, and policies of all
three languages, one file each, as people keep them.

In: a `ClusterSize`. Out: a folder with ``inventory.json`` and ``policies/``. The same every time.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from bpfence.bench.cluster import PORTS, ClusterSize, cilium_policy_text, inventory

_TIERS = ("front", "back", "data")
_QUOTE = '"'
_TIER = '"tier": "'


def write_apply_cluster(folder: Path, size: ClusterSize) -> str:
    """The whole input of an apply in the folder. Returns the text of ``inventory.json``."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    for number in range(size.policies):
        (policies / f"policy-{number:05d}.yaml").write_text(policy_text(number, size))
    text = inventory_text(size)
    write_inventory(folder, text)
    return text


def write_inventory(folder: Path, text: str) -> None:
    """``inventory.json`` with this text."""
    (folder / "inventory.json").write_text(text)


def inventory_text(size: ClusterSize) -> str:
    """The inventory as the API server's client prints it. Takes seconds for a large cluster."""
    document = inventory(size)
    pods = [item for item in document["items"] if item["kind"] == "Pod"]
    for number, pod in enumerate(pods):
        _complete(pod, number)
    return json.dumps(document, indent=4)


def with_tier(text: str, tier: str) -> str:
    """The same inventory with another label ``tier`` of its last pod."""
    start = text.rindex(_TIER) + len(_TIER)
    return f"{text[:start]}{tier}{text[text.index(_QUOTE, start) :]}"


def local_addresses(size: ClusterSize) -> tuple[tuple[str, ...], ...]:
    """The addresses of each pod of the node that is compiled for."""
    pods = [item for item in inventory(size)["items"] if item["kind"] == "Pod"][: size.local]
    return tuple(tuple(entry["ip"] for entry in pod["status"]["podIPs"]) for pod in pods)


def policy_text(number: int, size: ClusterSize) -> str:
    """One policy; the languages take turns."""
    write = (_kubernetes_text, cilium_policy_text, _calico_text)[number % 3]
    return write(number, size)


def _complete(pod: dict[str, Any], number: int) -> None:
    """What every running pod has beside the fields that matter here."""
    pod["metadata"] |= {
        "annotations": {"kubernetes.io/config.seen": "2026-01-01T00:00:00Z", "kubernetes.io/config.source": "api"},
        "generateName": f"{pod['metadata']['labels']['app']}-",
        "resourceVersion": str(100_000 + number),
    }
    container = pod["spec"]["containers"][0]
    container |= {
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "main", "scheme": "HTTP"}, "periodSeconds": 10},
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        "volumeMounts": [{"mountPath": "/var/run/secrets", "name": "token", "readOnly": True}],
    }
    pod["spec"] |= {
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {"effect": "NoExecute", "key": f"node.kubernetes.io/{key}", "operator": "Exists", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
        "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [{"downwardAPI": {"items": []}}]}}],
    }
    then = "2026-01-01T00:00:00Z"
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    state = {"running": {"startedAt": then}}
    pod["status"] |= {
        "conditions": [
            {"lastProbeTime": None, "lastTransitionTime": then, "status": "True", "type": kind} for kind in conditions
        ],
        "containerStatuses": [
            {
                "containerID": f"containerd://{number:064x}",
                "image": container["image"],
                "imageID": f"{container['image']}@sha256:{number:064x}",
                "lastState": {},
                "name": "main",
                "ready": True,
                "restartCount": 0,
                "started": True,
                "state": state,
            }
        ],
        "qosClass": "Burstable",
        "startTime": then,
    }


def _kubernetes_text(number: int, size: ClusterSize) -> str:
    choose = random.Random((size.seed << 20) + number)
    lines = [
        "apiVersion: networking.k8s.io/v1",
        "kind: NetworkPolicy",
        "metadata:",
        f"  name: policy-{number}",
        f"  namespace: team-{number % size.namespaces}",
        "spec:",
        "  podSelector:",
        "    matchLabels:",
        f"      app: app-{choose.randrange(size.apps)}",
        f"      tier: {choose.choice(_TIERS)}",
        "  policyTypes: [Ingress]",
        "  ingress:",
    ]
    for _ in range(choose.randint(1, 3)):
        lines += [
            "  - from:",
            "    - namespaceSelector:",
            f"        matchLabels: {{kubernetes.io/metadata.name: team-{choose.randrange(size.namespaces)}}}",
            "      podSelector:",
            f"        matchLabels: {{app: app-{choose.randrange(size.apps)}}}",
            "    ports:",
            "    - protocol: TCP",
            f"      port: {choose.choice(PORTS)}",
        ]
    return "\n".join(lines) + "\n"


def _calico_text(number: int, size: ClusterSize) -> str:
    choose = random.Random((size.seed << 20) + number)
    lines = [
        "apiVersion: projectcalico.org/v3",
        "kind: NetworkPolicy",
        "metadata:",
        f"  name: policy-{number}",
        f"  namespace: team-{number % size.namespaces}",
        "spec:",
        f"  order: {100 + number % 50}",
        f"  selector: app == 'app-{choose.randrange(size.apps)}'",
        "  types: [Ingress, Egress]",
        "  ingress:",
    ]
    for _ in range(choose.randint(1, 2)):
        app, tier, space = choose.randrange(size.apps), choose.choice(_TIERS), choose.randrange(size.namespaces)
        lines += [
            "  - action: Allow",
            "    protocol: TCP",
            "    source:",
            f"      selector: app == 'app-{app}' && tier in {{'{tier}', 'ops'}}",
            f"      namespaceSelector: kubernetes.io/metadata.name == 'team-{space}'",
            "    destination:",
            f"      ports: [{choose.choice(PORTS)}]",
        ]
    second, third = choose.randrange(16, 20), choose.randrange(256)
    lines += [
        "  egress:",
        f"  - {{action: Deny, destination: {{nets: [198.{second}.{third}.0/24]}}}}",
        "  - action: Allow",
    ]
    return "\n".join(lines) + "\n"
