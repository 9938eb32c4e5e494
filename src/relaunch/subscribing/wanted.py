"""What a subscriber wants: which events, and where it listens for them. Values only; refuses to check them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relaunch.subscription import Filter

if TYPE_CHECKING:
    from relaunch.transport.address import Address
    from relaunch.transport.stream import Kind


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events, from where on; see ``relaunch.subscribe``."""

    patterns: Sequence[str]
    kinds: Sequence[str]
    name: str | None
    since: int | None
    since_at: float | None

    @property
    def from_now(self) -> bool:
        """Whether no beginning was asked for."""
        return self.since is None and self.since_at is None

    @property
    def from_snapshot(self) -> bool:
        """Whether it begins with what is."""
        return self.from_now and Filter((), self.kinds)("stream.snapshot", None)


@dataclass(frozen=True, slots=True)
class ListensAt:
    """Where and how to listen; see ``relaunch.subscribe``. A port 0 in ``advertise`` is the one it listens at."""

    address: "Address"
    transport: "Kind"
    suspect_after_s: float
    advertise: "Address | None" = None
