"""Values that cost nothing to make: frozen for the type checker, plain slots at run time.

A frozen dataclass sets every field through `object.__setattr__`, five times the price of a plain one; the path makes a
dozen values a message. mypy refuses to assign to a field all the same, and mypy runs before every commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a value: slots, equality and hash over its fields, never assigned to."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
