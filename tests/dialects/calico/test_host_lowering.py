"""Host policies in the program: layers by point, subjects, ends of tiers, profiles; the worked examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.classify.rows import Subject, entity_matches, place_matches, place_of
from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico
from bpfence.identity.world import build_world
from bpfence.ir.expressions import ANYONE, HasObject, InPrefixes, LabelOperator, LabelTest, all_labels, kind_is
from bpfence.ir.legality import check_program
from bpfence.ir.nodes import Action, Direction, Point, Program
from bpfence.loading import LoadedInput, load_input
from bpfence.lowering import lower_policies
from bpfence.options import Options

HOST = kind_is("hostendpoint")
POLICIES = Path(__file__).parents[3] / "policies" / "calico"


@pytest.fixture
def program(tmp_path):
    """Text to (input, program, world), without errors."""

    def read(text: str, pending: bool = False, **options):
        path = tmp_path / "input.yaml"
        path.write_text(text)
        return lowered(path, Options.model_validate(options), pending)

    return read


def lowered(path: Path, options: Options, pending: bool = False):
    loaded: LoadedInput = load_input([str(path)], options)
    found = lower_policies(loaded.policies, loaded.inventory, options, loaded.diagnostics, pending=pending)
    assert [item for item in loaded.diagnostics.items if item.is_error] == []
    check_program(found)
    hosts = calico.host_endpoints(loaded.policies.calico, loaded.inventory, Diagnostics())
    return found, build_world(loaded.inventory, hosts)


def layers(found: Program) -> dict[str, list[tuple[str, str, list[str]]]]:
    return {
        layer.name: [
            (tier.name, tier.end.value, [policy.name.partition(" ")[2] for policy in tier.policies])
            for tier in layer.tiers
        ]
        for layer in found.layers
    }


def selecting(found: Program, world, entity: str, point: Point = Point.ENDPOINT) -> list[str]:
    """The policies of a point that select the entity, in order."""
    return [
        policy.name.partition(" ")[2]
        for layer in found.layers
        if layer.point is point
        for tier in layer.tiers
        for policy in tier.policies
        if entity_matches(policy.subject, world.by_name[entity])
    ]


def test_untracked_policies_form_a_layer_of_their_own():
    found, world = lowered(POLICIES / "hosts-untracked.yaml", Options())
    assert layers(found) == {
        "calico": [("default", "deny", ["host-base"]), ("profiles", "deny", ["cache1-ens5"])],
        "calico-untracked": [("edge", "pass", ["edge-drop"]), ("default", "pass", ["redis-fast"])],
    }
    untracked = found.layers[1]
    assert untracked.point is Point.UNTRACKED
    assert not any(tier.exempt_ingress or tier.exempt_egress for tier in untracked.tiers)
    drop = untracked.tiers[0].policies[0]
    assert drop.subject == all_labels(HOST, LabelTest(("label:role",), LabelOperator.IN, ("redis",)))
    assert (drop.egress, drop.ingress.rules[0].action) == (None, Action.DENY)
    assert selecting(found, world, "hep/cache1-ens5", Point.UNTRACKED) == ["edge-drop", "redis-fast"]


def test_network_sets_match_the_address_on_the_wire_before_translation():
    found, _ = lowered(POLICIES / "hosts-untracked.yaml", Options())
    normal, untracked = found.layers[0], found.layers[1]
    peer = untracked.tiers[0].policies[0].ingress.rules[0].peer
    assert isinstance(peer.items[1], InPrefixes)
    tracked = normal.tiers[0].policies[0].ingress.rules[0].peer
    assert not isinstance(tracked, InPrefixes)


TIERS = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {env: prod}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {env: dev}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web}}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.1.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: api, namespace: shop, labels: {app: api}}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.1.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: old, namespace: shop, labels: {app: api, quarantine: "true"}}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.1.0.3}
- apiVersion: v1
  kind: Pod
  metadata: {name: dbg, namespace: lab}
  spec: {nodeName: n1, containers: []}
  status: {podIP: 10.1.0.4}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 100}}
- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: audit}, spec: {order: 300, defaultAction: Pass}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: quarantine},
   spec: {tier: security, order: 1, selector: quarantine == 'true', types: [Ingress, Egress]}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: ns-guard},
   spec: {tier: security, order: 10, namespaceSelector: env == 'prod', types: [Ingress],
          ingress: [{action: Deny, source: {namespaceSelector: env == 'dev'}}, {action: Pass}]}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: watch-api},
   spec: {tier: audit, selector: app == 'api', ingress: [{action: Log, protocol: TCP, destination: {ports: [8080]}}]}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: api-in, namespace: shop},
   spec: {selector: app == 'api', ingress: [
          {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [8080]}}]}}
"""
STAGED = """
- {apiVersion: projectcalico.org/v3, kind: StagedNetworkPolicy, metadata: {name: api-in, namespace: shop},
   spec: {selector: app == 'api', ingress: [
          {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: ["8080:8081"]}}]}}
- {apiVersion: projectcalico.org/v3, kind: StagedGlobalNetworkPolicy, metadata: {name: ns-guard},
   spec: {tier: security, stagedAction: Delete}}
"""


def test_tiers_without_host_endpoints(program):
    found, world = program(TIERS)
    assert layers(found) == {
        "calico": [
            ("security", "deny", ["quarantine", "ns-guard"]),
            ("audit", "pass", ["watch-api"]),
            ("default", "deny", ["shop/api-in"]),
        ]
    }
    assert selecting(found, world, "shop/old") == ["quarantine", "ns-guard", "watch-api", "shop/api-in"]
    assert selecting(found, world, "shop/web") == ["ns-guard"]
    assert selecting(found, world, "lab/dbg") == []


def test_staged_policies_change_the_pending_set_alone(program):
    enforced, _ = program(TIERS + STAGED)
    assert layers(enforced) == layers(program(TIERS)[0])
    pending, _ = program(TIERS + STAGED, pending=True)
    (layer,) = pending.layers
    names = {tier.name: [policy.name for policy in tier.policies] for tier in layer.tiers}
    assert names == {
        "security": ["GlobalNetworkPolicy quarantine"],
        "audit": ["GlobalNetworkPolicy watch-api"],
        "default": ["StagedNetworkPolicy shop/api-in"],
    }
    assert layer.tiers[2].policies[0].ingress.rules[0].l4[0].destination_ports == ((8080, 8081),)
    assert layer.tiers[2].policies[0].order[1] == "api-in/shop/NetworkPolicy"


def test_a_staged_only_tier_exists_in_the_pending_set_alone(program):
    text = """
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: t}, spec: {order: 1}}
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: p}
spec: {tier: t, stagedAction: %s}
"""
    assert layers(program(text % "Set")[0]) == {}
    assert layers(program(text % "Learn", pending=True)[0])["calico"][0] == ("t", "deny", ["p"])
    assert layers(program(text % "Ignore", pending=True)[0]) == {}


KUBERNETES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {matchLabels: {app: old}}}
---
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: p, namespace: shop}
spec: %s
"""


def test_a_draft_of_a_kubernetes_policy(program):
    spec = "{podSelector: {matchLabels: {app: new}}, policyTypes: [Egress]}"
    (layer,) = program(KUBERNETES % spec, pending=True)[0].layers
    (policy,) = layer.tiers[0].policies
    assert (layer.name, policy.name) == ("kubernetes", "StagedKubernetesNetworkPolicy shop/p")
    assert (policy.ingress, policy.origin.span.line) == (None, 7)
    assert program(KUBERNETES % spec)[0].layers[0].tiers[0].policies[0].name == "NetworkPolicy shop/p"
    assert layers(program(KUBERNETES % "{stagedAction: Delete}", pending=True)[0]) == {}


def test_a_draft_of_a_kubernetes_policy_is_read_by_its_own_rules(tmp_path):
    path = tmp_path / "input.yaml"
    path.write_text(KUBERNETES % "{podSelector: {}, ingres: []}")
    loaded = load_input([str(path)])
    lower_policies(loaded.policies, loaded.inventory, Options(), loaded.diagnostics)
    (error,) = [item for item in loaded.diagnostics.items if item.is_error]
    assert (error.code[:3], error.span.line) == ("K8S", 10)


def test_a_deletion_without_counterpart_is_a_warning(load):
    text = """
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: p, namespace: a}
spec: {stagedAction: Delete}
---
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: p, namespace: a}
spec: {stagedAction: Delete}
"""
    loaded = load(text)
    calico.lint_staged(loaded.objects, {("a", "p")}, loaded.diagnostics)
    assert [(item.code, item.span.line) for item in loaded.diagnostics.items] == [("CAL127", 4)]


LOCKED = """
{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: edge7-eth0, labels: {host: edge7}},
 spec: {node: edge7, interfaceName: eth0, expectedIPs: [192.0.2.77]}}
"""
WEB = """
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: edge7-web}
spec:
  selector: host == 'edge7'
  applyOnForward: true
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]
"""


def test_a_host_endpoint_alone_is_closed(program):
    found, _ = program(LOCKED)
    assert layers(found) == {"calico": [("default", "deny", []), ("profiles", "deny", ["edge7-eth0"])]}
    (profile,) = found.layers[0].tiers[1].policies
    for direction in Direction:
        section = profile.section(direction)
        assert (section.rules, section.isolates) == ((), True)


def test_apply_on_forward_adds_the_policy_to_the_forward_layer(program):
    found, world = program(LOCKED + WEB)
    assert layers(found) == {
        "calico": [("default", "deny", ["edge7-web"]), ("profiles", "deny", ["edge7-eth0"])],
        "calico-forward": [("default", "deny", ["edge7-web"])],
    }
    forward = found.layers[1]
    assert forward.point is Point.FORWARD
    assert forward.tiers[0].policies[0].egress is None
    assert selecting(found, world, "hep/edge7-eth0", Point.FORWARD) == ["edge7-web"]


def test_profiles_decide_last_in_the_order_of_the_list(program):
    text = LOCKED.replace("interfaceName", "profiles: [first, kns.shop, second], interfaceName")
    text += """
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: first}
spec: {ingress: [{action: Log}, {action: Pass, protocol: TCP}]}
---
{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: second}, spec: {}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
"""
    found, world = program(text)
    tier = found.layers[0].tiers[-1]
    assert [policy.name for policy in tier.policies] == ["Profile first", "Profile kns.shop", "Profile second"]
    assert [rule.action for rule in tier.policies[0].ingress.rules] == [Action.LOG, Action.DENY]
    assert [rule.action for rule in tier.policies[1].egress.rules] == [Action.ALLOW]
    assert selecting(found, world, "hep/edge7-eth0") == ["first", "kns.shop", "second"]


def test_own_node_exemption_is_for_pods(program):
    found, world = program(LOCKED + "\n---\n" + TIERS)
    exempt = found.layers[0].tiers[0].exempt_ingress
    for name, holds in (("shop/web", True), ("hep/edge7-eth0", False)):
        entity = world.by_name[name]
        subject = Subject(entity, entity.addresses[0])
        place = place_of(subject.address, world)
        assert any(place_matches(rule.own, place, entity.node) for rule in exempt) is holds


SELECTED = [
    ("selector: all()", {"hep/edge7-eth0", "shop/web", "lab/dbg"}),
    ("namespaceSelector: env != 'prod'", {"hep/edge7-eth0", "lab/dbg"}),
    ("namespaceSelector: has(env) && env != 'prod'", {"lab/dbg"}),
    ("selector: all(), namespaceSelector: env != 'prod'", {"lab/dbg"}),
    ("selector: host == 'edge7'", {"hep/edge7-eth0"}),
    ('selector: "!has(projectcalico.org/namespace)"', {"hep/edge7-eth0"}),
]


@pytest.mark.parametrize(("spec", "names"), SELECTED, ids=[row[0] for row in SELECTED])
def test_which_endpoints_a_global_policy_selects(program, spec, names):
    policy = f"{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: p}}, spec: {{{spec}}}}}"
    found, world = program(f"{LOCKED}\n---\n{TIERS}\n---\n{policy}")
    everybody = {"hep/edge7-eth0", "shop/web", "lab/dbg"}
    assert {name for name in everybody if "p" in selecting(found, world, name)} == names


def test_pre_dnat_policies_see_service_addresses(program):
    rule = "{action: Deny, destination: {nets: [198.51.100.9/32]}}"
    spec = f"{{selector: host == 'edge7', preDNAT: true, applyOnForward: true, ingress: [{rule}]}}"
    policy = f"{{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {{name: p}}, spec: {spec}}}"
    found, _ = program(f"{LOCKED}\n---\n{policy}")
    layer = found.layers[1]
    (rule,) = layer.tiers[0].policies[0].ingress.rules
    assert (layer.name, layer.point, layer.tiers[0].end) == ("calico-pre-dnat", Point.PRE_DNAT, Action.PASS)
    assert isinstance(rule.own, InPrefixes)
    assert rule.own != ANYONE


def test_named_ports_of_host_endpoints(program):
    text = LOCKED.replace("expectedIPs", "ports: [{name: web, protocol: TCP, port: 8443}], expectedIPs")
    rule = "{action: Allow, protocol: TCP, destination: {ports: [web], notPorts: [80]}}"
    policy = (
        "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}, "
        f"spec: {{selector: host == 'edge7', ingress: [{rule}]}}}}"
    )
    found, _ = program(f"{text}\n---\n{policy}")
    (lowered_rule,) = found.layers[0].tiers[0].policies[0].ingress.rules
    assert lowered_rule.l4[0].destination_ports == ((8443, 8443),)
    assert lowered_rule.own == HasObject(LabelTest(("port:TCP:web:8443",), LabelOperator.EXISTS))
