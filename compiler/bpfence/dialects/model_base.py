"""The base of every policy model: strict, closed, immutable, written in the API's camelCase.

How a dialect declares its fields:

- `Model` refuses unknown fields and never converts types; a field that may be left out has a default, never ``| None``
  in its type, so that an explicit null is refused.
- lists are `ListOf[X]` (a tuple afterwards), mappings are ``dict[str, X]``;
- a validator that refuses a value raises `FieldError` (or ValueError, when there is no help to give).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Item = TypeVar("Item")

ListOf = Annotated[tuple[Item, ...], Field(strict=False)]
"""A list of the input, held as a tuple. The items stay strict; only the list itself is converted."""

Anything = object
"""Type of a field whose content has no influence on verdicts and is accepted as it stands (``status``)."""


class Model(BaseModel):
    """Base of the policy models. Unknown fields, nulls and converted types are errors."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=False,
    )


class ObjectMeta(Model):
    """``metadata`` of an object: what policies read, and the server's bookkeeping, which is accepted unread."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: Anything = None
    deletion_grace_period_seconds: Anything = None
    deletion_timestamp: Anything = None
    finalizers: Anything = None
    generate_name: Anything = None
    generation: Anything = None
    managed_fields: Anything = None
    owner_references: Anything = None
    resource_version: Anything = None
    self_link: Anything = None
    uid: Anything = None


class FieldError(ValueError):
    """A validator's refusal in policy words.

    ``help``: what to do. ``at``: path below the validated value, for validators of a whole model. ``code``: a
    diagnostic code of its own instead of the prefix's 005.
    """

    def __init__(
        self,
        message: str,
        help: str = "",  # noqa: A002 - the diagnostic's word
        *,
        at: tuple[str | int, ...] = (),
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.at = at
        self.code = code
