"""Broken input: texts and objects of the samples with a few random edits, as hypothesis strategies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

POLICIES = Path(__file__).parents[2] / "policies"
WORDS = (
    "- ", ": ", "{", "}", "[", "]", "&a ", "*a", "<<: *a", "|\n", ">-\n", "---\n", "...\n", "!!binary ", "!x ", "? ",
    "#", "# bpfence: ignore LNT002 x", "'", '"', "\\", "\t", "\n", "  ", "\u0000", "\ufeff", "\u2028", "é", "null", "~",
    "0x10", "1e400", ".nan", "010", "1_0", "yes", "2001-01-01", "10.0.0.0/8", "::/0", "::ffff:1.2.3.4", "all()",
    "podSelector", "namespaceSelector", "ports", "spec", "metadata", "apiVersion", "kind", "items", "ingress",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 53, 65535, 65536, 10**30, 0.5, -0.0, 1e308, "", " ", "a", "A_b", "-", "*", "**.",
    "a" * 300,
    "80", "080", "1:2", "9:5", "http", "TCP", "tcp", "ICMPv6", "Ingress", "Allow", "Deny", "Pass", "Log", "default",
    "10.0.0.0/8", "10.0.0.1/33", "0.0.0.0/0", "::/0", "fe80::1%eth0", "::ffff:10.0.0.0/104", "1.2.3.4", "999.1.1.1",
    "all()", "global()", "has(a)", "a == 'b'", "!(", "a in {'b', \"c\"}", "*.example.com", "..", "example.com.",
    "\u0000", "\n", "é", "\ud800", "\U0001f600", [], {}, [None], [[]], [{}], {"": None}, {"a": {"b": [1]}},
)  # fmt: skip


NAMED = ("Tier", "FelixConfiguration", "BaselineAdminNetworkPolicy", "Profile", "CiliumCIDRGroup")
"""kinds that others refer to, or of which there is one"""


@cache
def texts() -> dict[str, str]:
    """The text of every sample that is not very long, by its path."""
    files = {path.relative_to(POLICIES).as_posix(): path.read_text() for path in sorted(POLICIES.rglob("*.yaml"))}
    return {path: text for path, text in files.items() if len(text) < 8_000}


@cache
def objects(*, sound: bool = False) -> tuple[dict[str, Any], ...]:
    """Every object of the samples that are valid YAML. ``sound``: those of samples without mistakes."""
    found: list[dict[str, Any]] = []
    for path, text in texts().items():
        if sound and path.startswith("bad/"):
            continue
        try:
            found.extend(_unwrapped(yaml.load_all(text, yaml.CSafeLoader)))
        except (yaml.YAMLError, ValueError, RecursionError):
            continue
    return tuple(item for item in found if _is_plain(item))


def _is_plain(item: dict[str, Any]) -> bool:
    """Whether JSON can say it: no dates, nothing inside itself."""
    try:
        return len(json.dumps(item)) < 5_000
    except (TypeError, ValueError):
        return False


def _unwrapped(values: Any) -> Iterator[dict[str, Any]]:
    for value in values:
        if isinstance(value, dict) and isinstance(value.get("items"), list):
            yield from (item for item in value["items"] if isinstance(item, dict))
        elif isinstance(value, dict):
            yield value


@st.composite
def broken_texts(draw: st.DrawFn) -> str:
    """A sample with one to five edits, or something that was never YAML."""
    text = draw(st.sampled_from(tuple(texts().values())))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        word = draw(st.one_of(st.sampled_from(WORDS), st.text(max_size=4), st.just(text[start:end] * 2)))
        text = text[:start] + word + text[end:]
    return text


@st.composite
def broken_objects(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One to four objects of the samples under names of their own, with a few edits anywhere inside.

    Most are of sound samples: one mistake hides what later stages would do.
    """
    kinds = [draw(st.integers(0, 5)) > 0 for _ in range(draw(st.integers(1, 4)))]
    chosen = [_named(draw(st.sampled_from(objects(sound=sound))), number) for number, sound in enumerate(kinds)]
    for _ in range(draw(st.integers(0, 2))):
        _edit(draw, draw(st.sampled_from(chosen)))
    return chosen


def _named(item: dict[str, Any], number: int) -> dict[str, Any]:
    """A copy that is no duplicate of the sample's other objects, nor of the cluster's."""
    copy = deepcopy(item)
    metadata = copy.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("name"), str) and copy.get("kind") not in NAMED:
        metadata["name"] += f"-{number}"
    return copy


def _edit(draw: st.DrawFn, item: dict[str, Any]) -> None:
    places = list(_places(item))
    if not places:
        return
    container, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(("value", "value", "delete", "copy", "rename", "wrap", "other"))):
        case "value":
            container[key] = deepcopy(draw(st.sampled_from(VALUES)))
        case "delete":
            del container[key]
        case "copy" if isinstance(container, list):
            container.append(deepcopy(container[key]))
        case "rename" if isinstance(container, dict):
            container[draw(st.sampled_from(_keys()))] = container.pop(key)
        case "wrap":
            container[key] = [container[key]] if draw(st.booleans()) else {"a": container[key]}
        case "other":
            other, name = draw(st.sampled_from(list(_places(draw(st.sampled_from(objects()))))))
            container[key] = deepcopy(other[name])
        case _:
            container[key] = None


@cache
def _keys() -> tuple[str, ...]:
    """Every key of the samples, and some that none has."""
    found = {key for item in objects() for _, key in _places(item) if isinstance(key, str)}
    return (*sorted(found), "", "x", "é")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything inside."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def as_json(items: list[dict[str, Any]]) -> str:
    """The objects as one list, as kubectl prints them."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
