"""A kept program shortens the way and changes nothing: artefacts, messages and failures are those of the long way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpfence import pipeline
from bpfence.assembly import compile_analysed
from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import manifest_bytes
from bpfence.errors import InputError
from bpfence.kept_programs import inventory_digest, watch_pods
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.prepare import prepare
from bpfence.timing import Stopwatch

OPTIONS = Options(node="n1")
KUBERNETES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {tier: front}}}], ports: [{port: 80}]}]
"""
CALICO = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == 'db'
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, source: {selector: tier == 'back'}, destination: {ports: [5432]}}]
"""
CILIUM = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEndpoints: [{matchLabels: {tier: back}}], toPorts: [{ports: [{port: NUMBER, protocol: TCP}]}]}]
"""
NUMBERED, NAMED = CILIUM.replace("NUMBER", '"8080"'), CILIUM.replace("NUMBER", "main")


class Input:
    """A folder of input, prepared again and again with one folder of kept programs."""

    def __init__(self, root: Path) -> None:
        self.root = root / "input"
        self.kept = root / "kept"
        self.root.mkdir()
        self.anew = 0
        self.write("kubernetes.yaml", KUBERNETES)
        self.write("calico.yaml", CALICO)
        self.pods({"web": "front", "db": "back"})

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def pods(self, tiers: dict[str, str], extra: tuple[dict[str, Any], ...] = (), **metadata: Any) -> None:
        pods = [pod(number, app, tier, metadata) for number, (app, tier) in enumerate(tiers.items())]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, node, *pods, *extra]
        self.write("inventory.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))

    def apply(self, options: Options = OPTIONS) -> Artefact:
        """The short way, checked against the long one."""
        prepared = prepare([str(self.root)], options, self.kept, Stopwatch())
        found = compile_analysed(prepared.analysed, prepared.files, options).artefact
        prepared.keep()
        loaded = load_input([str(self.root)], options)
        wanted = compile_artefact(loaded, options)
        assert manifest_bytes(found.manifest) == manifest_bytes(wanted.manifest)
        assert (found.tables, found.programs) == (wanted.tables, wanted.programs)
        assert (found.ir_text, found.identities, found.report) == (wanted.ir_text, wanted.identities, wanted.report)
        assert prepared.analysed.diagnostics.sorted() == loaded.diagnostics.sorted()
        return found


def pod(number: int, app: str, tier: str, metadata: dict[str, Any]) -> dict[str, Any]:
    ports = [{"name": "main", "containerPort": 8000 + number}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": app, "namespace": "shop", "labels": {"app": app, "tier": tier}, **metadata},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "ports": ports}]},
        "status": {"phase": "Running", "podIP": f"10.0.0.{number + 1}"},
    }


@pytest.fixture
def given(tmp_path: Path) -> Input:
    return Input(tmp_path)


@pytest.fixture
def lowerings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Input], int]:
    """How often the policies are lowered for an apply, the comparison with the long way left out."""
    count = [0]
    lower = pipeline.lower_policies

    def counted(*arguments: Any, **values: Any) -> Any:
        count[0] += 1
        return lower(*arguments, **values)

    monkeypatch.setattr(pipeline, "lower_policies", counted)

    def run(given: Input) -> int:
        before = count[0]
        given.apply()
        return count[0] - before - 1

    return run


def test_the_second_time_nothing_is_lowered(given: Input, lowerings: Callable[[Input], int]) -> None:
    assert [lowerings(given), lowerings(given)] == [1, 0]


def test_a_changed_label_needs_no_lowering_and_changes_the_tables(
    given: Input, lowerings: Callable[[Input], int]
) -> None:
    before = given.apply()
    given.pods({"web": "back", "db": "back"})
    assert lowerings(given) == 0
    assert given.apply().tables != before.tables


def test_a_label_more_moves_places_and_needs_no_lowering(given: Input, lowerings: Callable[[Input], int]) -> None:
    given.apply()
    given.pods({"web": "front", "db": "back"}, annotations={"a": "b"}, labels={"app": "web", "x": "y"})
    assert lowerings(given) == 0


@pytest.mark.parametrize("name", ["kubernetes.yaml", "calico.yaml"])
def test_a_changed_policy_is_lowered(given: Input, lowerings: Callable[[Input], int], name: str) -> None:
    given.apply()
    given.write(name, (given.root / name).read_text().replace("80", "81").replace("5432", "5433"))
    assert lowerings(given) == 1


def test_a_policy_that_comes_or_goes_is_noticed(given: Input, lowerings: Callable[[Input], int]) -> None:
    given.apply()
    given.write("more.yaml", NUMBERED)
    assert lowerings(given) == 1
    (given.root / "more.yaml").unlink()
    (given.root / "calico.yaml").unlink()
    assert lowerings(given) == 1


def test_other_options_are_another_program(given: Input, lowerings: Callable[[Input], int]) -> None:
    given.apply(Options(node="n1", ipblock_matches_pods="always"))
    assert lowerings(given) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "shop"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}},
        pod(9, "late", "front", {}),
    ],
)
def test_any_other_change_of_the_inventory_is_lowered(
    given: Input, lowerings: Callable[[Input], int], change: dict[str, Any]
) -> None:
    given.apply()
    given.pods({"web": "front", "db": "back"}, (change,))
    assert lowerings(given) == 1


def test_where_labels_of_pods_matter_a_changed_one_is_lowered(given: Input, lowerings: Callable[[Input], int]) -> None:
    given.write("cilium.yaml", NAMED)
    given.apply()
    given.pods({"web": "back", "db": "back"})
    assert lowerings(given) == 1
    assert lowerings(given) == 0


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: Pod\nmetadata: {name: by-hand, namespace: shop}\n",
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: h, labels: {a: b}}\n"
        "spec: {node: n1, interfaceName: eth0}\n",
        "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\n"
        "spec: {failsafeInboundHostPorts: []}\n",
        CALICO.replace("kind: NetworkPolicy", "kind: StagedNetworkPolicy").replace("name: db", "name: staged"),
    ],
)
def test_what_is_more_than_policy_is_read_each_time(given: Input, lowerings: Callable[[Input], int], text: str) -> None:
    given.write("more.yaml", text)
    given.apply()
    assert not given.kept.exists()
    assert lowerings(given) >= 1


def test_a_policy_among_the_inventory_is_lowered(given: Input, lowerings: Callable[[Input], int]) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "more", "namespace": "shop"},
        "spec": {"podSelector": {}},
    }
    given.apply()
    given.pods({"web": "front", "db": "back"}, (policy,))
    assert [lowerings(given), lowerings(given)] == [1, 1]


def test_a_damaged_file_is_made_anew(given: Input, lowerings: Callable[[Input], int]) -> None:
    given.apply()
    (path,) = given.kept.iterdir()
    path.write_bytes(path.read_bytes().replace(b"allow", b"deny_", 1))
    assert [lowerings(given), lowerings(given)] == [1, 0]


def test_another_compiler_makes_its_own(
    given: Input, lowerings: Callable[[Input], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given.apply()
    monkeypatch.setattr("bpfence.kept_programs.__version__", "another")
    assert lowerings(given) == 1


def test_broken_inventory_is_refused_as_ever(given: Input) -> None:
    given.apply()
    given.pods({"web": "front", "db": "back"}, (pod(0, "twice", "front", {}),))
    with pytest.raises(InputError) as short:
        prepare([str(given.root)], OPTIONS, given.kept, Stopwatch())
    loaded = load_input([str(given.root)], OPTIONS)
    with pytest.raises(InputError) as long:
        loaded.diagnostics.stop_on_errors()
    assert short.value.diagnostics == long.value.diagnostics


def test_broken_policy_and_inventory_are_told_together(given: Input) -> None:
    given.write("calico.yaml", CALICO.replace("Allow", "Perhaps"))
    given.pods({"web": "front", "db": "back"}, (pod(0, "twice", "front", {}),))
    with pytest.raises(InputError) as short:
        prepare([str(given.root)], OPTIONS, given.kept, Stopwatch())
    assert {item.code[:3] for item in short.value.diagnostics} >= {"CAL", "INV"}
    loaded = load_input([str(given.root)], OPTIONS)
    assert short.value.diagnostics == loaded.diagnostics.sorted()


def test_watched_pods_are_the_same_pods_and_tell_who_looks(given: Input) -> None:
    inventory = load_input([str(given.root)], OPTIONS).inventory
    watched, reads = watch_pods(inventory)
    assert [item.name for item in watched.pods] == [item.name for item in inventory.pods]
    assert not reads.fields
    assert watched.pods[0].labels == inventory.pods[0].labels
    assert reads.fields == {"labels"}
    assert watched.pods[0].span == inventory.pods[0].span
    assert reads.fields == {"labels", "span"}


@pytest.mark.parametrize("matter", [True, False])
def test_the_digest_sees_labels_only_where_they_matter(given: Input, matter: bool) -> None:
    before = inventory_digest(load_input([str(given.root)], OPTIONS).inventory, matter)
    given.pods({"web": "other", "db": "back"})
    after = inventory_digest(load_input([str(given.root)], OPTIONS).inventory, matter)
    assert (before != after) is matter
