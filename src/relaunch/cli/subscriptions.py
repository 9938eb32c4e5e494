"""``launch subscriptions``: to whom the launcher delivers events."""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.client.calls import subscriptions
from relaunch.client.quick import Client, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """List subscriptions."""
    found = Client().call(subscriptions())
    if arguments["json"]:
        write("[" + ",\n ".join(map(encode, found)) + "]\n")
    else:
        from relaunch.cli.render import subscriptions_table

        write(subscriptions_table(found))
    return 0
