"""`diff live` as users call it: what would change, what was changed behind our back, live connections, change plans."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from bpfence.cli import run
from bpfence.demo.connection import OpenConnection
from bpfence.emit.folder import write_artefact
from bpfence.loader.bpffs import program_place
from bpfence.loader.maps import pin, prog_array_set, read_array, write_array
from bpfence.loader.netlink import HOOK_PARENT, Netlink
from bpfence.loader.node import Slot, open_node
from bpfence.loader.programs import load_programs
from bpfence.plan.layout import HEADER, endpoint_struct
from support.netns import NodeUnderTest, allow_ingress, tcp

pytestmark = pytest.mark.kernel

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")
WEB_ON_81 = allow_ingress("db", "db", "web", port=81)


Answer = tuple[int, dict[str, Any]]


def diff(node: NodeUnderTest, capsys: pytest.CaptureFixture[str], *policies: str) -> Answer:
    """(exit code, JSON) of a diff with policies."""
    node.compile(*policies)
    capsys.readouterr()
    code = run(["diff", "live", str(node.folder / "input.yaml"), "-o", "json"])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    return code, json.loads(captured.out)


def rows(document: dict[str, Any]) -> set[tuple[object, ...]]:
    """(kind, source, destination, protocol, ports, direction)."""
    return {
        (row["kind"], row["src"], row["dst"], row["protocol"], str(row["ports"]), row["direction"])
        for row in document["changes"]
    }


class Tampered:
    """Bytes of the slot in force, changed in the kernel and put back."""

    def __init__(self, node: NodeUnderTest) -> None:
        self._node = node
        self._stack = ExitStack()

    def __enter__(self) -> Slot:
        opened = open_node(self._node.paths.pins, self._stack)
        assert opened is not None
        slot = opened.slots[opened.active.slot]
        for table in slot.tables.values():
            self._stack.callback(write_array, table, read_array(table))
        return slot

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def flip(slot: Slot, table: str, offset: int, bits: int = 0xFF) -> None:
    image = bytearray(read_array(slot.tables[table]))
    image[offset] ^= bits
    write_array(slot.tables[table], image)


def test_nothing_in_force_means_everything_is_allowed(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(node, capsys, WEB)
    assert code == 1
    assert found["generation"] == 0
    assert ("removed", "shop/cart[Pod]", "shop/db[Pod]", "ANY", "[]", "ingress") in rows(found)
    assert {row["kind"] for row in found["changes"]} == {"removed"}
    assert {row["dst"] for row in found["changes"]} == {"shop/db[Pod]"}
    assert found["interfaces"]["attached"] == ["pod1 (shop/web)", "pod2 (shop/db)", "pod3 (shop/cart)"]
    assert not node.paths.state.exists()
    assert run(["diff", "live", str(node.folder / "input.yaml")]) == 1
    assert "nothing is in force" in capsys.readouterr().out


def test_empty_right_after_apply(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.compile(WEB)
    assert run(["apply", str(node.folder / "input.yaml")]) == 0
    before = node.snapshot()
    code, found = diff(node, capsys, WEB)
    assert code == 0
    assert found["empty"]
    assert not any(found[name] for name in ("changes", "tables", "connections", "warnings"))
    assert found["drift"]["lines"] == []
    assert run(["diff", "live", str(node.folder / "input.yaml")]) == 0
    assert "nothing would change" in capsys.readouterr().out
    write_artefact(node.compile(WEB), node.folder / "artefact")
    assert run(["diff", "live", str(node.folder / "artefact")]) == 0
    assert node.snapshot() == before


def test_empty_after_going_back(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    assert run(["rollback"]) == 0
    assert diff(node, capsys, WEB)[0] == 0
    assert diff(node, capsys, CART)[0] == 1


def test_a_change_shows_exactly_its_rows(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    code, found = diff(node, capsys, CART)
    assert code == 1
    assert rows(found) == {
        ("added", "shop/cart[Pod]", "shop/db[Pod]", "TCP", "[[80, 80]]", "ingress"),
        ("removed", "shop/web[Pod]", "shop/db[Pod]", "TCP", "[[80, 80]]", "ingress"),
    }
    added = next(row for row in found["changes"] if row["kind"] == "added")
    assert added["example"] == {
        "src": "10.9.0.3", "dst": "10.9.0.2", "protocol": "TCP", "src_port": 40000, "dst_port": 80
    }  # fmt: skip
    assert (added["before"]["verdict"], added["before"]["reason"]) == ("deny", "default-deny")
    assert (added["after"]["policy"], added["after"]["path"]) == ("NetworkPolicy shop/db", "input.yaml")
    assert added["after"]["line"] > 1
    assert not added["exposes_world"]
    assert {item["name"] for item in found["tables"]} <= {"cells", "address4_l3"}
    assert all(item["old_size"] == item["new_size"] and item["differing"] for item in found["tables"])
    assert found["writes"]["bytes"] > 0
    code, found = diff(node, capsys)
    assert all(row["kind"] == "added" for row in found["changes"])
    assert any(row["exposes_world"] and row["src"].endswith("[External]") for row in found["changes"])
    assert found["policies"] == {"added": [], "removed": ["NetworkPolicy shop/db"]}


def test_bytes_to_write_are_what_apply_writes(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    for policies in ((WEB,), (CART,), (WEB_ON_81,), (WEB,)):
        _, found = diff(node, capsys, *policies)
        report = node.apply(node.compile(*policies))
        assert found["writes"]["bytes"] == report.table_bytes
        assert len(found["writes"]["loaded"]) == report.programs_loaded


def test_an_endpoint_more_or_less(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = {"shop/web": "10.9.0.1", "shop/db": "10.9.0.2"}
    node.apply(node.compile(WEB, pods=fewer))
    code, found = diff(node, capsys, WEB)
    assert code == 1
    assert found["endpoints"] == {"added": ["shop/cart"], "removed": []}
    assert found["interfaces"] == {"attached": ["pod3 (shop/cart)"], "detached": []}
    node.apply(node.compile(WEB, CART.replace("name: db,", "name: cart,").replace("app: db}", "app: cart}")))
    node.compile(WEB, pods=fewer)
    capsys.readouterr()
    assert run(["diff", "live", str(node.folder / "input.yaml"), "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["endpoints"] == {"added": [], "removed": ["shop/cart"]}
    assert found["interfaces"] == {"attached": [], "detached": ["pod3"]}
    assert {row["endpoints"][0] for row in found["changes"]} == {"shop/cart"}


@pytest.mark.parametrize(
    "table", ["cells", "address4_l1", "address4_l2", "address4_l3", "ports", "endpoints", "header"]
)
def test_a_changed_byte_is_drift_and_a_changed_verdict(
    table: str, node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    changed = 0
    with Tampered(node) as slot:
        size = len(read_array(slot.tables[table]))
        for offset in offsets_of(read_array(slot.tables[table]), table):
            flip(slot, table, offset)
            code, found = diff(node, capsys, WEB)
            flip(slot, table, offset)
            assert code == 1
            [drift] = found["drift"]["tables"]
            assert (drift["table"], drift["ranges"], drift["count"]) == (table, [[offset, offset]], 1)
            assert any(str(offset) in line and table in line for line in found["drift"]["lines"])
            assert [(item["name"], item["differing"]) for item in found["tables"]] == [(table, 1)]
            changed += bool(found["changes"])
            mirrored = {("removed" if row[0] == "added" else "added", *row[1:]) for row in rows(found)}
            assert rows(found["drift"]) == mirrored
        assert changed, f"no byte of {size} changed a verdict"
    assert run(["status"]) == 0


def offsets_of(image: bytes, table: str) -> list[int]:
    """Bytes worth changing: some that are not zero; the stride of the header; the address and the row of shop/db."""
    if table == "header":
        return [int(HEADER.dtype.fields["l4_stride"][1])]  # type: ignore[index]
    if table == "endpoints":
        struct = endpoint_struct(1, 1).dtype
        fields = struct["own4"].base.fields
        assert fields is not None
        return [struct.itemsize + 16 + fields[name][1] for name in ("address", "ingress_row")]
    used = [offset for offset, byte in enumerate(image) if byte]
    return sorted({*used[:: max(1, len(used) // 3)][:3], used[-1]})


def test_tampering_with_one_cell_names_the_connection(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    with Tampered(node) as slot:
        image = read_array(slot.tables["cells"])
        allowed = [place for place in range(1, len(image), 2) if image[place] & 0x80]
        denied = {
            place
            for place in range(1, len(image), 2)
            if not image[place] & 0x80 and image[place - 1 : place + 1] != b"\0\0"
        }
        for place, kind in ((allowed[0], "removed"), (min(denied), "added")):
            flip(slot, "cells", place, 0x80)
            _, found = diff(node, capsys, WEB)
            flip(slot, "cells", place, 0x80)
            assert {row["kind"] for row in found["drift"]["changes"]} == {kind}
            assert {row["dst"] for row in found["drift"]["changes"]} == {"shop/db[Pod]"}


def test_an_interface_given_to_another_endpoint(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    with Tampered(node) as slot:
        image = read_array(slot.tables["interfaces"])
        place = next(at for at in range(0, len(image), 8) if image[at : at + 4] != bytes(4)) + 4
        flip(slot, "interfaces", place, 1)
        code, found = diff(node, capsys, WEB)
    assert code == 1
    assert found["drift"]["tables"][0]["table"] == "interfaces"
    assert found["drift"]["tables"][0]["ranges"] == [[place, place]]
    assert found["drift"]["changes"]


def test_a_detached_dispatcher_is_drift(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    index = _index("pod2")
    with Netlink() as netlink:
        netlink.remove_filter(index, "ingress")
    code, found = diff(node, capsys, WEB)
    assert code == 1
    assert found["drift"]["lines"] == ["shop/db: no dispatcher at the ingress hook of pod2"]
    assert found["interfaces"]["attached"] == ["pod2 (shop/db)"]
    with Netlink() as netlink:
        netlink.remove_clsact(index)
    _, found = diff(node, capsys, WEB)
    assert any("its clsact qdisc is gone" in line for line in found["drift"]["lines"])
    assert run(["status"]) == 1
    node.apply(node.compile(WEB))
    assert diff(node, capsys, WEB)[0] == 0


def test_a_foreign_filter_that_came_before_ours_is_drift(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    text = "int accept_all(struct __sk_buff *skb)\n{\n\treturn 0;\n}\n"
    with load_programs(text, ["accept_all"], {})["accept_all"] as program, IPRoute() as ip:
        ip.tc("add-filter", "bpf", _index("pod2"), 7, fd=program.fd, name="theirs", parent=HOOK_PARENT["ingress"],
              prio=1, direct_action=True)  # fmt: skip
    code, found = diff(node, capsys, WEB)
    assert code == 1
    [line] = found["drift"]["lines"]
    assert line.startswith("pod2: foreign filter bpf theirs")
    assert line.endswith("is asked before the ingress dispatcher")
    assert run(["status"]) == 1
    assert line in capsys.readouterr().out


def test_programs_that_are_not_those_loaded_are_drift(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    with ExitStack() as stack:
        opened = open_node(node.paths.pins, stack)
        assert opened is not None
        slot = opened.slots[opened.active.slot]
        array, index = program_place(slot.number, "workload_ingress")
        prog_array_set(opened.maps[array], index, slot.programs["workload_egress"].fd)
        _, found = diff(node, capsys, WEB)
        assert found["drift"]["lines"] == ["program workload_ingress is not where the dispatchers jump to"]
        prog_array_set(opened.maps[array], index, slot.programs["workload_ingress"].fd)
        assert diff(node, capsys, WEB)[0] == 0
        place = node.paths.pins.slot(slot.number)
        (place / "workload_ingress").unlink()
        pin(slot.programs["workload_egress"].fd, place / "workload_ingress")
        code, found = diff(node, capsys, WEB)
        assert code == 1
        assert any("workload_ingress is not the one that was loaded" in line for line in found["drift"]["lines"])


def test_the_artefact_on_disk_is_gone(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    node.paths.folder.forget(1)
    code, found = diff(node, capsys, CART)
    assert code == 1
    assert "no longer on disk" in found["drift"]["lines"][0]
    assert ("removed", "shop/web[Pod]", "shop/db[Pod]", "TCP", "[[80, 80]]", "ingress") in rows(found)


def test_a_live_connection_that_would_be_cut(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    with OpenConnection(node.world, tcp("shop/web", "shop/db")) as connection:
        assert connection.talk()
        _, kept = diff(node, capsys, WEB, allow_ingress("cart", "cart"))
        assert kept["connections"] == []
        assert kept["flows"]["seen"] >= 2
        code, found = diff(node, capsys, CART)
        assert connection.talk()
    assert code == 1
    [cut] = found["connections"]
    assert (cut["endpoint"], cut["interface"], cut["protocol"]) == ("shop/db", "pod2", "TCP")
    assert (cut["local"], cut["local_port"], cut["remote"]) == ("10.9.0.2", 80, "10.9.0.1")
    assert cut["direction"] == "ingress"
    assert (cut["rule"]["policy"], cut["rule"]["path"]) == ("NetworkPolicy shop/db", "input.yaml")
    assert cut["rule"]["line"] > 1
    assert run(["diff", "live", str(node.folder / "input.yaml")]) == 1
    assert "live connections that would be cut: 1 of" in capsys.readouterr().out


def make_plan(node: NodeUnderTest, capsys: pytest.CaptureFixture[str], *policies: str) -> Path:
    node.compile(*policies)
    path: Path = node.folder / "plan.json"
    assert run(["diff", "live", str(node.folder / "input.yaml"), "-o", str(path)]) == 1
    capsys.readouterr()
    return path


def test_a_plan_is_carried_out(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    plan = make_plan(node, capsys, CART)
    assert plan.stat().st_mode & 0o777 == 0o600
    node.compile()  # the input is another one meanwhile: the plan has its own artefact
    assert run(["apply", str(plan)]) == 0
    assert "generation 2 into force" in capsys.readouterr().out
    assert diff(node, capsys, CART)[0] == 0
    assert run(["apply", str(plan)]) == 3
    assert "generation 2 is in force, not 1" in capsys.readouterr().err


def test_a_first_plan(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(node, capsys, CART)
    assert run(["apply", str(plan), "--dry-run"]) == 0
    assert run(["apply", str(plan)]) == 0


def test_a_plan_is_refused_when_the_node_has_moved(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    plan = make_plan(node, capsys, CART)
    with Tampered(node) as slot:
        flip(slot, "cells", 1)
        before = node.snapshot()
        assert run(["apply", str(plan)]) == 3
        assert "tables in the kernel have changed" in capsys.readouterr().err
        assert node.snapshot() == before
    with Netlink() as netlink:
        netlink.remove_filter(_index("pod2"), "ingress")
    assert run(["apply", str(plan)]) == 3
    assert "dispatchers" in capsys.readouterr().err
    node.apply(node.compile(WEB))
    before = node.snapshot()
    assert run(["apply", str(plan)]) == 3
    assert "generation 2 is in force, not 1" in capsys.readouterr().err
    assert node.snapshot() == before


def test_a_changed_plan_is_refused(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    plan = make_plan(node, capsys, CART)
    document = json.loads(plan.read_text())
    for change in (
        {"node": "other"},
        {"hash": "0" * 64},
        {"surplus": 1},
        {"expected": {**document["expected"], "slot": 1}},
    ):
        plan.write_text(json.dumps({**document, **change}))
        assert run(["apply", str(plan)]) == 2, change
    assert diff(node, capsys, WEB)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [["old", "live"], ["live"], ["git:HEAD:x", "y"], ["live", "x", "-o", "yaml"], ["a", "b", "-o", "p.json"]],
)
def test_what_is_not_supported_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", *arguments]) == 2
    assert capsys.readouterr().err


def _index(name: str) -> int:
    with Netlink() as netlink:
        return next(link.index for link in netlink.links() if link.name == name)
