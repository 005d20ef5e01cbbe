"""The program for XDP looks at source ports only where what it is asked about depends on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.emit.artefact import Artefact
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: up, labels: {role: up}}
spec: {node: n1, interfaceName: eth0}
"""
READ = "from[there]"
"""the class of the source port"""


def compiled(folder: Path, *, untracked: str = "", tracked: str = "") -> Artefact:
    """``untracked``, ``tracked``: rules for what comes in, before connection tracking and after."""
    texts = [NODE]
    for name, extra, rules in (("early", "doNotTrack: true, applyOnForward: true, ", untracked), ("late", "", tracked)):
        texts.append(
            f"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n"
            f"spec: {{selector: \"role == 'up'\", {extra}types: [Ingress], ingress: [{rules}]}}\n"
        )
    path = folder / "policies.yaml"
    path.write_text("---\n".join(texts))
    return compile_artefact(load_input([str(path)], Options()), Options(node="n1"))


DENY = "{action: Deny, protocol: UDP, destination: {ports: [161]}}"
DENY_FROM = "{action: Deny, protocol: UDP, source: {ports: [4000]}, destination: {ports: [161]}}"
LOG_FROM = "{action: Log, protocol: UDP, source: {ports: [4000]}}"


@pytest.mark.parametrize(
    ("untracked", "tracked", "pairs", "read"),
    [
        (DENY, "{action: Allow}", False, False),
        (DENY, "{action: Allow, protocol: UDP, source: {ports: [4000]}}", True, False),
        (DENY_FROM, "{action: Allow}", True, True),
        (f"{LOG_FROM}, {DENY}", "{action: Allow}", True, False),
    ],
    ids=["no source ports", "source ports elsewhere", "source ports here", "source ports that decide nothing here"],
)
def test_source_ports_are_read_where_they_decide(
    tmp_path: Path, untracked: str, tracked: str, pairs: bool, read: bool
) -> None:
    artefact = compiled(tmp_path, untracked=untracked, tracked=tracked)
    features = artefact.manifest.features
    assert (features["source_ports"], features["early_sources"]) == (pairs, read)
    assert (READ in artefact.programs["xdp.c"]) is read
    assert (READ in artefact.programs["host.c"]) is pairs
