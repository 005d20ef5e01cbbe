from bpfence.diagnostics import Diagnostics, Severity
from bpfence.dialects.kinds import INVENTORY
from bpfence.dialects.registry import KINDS, Policies, read_policies
from bpfence.options import Options
from bpfence.source.read import read_text

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


def read(text: str) -> tuple[Policies, Diagnostics]:
    diagnostics = Diagnostics()
    documents = read_text("f.yaml", text, diagnostics)
    return read_policies(documents, Options(), diagnostics), diagnostics


def one(version: str, kind: str) -> tuple[str, str]:
    _, diagnostics = read(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")
    (item,) = diagnostics.items
    return item.code, item.help


def test_policies_come_by_dialect() -> None:
    policies, diagnostics = read(POLICY)
    assert [policy.title for policy in policies.kubernetes] == ["NetworkPolicy shop/web"]
    assert policies.cilium == policies.calico == ()
    assert policies.seen == 1
    assert not diagnostics.has_errors


def test_no_kind_is_read_twice() -> None:
    assert not INVENTORY & set(KINDS)


def test_other_kinds_are_counted() -> None:
    _, diagnostics = read("---\n".join(["apiVersion: v1\nkind: Secret\n"] * 3))
    (note,) = diagnostics.items
    assert (note.code, note.severity) == ("SRC020", Severity.NOTE)
    assert note.message.startswith("3 Secret objects are not used")


def test_kinds_beside_policy_are_no_policy() -> None:
    assert one("networking.k8s.io/v1", "Ingress")[0] == "SRC020"
    assert one("cilium.io/v2", "CiliumNode")[0] == "SRC020"
    assert one("crd.projectcalico.org/v1", "IPAMBlock")[0] == "SRC020"
    assert one("serving.knative.dev/v1", "Service")[0] == "SRC020"


def test_what_looks_like_policy_is_never_passed_over() -> None:
    assert one("networking.k8s.io/v1beta1", "NetworkPolicy") == (
        "SRC019",
        "did you mean apiVersion: networking.k8s.io/v1?",
    )
    assert one("cilium.io/v1", "CiliumNetworkPolicy")[0] == "SRC019"
    assert one("apps/v1beta2", "Deployment") == ("SRC019", "did you mean apiVersion: apps/v1?")
    assert one("cilium.io/v2", "CiliumNetworkPolcy") == ("SRC018", "did you mean kind: CiliumNetworkPolicy?")
    assert one("projectcalico.org/v3", "GlobalNetworkpolicy") == ("SRC018", "did you mean kind: GlobalNetworkPolicy?")
    assert one("policy.networking.k8s.io/v1alpha2", "Something")[0] == "SRC018"
    assert one("example.org/v1", "FancyNetworkPolicy")[0] == "SRC018"


def test_one_identity_is_defined_once() -> None:
    policies, diagnostics = read(f"{POLICY}---\n{POLICY}")
    assert len(policies.kubernetes) == 1
    (error,) = [item for item in diagnostics.items if item.is_error]
    assert (error.code, str(error.span)) == ("SRC022", "f.yaml:8:18")
    assert "f.yaml:3:18" in error.message


def test_apiversion_and_kind_are_needed() -> None:
    for text in ("kind: Pod", "apiVersion: v1", "apiVersion: 1\nkind: Pod", "apiVersion: v1\nkind: 5"):
        assert [item.code for item in read(f"{text}\n")[1].items] == ["SRC017"], text
