"""A simulated subscriber: the driver around ``core.receiving`` and ``core.liveness``, by the rules of the real one.

Perform effects in order; hand items to an application that takes one at a time; keep what was handled before it is
acknowledged; look at the clock when ``deadline`` says so. Refuses to know when it dies; it may at each ``step``.
"""

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.delivery.network import BACK, Connection, Process

from relaunch.core import liveness, receiving
from relaunch.core.delivery import Bookmark, Cursor, Item
from relaunch.core.liveness import Peer, Report, Run, Up, Watch
from relaunch.core.receiving import Receiver

if TYPE_CHECKING:
    from tests.simulation.delivery.world import Source, World


class Subscriber:
    """One life of a subscriber."""

    def __init__(self, world: "World", process: Process) -> None:
        self.world, self.process = world, process
        self.receivers: dict[str, Receiver] = {}
        self.links: dict[str, list[Connection]] = {}
        self.dials: dict[str, dict[int, int]] = {}
        self.peers: dict[str, Peer] = {}
        self.watch = Watch(world.watched, world.schedule.now)
        self.queue: deque[tuple[Source, Item, bool]] = deque()
        self._busy = False
        self._watching = False
        self._registered: dict[str, float] = {}

    def begin(self) -> None:
        for source in self.world.sources.values():
            durable, kept = self.world.durable, source.promises.kept
            cursor = kept if durable else None
            self.receivers[source.name] = receiving.begin(durable=durable, limit=16, cursor=cursor, in_doubt=True)
            self.links[source.name], self.dials[source.name] = [], {}
            self._registered[source.name] = -1.0
        self.register()

    def register(self) -> None:
        """Over the control channel, once in a life, and where nothing is heard: the launcher may have forgotten."""
        for source in self.world.sources.values():
            peer = self.peers.get(source.name)
            silent = self.receivers[source.name].link is None or peer is None or not isinstance(peer.state, Up)
            first = self._registered[source.name] < 0
            due = first or (silent and self.world.schedule.now > self._registered[source.name] + 10)
            if due and source.register():
                self._registered[source.name] = self.world.schedule.now
        self.process.later(1.0, self.register)

    def step(self) -> None:
        self.world.step(self.world.faults.subscriber_dies)

    # The stream

    def accept(self, source: "Source", connection: Connection, dial: int, run: Run) -> None:
        self.meet(source, run)
        links = self.links[source.name]
        links.append(connection)
        link = len(links)
        self.dials[source.name][link] = dial
        connection.on_close[BACK] = lambda: self.apply(source, receiving.Disconnected(link))
        self.apply(source, receiving.Connected(link))

    def link(self, source: "Source", connection: Connection) -> int:
        return self.links[source.name].index(connection) + 1

    def arrived(self, source: "Source", connection: Connection, run: Run, item: Item) -> None:
        self.heard(source, run)
        self.apply(source, receiving.Arrived(self.link(source, connection), item))

    def beaten(self, source: "Source", connection: Connection, run: Run, bookmark: Bookmark | None) -> None:
        self.heard(source, run)
        self.apply(source, receiving.Beaten(self.link(source, connection), bookmark))

    def apply(self, source: "Source", event: receiving.Event) -> None:
        before = self.receivers[source.name]
        self.receivers[source.name], effects = self.transition(before, event)
        for effect in effects:
            self.step()
            self.perform(source, effect)

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        return receiving.transition(receiver, event)

    def perform(self, source: "Source", effect: receiving.Effect) -> None:
        match effect:
            case receiving.Welcome(link=link, cursor=cursor):
                self.answer(source, link, "welcomed", cursor)
            case receiving.HandOn(item=item, again=again):
                self.queue.append((source, item, again))
                self._next()
            case receiving.Keep(cursor=cursor):
                source.promises.keeps(cursor)
            case receiving.Ack(link=link, cursor=cursor):
                source.promises.acks(cursor, self.world.durable)
                self.answer(source, link, "acked", cursor)
            case receiving.HangUp(link=link):
                self.links[source.name][link - 1].close(BACK)

    def answer(self, source: "Source", link: int, what: str, cursor: Cursor | None) -> None:
        connection, dial = self.links[source.name][link - 1], self.dials[source.name][link]
        connection.send(BACK, source.answered, what, dial, cursor)

    # The application

    def _next(self) -> None:
        if not self._busy and self.queue:
            self._busy = True
            self.process.later(0.0, self._take)

    def _take(self) -> None:
        source, item, again = self.queue.popleft()
        self.step()
        source.promises.handed(item, again)
        self.process.later(self.world.handling_time(), self._done, source, item)

    def _done(self, source: "Source", item: Item) -> None:
        self.step()
        source.promises.handled(item)
        self.step()
        self.apply(source, receiving.Handled(item))
        self._busy = False
        self._next()

    # What is believed

    def meet(self, source: "Source", run: Run) -> None:
        peer = self.peers.get(source.name)
        if peer is None:
            self.peers[source.name] = liveness.meet(source.name, run, now=self.world.schedule.now)
        else:
            self.believe(source, peer, liveness.Met(run))
        if not self._watching:
            self._watching = True
            self.watch = replace(self.watch, looked_at=self.world.schedule.now)
            self._arm()

    def heard(self, source: "Source", run: Run) -> None:
        if source.name in self.peers:
            self.believe(source, self.peers[source.name], liveness.Heard(run))

    def gone(self, source: "Source", run: Run) -> None:
        if source.name in self.peers:
            self.believe(source, self.peers[source.name], liveness.Gone(run))

    def believe(self, source: "Source", peer: Peer, event: liveness.Event) -> None:
        after, reports = liveness.transition(peer, event, self.world.schedule.now)
        self.peers[source.name] = after
        for report in reports:
            if report.certain and report.kind in ("launcher.lost", "launcher.restarted", "host.rebooted"):
                source.promises.certain(source.name, report.kind, peer.run)

    def _arm(self) -> None:
        at = liveness.deadline(self.watch, self.peers)
        at = self.world.schedule.now + 1.0 if at is None else at
        self.process.later(max(0.0, at - self.world.schedule.now), self._look)

    def _look(self) -> None:
        self.watch, changed, reports = self.review(self.watch)
        self.peers |= changed
        for report in reports:
            self._reported(report)
        self._arm()

    def review(self, watch: Watch) -> tuple[Watch, dict[str, Peer], tuple[Report, ...]]:
        return liveness.review(watch, self.peers, self.world.schedule.now)

    def _reported(self, report: Report) -> None:
        for name in report.silent_s:
            source = self.world.sources[name]
            if report.kind == "host.suspect":
                source.suspected(self.process)
            elif report.certain and report.kind != "host.withdrawn":
                source.promises.certain(name, report.kind, self.peers[name].run)
