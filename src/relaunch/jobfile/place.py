"""Where in a file something stands, and how what is wrong there is worded.

Knows files, lines and key paths. Refuses to know which keys there are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from relaunch.errors import BadJobFile, one_line

KeyPath = tuple[str | int, ...]
Lines = Mapping[KeyPath, int]
_SHOWN_MAX = 40
_WARNINGS_MAX = 100
_NUMBER_MAX = 2**64


@dataclass(kw_only=True)
class Reading:
    """One file while it is read.

    Attributes:
        path: As it was given.
        find_lines: Finds the line of each key; it is asked where something is to be said of one.
        warnings: What has been said so far of keys that mean nothing here, up to a bound.
        unsaid: How many there were beyond that.
        slips: Those of the warnings that are of a key which looks like a known one.
    """

    path: str
    find_lines: Callable[[], Lines] = dict
    warnings: list[str] = field(default_factory=list)
    unsaid: int = 0
    slips: list[str] = field(default_factory=list)

    @cached_property
    def lines(self) -> Lines:
        """The line of each key, as far as the format tells."""
        return self.find_lines()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file, by the keys that lead there, as they are spelt in it."""

    reading: Reading
    keys: KeyPath = ()

    def at(self, key: str | int) -> Place:
        """A place within this one."""
        return Place(self.reading, (*self.keys, key))

    @property
    def line(self) -> int | None:
        """Its line, or that of the nearest thing around it whose line is known."""
        lines = self.reading.lines
        for end in range(len(self.keys), 0, -1):
            if self.keys[:end] in lines:
                return lines[self.keys[:end]]
        return None

    @property
    def file(self) -> str:
        """The file and, where it is known, the line: ``cluster.toml:12``."""
        line = self.line
        return self.reading.path if line is None else f"{self.reading.path}:{line}"

    @property
    def key_path(self) -> str:
        """The keys: ``Jobs[1].KeepAlive.Crashed``."""
        path = ""
        for key in self.keys:
            if isinstance(key, int):
                path += f"[{key}]"
            else:
                path += f"{'.' if path else ''}{one_line(key[:_SHOWN_MAX])}"
        return path

    def __str__(self) -> str:
        path = self.key_path
        return f"{self.file}: {path}" if path else self.file

    def wrong(self, what: object) -> BadJobFile:
        """The error that something here is wrong."""
        return BadJobFile(f"{self}: {what}")

    def not_so(self, expected: object, value: object) -> BadJobFile:
        """The error that a value here is not what was expected."""
        line = str(expected)
        return self.wrong(line if ", and is " in line else f"{line}; it is {shown(value)}")

    def warn(self, why: Callable[[], tuple[str, bool]]) -> None:
        """Say that something here means nothing, unless so much has been said that nobody reads on.

        Args:
            why: Finds why, and whether it looks like a slip.
        """
        if len(self.reading.warnings) >= _WARNINGS_MAX:
            self.reading.unsaid += 1
            return
        reason, is_slip = why()
        self.reading.warnings.append(f"{self}: {reason}")
        if is_slip:
            self.reading.slips.append(self.reading.warnings[-1])


def shown(value: object) -> str:
    """A value in a few words, however large it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]!r}..."
    if isinstance(value, int):
        return str(value) if -_NUMBER_MAX <= value <= _NUMBER_MAX else "a huge number"
    if isinstance(value, float):
        return f"{value:g}"
    if value == []:
        return "an empty array"
    names = ((Mapping, "a dictionary"), (list, "an array"), (bytes, "data"), (dt.date | dt.time, "a date"))
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")
