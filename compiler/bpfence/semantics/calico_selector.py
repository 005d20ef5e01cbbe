"""Calico's selector language by hand: text in, nested tuples out, and what they say about labels.

A second, independent reading of the language (libcalico-go/lib/selector); the compiler's own parser is made
from a grammar file. Nodes: ``("all",)``, ``("global",)``, ``("has", label)``, ``(operator, label, value)``,
``("not", node)``, ``("and", (nodes))``, ``("or", (nodes))``. The value of ``in`` and ``not in`` is a
frozenset, of the other operators a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Node = tuple[Any, ...]
"""See the module's docstring: the first item is the operator."""

ALL: Node = ("all",)
LABEL = re.compile(r"[A-Za-z0-9_./-]+")
WORD_OPERATORS = (("contains", r"contains"), ("starts with", r"starts[ \t]*with"), ("ends with", r"ends[ \t]*with"),
                  ("not in", r"not[ \t]*in"), ("in", r"in"))  # fmt: skip
LONGEST_LABEL = 512


class SelectorError(ValueError):
    """The text is no selector."""


def parse(text: str) -> Node:
    """The selector's tree; the empty selector is ``all()``. SelectorError when the text is malformed."""
    reader = _Reader(text)
    if reader.at_end():
        return ALL
    node = reader.disjunction()
    if not reader.at_end():
        raise SelectorError(f"unexpected text at column {reader.position + 1}")
    return node


def matches(node: Node, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels satisfies the selector. A missing label satisfies only ``!=`` and
    ``not in``.
    """
    operator = node[0]
    if operator in ("all", "global"):
        return True
    if operator == "not":
        return not matches(node[1], labels)
    if operator == "and":
        return all(matches(item, labels) for item in node[1])
    if operator == "or":
        return any(matches(item, labels) for item in node[1])
    return _label_matches(node, labels.get(node[1]))


def _label_matches(node: Node, value: str | None) -> bool:
    operator = node[0]
    if operator == "!=":
        return bool(value != node[2])
    if operator == "not in":
        return value not in node[2]
    if value is None:
        return False
    tests: dict[str, Callable[[], bool]] = {
        "has": lambda: True,
        "==": lambda: value == node[2],
        "in": lambda: value in node[2],
        "contains": lambda: node[2] in value,
        "starts with": lambda: value.startswith(node[2]),
        "ends with": lambda: value.endswith(node[2]),
    }
    return tests[operator]()


def rewrite(node: Node, change: Callable[[Node], Node]) -> Node:
    """The tree with every leaf replaced by ``change(leaf)``."""
    if node[0] == "not":
        return ("not", rewrite(node[1], change))
    if node[0] in ("and", "or"):
        return (node[0], tuple(rewrite(item, change) for item in node[1]))
    return change(node)


def prefix_labels(node: Node, prefix: str) -> Node:
    """Every label name with the prefix in front: how namespace and service account selectors see inherited labels."""
    return rewrite(node, lambda leaf: leaf if len(leaf) == 1 else (leaf[0], prefix + leaf[1], *leaf[2:]))


def replace_leaf(node: Node, leaf: Node, by: Node) -> Node:
    """Every ``all()`` (or ``global()``) replaced by another node."""
    return rewrite(node, lambda item: by if item == leaf else item)


class _Reader:
    """Recursive descent over the text; one method per line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def skip(self) -> None:
        while self.text[self.position : self.position + 1] in (" ", "\t"):
            self.position += 1

    def at_end(self) -> bool:
        self.skip()
        return self.position == len(self.text)

    def take(self, token: str) -> bool:
        """Move past white space and the token, if it is next."""
        self.skip()
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise SelectorError(f"expected {token!r} at column {self.position + 1}")

    def disjunction(self) -> Node:
        items = [self.conjunction()]
        while self.take("||"):
            items.append(self.conjunction())
        return items[0] if len(items) == 1 else ("or", tuple(items))

    def conjunction(self) -> Node:
        items = [self.negation()]
        while self.take("&&"):
            items.append(self.negation())
        return items[0] if len(items) == 1 else ("and", tuple(items))

    def negation(self) -> Node:
        if self.take("!"):
            return ("not", self.negation())
        return self.primary()

    def primary(self) -> Node:
        for name in ("all", "global"):
            if self.take(f"{name}("):
                self.expect(")")
                return (name,)
        if self.take("has("):
            label = self.label()
            self.expect(")")
            return ("has", label)
        if self.take("("):
            node = self.disjunction()
            self.expect(")")
            return node
        return self.comparison(self.label())

    def comparison(self, label: str) -> Node:
        for operator in ("==", "!="):
            if self.take(operator):
                return (operator, label, self.string())
        operator = self.word_operator()
        if operator in ("in", "not in"):
            return (operator, label, self.string_set())
        return (operator, label, self.string())

    def word_operator(self) -> str:
        """A word operator ends where no label character follows."""
        self.skip()
        for operator, pattern in WORD_OPERATORS:
            found = re.compile(pattern + r"(?![A-Za-z0-9_./-])").match(self.text, self.position)
            if found:
                self.position = found.end()
                return operator
        raise SelectorError(f"expected an operator at column {self.position + 1}")

    def label(self) -> str:
        self.skip()
        found = LABEL.match(self.text, self.position)
        if not found or len(found.group()) > LONGEST_LABEL:
            raise SelectorError(f"expected a label at column {self.position + 1}")
        self.position = found.end()
        return found.group()

    def string(self) -> str:
        """No escapes: the string ends at the next quote of its kind."""
        self.skip()
        quote = self.text[self.position : self.position + 1]
        end = self.text.find(quote, self.position + 1) if quote in ("'", '"') else -1
        if end < 0:
            raise SelectorError(f"expected a quoted string at column {self.position + 1}")
        value = self.text[self.position + 1 : end]
        self.position = end + 1
        return value

    def string_set(self) -> frozenset[str]:
        self.expect("{")
        values: set[str] = set()
        while not self.take("}"):
            if values and not self.take(","):
                raise SelectorError(f"expected ',' or '}}' at column {self.position + 1}")
            if values and self.take("}"):
                break
            values.add(self.string())
        return frozenset(values)
