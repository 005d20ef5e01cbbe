from typing import Literal

import pytest
from pydantic import Field, field_validator, model_validator

from bpfence.diagnostics import Diagnostic, Diagnostics
from bpfence.dialects.model_base import FieldError, ListOf, Model, ObjectMeta
from bpfence.dialects.validation import parse_model
from bpfence.source.read import read_text


class Port(Model):
    port: int | str = 0
    end_port: int = Field(default=0, ge=0)
    protocol: Literal["TCP", "UDP"] = "TCP"

    @field_validator("end_port")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise FieldError("end ports here are even", "add one")
        return value

    @model_validator(mode="after")
    def ordered(self) -> "Port":
        if isinstance(self.port, int) and 0 < self.end_port < self.port:
            raise FieldError("endPort is below port", at=("endPort",), code="TST031")
        return self


class Named(Model):
    name: str


class Spec(Model):
    ports: ListOf[Port] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    peer: Port | Named | str = ""
    weight: float = 0.0
    flag: bool = False


class Thing(Model):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: Spec = Spec()


HEAD = "apiVersion: v1\nkind: Thing\nmetadata: {name: x}\n"


def problems(text: str) -> list[Diagnostic]:
    diagnostics = Diagnostics()
    (document,) = read_text("f.yaml", text, diagnostics)
    assert not diagnostics.items
    model = parse_model(document, Thing, "TST", diagnostics)
    assert (model is None) == bool(diagnostics.items)
    return list(diagnostics.sorted())


def only(spec: str) -> tuple[str, str, str, str]:
    (item,) = problems(f"{HEAD}spec: {spec}\n")
    assert item.policy == "Thing x"
    return item.code, f"{item.span.line}:{item.span.column}", item.message, item.help


def test_a_good_object() -> None:
    diagnostics = Diagnostics()
    text = f"{HEAD}spec: {{ports: [{{port: 1}}, {{port: web}}], peer: {{name: a}}, weight: 3}}\n"
    (document,) = read_text("f.yaml", text, diagnostics)
    model = parse_model(document, Thing, "TST", diagnostics)
    assert model is not None
    assert [port.port for port in model.spec.ports] == [1, "web"]
    assert model.spec.peer == Named(name="a")


def test_unknown_fields_stand_at_their_key() -> None:
    assert only("{ports: [{endport: 2}]}") == (
        "TST001",
        "4:17",
        "unknown field spec.ports[0].endport",
        "did you mean endPort?",
    )
    assert only("{zzz: 1}")[3] == "known fields here: flag, labels, peer, ports, weight"
    assert only("{peer: {names: a, name: b}}")[3] == "did you mean name?"


def test_nulls() -> None:
    assert only("{labels: }")[:3] == ("TST002", "4:8", "spec.labels is null")
    assert only("{ports: [~]}")[:3] == ("TST002", "4:16", "spec.ports[0] is null")
    assert only("{peer: ~}")[0] == "TST002"


@pytest.mark.parametrize(
    ("spec", "message", "help_text"),
    [
        ("{labels: {a: 8080}}", "spec.labels.a must be text, not the number 8080", 'quote it: "8080"'),
        ("{labels: {a: 2024-01-01}}", "spec.labels.a must be text, not the date 2024-01-01", 'quote it: "2024-01-01"'),
        ("{ports: {port: 1}}", "spec.ports must be a list, not a mapping", "write the items with dashes, or in [ ]"),
        ("{ports: [1]}", "spec.ports[0] must be a mapping, not the number 1", ""),
        ('{ports: [{endPort: "80"}]}', 'spec.ports[0].endPort must be a whole number, not "80"', "remove the quotes"),
        ("{flag: x}", 'spec.flag must be true or false, not "x"', "write true or false without quotes"),
        ("{weight: []}", "spec.weight must be a number, not a list", ""),
        ("{ports: [{port: []}]}", "spec.ports[0].port must be a whole number or text, not a list", ""),
        ("{peer: [a]}", "spec.peer must be a mapping or text, not a list", ""),
    ],
)
def test_wrong_types(spec: str, message: str, help_text: str) -> None:
    code, _, said, helped = only(spec)
    assert (code, said, helped) == ("TST003", message, help_text)


def test_unquoted_words_where_text_is_meant() -> None:
    code, place, message, help_text = only("{labels: {a: yes}}")
    assert (code, place, message) == ("TST003", "4:20", "spec.labels.a must be text, not true")
    assert help_text.startswith("quote it")


def test_missing_fields_stand_at_the_parent() -> None:
    (item,) = problems("apiVersion: v1\nkind: Thing\nmetadata:\n  namespace: a\n")
    assert (item.code, str(item.span), item.message) == ("TST004", "f.yaml:3:1", "metadata.name is required")


def test_refused_values() -> None:
    assert only("{ports: [{endPort: 3}]}")[2:] == ("end ports here are even", "add one")
    assert only("{ports: [{protocol: tcp}]}") == (
        "TST005",
        "4:27",
        "spec.ports[0].protocol must be 'TCP' or 'UDP', not \"tcp\"",
        "write TCP: upper and lower case matter",
    )
    assert only("{ports: [{endPort: -2}]}")[2] == "spec.ports[0].endPort must be at least 0, not the number -2"


def test_validators_may_name_the_field_and_the_code() -> None:
    assert only("{ports: [{port: 9, endPort: 4}]}")[:3] == ("TST031", "4:35", "endPort is below port")


def test_the_meant_alternative_of_a_union_speaks() -> None:
    assert only("{peer: {name: 5}}")[2] == "spec.peer.name must be text, not the number 5"
    assert only("{peer: {port: 1, endPort: x}}")[2] == 'spec.peer.endPort must be a whole number, not "x"'


def test_all_mistakes_are_told() -> None:
    codes = [item.code for item in problems(f"{HEAD}spec: {{zzz: 1, flag: x, ports: [{{port: ~}}, 5]}}\n")]
    assert codes == ["TST001", "TST003", "TST002", "TST003"]


def test_the_servers_bookkeeping_is_accepted() -> None:
    metadata = "{name: x, creationTimestamp: null, uid: 5, managedFields: [{}], generation: 3}"
    assert problems(f"apiVersion: v1\nkind: Thing\nmetadata: {metadata}\n") == []
