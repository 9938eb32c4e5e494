"""What subscribers are told, as text: an event put into words once for all of them, a message put together from that.

The form of everything is that of ``relaunch.event`` and ``core.delivery_wire``; what is spliced here is only what they
leave room for. Refuses to know who is told, and when.
"""

from collections.abc import Sequence

from relaunch.core.delivery import Bookmark, Item
from relaunch.core.delivery_wire import INTERFACE, Told, write_bookmark, write_item
from relaunch.core.varlink import Message, encode, json_text
from relaunch.event import Event
from relaunch.launcher.feed import event_of
from relaunch.launcher.journal import StoredEvent

# What stands at the end of an item that carries nothing yet.
_NOTHING = "null}"


def event_text(source: str, stored: StoredEvent) -> str:
    """An event that this process has just committed, as a CloudEvent: its data are not read again."""
    event = Event(
        source=source,
        epoch=stored.epoch,
        sequence=stored.sequence,
        kind=stored.kind,
        label=stored.label,
        at=stored.at,
        data={},
    )
    wire = event.to_wire()
    del wire["data"]
    boot = f'{{"boot_id":{json_text(stored.boot_id)}'
    data = f"{boot},{stored.data[1:]}" if len(stored.data) > 2 else f"{boot}}}"
    return f'{json_text(wire)[:-1]},"data":{data}}}'


def old_event_text(source: str, stored: StoredEvent) -> str:
    """An event read from the disk, as a CloudEvent, whatever has become of it there."""
    return json_text(event_of(source, stored).to_wire())


def item_text(item: Item, payload: str | None) -> str:
    """An item; ``payload`` is the text of its event or jobs, None for one that carries nothing."""
    text = json_text(write_item(Told(item)))
    return text if payload is None else text.removesuffix(_NOTHING) + payload + "}"


def deliver(items: Sequence[str]) -> bytes:
    """The message that delivers items."""
    text = f'{{"method":"{INTERFACE}.Deliver","parameters":{{"items":[{",".join(items)}]}},"oneway":true}}\0'
    return text.encode("ascii")


def beat(sequence: int, bookmark: Bookmark | None) -> bytes:
    """A heartbeat."""
    return call("Beat", {"sequence": sequence, "bookmark": write_bookmark(bookmark)}, oneway=True)


def call(method: str, parameters: Message, **flags: bool) -> bytes:
    """Any call to a subscriber."""
    return encode({"method": f"{INTERFACE}.{method}", "parameters": parameters, **flags})
