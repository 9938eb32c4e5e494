"""What a launcher's side of one subscription is, hears and asks for: the values of ``core.sending``.

Each state carries only its own data. What belongs to a connection carries the number of its ``Dial``. Refuses to know
what follows from what: ``core.sending`` does.
"""

from dataclasses import dataclass
from typing import Literal

from relaunch.core.delivery import Bookmark, Cursor, Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a subscription may cost.

    Attributes:
        window: Items sent and not yet acknowledged, at most.
        rate: Items a second, in the long run.
        burst: Items at once, after a rest.
        beat_s: Seconds between heartbeats, at most.
        lease_s: Seconds for which the subscriber may be unreachable.
    """

    window: int = 256
    rate: float = 10_000.0
    burst: int = 1_000
    beat_s: float = 0.6
    lease_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The last connection failed, or ended; the next is tried at that time."""

    attempt: int
    retry_at: float


@dataclass(frozen=True, slots=True)
class Dialling:
    """A connection is being made, and the subscriber's welcome awaited."""

    attempt: int
    give_up_at: float


@dataclass(frozen=True, slots=True)
class Link:
    """A connection that stands.

    Attributes:
        attempt: How many failed before it.
        since: When it began.
        beat_at: When the next heartbeat is due.
        unanswered_since: The first heartbeat that no acknowledgement has followed, None where there is none.
    """

    attempt: int
    since: float
    beat_at: float
    unanswered_since: float | None = None


@dataclass(frozen=True, slots=True)
class Snapping:
    """The subscriber knows nothing yet; a snapshot is being taken for it."""

    link: Link


@dataclass(frozen=True, slots=True)
class Streaming:
    """Events are sent as they come.

    Attributes:
        link: The connection.
        journal: The last event committed.
        position: How far the journal has been read.
        told: Where the subscriber stands once it has all that was sent.
        in_flight: Where each item stands that was sent and not acknowledged.
        scanning: Whether an answer to ``Scan`` is awaited.
        resume_at: When the rate allows more, None where that is not what is waited for.
    """

    link: Link
    journal: Cursor
    position: Cursor
    told: int
    in_flight: tuple[Cursor, ...] = ()
    scanning: bool = False
    resume_at: float | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more will be sent."""

    why: Literal["expired", "unsubscribed"]


State = Waiting | Dialling | Snapping | Streaming | Over


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The subscriber took the connection.

    Attributes:
        dial: As in ``Dial``.
        cursor: How far its application has come, None where it has nothing.
        journal: The last event committed by now.
    """

    dial: int
    cursor: Cursor | None
    journal: Cursor


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection could not be made, or has ended."""

    dial: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The journal has grown, or is another one; its last event is at ``journal``."""

    journal: Cursor


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the journal has after a place.

    Attributes:
        dial: As in ``Scan``.
        after: As in ``Scan``.
        epoch: The journal's; where it is not that of ``after``, the rest means nothing.
        through: How far was read.
        matching: Those up to there that match, no more than asked for.
        compacted_to: The last event that is not there any more.
    """

    dial: int
    after: Cursor
    epoch: str
    through: int
    matching: tuple[int, ...] = ()
    compacted_to: int = 0


@dataclass(frozen=True, slots=True)
class Snapped:
    """The snapshot that was asked for is at hand, with all up to ``at`` in it; ``journal`` is the last event by now."""

    dial: int
    at: Cursor
    journal: Cursor


@dataclass(frozen=True, slots=True)
class Acked:
    """The application has handled all up to ``at``; None where nothing yet, and the subscriber is there."""

    dial: int
    at: Cursor | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """The subscriber has subscribed again, over another channel: what connection there was is of its last life."""


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """Nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that ``deadline`` named has come, or any other."""


Event = Welcomed | Disconnected | Committed | Scanned | Snapped | Acked | Renewed | Unsubscribed | Tick


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect, prove who we are, say ``Welcomed`` or ``Disconnected``. All that belongs to it carries its number."""

    dial: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Read the journal after that place, find at most ``count`` events that match, say ``Scanned``."""

    dial: int
    after: Cursor
    count: int


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Put down what is, as of one commit, and say ``Snapped``."""

    dial: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send these, in order."""

    dial: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """Send a heartbeat with the journal's last sequence, and this bookmark."""

    dial: int
    bookmark: Bookmark | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection, or the attempt at one."""

    dial: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember how far the application has come. May be late or lost: the subscriber says it again at each welcome."""

    acked: Cursor


@dataclass(frozen=True, slots=True)
class Expire:
    """Forget the subscription, and say so."""


Effect = Dial | Scan | TakeSnapshot | Send | Beat | HangUp | Keep | Expire


@dataclass(frozen=True, slots=True)
class Sender:
    """One subscription.

    Attributes:
        terms: What it may cost.
        acked: How far the application has come, None where it has nothing.
        state: What is.
        dial: Number of the last connection; what belongs to an earlier one is ignored.
        heard_at: When the subscriber was last there.
        tokens: Items that could be sent at ``filled_at``.
        filled_at: When that was so.
    """

    terms: Terms
    acked: Cursor | None
    state: State
    dial: int
    heard_at: float
    tokens: float
    filled_at: float
