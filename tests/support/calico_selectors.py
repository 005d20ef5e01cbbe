"""Hypothesis strategies for texts in Calico's selector language: every operator, odd spacing, both kinds of quotes."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from support.pools import ACCOUNT_LABELS, ACCOUNTS, LABELS, NAMESPACE_LABELS, NAMESPACES

Pool = Mapping[str, tuple[str, ...]]

POD_POOL: Pool = {
    **LABELS,
    "projectcalico.org/namespace": NAMESPACES,
    "projectcalico.org/orchestrator": ("k8s",),
    "projectcalico.org/serviceaccount": ACCOUNTS,
    **{f"pcns.{key}": values for key, values in NAMESPACE_LABELS.items()},
    "feed": ("a", "b"),
}
NAMESPACE_POOL: Pool = {**NAMESPACE_LABELS, "projectcalico.org/name": NAMESPACES}
ACCOUNT_POOL: Pool = {**ACCOUNT_LABELS, "projectcalico.org/name": ACCOUNTS}

_space = st.sampled_from(("", " ", " ", "\t"))


def _quoted(value: str) -> st.SearchStrategy[str]:
    return st.sampled_from(("'", '"')).map(lambda mark: f"{mark}{value}{mark}")


def _string(values: tuple[str, ...]) -> st.SearchStrategy[str]:
    """A value of the label, or a part of one."""
    parts = {value[start:end] for value in values for start in (0, 1) for end in (1, 2, len(value))}
    return st.sampled_from(sorted({*values, *parts})).flatmap(_quoted)


@st.composite
def _test(draw: st.DrawFn, pool: Pool) -> str:
    label = draw(st.sampled_from(sorted(pool)))
    values = pool[label]
    gap = draw(_space)
    operator = draw(st.sampled_from(("==", "!=", "in", "not in", "has", "contains", "starts with", "ends with")))
    match operator:
        case "has":
            return f"has({gap}{label}{gap})"
        case "in" | "not in":
            members = draw(st.lists(st.sampled_from(values).flatmap(_quoted), max_size=3))
            comma = "," if members and draw(st.booleans()) else ""
            return f"{label} {operator}{gap}{{{gap}{(gap + ',').join(members)}{comma}}}"
        case "==" | "!=":
            return f"{label}{gap}{operator}{gap}{draw(_string(values))}"
        case _:
            word = operator.replace(" ", draw(_space)) if operator != "contains" else operator
            return f"{label} {word}{gap}{draw(_string(values))}"


def selector_texts(pool: Pool, most: int = 4) -> st.SearchStrategy[str]:
    """Selectors over the pool's labels; all() among them."""
    leaves = st.one_of(_test(pool), _test(pool), _test(pool), st.sampled_from(("all()", "all( )")))
    return st.recursive(leaves, _combine, max_leaves=most)


def _combine(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(items, st.sampled_from((" && ", " || ", "&&", "||")), items).map("".join)
    return st.one_of(
        pairs,
        pairs.map(lambda text: f"({text})"),
        items.map(lambda text: f"!({text})"),
        items.map(lambda text: f"!!({text})"),
    )


pod_texts = selector_texts(POD_POOL)
namespace_texts = selector_texts(NAMESPACE_POOL, 2)
account_texts = selector_texts(ACCOUNT_POOL, 2)
