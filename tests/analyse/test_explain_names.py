"""`explain` towards names and towards addresses that a name could open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bpfence.analyse.explain import Explainer
from bpfence.analyse.query import make_query
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import analyse

INPUT = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
   spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}}
- apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: pay, namespace: shop}
  spec:
    endpointSelector: {matchLabels: {app: web}}
    egress:
    - toFQDNs: [{matchPattern: "*.pay.example"}]
      toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"""


def ask(folder: Path, **values: Any) -> dict[str, Any]:
    file = folder / "input.yaml"
    file.write_text(INPUT)
    item = analyse(load_input([str(file)]), Options(node="n1"))
    explainer = Explainer(item.program, item.world, "n1", item.services, item.settings_of, item.pending)
    return explainer.explain(make_query({"src": "shop/web", "protocol": "TCP", "dst_port": 443, **values})).document()


def test_a_bare_address_counts_as_unlearnt_and_the_answer_says_what_would_open_it(tmp_path: Path) -> None:
    answer = ask(tmp_path, dst="203.0.113.9")
    assert answer["verdict"] == "deny"
    assert any("a.pay.example" in note for note in answer["notes"])
    assert not ask(tmp_path, dst="203.0.113.9", dst_port=80)["notes"]


def test_a_learnt_name_opens_the_address(tmp_path: Path) -> None:
    assert ask(tmp_path, dst="203.0.113.9", fqdn="eu.pay.example")["verdict"] == "allow"
    assert ask(tmp_path, dst="203.0.113.9", fqdn="pay.example")["verdict"] == "deny"


def test_a_name_stands_for_its_unknown_address(tmp_path: Path) -> None:
    assert ask(tmp_path, dst="eu.pay.example")["verdict"] == "allow"
    assert ask(tmp_path, fqdn="eu.pay.example.")["verdict"] == "allow"
    assert ask(tmp_path, dst="other.example")["verdict"] == "deny"
