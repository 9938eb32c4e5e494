"""Where a reader of the journal stands, and what it asks for to go on from there, whichever launcher answers next.

The one rule of following, for ``launch events -f`` and for subscribers on this host alike: a launcher that ends its
answers or goes away is asked again, from the last event that came. Refuses to know how a call travels. As light as
``calls``.
"""

from __future__ import annotations

from relaunch.client.calls import Call, events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Wire = dict[str, Any]

AGAIN_S = 0.05
"""How long to wait before a launcher that has gone, or is being replaced, is asked again."""


class Place:
    """A reader's place in the journal.

    Args:
        patterns: Labels or globs, as ``events`` of ``calls`` takes them.
        kinds: Kinds of events, likewise; None for every kind.
        epoch: The journal that ``since`` is about, where that is known.
        since: Only what stands after this sequence.
        since_at: Only what happened at or after this wall time.
        count: Only so many; the last ones where no beginning is given.

    Attributes:
        epoch: The journal's, None before that is known.
        in_order: Whether the last thing that its launcher said was that there is no more.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        *,
        kinds: Sequence[str] | None = None,
        epoch: str | None = None,
        since: int | None = None,
        since_at: float | None = None,
        count: int | None = None,
    ) -> None:
        self._patterns = patterns
        self._kinds = kinds
        self._since = since
        self._since_at = since_at
        self._count = count
        self.epoch = epoch
        self.in_order = False

    def call(self, *, follow: bool) -> Call:
        """The call that goes on from here."""
        return events(
            self._patterns,
            since=self._since,
            since_at=self._since_at,
            count=self._count,
            follow=follow,
            kinds=self._kinds,
            epoch=self.epoch,
        )

    def came(self, event: Wire) -> None:
        """An event has come, and been passed on."""
        self.epoch, self._since = place_of(event)
        self._since_at = self._count = None
        self.in_order = False

    def ended(self) -> None:
        """The answers have ended in order."""
        self.in_order = True

    def begin(self, epoch: str) -> None:
        """Go on at the beginning of another journal."""
        self.epoch, self._since, self._since_at = epoch, 0, None


def place_of(event: Wire) -> tuple[str, int]:
    """Epoch and sequence of an event."""
    epoch, _, sequence = event["id"].rpartition("/")
    return epoch, int(sequence)
