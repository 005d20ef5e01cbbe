"""Hypothesis strategies for IR nodes: legal ones, small enough that expressions, addresses and packets often meet.

``programs()`` makes whole legal programs; the others make their parts. Names, labels, prefixes and ports are drawn from
small pools, so that two independent draws have a good chance to concern each other.
"""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import strategies as st

from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.ir.expression_text import network_key
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import (
    Action,
    DnsNames,
    L4Match,
    Layer,
    NamedPort,
    Origin,
    Point,
    Policy,
    Program,
    Ranges,
    Rule,
    Section,
    Tier,
)
from bpfence.ir.ranges import normalise
from bpfence.source.spans import Span

KEYS = ("label:app", "label:tier", "namespace:env", "meta:kind", "meta:namespace", "port:TCP:http:80")
VALUES = ("", "a", "ab", "b", "pod", "node")
NETWORKS = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/9",
        "10.128.0.0/9",
        "10.0.0.0/30",
        "10.0.0.0/32",
        "10.0.0.1/32",
        "10.0.0.2/31",
        "192.168.0.0/16",
        "::/0",
        "fd00::/64",
        "fd00::/127",
        "fd00::1/128",
        "fd00::2/127",
    )
)
NAME_PATTERNS = ("*", "*.a.", "a.", "b.a.", "b*.a.")
PORT_NAMES = ("http", "dns")
PORTS = (0, 1, 2, 3, 79, 80, 81, 443, 65534, 65535)

names = st.text(max_size=12)


def _ranges(values: tuple[int, ...]) -> st.SearchStrategy[Ranges]:
    pair = st.tuples(st.sampled_from(values), st.sampled_from(values)).map(lambda ends: (min(ends), max(ends)))
    return st.lists(pair, max_size=3).map(normalise)


def _singles(values: frozenset[int]) -> st.SearchStrategy[Ranges]:
    return st.sets(st.sampled_from(sorted(values))).map(lambda chosen: normalise((value, value) for value in chosen))


ports = _ranges(PORTS)
icmp_numbers = _ranges((0, 1, 3, 4, 8, 254, 255))


@st.composite
def label_tests(draw: st.DrawFn) -> LabelTest:
    keys = tuple(draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2)))
    operator = draw(st.sampled_from(LabelOperator))
    match operator:
        case LabelOperator.IN | LabelOperator.NOT_IN:
            values = tuple(sorted(draw(st.sets(st.sampled_from(VALUES), max_size=3))))
        case LabelOperator.EXISTS | LabelOperator.ABSENT:
            values = ()
        case _:
            values = (draw(st.sampled_from(VALUES)),)
    return LabelTest(keys, operator, values)


def label_exprs(max_leaves: int = 8) -> st.SearchStrategy[LabelExpr]:
    """Label expressions, constants and odd nestings included."""
    leaves = st.one_of(label_tests(), st.sampled_from((LabelAll(), LabelAny())))
    return st.recursive(leaves, _label_nodes, max_leaves=max_leaves)


def _label_nodes(items: st.SearchStrategy[LabelExpr]) -> st.SearchStrategy[LabelExpr]:
    several = st.lists(items, max_size=4).map(tuple)
    return st.one_of(several.map(LabelAll), several.map(LabelAny), items.map(LabelNot))


def _in_prefixes() -> st.SearchStrategy[InPrefixes]:
    chosen = st.sets(st.sampled_from(NETWORKS), max_size=5)
    return chosen.map(lambda networks: InPrefixes(tuple(sorted(networks, key=network_key))))


patterns = st.sets(st.sampled_from(NAME_PATTERNS), max_size=3).map(lambda chosen: tuple(sorted(chosen)))
profiles = st.sampled_from(("1.18", "1.20"))


def peer_exprs(max_leaves: int = 8) -> st.SearchStrategy[PeerExpr]:
    """Peer expressions, constants and odd nestings included."""
    leaves = st.one_of(
        label_exprs(3).map(HasObject),
        _in_prefixes(),
        st.just(OnOwnNode()),
        st.builds(LearntName, patterns, profiles),
        st.sampled_from((PeerAll(), PeerAny())),
    )
    return st.recursive(leaves, _peer_nodes, max_leaves=max_leaves)


def _peer_nodes(items: st.SearchStrategy[PeerExpr]) -> st.SearchStrategy[PeerExpr]:
    several = st.lists(items, max_size=4).map(tuple)
    return st.one_of(several.map(PeerAll), several.map(PeerAny), items.map(PeerNot))


named_ports = st.builds(
    NamedPort,
    st.sampled_from(PORT_NAMES),
    st.sampled_from(sorted(PORT_PROTOCOLS)),
    st.sampled_from(("source", "destination")),
)


def _port_matches() -> st.SearchStrategy[L4Match]:
    several = st.lists(named_ports, max_size=2).map(tuple)
    optional = st.none() | ports
    return st.builds(
        L4Match,
        protocols=_singles(PORT_PROTOCOLS),
        destination_ports=optional,
        source_ports=optional,
        named_ports=several,
        not_named_ports=several,
        dns_names=st.none() | st.builds(DnsNames, patterns, profiles),
    )


def _icmp_matches() -> st.SearchStrategy[L4Match]:
    optional = st.none() | icmp_numbers
    return st.builds(L4Match, protocols=_singles(ICMP_PROTOCOLS), icmp_types=optional, icmp_codes=optional)


def l4_matches() -> st.SearchStrategy[L4Match]:
    """One alternative of a rule's L4 part."""
    protocols = st.none() | _ranges((0, 1, 5, 6, 7, 17, 58, 132, 255))
    return st.one_of(protocols.map(L4Match), _port_matches(), _icmp_matches())


def l4_alternatives(max_size: int = 5) -> st.SearchStrategy[tuple[L4Match, ...]]:
    """A rule's whole L4 part, none at all included."""
    return st.lists(l4_matches(), max_size=max_size).map(tuple)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    line, column = draw(st.integers(1, 999)), draw(st.integers(1, 99))
    path = draw(st.sampled_from(("db.yaml", "a/b-c.yml", 'odd ":1:2 name', "<built-in>")))
    return Span(path, line, column, line + draw(st.integers(0, 9)), column + draw(st.integers(0, 9)))


def origins() -> st.SearchStrategy[Origin]:
    titles = st.sampled_from(("NetworkPolicy shop/db", "GlobalNetworkPolicy all"))
    fields = st.sampled_from(("", "spec", "spec.ingress[0].from[1]", "allow")) | names
    return st.builds(Origin, titles, fields, spans())


def rules(actions: tuple[Action, ...] = tuple(Action)) -> st.SearchStrategy[Rule]:
    own = st.just(PeerAll()) | peer_exprs(2)
    return st.builds(Rule, st.sampled_from(actions), peer_exprs(4), l4_alternatives(3), origins(), own)


def sections(actions: tuple[Action, ...] = tuple(Action)) -> st.SearchStrategy[Section]:
    return st.builds(Section, st.lists(rules(actions), max_size=3).map(tuple), st.booleans(), origins())


def policies(actions: tuple[Action, ...] = tuple(Action)) -> st.SearchStrategy[Policy]:
    optional = st.none() | sections(actions)
    order = st.tuples(st.sampled_from((0.0, 0.5, 1000.0, 1e7, float("inf"))), names)
    return st.builds(Policy, names, label_exprs(4), optional, optional, origins(), order)


@st.composite
def tiers(draw: st.DrawFn) -> Tier:
    order_free = draw(st.booleans())
    actions = (Action.ALLOW, Action.DENY) if order_free else tuple(Action)
    members = draw(st.lists(policies(actions), max_size=3, unique_by=lambda policy: policy.name))
    exemptions = st.lists(rules((Action.ALLOW,)), max_size=1).map(tuple)
    return Tier(
        draw(names),
        draw(st.floats(allow_nan=False)),
        draw(st.sampled_from((Action.DENY, Action.PASS))),
        tuple(sorted(members, key=lambda policy: policy.order)),
        order_free,
        draw(exemptions),
        draw(exemptions),
        draw(st.booleans()),
    )


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    members = draw(st.lists(tiers(), max_size=2, unique_by=lambda tier: tier.name))
    point = draw(st.sampled_from(Point))
    return Layer(draw(names), tuple(sorted(members, key=lambda tier: tier.order)), draw(names), point)


def programs() -> st.SearchStrategy[Program]:
    """Legal programs."""
    several = st.lists(layers(), max_size=2, unique_by=lambda layer: layer.name)
    return several.map(lambda members: Program(tuple(members)))
