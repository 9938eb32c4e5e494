"""What a value of a job file may be: each form reads it, writes it, and says in JSON Schema what it reads.

Knows texts, numbers, arrays and dictionaries. Refuses to know any key of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from relaunch.errors import BadJobFile, BadSpec
from relaunch.fields import Reader
from relaunch.jobfile.place import Place
from relaunch.jobfile.rules import Rule, Schema, any_case

_LOOKED_AT_MAX = 100
Definitions = dict[str, Schema]
Found = dict[str, Any]


def as_it_is(value: Any) -> Any:
    """What is written as the spec has it."""
    return value


class Form(Protocol):
    """What a value may be."""

    @property
    def words(self) -> str:
        """What it is called in the documentation."""

    def read(self, value: object, place: Place) -> Any:
        """What the value means, as it goes into a spec on the wire.

        Raises:
            BadJobFile: It is none of this form.
        """

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema; parts of their own are put among the definitions."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without parts."""

    words: str
    reader: Reader
    shape: Schema
    writer: Callable[[Any], Any] = as_it_is

    def read(self, value: object, place: Place) -> Any:
        """What the value means."""
        try:
            return self.reader(value)
        except BadSpec as error:
            raise place.not_so(error, value) from None

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""
        return self.writer(value)

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        return dict(self.shape)


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of values of one form."""

    item: Form
    least: int = 0

    @property
    def words(self) -> str:
        """What it is called in the documentation."""
        return f"array of {self.item.words}"

    def read(self, value: object, place: Place) -> list[Any]:
        """What the value means."""
        if not isinstance(value, list) or len(value) < self.least:
            raise place.not_so("must be an array" + (" with something in it" if self.least else ""), value)
        return [self.item.read(item, place.at(i)) for i, item in enumerate(value)]

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""
        return [self.item.write(item) for item in value]

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        shape: Schema = {"type": "array", "items": self.item.schema(definitions)}
        return shape | ({"minItems": self.least} if self.least else {})


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """One value, or an array of them; an array is what is meant."""

    item: Form
    least: int = 0

    @property
    def words(self) -> str:
        """What it is called in the documentation."""
        return f"{self.item.words}, or array of those"

    def read(self, value: object, place: Place) -> list[Any]:
        """What the value means."""
        if isinstance(value, list):
            return Array(self.item, self.least).read(value, place)
        return [self.item.read(value, place)]

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""
        written = [self.item.write(item) for item in value]
        return written[0] if len(written) == 1 else written

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        return {"anyOf": [self.item.schema(definitions), Array(self.item, self.least).schema(definitions)]}


@dataclass(frozen=True, slots=True)
class Named:
    """A dictionary whose keys are names of the user's own."""

    words: str
    name: Reader
    name_shape: Schema
    item: Form

    def read(self, value: object, place: Place) -> Found:
        """What the value means."""
        if not isinstance(value, Mapping):
            raise place.not_so(f"must be a {self.words}", value)
        read: Found = {}
        for name, content in value.items():
            try:
                read[self.name(name)] = self.item.read(content, place.at(str(name)))
            except BadSpec as error:
                raise place.wrong(f"the name {str(name)[:80]!r} {error}") from None
        return read

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""
        return {name: self.item.write(content) for name, content in value.items()}

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        item = self.item.schema(definitions)
        return {"type": "object", "propertyNames": dict(self.name_shape), "additionalProperties": item}


@dataclass(frozen=True, slots=True)
class Either:
    """A dictionary, or something else."""

    dictionary: Form
    other: Form

    @property
    def words(self) -> str:
        """What it is called in the documentation."""
        return f"{self.other.words}, or {self.dictionary.words}"

    def read(self, value: object, place: Place) -> Any:
        """What the value means."""
        if isinstance(value, Mapping):
            return self.dictionary.read(value, place)
        try:
            return self.other.read(value, place)
        except BadJobFile:
            raise place.not_so(f"must be a {self.words}", value) from None

    def write(self, value: Any) -> Any:
        """A value that is read as this one."""
        return (self.dictionary if isinstance(value, Mapping) else self.other).write(value)

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        return {"anyOf": [self.other.schema(definitions), self.dictionary.schema(definitions)]}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a dictionary.

    Attributes:
        name: As it is written.
        field: What holds its meaning.
        form: What its value may be.
        meaning: One line for people.
        ours: Whether launchd does not have it.
    """

    name: str
    field: str
    form: Form
    meaning: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A dictionary with keys of ours, in any mixture of capitals and small letters.

    Attributes:
        name: What it is called.
        keys: Those that mean something.
        unsupported: Those that mean something to launchd and not here, each with the reason.
        rules: Which go together.
        finish: Makes what was read into what it means, where that takes more than one key.
        unfinish: The way back.
    """

    name: str
    keys: Sequence[Key]
    unsupported: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[Rule] = ()
    finish: Callable[[Found, Place], Found] = lambda found, _place: found
    unfinish: Callable[[Found], Found] = as_it_is
    _names: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._names.update((key.name.lower(), key.name) for key in self.keys)

    @property
    def words(self) -> str:
        """What it is called in the documentation."""
        return f"dictionary ({self.name})"

    def read(self, value: object, place: Place) -> Any:
        """What the value means; each key that means nothing is warned of."""
        if not isinstance(value, Mapping):
            raise place.not_so("must be a dictionary", value)
        spelt, given = self._known(value, place)
        found = {key.field: key.form.read(given[key.name], place.at(spelt[key.name])) for key in self._among(given)}
        for rule in self.rules:
            broken = rule.broken(given)
            if broken is not None:
                name, why = broken
                raise (place.at(spelt[name]) if name else place).wrong(why + self._meant(value, why))
        return self.finish(found, place)

    def _known(self, value: Mapping[Any, Any], place: Place) -> tuple[dict[str, str], Found]:
        """How each known key is spelt, and what it holds, both by its name; unknown ones are warned of."""
        spelt: dict[str, str] = {}
        given: Found = {}
        for written, content in value.items():
            if not isinstance(written, str):
                raise place.not_so("a key must be a text", written)
            name = self._names.get(written.lower())
            if name is None:
                place.at(written).warn(partial(self._why_not, written))
            elif name in spelt:
                raise place.at(written).wrong(f"is the same key as {spelt[name]!r}; leave out one")
            else:
                spelt[name], given[name] = written, content
        return spelt, given

    def _why_not(self, written: str) -> tuple[str, bool]:
        """Why a key means nothing here, and whether it looks like one that does."""
        reasons = {name.lower(): reason for name, reason in self.unsupported.items()}
        reason = reasons.get(written.lower())
        if reason is not None:
            return f"not supported: {reason}", False
        near = self._near(written)
        return f"is no key that is known here{f'; did you mean {near}?' if near else ''}", bool(near)

    def _near(self, written: str) -> str:
        """The key that one which is not known looks like."""
        import difflib

        close = difflib.get_close_matches(written[:80].lower(), self._names, 1, 0.75)
        return self._names[close[0]] if close else ""

    def _meant(self, value: Mapping[str, Any], why: str) -> str:
        """Which key may have been meant by another one, where one is missing."""
        missing, parted, _ = why.partition(" is missing")
        for written in list(value)[:_LOOKED_AT_MAX] if parted else ():
            if written.lower() not in self._names and self._near(written) in missing.replace(" or ", ", ").split(", "):
                return f"; {written[:80]!r} is there: did you mean {self._near(written)}?"
        return ""

    def _among(self, given: Mapping[str, object]) -> list[Key]:
        return [key for key in self.keys if key.name in given]

    def write(self, value: Any) -> Found:
        """A value that is read as this one."""
        fields = self.unfinish(dict(value))
        return {key.name: key.form.write(fields[key.field]) for key in self.keys if fields.get(key.field) is not None}

    def schema(self, definitions: Definitions) -> Schema:
        """What is read, in JSON Schema."""
        if self.name not in definitions:
            definitions[self.name] = {}
            properties: Schema = {}
            patterns: Schema = {}
            for key in self.keys:
                name = f"{self.name}.{key.name}"
                definitions[name] = key.form.schema(definitions)
                reference = {"$ref": f"#/$defs/{name}"}
                properties[key.name] = {"description": key.meaning} | reference
                patterns[any_case(key.name)] = reference
            shape: Schema = {"type": "object", "properties": properties, "patternProperties": patterns}
            if self.rules:
                shape["allOf"] = [rule.schema() for rule in self.rules]
            definitions[self.name] = shape
        return {"$ref": f"#/$defs/{self.name}"}
