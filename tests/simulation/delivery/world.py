"""One simulated story of launchers, networks and a subscriber, by the roll of a seeded die, over virtual time.

The same seed gives the same story. Refuses to know what is right: ``promises`` does.
"""

from dataclasses import dataclass, field
from random import Random

from tests.simulation.clock import Schedule
from tests.simulation.delivery.launcher import TERMS, Journal, Launcher
from tests.simulation.delivery.network import BACK, OUT, Connection, Died, Path, Process
from tests.simulation.delivery.promises import Promises
from tests.simulation.delivery.subscriber import Subscriber
from tests.simulation.host import Violation

from relaunch.core import liveness
from relaunch.core.delivery import Bookmark, Cursor, Item
from relaunch.core.liveness import Ended, Run, Up

# After the last fault all has arrived by then: a silent connection is given up, dialling too, and the longest delay.
HEAL_S = 45.0


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad this story is."""

    launcher_dies: float = 0.0
    subscriber_dies: float = 0.0
    loss: float = 0.0
    duplicates: float = 0.0
    cuts: int = 0
    breaks: int = 0
    stalls: int = 0
    vanishes: int = 0
    compactions: int = 0
    lost_journals: int = 0
    durable: bool = True

    @classmethod
    def rolled(cls, rng: Random) -> "Faults":
        return cls(
            launcher_dies=rng.choice((0.0, 0.002, 0.01, 0.05)),
            subscriber_dies=rng.choice((0.0, 0.002, 0.01, 0.03)),
            loss=rng.choice((0.0, 0.05, 0.3)),
            duplicates=rng.choice((0.0, 0.2)),
            cuts=rng.choice((0, 1, 3)),
            breaks=rng.choice((0, 0, 2)),
            stalls=rng.choice((0, 1, 3)),
            vanishes=rng.choice((0, 0, 1)),
            compactions=rng.choice((0, 2, 5)),
            lost_journals=rng.choice((0, 0, 1, 2)),
            durable=rng.random() < 0.7,
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What is simulated; planted bugs replace one of them."""

    launcher: type[Launcher] = Launcher
    subscriber: type[Subscriber] = Subscriber


class Source:
    """One host with its launcher and journal, and the way to the subscriber."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name, self.terms = world, name, TERMS
        self.promises = Promises(world.schedule, TERMS.window, TERMS.rate, TERMS.burst)
        self.path = Path(world.schedule, world.rng, world.faults.loss, world.faults.duplicates)
        self.process = Process(world.schedule, self.dies)
        self.boots, self.starts, self.epochs = 1, 0, 0
        self.launcher: Launcher | None = None
        self.new_journal()

    # The host

    def new_journal(self) -> None:
        self.epochs += 1
        self.journal = Journal(f"{self.name}{self.epochs}")
        story = self.promises.story
        story.epochs.append(self.journal.epoch)
        story.matching[self.journal.epoch] = []
        story.last[self.journal.epoch] = story.compacted_to[self.journal.epoch] = 0

    def append(self, matches: bool) -> None:
        self.journal.last += 1
        story = self.promises.story
        story.last[self.journal.epoch] = self.journal.last
        if matches:
            story.matching[self.journal.epoch].append(self.journal.last)

    def start(self) -> None:
        if self.process.up:
            return
        self.process.begin()
        self.starts += 1
        run = Run(f"{self.name}-boot{self.boots}", self.starts)
        self.promises.running = run
        self.launcher = self.world.parts.launcher(self, self.process, run)
        self.promises.level = 0.0
        self.process.perform(self.launcher.recover)

    def dies(self, away_s: float | None = None) -> None:
        if self.launcher is None or not self.process.up:
            return
        rng, connection, run = self.world.rng, self.launcher.connection, self.launcher.run
        if connection is not None and away_s is None:
            connection.close(OUT)
        self.process.end()
        self.promises.running = None
        if away_s is None and rng.random() < 0.5:  # its keeper says so
            self.world.schedule.after(rng.choice((0.05, 3.0)), self._tell_gone, run)
        if away_s is not None:
            self.boots += 1
            self._will_be_suspected()
        self.world.schedule.after(away_s or rng.choice((0.1, 0.1, 2.0)), self.start)

    def _tell_gone(self, run: Run) -> None:
        subscriber = self.world.process
        if self.path.is_open():
            subscriber.read(subscriber.life, None, self.world.subscriber.gone, (self, run))

    def _will_be_suspected(self) -> None:
        now, subscriber = self.world.schedule.now, self.world.process
        peer = self.world.subscriber.peers.get(self.name)
        listening = subscriber.up and subscriber.stalled_until <= now and self.path.cut_until[OUT] <= now
        if peer is not None and isinstance(peer.state, Up) and listening:
            within = self.world.watched.suspect_after_s + 1.0
            args = (self.process.life, subscriber.life, subscriber.stalled_until, peer)
            self.world.schedule.after(within, self._is_suspected, *args)

    def _is_suspected(self, life: int, subscriber_life: int, stalled_until: float, before: liveness.Peer) -> None:
        subscriber, now = self.world.process, self.world.schedule.now
        same = subscriber.up and (self.process.life, subscriber.life) == (life, subscriber_life)
        if not same or self.process.up or subscriber.stalled_until != stalled_until:
            return
        if isinstance(self.world.subscriber.peers[self.name].state, Up):
            raise Violation(f"{self.name} vanished, and is taken for up at {now} [D10]")

    def compact(self) -> None:
        journal = self.journal
        journal.compacted_to = max(journal.compacted_to, journal.last - self.world.rng.randint(0, 4))
        self.promises.story.compacted_to[journal.epoch] = journal.compacted_to

    def lose_journal(self) -> None:
        """Also while the launcher runs; then it remembers who has subscribed."""
        subscribed = self.journal.subscribed
        self.new_journal()
        if self.process.up and self.world.rng.random() < 0.7:
            self.journal.subscribed = subscribed
        else:
            self.dies()

    # Between launcher and subscriber

    def connect(self) -> Connection:
        return Connection(self.path, (self.process, self.world.process))

    def register(self) -> bool:
        if not self.path.is_open() or not self.process.up or self.launcher is None:
            return False
        self.process.read(self.process.life, None, self.launcher.register, (self.world.subscription,))
        return True

    def accept(self, connection: Connection, dial: int, run: Run) -> None:
        if self.journal.subscribed != self.world.subscription:
            connection.close(BACK)
        else:
            self.world.subscriber.accept(self, connection, dial, run)
            self._runs[id(connection)] = run, connection

    @property
    def _runs(self) -> dict[int, tuple[Run, Connection]]:
        return self.world.runs

    def arrived(self, connection: Connection, item: Item) -> None:
        self.world.subscriber.arrived(self, connection, self._runs[id(connection)][0], item)

    def beaten(self, connection: Connection, bookmark: Bookmark | None) -> None:
        self.world.subscriber.beaten(self, connection, self._runs[id(connection)][0], bookmark)

    def answered(self, what: str, dial: int, cursor: Cursor | None) -> None:
        assert self.launcher is not None
        if what == "welcomed":
            self.launcher.welcomed(dial, cursor)
        else:
            self.launcher.acked(dial, cursor)

    def suspected(self, subscriber: Process) -> None:
        """[D12]"""
        since = self.world.schedule.now - self.world.watched.beat_s
        if any(at < since and sender is self.process for at, sender, _, _ in subscriber.unread):
            raise Violation(f"{self.name} was suspected while its heartbeat lay unread [D12]")


@dataclass(slots=True)
class World:
    """The world of one seed."""

    seed: int
    parts: Parts = field(default_factory=Parts)
    bad: Faults | None = None
    steps: int = 0
    subscription: int = 1
    runs: dict[int, tuple[Run, Connection]] = field(default_factory=dict)
    rng: Random = field(init=False)
    faults: Faults = field(init=False)
    schedule: Schedule = field(init=False)
    watched: liveness.Terms = field(init=False)
    process: Process = field(init=False)
    sources: dict[str, Source] = field(init=False)
    subscriber: Subscriber = field(init=False)
    durable: bool = field(init=False)
    slow: float = field(init=False)
    calm: bool = False

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.faults = self.bad or Faults.rolled(self.rng)
        self.schedule = Schedule()
        self.watched = liveness.Terms()
        self.process = Process(self.schedule, self._subscriber_dies)
        self.durable = self.faults.durable
        self.slow = self.rng.choice((0.0, 0.01, 0.3))
        names = "ab" if self.rng.random() < 0.2 else "a"
        self.sources = {name: Source(self, name) for name in names}

    def run(self) -> None:
        """Live it.

        Raises:
            Violation: A promise was broken.
        """
        length = self.rng.choice((10.0, 30.0))
        for source in self.sources.values():
            source.start()
        self._start_subscriber()
        for source in self.sources.values():
            self._plan(source, length)
        for _ in range(self.faults.stalls):
            self.schedule.after(self.rng.uniform(0, length), self._stall, self.process)
        self._pass(length)
        self.calm = True
        for source in self.sources.values():
            source.path.cut_until = [0.0, 0.0]
            self.schedule.after(1.0, self._produce, source)
        self._pass(length + HEAL_S)
        for source in self.sources.values():
            source.promises.at_rest()
            state = self.subscriber.peers[source.name].state
            if not isinstance(state, Up | Ended):
                raise Violation(f"all is well again, and {source.name} is {state} [D11]")

    def _plan(self, source: Source, length: float) -> None:
        rng, bad, after = self.rng, self.faults, self.schedule.after
        for _ in range(rng.randint(3, 12)):
            after(rng.uniform(0, length), self._produce, source)
        for _ in range(bad.cuts):
            after(rng.uniform(0, length), self._cut, source)
        for _ in range(bad.breaks):
            after(rng.uniform(0, length), self._break, source)
        for _ in range(bad.compactions):
            after(rng.uniform(0, length), source.compact)
        for _ in range(bad.lost_journals):
            after(rng.uniform(0, length), source.lose_journal)
        for _ in range(bad.vanishes):
            after(rng.uniform(0, length), source.dies, rng.choice((5.0, 12.0)))
        if rng.random() < 0.3 and bad.stalls:
            after(rng.uniform(0, length), self._stall, source.process)

    def _pass(self, until: float) -> None:
        self.schedule.run(until, lambda callback, args: callback(*args))

    def _produce(self, source: Source) -> None:
        if source.process.up and source.launcher is not None:
            count = self.rng.choice((1, 1, 3, 12))
            matching = [self.rng.random() < 0.6 for _ in range(count)]
            source.process.read(source.process.life, None, source.launcher.produce, (matching,))

    def _cut(self, source: Source) -> None:
        seconds = self.rng.choice((0.5, 5.0, 40.0))
        for way in self.rng.choice(((OUT,), (BACK,), (OUT, BACK))):
            source.path.cut(way, seconds)

    def _break(self, source: Source) -> None:
        """A middlebox forgets a connection, and tells nobody."""
        if source.launcher is not None and source.launcher.connection is not None:
            source.launcher.connection.is_broken = True

    def _stall(self, process: Process) -> None:
        if process.up:
            process.stall(self.rng.choice((0.3, 1.0, 2.0, 4.0, 10.0)))

    def disk_delay(self) -> float:
        return self.rng.choice((0.0, 0.0, 0.001, 0.02))

    def handling_time(self) -> float:
        return self.slow * self.rng.random()

    def step(self, likelihood: float) -> None:
        """A moment at which a process may die."""
        if not self.calm and likelihood > 0:
            self.steps += 1
            if self.rng.random() < likelihood / 4:
                raise Died

    def _start_subscriber(self) -> None:
        self.process.begin()
        self.subscriber = self.parts.subscriber(self, self.process)
        self.process.perform(self.subscriber.begin)

    def _subscriber_dies(self) -> None:
        for source in self.sources.values():
            for connection in self.subscriber.links[source.name]:
                connection.close(BACK)
            if not self.durable:
                source.promises.kept = None
            source.promises.killed()
        if not self.durable:
            self.subscription += 1
        self.process.end()
        self.schedule.after(self.rng.choice((0.1, 3.0)), self._start_subscriber)
