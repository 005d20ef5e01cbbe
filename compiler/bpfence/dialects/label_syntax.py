"""Kubernetes' spelling rules for labels, selectors, object names and port names: text in, what is wrong with it out.

Every function answers None for a well-formed text, else a phrase that completes "the key ``x`` ..." in a message.
Source: apimachinery's ``util/validation`` and ``apis/meta/v1/validation``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

MAX_LABEL = 63
MAX_SUBDOMAIN = 253
MAX_PORT_NAME = 15

_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_PORT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?\Z")

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "In", "NotIn", "Exists", "DoesNotExist"
OPERATORS = (IN, NOT_IN, EXISTS, DOES_NOT_EXIST)

TextProblem = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One item of ``matchExpressions`` as written; ``values`` None = the field is missing."""

    key: str
    operator: str
    values: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class SelectorProblem:
    """What is wrong and where, relative to the selector; ``of_key``: the place is the mapping key, not its value."""

    path: tuple[str | int, ...]
    message: str
    help: str = ""
    of_key: bool = False


def dns_subdomain_problem(text: str) -> str | None:
    """Object names of most kinds (RFC 1123 subdomain)."""
    if len(text) > MAX_SUBDOMAIN:
        return f"is longer than {MAX_SUBDOMAIN} characters"
    if not _SUBDOMAIN.match(text):
        return "must be lower-case letters, digits, '-' and '.', and begin and end with a letter or digit"
    return None


def dns_label_problem(text: str) -> str | None:
    """Names of namespaces and services (RFC 1123 label)."""
    if len(text) > MAX_LABEL:
        return f"is longer than {MAX_LABEL} characters"
    if not _DNS_LABEL.match(text):
        return "must be lower-case letters, digits and '-', and begin and end with a letter or digit"
    return None


def label_key_problem(text: str) -> str | None:
    """A label key: ``name`` or ``prefix/name``."""
    prefix, slash, name = text.rpartition("/")
    if slash and not prefix:
        return "has an empty prefix before '/'"
    if slash and (problem := dns_subdomain_problem(prefix)):
        return f"has a bad prefix: the part before '/' {problem}"
    if not name:
        return "is empty"
    if len(name) > MAX_LABEL:
        return f"has a name part longer than {MAX_LABEL} characters"
    if not _NAME.match(name):
        return "must be letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
    return None


def label_value_problem(text: str) -> str | None:
    """A label value; the empty text is one."""
    if len(text) > MAX_LABEL:
        return f"is longer than {MAX_LABEL} characters"
    if text and not _NAME.match(text):
        return "must be letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
    return None


def port_name_problem(text: str) -> str | None:
    """A port name (IANA service name, RFC 6335)."""
    if len(text) > MAX_PORT_NAME:
        return f"is longer than {MAX_PORT_NAME} characters"
    if not _PORT_NAME.match(text):
        return "must be lower-case letters, digits and '-', and begin and end with a letter or digit"
    if "--" in text:
        return "must not contain two dashes in a row"
    if not any(letter.isalpha() for letter in text):
        return "must contain a letter"
    return None


def requirement_problems(
    requirement: Requirement,
    key_problem: TextProblem = label_key_problem,
    value_problem: TextProblem = label_value_problem,
) -> Iterable[SelectorProblem]:
    """What is wrong with one item of ``matchExpressions``."""
    if problem := key_problem(requirement.key):
        yield SelectorProblem(("key",), f"the label key {requirement.key!r} {problem}")
    values = requirement.values or ()
    if requirement.operator not in OPERATORS:
        yield SelectorProblem(
            ("operator",),
            f"{requirement.operator!r} is no selector operator",
            f"use one of {', '.join(OPERATORS)}",
        )
    elif requirement.operator in (IN, NOT_IN) and not values:
        yield SelectorProblem((), f"operator {requirement.operator} needs values", "list at least one value")
    elif requirement.operator in (EXISTS, DOES_NOT_EXIST) and values:
        yield SelectorProblem(("values",), f"operator {requirement.operator} takes no values", "remove values")
    for index, value in enumerate(values):
        if problem := value_problem(value):
            yield SelectorProblem(("values", index), f"the label value {value!r} {problem}")


def selector_problems(
    match_labels: Mapping[str, str],
    requirements: Sequence[Requirement],
    key_problem: TextProblem = label_key_problem,
    value_problem: TextProblem = label_value_problem,
) -> Iterable[SelectorProblem]:
    """What is wrong with a label selector; ``key_problem`` lets a dialect allow its own prefixes on keys."""
    for key, value in match_labels.items():
        if problem := key_problem(key):
            yield SelectorProblem(("matchLabels", key), f"the label key {key!r} {problem}", of_key=True)
        if problem := value_problem(value):
            yield SelectorProblem(("matchLabels", key), f"the label value {value!r} {problem}")
    for index, requirement in enumerate(requirements):
        for found in requirement_problems(requirement, key_problem, value_problem):
            path = ("matchExpressions", index, *found.path)
            yield SelectorProblem(path, found.message, found.help, found.of_key)
