"""L4 atoms: a packet satisfies a match exactly when its atom is among the match's atoms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfence.analyse.judge import L4Facts, l4_matches
from bpfence.classify.l4 import cut_l4
from bpfence.errors import BudgetError
from bpfence.flows import PORT_PROTOCOLS
from bpfence.ir.nodes import L4Match
from bpfence.plan.l4 import build_l4
from support.ir_strategies import l4_alternatives

FACTS = st.one_of(
    st.builds(
        L4Facts,
        st.sampled_from([6, 17, 132]),
        st.sampled_from([0, 53, 1024, 40000, 65535]) | st.integers(0, 65535),
        st.sampled_from([0, 22, 80, 443, 65535]) | st.integers(0, 65535),
    ),
    st.builds(L4Facts, st.sampled_from([1, 58]), icmp_type=st.integers(0, 255), icmp_code=st.integers(0, 255)),
    st.builds(L4Facts, st.integers(0, 255)),
)


@given(st.lists(l4_alternatives(), max_size=3), st.lists(FACTS, max_size=20))
def test_atoms_partition_the_space(rules: list[tuple[L4Match, ...]], facts: list[L4Facts]) -> None:
    plain = [match for rule in rules for match in rule if not match.named_ports and not match.not_named_ports]
    atoms = cut_l4(plain)
    for match in plain:
        members = set(atoms.matches(match).tolist())
        for fact in facts:
            assert (_atom(atoms, fact) in members) == l4_matches(match, fact)


def _atom(atoms, fact: L4Facts) -> int:  # type: ignore[no-untyped-def]
    if fact.protocol in PORT_PROTOCOLS:
        return atoms.atom(fact.protocol, fact.destination_port, fact.source_port)
    return atoms.atom(fact.protocol, fact.icmp_type, fact.icmp_code)


def test_source_ports_and_codes_are_left_out_when_nothing_depends_on_them() -> None:
    atoms = cut_l4([L4Match(((6, 6),), destination_ports=((80, 80),)), L4Match(((1, 1),), icmp_types=((8, 8),))])
    tables = build_l4(atoms, atoms_apart(atoms.count))
    assert tables.pairs is None
    assert not tables.icmp_codes
    assert tables.ports[0, 80] != tables.ports[0, 81]
    assert tables.ports[1, 80] == tables.ports[1, 81]


def atoms_apart(count: int):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.arange(count)


def test_source_ports_make_pairs() -> None:
    atoms = cut_l4([L4Match(((17, 17),), destination_ports=((53, 53),), source_ports=((1024, 65535),))])
    tables = build_l4(atoms, atoms_apart(atoms.count))
    assert tables.pairs is not None
    assert tables.source_ports is not None
    pair = tables.pairs[tables.ports[1, 53], tables.source_ports[1, 1024]]
    assert pair != tables.pairs[tables.ports[1, 53], tables.source_ports[1, 1023]]
    assert pair == atoms.atom(17, 53, 65535)


def test_too_many_pieces_are_refused_with_numbers() -> None:
    matches = [
        L4Match(((6, 6),), destination_ports=((2 * n, 2 * n),), source_ports=((2 * n, 2 * n),)) for n in range(2500)
    ]
    with pytest.raises(BudgetError, match="combinations"):
        cut_l4(matches)
