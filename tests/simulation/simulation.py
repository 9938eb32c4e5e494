"""One simulated life of a host: users, programs and faults by the roll of a seeded die, over virtual time.

The same seed gives the same life. Refuses to know what is right: ``promises`` does.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulation.clock import Pipe, Schedule
from tests.simulation.host import KILL, TERM, Host, Process
from tests.simulation.journal import Journal, Write
from tests.simulation.keeper import Keeper, Order, Report
from tests.simulation.launcher import Hello, Launcher
from tests.simulation.promises import SLACK_S, Promises

from relaunch.core import supervision as core
from relaunch.core.job import Ask, Job, RestartAsked, StopAsked
from relaunch.model import JobSpec

DELAYS_S = (0.0, 0.0, 0.001, 0.02)


class LauncherDied(BaseException):
    """Passes through the launcher's code as a SIGKILL would."""


class KeeperDied(BaseException):
    """Likewise, and takes its launcher along."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad this life is."""

    launcher_dies: float = 0.0
    keeper_dies: float = 0.0
    reboots: int = 0
    duplicates: float = 0.0
    launcher_dies_at: int | None = None

    @classmethod
    def rolled(cls, rng: Random) -> "Faults":
        return cls(
            launcher_dies=rng.choice((0.0, 0.005, 0.02, 0.1)),
            keeper_dies=rng.choice((0.0, 0.0, 0.01, 0.05)),
            reboots=rng.choice((0, 0, 0, 1, 2)),
            duplicates=rng.choice((0.0, 0.1)),
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """What is simulated; planted bugs replace one of them."""

    launcher: type[Launcher] = Launcher
    keeper: type[Keeper] = Keeper


@dataclass(slots=True)
class Simulation:
    """The world of one seed."""

    seed: int
    parts: Parts = field(default_factory=Parts)
    faults: Faults | None = None
    steps: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.bad = self.faults or Faults.rolled(self.rng)
        self.schedule = Schedule()
        self.host = Host(self.rng, self.schedule, self._process_ended)
        self.journal = Journal(self._committed)
        self.promises = Promises(self.host, self.journal)
        self.keeper: Keeper | None = None
        self.launcher: Launcher | None = None
        self.up_since = 0.0
        self._calm = False
        self._submits = 0
        self._told: list[Report] = []

    rng: Random = field(init=False)
    bad: Faults = field(init=False)
    schedule: Schedule = field(init=False)
    host: Host = field(init=False)
    journal: Journal = field(init=False)
    promises: Promises = field(init=False)
    keeper: Keeper | None = field(init=False)
    launcher: Launcher | None = field(init=False)
    up_since: float = field(init=False)
    _calm: bool = field(init=False)
    _submits: int = field(init=False)
    _told: list[Report] = field(init=False)
    _orders: Pipe = field(init=False)
    _reports: Pipe = field(init=False)
    _in_flight: list[Order] = field(init=False)

    # The whole of it

    def run(self) -> None:
        """Live it.

        Raises:
            Violation: A promise was broken.
        """
        length = self.rng.choice((20.0, 60.0))
        self.serve()
        for _ in range(self.rng.randint(2, 9)):
            self.schedule.after(self.rng.uniform(0, length), self._user)
        for _ in range(self.bad.reboots):
            self.schedule.after(self.rng.uniform(0, length), self._reboot)
        self._pass(length)
        self._calm = True
        self._pass(length + 45)
        assert self.launcher is not None
        self.promises.at_rest(self.launcher.jobs)
        for job_id in list(self.launcher.jobs):
            self._ask(self.launcher, job_id, StopAsked(Ask(TERM, 2.0, "stopped")))
        self._pass(self.schedule.now + 30)
        self.promises.at_the_end(self.launcher.jobs)

    def _pass(self, until: float) -> None:
        self.schedule.run(until, self._perform)

    def _perform(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except LauncherDied:
            self._launcher_dies()
        except KeeperDied:
            self._keeper_dies()

    def serve(self) -> None:
        """Somebody types `launch serve`."""
        if self.keeper is None:
            self.keeper = self.parts.keeper(self.host)
            self._in_flight = []
            self._orders = Pipe(self.schedule)
            self._start_launcher()

    def _start_launcher(self) -> None:
        if self.keeper is None or self.launcher is not None:
            return
        self.keeper.starts += 1
        self.launcher = self.parts.launcher(self)
        self._reports = Pipe(self.schedule)
        self._told = []
        self.up_since = self.schedule.now
        self._reports.send(self._delay(), self._to(self.launcher.recover), self._hello())

    def _hello(self) -> Hello:
        assert self.keeper is not None
        return Hello(self.keeper.starts, list(self.keeper.held.values()))

    def _delay(self) -> float:
        return self.rng.choice(DELAYS_S)

    # Users

    def _user(self) -> None:
        rng = self.rng
        if self.launcher is None or not self.launcher.served:
            self.schedule.after(0.5, self._user)
            return
        jobs = list(self.launcher.jobs)
        if not jobs or (len(jobs) < 4 and rng.random() < 0.3):
            self._submits += 1
            self.launcher.submit(f"j{self._submits}", self._spec())
        else:
            self._ask(self.launcher, rng.choice(jobs), self._asked())
        if rng.random() < 0.5:
            self.schedule.after(rng.choice((0.0, 0.001, 0.02, 1.0, 5.0)), self._user)

    def _ask(self, launcher: Launcher, job_id: str, event: StopAsked | RestartAsked) -> None:
        self.promises.asked(launcher.jobs[job_id], event)
        launcher.ask(job_id, event)

    def _spec(self) -> JobSpec:
        return JobSpec(
            label="job",
            argv=("program",),
            keep_alive=self.rng.random() < 0.7,
            throttle_s=self.rng.choice((10.0, 10.0, 2.0)),
            stop_timeout_s=self.rng.choice((20.0, 3.0, 0.0)),
        )

    def _asked(self) -> StopAsked | RestartAsked:
        grace_s = self.rng.choice((None, 2.0, 10.0))
        number = KILL if self.rng.random() < 0.2 else TERM
        if self.rng.random() < 0.4:
            return RestartAsked(Ask(TERM, grace_s, "stopped", restart=True))
        return StopAsked(Ask(number, grace_s, self.rng.choice(("stopped", "shutdown"))))

    # The launcher's world

    def step(self) -> None:
        """A moment at which the launcher may die."""
        if not self._calm:
            self.steps += 1
            if self.steps == self.bad.launcher_dies_at or self._strikes(self.bad.launcher_dies):
                raise LauncherDied

    def _strikes(self, likelihood: float) -> bool:
        return not self._calm and likelihood > 0 and self.rng.random() < likelihood

    def _to(self, method: Callable[..., None]) -> Callable[..., None]:
        """A method of this life of the launcher; nothing where that has ended."""
        life = self.launcher

        def call(*args: Any) -> None:
            if self.launcher is life:
                method(*args)

        return call

    def later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        """Call the launcher back, if it lives then."""
        self.schedule.after(delay, self._to(callback), *args)

    def write(self, write: Write) -> None:
        """Hand a write to the journal's thread."""
        self.step()
        self.journal.waiting.append(write)
        self.later(self._delay(), self._commit)

    def _commit(self) -> None:
        self.step()
        count = self.rng.randint(0, len(self.journal.waiting))
        writes = self.journal.commit(count)
        self.step()
        for write in writes:
            self.later(0.0, write.done)
        if self.journal.waiting:
            self.later(0.001, self._commit)

    def _committed(self, write: Write) -> None:
        self.promises.committed(write)
        for job_id in write.documents:
            due = self.promises.kill_due.get(job_id)
            if due is not None:
                self.schedule.after(due - self.schedule.now, self._check_kill, job_id)

    def _check_kill(self, job_id: str) -> None:
        due = self.promises.kill_due.get(job_id)
        if due is None or due > self.schedule.now:
            return
        if self.launcher is None or not self.launcher.served or self.up_since > due - SLACK_S:
            self.promises.kill_due[job_id] = self.schedule.now + 2 * SLACK_S
            self.schedule.after(2 * SLACK_S, self._check_kill, job_id)
            return
        self.promises.kill_overdue(job_id)
        job = self.journal.job(job_id)
        if job is not None:
            check = self._to(self.promises.survivors_due)
            self.schedule.after(core.SURVIVAL_S + SLACK_S, check, job_id, job.run)

    def order(self, order: Order) -> None:
        """Send an order to the keeper, unless the launcher dies before it leaves."""
        self.step()
        self.promises.ordered(order)
        self._in_flight.append(order)
        self._orders.send(self._delay(), self._arrive, order, self.keeper)
        self.step()

    def _arrive(self, order: Order, keeper: Keeper) -> None:
        if keeper is not self.keeper or order not in self._in_flight:
            return
        self._in_flight.remove(order)
        before = len(self.host.firsts)
        report = keeper.carry_out(order)
        for process in self.host.firsts[before:]:
            self.promises.executed(process)
        if self._strikes(self.bad.keeper_dies):
            raise KeeperDied
        if report is not None:
            self._report(report)

    def signal(self, job: Job, process: Process, number: int) -> None:
        """Signal a process, as the launcher does by itself."""
        self.step()
        self.promises.signalled(job)
        self.host.signal(process, number)

    def start_fails(self, job: Job) -> bool:
        """Whether the next start of this job does not succeed."""
        return self.rng.random() < 0.15

    # The keeper's world

    def _process_ended(self, process: Process) -> None:
        report = self.keeper.ended(process) if self.keeper else None
        if report is not None:
            self._report(report)
        if self.launcher is not None:
            self.later(self._delay(), self.launcher.process_ended, process)

    def _report(self, report: Report) -> None:
        if self.launcher is None:
            return
        self._told.append(report)
        self._reports.send(self._delay(), self._to(self.launcher.reported), report)
        if self._strikes(self.bad.duplicates):
            again = self.rng.choice(self._told)
            self._reports.send(self.rng.choice((0.0, 1.0)), self._to(self.launcher.reported), again)

    # Deaths

    def _launcher_dies(self) -> None:
        self.launcher = None
        self.journal.waiting.clear()
        while self._in_flight and self.keeper is not None:
            self._perform(self._arrive, (self._in_flight[0], self.keeper))
        if self.keeper is None:
            pass  # it died of one of these
        elif not self.keeper.up:
            self._keeper_dies()
        else:
            self.schedule.after(self.rng.choice((0.0, 0.1, 1.0)), self._start_launcher)

    def _keeper_dies(self) -> None:
        self.launcher = self.keeper = None
        self.host.generation += 1
        self.journal.waiting.clear()
        self.schedule.after(self.rng.choice((0.0, 0.5, 5.0)), self.serve)

    def _reboot(self) -> None:
        self._keeper_dies()
        self.host.reboot()
