"""The one form of an event: CloudEvents 1.0 as JSON (https://github.com/cloudevents/spec, v1.0.2, JSON format).

Knows how an event is named and written. Refuses to know where it is kept and who is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from relaunch.fields import Wire

TYPE_PREFIX = "io.relaunch."


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        source: Host and launcher that tell of it, ``//HOST/relaunch/UID``.
        epoch: The life of the journal it stands in; a new journal has a new one.
        sequence: Its place in that journal; with the epoch it names the event for ever.
        kind: Its type without ``io.relaunch.``, such as ``job.exited``.
        label: The job's label, None for an event of the launcher or host.
        at: Wall time, seconds since the epoch.
        data: All there is to say of it; holds ``label`` and ``boot_id`` too.
        redelivered: Whether the application may have handled it already, in a life before this one.
        mark: What it is where no journal holds it: ``gap``, ``reset`` and ``snapshot`` stand at a place of a journal,
            ``watch`` counts what one life of a subscriber, its ``epoch``, came to believe. Empty for a journal's event.
    """

    source: str
    epoch: str
    sequence: int
    kind: str
    label: str | None
    at: float
    data: Mapping[str, Any]
    redelivered: bool = False
    mark: str = ""

    @property
    def id(self) -> str:
        """Unique within the source."""
        return f"{self.epoch}/{self.sequence}/{self.mark}" if self.mark else f"{self.epoch}/{self.sequence}"

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From a CloudEvent."""
        epoch, _, rest = wire["id"].partition("/")
        sequence, _, mark = rest.partition("/")
        return cls(
            source=wire["source"],
            epoch=epoch,
            sequence=int(sequence),
            kind=wire["type"].removeprefix(TYPE_PREFIX),
            label=wire.get("subject"),
            at=datetime.fromisoformat(wire["time"]).timestamp(),
            data=wire["data"],
            redelivered=wire.get("redelivered") is True,
            mark=mark,
        )

    def to_wire(self) -> Wire:
        """As a CloudEvent."""
        wire: Wire = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": TYPE_PREFIX + self.kind,
            "time": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }
        if self.label is not None:
            wire["subject"] = self.label
        if self.redelivered:
            wire["redelivered"] = True
        return wire
