"""HostEndpoint, Profile, FelixConfiguration and WorkloadEndpoint objects become inventory records."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from bpfence.dialects import calico
from bpfence.identity.inventory import (
    DEFAULT_FAILSAFE_EGRESS,
    DEFAULT_FAILSAFE_INGRESS,
    ContainerPort,
    FailsafePort,
    HostEndpoint,
)
from bpfence.source.spans import Span

PROFILE = """
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: base}
spec: {labelsToApply: {zone: edge, role: from-profile}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
"""


def hosts_of(loaded):
    return calico.host_endpoints(loaded.objects, loaded.inventory, loaded.diagnostics)


def host(spec: str, name: str = "h", labels: str = "{}") -> str:
    return f"""
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: {name}, labels: {labels}}}
spec: {spec}
"""


def test_a_host_endpoint_inherits_labels_its_own_win(load):
    spec = """{node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1, "2001:db8::1"], profiles: [base, kns.shop],
      ports: [{name: web, protocol: 6, port: 80}, {name: web, protocol: TCP, port: 81}]}"""
    loaded = load(host(spec, labels="{role: own}") + PROFILE)
    (found,) = hosts_of(loaded)
    assert loaded.errors == []
    assert (found.name, found.node, found.interface) == ("h", "n1", "eth0")
    assert found.addresses == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert found.ports == (("web", 6, 80), ("web", 6, 81))
    assert found.profiles == ("base", "kns.shop")
    assert found.labels == {
        "role": "own",
        "zone": "edge",
        "pcns.env": "prod",
        "pcns.kubernetes.io/metadata.name": "shop",
        "pcns.projectcalico.org/name": "shop",
    }


def test_an_unknown_profile_is_reported_at_its_place(load):
    loaded = load(host("{node: n1, interfaceName: eth0, profiles: [kns.nowhere]}"))
    hosts_of(loaded)
    assert loaded.errors == [("CAL067", 6)]


REFUSED = [
    ("{interfaceName: eth0}", "CAL062"),
    ("{node: Node1, interfaceName: eth0}", "CAL062"),
    ("{node: n1}", "CAL063"),
    ("{node: n1, interfaceName: abcdefghijklmnop}", "CAL063"),
    ("{node: n1, interfaceName: 'eth0:1'}", "CAL063"),
    ("{node: n1, interfaceName: lo}", "CAL063"),
    ('{node: n1, interfaceName: "eth0\\n"}', "CAL063"),
    ("{node: n1, expectedIPs: [10.0.0.1/32]}", "CAL064"),
    ("{node: n1, expectedIPs: ['fe80::1%eth0']}", "CAL064"),
    ("{node: n1, expectedIPs: ['::ffff:192.0.2.1']}", "CAL054"),
    ("{node: n1, interfaceName: eth0, profiles: [A]}", "CAL066"),
    ("{node: n1, interfaceName: eth0, ports: [{name: A, protocol: TCP, port: 1}]}", "CAL065"),
    ("{node: n1, interfaceName: eth0, ports: [{name: a, protocol: UDPLite, port: 1}]}", "CAL065"),
    ("{node: n1, interfaceName: eth0, ports: [{name: a, protocol: TCP, port: 0}]}", "CAL065"),
    ("{node: n1, interfaceName: eth0, ports: [{name: a, protocol: TCP}]}", "CAL004"),
    ("{node: n1, interfaceName: eth0, mac: x}", "CAL001"),
]


@pytest.mark.parametrize(("spec", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_host_endpoint(load, spec, code):
    loaded = load(host(spec))
    assert [found for found, _ in loaded.errors] == [code]
    assert loaded.objects == ()


@pytest.mark.parametrize("spec", ["{node: n1, interfaceName: '*'}", "{node: a.b, interfaceName: eth0.100@x}"])
def test_interface_names(load, spec):
    assert (load(host(spec)).errors == []) is ("@" not in spec)


@pytest.mark.parametrize("key", ["projectcalico.org/namespace", "projectcalico.org/serviceaccount"])
def test_a_host_endpoint_can_not_pose_as_a_pod(load, key):
    loaded = load(host("{node: n1, interfaceName: eth0}", labels=f"{{{key}: shop}}"))
    assert [code for code, _ in loaded.errors] == ["CAL013"]


def felix(spec: str, name: str = "default") -> str:
    return f"""
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {{name: {name}}}
spec: {spec}
"""


def test_settings_without_a_configuration(load):
    settings = calico.host_settings(load(PROFILE).objects)
    assert settings.failsafe_ingress == DEFAULT_FAILSAFE_INGRESS
    assert settings.failsafe_egress == DEFAULT_FAILSAFE_EGRESS
    assert settings.workload_to_host == "Accept"


def test_a_failsafe_list_replaces_and_an_empty_one_means_none(load):
    ports = "[{port: 22, net: 192.0.2.7/24}, {protocol: udp, port: 68}]"
    spec = f"{{failsafeInboundHostPorts: {ports}, failsafeOutboundHostPorts: [], logSeverityScreen: Info}}"
    settings = calico.host_settings(load(felix(spec)).objects)
    assert settings.failsafe_ingress == (FailsafePort(6, 22, ip_network("192.0.2.0/24")), FailsafePort(17, 68))
    assert settings.failsafe_egress == ()


def test_a_node_overrides_field_by_field(load):
    text = felix("{defaultEndpointToHostAction: drop, failsafeInboundHostPorts: []}")
    text += felix("{defaultEndpointToHostAction: Return}", "node.n1")
    objects = load(text).objects
    assert calico.host_settings(objects).workload_to_host == "Drop"
    assert calico.host_settings(objects, "n1").workload_to_host == "Return"
    assert calico.host_settings(objects, "n1").failsafe_ingress == ()


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("{defaultEndpointToHostAction: Reject}", "CAL075"),
        ("{failsafeInboundHostPorts: [{protocol: ICMP, port: 1}]}", "CAL069"),
        ("{failsafeOutboundHostPorts: [{port: 65536}]}", "CAL069"),
        ("{failsafeOutboundHostPorts: [{port: 53, net: x}]}", "CAL069"),
        ("{failsafeOutboundHostPorts: [{port: 53, net: '::ffff:10.0.0.0/104'}]}", "CAL054"),
    ],
)
def test_refused_configuration(load, spec, code):
    assert [found for found, _ in load(felix(spec)).errors] == [code]


def test_a_configuration_that_felix_never_reads_is_a_warning(load):
    assert [item.code for item in load(felix("{}", "other")).diagnostics.items] == ["CAL115"]


def named(name: str, interface: str = "", address: str = "", node: str = "n1") -> HostEndpoint:
    addresses = (ip_address(address),) if address else ()
    return HostEndpoint(name, Span("x", 1, 1, 1, 1), node, interface, addresses)


@pytest.mark.parametrize(
    ("endpoints", "lost"),
    [
        ([named("b", "eth0"), named("a", "eth0")], {"b": "a"}),
        ([named("b", "eth0"), named("a", "eth0", node="n2")], {}),
        ([named("b", "*"), named("a", "eth0")], {}),
        ([named("b", "*"), named("a", "*")], {"b": "a"}),
        ([named("b", "", "192.0.2.1"), named("a", "", "192.0.2.1")], {"b": "a"}),
        ([named("b", "", "192.0.2.1"), named("a", "", "192.0.2.2")], {}),
        ([named("b", "eth0", "192.0.2.1"), named("a", "", "192.0.2.1")], {"b": "a"}),
        ([named("a", "eth0", "192.0.2.1"), named("b", "", "192.0.2.1")], {"b": "a"}),
        ([named("a", "eth0"), named("b", "eth0", "192.0.2.1"), named("c", "", "192.0.2.1")], {"b": "a", "c": "a"}),
        ([named("b", "eth0"), named("c", "eth0", "192.0.2.1"), named("a", "", "192.0.2.1")], {"b": "a", "c": "a"}),
        ([named("b", "*", "192.0.2.1"), named("a", "", "192.0.2.1")], {}),
    ],
)
def test_the_smaller_name_governs_an_interface(endpoints, lost):
    assert calico.overruled_host_endpoints(endpoints) == lost


def test_a_workload_endpoint_inherits_by_its_own_list_alone(load):
    (pod,) = load(workload(profiles="[base, ksa.shop.bot]") + PROFILE).inventory.pods
    assert pod.profiles == ("base", "ksa.shop.bot")
    assert pod.labels == {"app": "web", "zone": "edge", "role": "from-profile", "pcsa.projectcalico.org/name": "bot"}
    (usual,) = load(workload() + PROFILE).inventory.pods
    assert (usual.profiles, usual.labels) == (None, {"app": "web"})


POD = """
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: old}
  ownerReferences: [{kind: StatefulSet, name: web, controller: true}]
spec: {nodeName: n1, containers: [{name: main}]}
status: {podIP: 10.0.0.9}
"""


def workload(profiles: str = "[kns.shop, ksa.shop.bot]", networks: str = "[10.1.0.10/32]") -> str:
    return f"""
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata:
  name: n2-k8s-web-eth0
  namespace: shop
  labels: {{app: web, projectcalico.org/namespace: shop, projectcalico.org/orchestrator: k8s,
    projectcalico.org/serviceaccount: bot}}
spec:
  node: n2
  pod: web
  interfaceName: cali1
  profiles: {profiles}
  ipNetworks: {networks}
  ports: [{{name: http, protocol: TCP, port: 8080}}, {{protocol: UDP, port: 53, hostPort: 53}}]
"""


def test_a_workload_endpoint_replaces_its_pod(load):
    loaded = load(POD + workload())
    (pod,) = loaded.inventory.pods
    assert loaded.errors == []
    assert (pod.namespace, pod.name, pod.node, pod.interface) == ("shop", "web", "n2", "cali1")
    assert pod.addresses == (ip_address("10.1.0.10"),)
    assert (pod.labels, pod.service_account) == ({"app": "web"}, "bot")
    assert pod.ports == (ContainerPort("http", 6, 8080),)
    assert pod.owner == ("StatefulSet", "web")


def test_a_workload_endpoint_without_its_pod_is_one(load):
    (pod,) = load(workload()).inventory.pods
    assert pod.owner == ("Pod", "web")
    assert "Pod" in load(workload()).inventory.declared_kinds


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (workload(profiles="[kns.shop, other]"), "CAL067"),
        (workload(profiles="[kns.elsewhere]"), "CAL067"),
        (workload().replace("namespace: shop, projectcalico", "namespace: lab, projectcalico"), "CAL013"),
        (workload().replace("orchestrator: k8s", "orchestrator: openstack"), "CAL013"),
        (workload().replace("  pod: web", "  pod: web\n  serviceAccountName: other"), "CAL013"),
        (workload().replace("  pod: web", "  pod: web\n  orchestrator: openstack"), "CAL077"),
        (workload(networks="[10.1.0.0/31]"), "CAL068"),
        (workload() + workload().replace("n2-k8s", "n3-k8s"), "CAL077"),
        (workload().replace("  pod: web\n", ""), "CAL077"),
    ],
)
def test_refused_workload_endpoint(load, text, code):
    assert [found for found, _ in load(text).errors] == [code]
