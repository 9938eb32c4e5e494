"""One thing that was looked at, and how it was found. Refuses to know how to look."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look at a host found.

    Attributes:
        check: What was looked at, in a word.
        level: Whether it is as it should be, may surprise, or has to be seen to.
        text: What was found; the same on hosts that are the same.
        advice: What to do about it; empty where nothing is to be done.
        data: Numbers and names that go with it.
    """

    check: str
    level: Level
    text: str
    advice: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Self:
        """What ``to_wire`` gave.

        Raises:
            KeyError, TypeError, ValueError: It is not that.
        """
        if wire["level"] not in ("ok", "warn", "fail"):
            raise ValueError(wire["level"])
        return cls(**{name: wire[name] for name in cls.__dataclass_fields__})


def ok(check: str, text: str, **data: Any) -> Finding:
    """It is as it should be."""
    return Finding(check=check, level="ok", text=text, data=data)


def warn(check: str, text: str, advice: str = "", **data: Any) -> Finding:
    """It works, and may surprise."""
    return Finding(check=check, level="warn", text=text, advice=advice, data=data)


def fail(check: str, text: str, advice: str, **data: Any) -> Finding:
    """It does not work."""
    return Finding(check=check, level="fail", text=text, advice=advice, data=data)
