"""Who is up, suspect or lost: drives ``core.liveness`` for all launchers of a subscription, with one timer.

The clock is CLOCK_BOOTTIME: it goes on while this host sleeps, so that its sleep shows as its own lateness. Refuses to
know how launchers are heard, and who is told.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from relaunch.core import liveness
from relaunch.core.liveness import Gone, Heard, Met, Peer, Report, Run, Terms, Up

# How much longer than a suspicion it takes until a host is taken for lost.
LOST_FACTOR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is told of one launcher.

    Attributes:
        kind: As in ``core.liveness.Report``.
        certain: Whether it is known, and not only suspected.
        silent_s: For how long it has not been heard; 0 where that is not the reason.
        run: Which run of it was known before.
        together: How many are told of together.
        number: Which of them this is, from 1.
    """

    kind: str
    certain: bool
    silent_s: float
    run: Run
    together: int
    number: int


def clock() -> float:
    """CLOCK_BOOTTIME in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watch:
    """All launchers of one subscription. Lives on one event loop, from the first ``met`` until ``close``.

    Args:
        terms: How long silence may last.
        tell: Called with what is believed of one launcher, by its key; those told together one after the other.
        changed: Called when a launcher is up that was not, or the other way round.
    """

    def __init__(self, terms: Terms, tell: Callable[[str, Belief], None], changed: Callable[[], None]) -> None:
        self._terms = terms
        self._tell = tell
        self._changed = changed
        self._peers: dict[str, Peer] = {}
        self._unread: dict[str, Callable[[], None]] = {}
        self._watch = liveness.Watch(terms, clock())
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def is_up(self, key: str) -> bool:
        """Whether that launcher is believed to be up."""
        peer = self._peers.get(key)
        return peer is not None and isinstance(peer.state, Up)

    def is_known(self, key: str, run: Run) -> bool:
        """Whether that run, or a later one, has been met."""
        peer = self._peers.get(key)
        return peer is not None and peer.run.number >= run.number

    def run(self, key: str) -> Run | None:
        """Which run of a launcher was met last; None before the first."""
        peer = self._peers.get(key)
        return None if peer is None else peer.run

    def forget(self, key: str) -> None:
        """Watch that launcher no more."""
        self._unread.pop(key, None)
        if self._peers.pop(key, None) is not None:
            self._changed()

    def met(self, key: str, run: Run) -> None:
        """A launcher has said which run it is."""
        if key in self._peers:
            self._apply(key, Met(run))
        else:
            self._peers[key] = liveness.meet(key, run, now=clock())
            self._changed()
            self._watch_on()

    def heard(self, key: str, run: Run) -> None:
        """Anything has come from that run."""
        self._apply(key, Heard(run))

    def gone(self, key: str, run: Run) -> None:
        """That run has ended: it said so."""
        self._apply(key, Gone(run))

    def unread(self, key: str, say: Callable[[], None] | None) -> None:
        """Whether what a launcher sends is left unread: then its silence is ours.

        Args:
            key: The launcher's.
            say: Called now and then, to show it that somebody is there; None where it is read again.
        """
        if say is not None:
            self._unread[key] = say
        elif self._unread.pop(key, None) is not None:
            self._excuse(key)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _apply(self, key: str, event: liveness.Event) -> None:
        before = self._peers.get(key)
        if before is None:  # it has been forgotten
            return
        after, reports = liveness.transition(before, event, clock())
        self._peers[key] = after
        for report in reports:
            self._report(report, {key: before.run})
        if type(before.state) is not type(after.state):
            self._changed()
            self._watch_on()

    def _watch_on(self) -> None:
        """Begin to look at the clock, where nobody was to be watched until now."""
        if self._timer is None:
            self._watch = replace(self._watch, looked_at=clock())
            self._arm()

    def _arm(self) -> None:
        at = liveness.deadline(self._watch, self._peers)
        if at is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - clock()), self._look)

    def _look(self) -> None:
        self._timer = None
        for key, say in self._unread.items():
            self._excuse(key)
            say()
        runs = {key: peer.run for key, peer in self._peers.items()}
        self._watch, changed, reports = liveness.review(self._watch, self._peers, clock())
        self._peers |= changed
        for report in reports:
            self._report(report, runs)
        if reports:
            self._changed()
        self._arm()

    def _excuse(self, key: str) -> None:
        peer = self._peers.get(key)
        if peer is not None and isinstance(peer.state, Up):
            self._peers[key] = replace(peer, state=Up(clock()))

    def _report(self, report: Report, runs: Mapping[str, Run]) -> None:
        # Its journal's own event of that name says more, and comes before anything else of the new run.
        if report.kind == "launcher.restarted":
            return
        for number, (key, silent_s) in enumerate(report.silent_s.items(), 1):
            self._tell(
                key,
                Belief(
                    kind=report.kind,
                    certain=report.certain,
                    silent_s=silent_s,
                    run=runs[key],
                    together=len(report.silent_s),
                    number=number,
                ),
            )
