"""A located document and a model in; the model's instance, or a diagnostic per mistake at its exact place, out.

Codes, after the dialect's prefix: 001 unknown field, 002 null, 003 wrong type, 004 missing, 005 value not allowed.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.model_base import FieldError, Model
from bpfence.dialects.model_fields import suggest_field
from bpfence.dialects.model_problems import Problem, collect_problems, describe, field_text
from bpfence.source.documents import Document, Path
from bpfence.source.scalars import UnquotedDate
from bpfence.source.spans import Span

__all__ = ["FieldError", "parse_model"]

ModelType = TypeVar("ModelType", bound=Model)

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "finite_number": "must be a finite number",
}


def parse_model(
    document: Document, model: type[ModelType], code_prefix: str, diagnostics: Diagnostics
) -> ModelType | None:
    """Validate ``document.data``; None when there were errors.

    Every mistake becomes one error at its place: unknown fields at the key (with the nearest known name), explicit
    nulls, wrong types, missing fields at the mapping that lacks them, refused values. The alternatives of a union
    are told as one ("must be a whole number or text").
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as failure:
        problems = collect_problems(failure, document.data)
    reporter = _Reporter(document, model, code_prefix, diagnostics)
    for problem in problems:
        reporter.report(problem)
    return None


class _Reporter:
    """Words and places for the problems of one document."""

    def __init__(self, document: Document, model: type[Model], code_prefix: str, diagnostics: Diagnostics) -> None:
        self.document = document
        self.model = model
        self.code_prefix = code_prefix
        self.diagnostics = diagnostics

    def report(self, problem: Problem) -> None:
        path, kind = problem.path, problem.kinds[0]
        if kind == "extra_forbidden":
            self._unknown(path)
        elif kind == "missing":
            self._missing(problem)
        elif problem.value is None:
            self._null(path)
        elif all(kind in _WANTED for kind in problem.kinds):
            self._wrong_type(problem)
        else:
            self._refused(problem)

    def _unknown(self, path: Path) -> None:
        message = f"unknown field {field_text(path)}"
        self._error("001", self.document.key_span(*path), message, suggest_field(self.model, path))

    def _null(self, path: Path) -> None:
        span = self.document.key_span(*path) if path else self.document.span()
        self._error("002", span, f"{field_text(path)} is null", "remove the line, or give it a value ({}, [] or text)")

    def _missing(self, problem: Problem) -> None:
        parent = problem.path
        at_key = parent and isinstance(parent[-1], str)
        span = self.document.key_span(*parent) if at_key else self.document.span(*parent)
        self._error("004", span, f"{field_text((*parent, problem.missing))} is required", "add the field")

    def _wrong_type(self, problem: Problem) -> None:
        wanted = list(dict.fromkeys(_WANTED[kind] for kind in problem.kinds))
        message = f"{field_text(problem.path)} must be {' or '.join(wanted)}, not {describe(problem.value)}"
        span = self.document.span(*problem.path)
        self._error("003", span, message, _type_help(wanted, problem.value))

    def _refused(self, problem: Problem) -> None:
        error = problem.context.get("error")
        if isinstance(error, FieldError):
            path = (*problem.path, *error.at)
            code = error.code or f"{self.code_prefix}005"
            self.diagnostics.error(code, self.document.span(*path), error.message, error.help, self.document.title)
            return
        self._error("005", self.document.span(*problem.path), _refusal(problem), _refusal_help(problem))

    def _error(self, number: str, span: Span, message: str, help_text: str) -> None:
        self.diagnostics.error(f"{self.code_prefix}{number}", span, message, help_text, self.document.title)


def _refusal(problem: Problem) -> str:
    error = problem.context.get("error")
    if isinstance(error, ValueError | AssertionError):
        return str(error)
    kind = problem.kinds[0]
    if kind not in _LIMITS:
        return f"{field_text(problem.path)}: {problem.text}"
    words = _LIMITS[kind].format(**problem.context)
    return f"{field_text(problem.path)} {words}, not {describe(problem.value)}"


def _refusal_help(problem: Problem) -> str:
    """Literals differ most often by their case."""
    expected = str(problem.context.get("expected", ""))
    if problem.kinds[0] != "literal_error" or not isinstance(problem.value, str):
        return ""
    for option in expected.replace(" or ", ", ").split(", "):
        if option.strip("'").lower() == problem.value.lower():
            return f"write {option.strip(chr(39))}: upper and lower case matter"
    return ""


def _type_help(wanted: list[str], value: Any) -> str:
    if "text" in wanted and isinstance(value, bool):
        return "quote it: unquoted yes, no, on, off, true and false are not text"
    if "text" in wanted and isinstance(value, int | float):
        return f'quote it: "{value}"'
    if "text" in wanted and isinstance(value, UnquotedDate):
        return f'quote it: "{value.text}"'
    if "a whole number" in wanted and isinstance(value, str) and value.isascii() and value.isdigit():
        return "remove the quotes"
    if "true or false" in wanted and isinstance(value, str):
        return "write true or false without quotes"
    if wanted == ["a list"]:
        return "write the items with dashes, or in [ ]"
    return ""
