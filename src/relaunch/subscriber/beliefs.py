"""What a subscriber believes of a launcher, as an event that the application is told.

Knows how such events are numbered, and which of them belong together. Refuses to know why something is believed
(``watch``).
"""

import secrets
import time

from relaunch.event import Event
from relaunch.subscriber.watch import Belief


class Beliefs:
    """Makes the events of one life of a subscriber."""

    def __init__(self) -> None:
        self._life, self._count, self._group = secrets.token_hex(8), 0, ""

    def event(self, source: str, belief: Belief) -> Event:
        """The event; those told together are to be made one after the other.

        Args:
            source: The launcher's, as in its own events.
            belief: What is believed of it.
        """
        self._count += 1
        if belief.number == 1:
            self._group = f"{self._life}/{self._count}"
        data = {
            "label": None,
            "certain": belief.certain,
            "silent_s": round(belief.silent_s, 3),
            "boot_id": belief.run.boot_id,
            "run": belief.run.number,
            "together": belief.together,
            "number": belief.number,
            "group": self._group,
        }
        return Event(
            source=source,
            epoch=self._life,
            sequence=self._count,
            kind=belief.kind,
            label=None,
            at=time.time(),
            data=data,
            mark="watch",
        )
