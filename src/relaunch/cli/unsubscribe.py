"""``launch unsubscribe``: ends subscriptions."""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.client.calls import unsubscribe
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """End subscriptions, and name those that were."""
    ended = Client().call(unsubscribe(arguments["ids"]))
    write("".join(f"{one}: ended\n" for one in ended))
    return 0
