"""Identity numbers stay with their labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.identity.numbers import FIRST, number_identities
from bpfence.identity.world import World, build_world
from bpfence.loading import load_input


def world_of(folder: Path, *pods: tuple[str, str]) -> World:
    text = "\n---\n".join(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}, "
        f"spec: {{nodeName: n}}, status: {{podIP: 10.0.0.{number}}}}}"
        for number, (name, app) in enumerate(pods, start=1)
    )
    (folder / "pods.yaml").write_text(text)
    return build_world(load_input([str(folder)]).inventory)


def test_equal_labels_share_a_number(tmp_path: Path) -> None:
    identities = number_identities(world_of(tmp_path, ("a", "web"), ("b", "web"), ("c", "db")))
    assert identities.of["shop/a"] == identities.of["shop/b"] != identities.of["shop/c"]
    assert sorted(set(identities.of.values())) == [FIRST, FIRST + 1]


def test_numbers_survive_other_pods_coming_and_going(tmp_path: Path) -> None:
    first = number_identities(world_of(tmp_path, ("b", "web"), ("c", "zoo")))
    second = number_identities(world_of(tmp_path, ("a", "api"), ("c", "zoo")), first.document())
    assert second.of["shop/c"] == first.of["shop/c"]
    assert second.of["shop/a"] not in first.of.values()


@pytest.mark.parametrize(
    "previous", [{"identities": 3}, {"identities": {"7": ["x"], "x": [], "300": "no", "70000": []}}]
)
def test_a_strange_identity_file_is_ignored(tmp_path: Path, previous: dict[str, object]) -> None:
    world = world_of(tmp_path, ("a", "web"))
    assert number_identities(world, previous).of == number_identities(world).of
