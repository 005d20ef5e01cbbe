"""Selector text in, syntax tree out. The grammar is ``grammar/calico_selector.lark``."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, lru_cache

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from bpfence.resources import resource_dir
from bpfence.selectors.syntax import AllOf, AnyOf, Criterion, Everything, Global, Negation, Operator, Selector

MAX_LABEL = 512

MAX_LENGTH = 65_536
"""Characters. Policy fields allow far fewer; this bound keeps hostile command lines harmless."""

_MOST_REMEMBERED = 1024
"""characters of a selector up to which its tree is remembered"""

MAX_DEPTH = 256
"""Levels of the tree.

INVARIANT: no selector of 1024 characters has as many, and recursion over such a tree stays below Python's own limit.
"""

_OPERATORS = {
    "EQUAL": Operator.EQUAL,
    "NOT_EQUAL": Operator.NOT_EQUAL,
    "IN": Operator.IN,
    "NOT_IN": Operator.NOT_IN,
    "CONTAINS": Operator.CONTAINS,
    "STARTS_WITH": Operator.STARTS_WITH,
    "ENDS_WITH": Operator.ENDS_WITH,
}


class SelectorError(ValueError):
    """The text is no selector. ``column`` counts characters from 1."""

    def __init__(self, message: str, column: int) -> None:
        self.message = message
        self.column = column
        super().__init__(f"column {column}: {message}")


def parse_selector(text: str) -> Selector:
    """The tree of a selector; SelectorError when the text is none or goes beyond the limits."""
    return _parse(text) if len(text) <= _MOST_REMEMBERED else _parse.__wrapped__(text)


@lru_cache(maxsize=1 << 14)
def _parse(text: str) -> Selector:
    """Checked, lowered and linted, a policy has each selector read several times, and policies repeat each other's."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"the selector has {len(text)} characters, the limit is {MAX_LENGTH}", MAX_LENGTH + 1)
    try:
        selector: Selector = _parser().parse(text)  # type: ignore[assignment]  # the transformer makes the tree ours
    except UnexpectedInput as error:
        raise _explained(text, error) from None
    # A level costs at most two nodes and one parenthesis, so most texts need no walk.
    if 2 * text.count("(") + 3 > MAX_DEPTH and selector_depth(selector) > MAX_DEPTH:
        raise SelectorError(f"the selector is nested deeper than {MAX_DEPTH} levels", 1)
    return selector


@cache
def _parser() -> Lark:
    grammar = (resource_dir("grammar") / "calico_selector.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_TreeBuilder(), maybe_placeholders=False)


def selector_depth(selector: Selector) -> int:
    """Levels of the tree, counted without recursion."""
    deepest = 0
    pending: list[tuple[Selector, int]] = [(selector, 1)]
    while pending:
        node, level = pending.pop()
        deepest = max(deepest, level)
        match node:
            case Negation(item):
                pending.append((item, level + 1))
            case AllOf(items) | AnyOf(items):
                pending.extend((item, level + 1) for item in items)
            case _:
                pass
    return deepest


def _label(token: Token) -> str:
    if len(token) > MAX_LABEL:
        column = (token.start_pos or 0) + 1
        raise SelectorError(f"the label has {len(token)} characters, the limit is {MAX_LABEL}", column)
    return token.value  # type: ignore[no-any-return]  # lark types it as Any


@v_args(inline=True)
class _TreeBuilder(Transformer[Token, Selector]):
    """Called by the parser at every reduction, so no depth of nesting needs a Python stack."""

    def start(self, selector: Selector | None = None) -> Selector:
        return Everything() if selector is None else selector

    def union(self, *items: Selector) -> Selector:
        return AnyOf(items)

    def intersection(self, *items: Selector) -> Selector:
        return AllOf(items)

    def negation(self, item: Selector) -> Selector:
        return item.item if isinstance(item, Negation) else Negation(item)

    def all(self, _: Token) -> Selector:
        return Everything()

    def globally(self, _: Token) -> Selector:
        return Global()

    def has(self, _: Token, label: Token) -> Selector:
        return Criterion(_label(label), Operator.HAS)

    def test(self, label: Token, operator: Token, value: Token) -> Selector:
        return Criterion(_label(label), _OPERATORS[operator.type], (value[1:-1],))

    def set_test(self, label: Token, operator: Token, values: tuple[str, ...]) -> Selector:
        return Criterion(_label(label), _OPERATORS[operator.type], values)

    def set(self, *members: Token) -> tuple[str, ...]:
        return tuple(sorted({member[1:-1] for member in members}))


_EXPECTATIONS = (
    ("EQUAL", "an operator must follow the label: == != in, not in, contains, starts with, ends with"),
    ("ALL", "expected a term: LABEL OPERATOR VALUE, has(LABEL), all(), global(), '!' or '('"),
    ("LABEL", "expected a label"),
    ("LBRACE", "expected a set: {'a', 'b'}"),
    ("STRING", "expected a value in quotes"),
    ("COMMA", "expected ',' or '}'"),
    ("_AND", "'&&' or '||' must stand between two terms"),
    ("RPAR", "expected ')'"),
)

_CHARACTERS = {
    "\n": "a line break; only spaces and tabs may stand between words",
    "\r": "a line break; only spaces and tabs may stand between words",
    "=": "a single '='; equality is written '=='",
    "&": "a single '&'; write '&&'",
    "|": "a single '|'; write '||'",
    "'": "a quote that is never closed",
    '"': "a quote that is never closed",
}


def _explained(text: str, error: UnexpectedInput) -> SelectorError:
    position = len(text) if isinstance(error, UnexpectedToken) and error.token.type == "$END" else error.pos_in_stream
    place = len(text) if position is None else position
    if place >= len(text):
        return SelectorError(f"the selector ends too early: {_expected_at_end(error)}", len(text) + 1)
    if isinstance(error, UnexpectedCharacters):
        what = _CHARACTERS.get(text[place], f"unexpected character {text[place]!r}")
        return SelectorError(f"{what}; {_expected(error)}" if text[place] not in _CHARACTERS else what, place + 1)
    return SelectorError(f"unexpected {_excerpt(text, place)!r}: {_expected(error)}", place + 1)


def _expected(error: UnexpectedInput) -> str:
    names: Collection[str] = ()
    if isinstance(error, UnexpectedCharacters):
        names = error.allowed or ()
    elif isinstance(error, UnexpectedToken):
        names = error.expected
    return next((text for name, text in _EXPECTATIONS if name in names), "nothing may follow here")


def _expected_at_end(error: UnexpectedInput) -> str:
    """After a complete term only a parenthesis can be missing."""
    if isinstance(error, UnexpectedToken) and "RPAR" in error.expected and "LABEL" not in error.expected:
        return "expected ')'"
    return _expected(error)


def _excerpt(text: str, place: int) -> str:
    return text[place : place + 20] + ("..." if len(text) > place + 20 else "")
