"""Which keys of a dictionary go together.

Each rule is said once, and is both looked at by the reader and written into the JSON Schema. Refuses to know any key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Schema = dict[str, Any]
END = r"(?![\s\S])"
"""The end of a text in a regular expression: what Python's ``$`` says is not what everybody's does."""


def any_case(name: str) -> str:
    """A regular expression for a name in any mixture of capitals and small letters."""
    return "^" + "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in name) + END


@dataclass(frozen=True, slots=True)
class Has:
    """That a key is there; and where ``values`` are given, that it is one of these."""

    key: str
    values: tuple[str, ...] = ()

    def holds(self, found: Mapping[str, object]) -> bool:
        """Whether it is so."""
        return self.key in found and (not self.values or found[self.key] in self.values)

    def schema(self) -> Schema:
        """That it is so."""
        there: Schema = {"not": {"propertyNames": {"not": {"pattern": any_case(self.key)}}}}
        if self.values:
            there["patternProperties"] = {any_case(self.key): {"enum": list(self.values)}}
        return there

    def __str__(self) -> str:
        return f"{self.key} {' or '.join(self.values)}".rstrip()


class Rule(Protocol):
    """What has to hold of the keys of a dictionary."""

    def broken(self, found: Mapping[str, Any]) -> tuple[str, str] | None:
        """None where it holds; else the key that is wrong, empty for the dictionary itself, and why."""

    def schema(self) -> Schema:
        """The rule in JSON Schema."""


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of these keys has to be there."""

    keys: Sequence[str]

    def broken(self, found: Mapping[str, Any]) -> tuple[str, str] | None:
        """None where it holds; else what is wrong."""
        if any(key in found for key in self.keys):
            return None
        *others, last = self.keys
        names = f"{', '.join(others)} or {last}" if others else last
        return "", f"{names} is missing"

    def schema(self) -> Schema:
        """The rule in JSON Schema."""
        choices = [Has(key).schema() for key in self.keys]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}


@dataclass(frozen=True, slots=True)
class Needs:
    """Where one thing is said, the other has to be said too."""

    one: Has
    other: Has

    def broken(self, found: Mapping[str, Any]) -> tuple[str, str] | None:
        """None where it holds; else what is wrong."""
        if self.one.holds(found) and not self.other.holds(found):
            return self.one.key, f"{self.one} means something beside {self.other} only"
        return None

    def schema(self) -> Schema:
        """The rule in JSON Schema."""
        return {"anyOf": [self.other.schema(), {"not": self.one.schema()}]}


@dataclass(frozen=True, slots=True)
class Apart:
    """These two are not to be said together."""

    one: Has
    other: Has

    def broken(self, found: Mapping[str, Any]) -> tuple[str, str] | None:
        """None where it holds; else what is wrong."""
        if self.one.holds(found) and self.other.holds(found):
            return self.other.key, f"{self.other} does not go with {self.one}"
        return None

    def schema(self) -> Schema:
        """The rule in JSON Schema."""
        return {"not": {"allOf": [self.one.schema(), self.other.schema()]}}


@dataclass(frozen=True, slots=True)
class FirstIsLookedUp:
    """Without one key, the first text of the array under another is what is executed: a name, or an absolute path."""

    unless: str
    key: str

    def broken(self, found: Mapping[str, Any]) -> tuple[str, str] | None:
        """None where it holds; else what is wrong."""
        if self.unless in found or self.key not in found:
            return None
        program = found[self.key][0]
        if "/" in program and not program.startswith("/"):
            return self.key, f"begins with {program[:80]!r}, a path that is not absolute; give that, or a name for PATH"
        return None

    def schema(self) -> Schema:
        """The rule in JSON Schema."""
        first: Schema = {"prefixItems": [{"pattern": f"^(/|[^/]+{END})"}]}
        return {"anyOf": [Has(self.unless).schema(), {"patternProperties": {any_case(self.key): first}}]}
