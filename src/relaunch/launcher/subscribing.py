"""What the methods on subscriptions do: parameters checked, the table asked, its answer put in words.

Refuses to know sockets and framing, as ``handlers`` does.
"""

from relaunch.core.delivery_wire import write_cursor
from relaunch.fields import Wire
from relaunch.launcher.parameters import a_count, an_object, take, texts, wall_time
from relaunch.launcher.server import Unary
from relaunch.launcher.subscriptions import Subscriptions
from relaunch.subscription import SubscriptionSpec


class Subscribing:
    """The methods, over one table.

    Attributes:
        unary: The methods by name.
    """

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self.unary: dict[str, Unary] = {
            "Subscribe": self.subscribe,
            "Unsubscribe": self.unsubscribe,
            "Subscriptions": self.subscriptions,
        }

    async def subscribe(self, parameters: Wire) -> Wire:
        """See ``Subscribe`` in the interface."""
        wire, since, since_at = take(parameters, {"subscription": an_object}, {"since": a_count, "since_at": wall_time})
        cursor = await self._subscriptions.subscribe(SubscriptionSpec.from_wire(wire), since, since_at)
        speaker = self._subscriptions.speaker
        return {
            "source": speaker.source,
            "boot_id": speaker.boot_id,
            "run": speaker.run,
            "cursor": write_cursor(cursor),
        }

    async def unsubscribe(self, parameters: Wire) -> Wire:
        """See ``Unsubscribe`` in the interface."""
        (names,) = take(parameters, {"ids": texts}, {})
        return {"ended": await self._subscriptions.unsubscribe(names)}

    async def subscriptions(self, parameters: Wire) -> Wire:
        """See ``Subscriptions`` in the interface."""
        take(parameters, {}, {})
        return {"subscriptions": self._subscriptions.to_wire()}
