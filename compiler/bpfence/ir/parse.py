"""The canonical text of a program back to the program: ``parse_program(program_text(p)) == p`` but for spans' paths.

The text has one path per origin, the one below the input root where there is one; a parsed span has it as ``path``,
and an empty ``relative``. The grammar is ``grammar/ir.lark``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias, TypeVar, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from bpfence.ir.expressions import (
    ANY_LABELS,
    ANYONE,
    NO_LABELS,
    NOBODY,
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
from bpfence.ir.nodes import Action, DnsNames, L4Match, Layer, Origin, Point, Policy, Program, Rule, Section, Tier
from bpfence.ir.tokens import (
    Criterion,
    IrSyntaxError,
    read_alternative,
    read_criterion,
    read_network,
    read_place,
    read_profile,
    read_string,
    read_word,
)
from bpfence.resources import resource_dir

__all__ = ["IrSyntaxError", "parse_program"]

_Node = TypeVar("_Node")

Owned: TypeAlias = Callable[[str], _Node]
"""A node whose origin still lacks the enclosing policy's name."""


def parse_program(text: str) -> Program:
    """The program of a canonical text. IrSyntaxError with the place of the first mistake.

    The result is what the text says, legal or not: `legality.check_program` decides that.
    """
    try:
        # The parser calls the builder as it goes and returns what its `start` made, not a tree.
        return cast("Program", _parser().parse(text))
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from error


@cache
def _parser() -> Lark:
    grammar = (resource_dir("grammar") / "ir.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Builder(), maybe_placeholders=True)


def _syntax_error(error: UnexpectedInput, text: str) -> IrSyntaxError:
    if isinstance(error, UnexpectedCharacters):
        return IrSyntaxError(f"unexpected {error.char!r}", error.line, error.column)
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        return IrSyntaxError(f"unexpected {str(error.token)!r}", error.line, error.column)
    return IrSyntaxError("the text ends too early", text.count("\n") + 1, len(text) - text.rfind("\n"))


@v_args(inline=True)
class _Builder(Transformer[Token, Program]):
    """Makes the nodes, bottom up; methods are named as the grammar's rules. None: an optional part left out."""

    def start(self, *layers: Layer) -> Program:
        return Program(layers)

    def layer(self, name: Token, point: Token | None, unmatched: Token, *tiers: Tier) -> Layer:
        return Layer(read_string(name), tiers, read_string(unmatched), Point(point or Point.ENDPOINT))

    def tier(
        self,
        name: Token,
        order: Token,
        end: Token,
        order_free: Token | None,
        spares_itself: Token | None,
        exempt_ingress: tuple[Rule, ...] | None,
        exempt_egress: tuple[Rule, ...] | None,
        policies: tuple[Policy, ...],
    ) -> Tier:
        return Tier(
            name=read_string(name),
            order=float(order),
            end=Action(end),
            policies=policies,
            order_free=order_free is not None,
            exempt_ingress=exempt_ingress or (),
            exempt_egress=exempt_egress or (),
            spares_itself=spares_itself is not None,
        )

    def exempt(self, *rules: Owned[Rule]) -> tuple[Rule, ...]:
        # An exemption belongs to no policy; its origin always names one itself.
        return tuple(rule("") for rule in rules)

    def policies(self, *policies: Policy) -> tuple[Policy, ...]:
        return policies

    def policy(
        self,
        name: Token,
        order: tuple[float, str] | None,
        subject: LabelExpr,
        origin: Owned[Origin],
        ingress: Owned[Section] | None,
        egress: Owned[Section] | None,
    ) -> Policy:
        title = read_string(name)
        return Policy(
            name=title,
            subject=subject,
            ingress=None if ingress is None else ingress(title),
            egress=None if egress is None else egress(title),
            origin=origin(title),
            order=order or (0.0, ""),
        )

    def order(self, number: Token, tie: Token) -> tuple[float, str]:
        return float(number), read_string(tie)

    def section(self, isolates: Token | None, origin: Owned[Origin], *rules: Owned[Rule]) -> Owned[Section]:
        return lambda policy: Section(tuple(rule(policy) for rule in rules), isolates is not None, origin(policy))

    def rule(
        self,
        action: Token,
        peer: PeerExpr,
        own: PeerExpr | None,
        l4: tuple[L4Match, ...],
        origin: Owned[Origin],
    ) -> Owned[Rule]:
        return lambda policy: Rule(Action(action), peer, l4, origin(policy), own or ANYONE)

    def own(self, peer: PeerExpr) -> PeerExpr:
        return peer

    def origin(self, place: Token, field: Token, title: Token | None) -> Owned[Origin]:
        span, path = read_place(place), read_word(field)
        policy_named = None if title is None else read_string(title)
        return lambda policy: Origin(policy if policy_named is None else policy_named, path, span)

    def label_all(self, *items: LabelExpr) -> LabelAll:
        return LabelAll(items)

    def label_any(self, *items: LabelExpr) -> LabelAny:
        return LabelAny(items)

    def label_not(self, item: LabelExpr) -> LabelNot:
        return LabelNot(item)

    def every_label(self) -> LabelAll:
        return ANY_LABELS

    def no_label(self) -> LabelAny:
        return NO_LABELS

    def label_test(self, keys: tuple[str, ...], operator: Token, values: tuple[str, ...]) -> LabelTest:
        return LabelTest(keys, LabelOperator(operator), values)

    def keys(self, *keys: Token) -> tuple[str, ...]:
        return tuple(map(read_word, keys))

    def values(self, *values: Token | None) -> tuple[str, ...]:
        return tuple(read_string(value) for value in values if value is not None)

    def peer_all(self, *items: PeerExpr) -> PeerAll:
        return PeerAll(items)

    def peer_any(self, *items: PeerExpr) -> PeerAny:
        return PeerAny(items)

    def peer_not(self, item: PeerExpr) -> PeerNot:
        return PeerNot(item)

    def anyone(self) -> PeerAll:
        return ANYONE

    def nobody(self) -> PeerAny:
        return NOBODY

    def on_own_node(self) -> OnOwnNode:
        return OnOwnNode()

    def learnt_name(self, profile: Token, patterns: tuple[str, ...]) -> LearntName:
        return LearntName(patterns, read_profile(profile))

    def has_object(self, labels: LabelExpr) -> HasObject:
        return HasObject(labels)

    def in_prefixes(self, *networks: Token | None) -> InPrefixes:
        return InPrefixes(tuple(read_network(network) for network in networks if network is not None))

    def l4(self, *alternatives: L4Match) -> tuple[L4Match, ...]:
        return alternatives

    def alternative(self, *criteria: Criterion) -> L4Match:
        return read_alternative(criteria)

    def queries(self, word: Token, profile: Token, patterns: tuple[str, ...]) -> Criterion:
        return Criterion(word, names=DnsNames(patterns, read_profile(profile)))

    def criterion(self, word: Token, *values: Token) -> Criterion:
        return read_criterion(word, values)
