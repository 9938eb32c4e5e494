"""A simulated launcher: one life of the driver around ``core.supervision``, by the rules of the real one.

The rules (``relaunch.launcher.supervisor`` and ``recovery``): an effect follows the commit of the state that asks for
it; a key is forgotten when its end is committed; a new launcher takes the journal's jobs up, applies what the keeper
holds, orders again what this keeper never got, looks for what another keeper left, and serves once all that is
committed. Refuses to know why it dies; it may at each ``step``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.simulation.host import Host, Process
from tests.simulation.journal import Entry, Journal, Write
from tests.simulation.keeper import Order, Report

from relaunch.core import supervision as core
from relaunch.core.document import to_document
from relaunch.core.job import (
    SIGKILL,
    Backoff,
    Effect,
    Ending,
    Event,
    Exited,
    Finished,
    Job,
    Record,
    RestartAsked,
    Running,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    Starting,
    Step,
    StopAsked,
    Stopping,
    Tick,
    TreeGone,
)
from relaunch.launcher.recovery import from_before_boot
from relaunch.model import Exit, JobSpec

WALL = 1_700_000_000.0


class World(Protocol):
    """What a launcher stands in."""

    host: Host
    journal: Journal

    def step(self) -> None:
        """A moment at which the launcher may die."""

    def later(self, delay: float, callback: Any, *args: Any) -> None:
        """Call back, if the launcher still lives then."""

    def write(self, write: Write) -> None:
        """Have it committed."""

    def order(self, order: Order) -> None:
        """Hand it to the keeper."""

    def signal(self, job: Job, process: Process, number: int) -> None:
        """Send it."""

    def start_fails(self, job: Job) -> bool:
        """Whether the next start of this job does not succeed."""


@dataclass(slots=True)
class Hello:
    """The keeper's first report."""

    starts: int
    held: list[Report] = field(default_factory=list)


class Launcher:
    """One launcher, from its start to its death."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[str, Job] = {}
        self.served = False
        self._recovery: list[Write] | None = None
        self._due: dict[str, float] = {}
        self._watched: dict[str, set[Process]] = {}

    # What users ask for

    def submit(self, job_id: str, spec: JobSpec) -> None:
        job, effects = core.submit(job_id, spec, now=self._now, at=WALL)
        self.write(job, effects)

    def ask(self, job_id: str, event: StopAsked | RestartAsked) -> None:
        if job_id in self.jobs:
            self.apply(self.jobs[job_id], event)
            self._hand_in(Write({}, [], lambda: None, asked=(job_id, event)))

    # What the keeper reports

    def reported(self, report: Report) -> None:
        job = self._by_key(report.key)
        if job is None:
            if report.event == "exited":  # of a run whose end may still be on its way to the journal
                self._hand_in(Write({}, [], lambda: self._forget(report.key)))
            return
        match report.event:
            case "spawned":
                self.apply(job, Spawned(report.pid, report.ticks, report.adopted))
            case "failed":
                self.apply(job, SpawnFailed(Exit(reason="start-failed", at=WALL)))
            case _:
                self.ended(job, report.pid or None, report.status, forget=report.key)

    def ended(self, job: Job, pid: int | None, status: int | None, forget: str | None) -> None:
        leftover = bool(self.tree(job, alive=False))
        self.apply(job, Exited(pid, status, WALL, None, leftover), forget)

    def process_ended(self, process: Process) -> None:
        for job_id, watched in list(self._watched.items()):
            if process in watched:
                watched.discard(process)
                if not watched:
                    del self._watched[job_id]
                    self.look(job_id)

    # One step of one job

    def apply(self, job: Job, event: Event, forget: str | None = None) -> None:
        after, effects = self.transition(job, event)
        if after is not job or effects or forget:
            self.write(after, effects, forget)

    def transition(self, job: Job, event: Event) -> Step:
        return core.transition(job, event, self._now, WALL)

    def write(self, job: Job, effects: Iterable[Effect], forget: str | None = None) -> None:
        effects, before = tuple(effects), self.jobs.get(job.id, job)
        self.jobs[job.id] = job
        self.arm(job)
        entries = [
            # The record of an end tells of the run that ended, though the next one may have been decided with it.
            Entry(job.id, before.run if effect.kind == "exited" else job.run, effect.kind, effect.data)
            for effect in effects
            if isinstance(effect, Record)
        ]

        def done() -> None:
            self.perform(job, effects)
            if forget:
                self._forget(forget)

        self._hand_in(Write({job.id: to_document(job)}, entries, done))

    def _hand_in(self, write: Write) -> None:
        if self._recovery is None:
            self.world.write(write)
        else:
            self._recovery.append(write)

    def perform(self, job: Job, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.world.step()
            match effect:
                case Spawn():
                    self.order_spawn(job)
                case SignalTree(signal=number):
                    self.signal_tree(job, number)
                case Record():
                    pass

    def order_spawn(self, job: Job) -> None:
        self.world.order(Order("spawn", job.id, job.run, fails=self.world.start_fails(job)))

    def signal_tree(self, job: Job, number: int) -> None:
        reached: set[Process] = set()
        while new := [process for process in self.tree(job, alive=True) if process not in reached]:
            reached.update(new)
            for process in new:
                self.world.signal(job, process, number)
            if number != SIGKILL:
                break
        if isinstance(job.state, Ending):
            self.look(job.id)

    def look(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if not isinstance(job.state, Ending):
            return
        members = self.tree(job, alive=True)
        if members:
            self._watched[job_id] = set(members)
        else:
            self.apply(job, TreeGone())

    def tree(self, job: Job, *, alive: bool) -> list[Process]:
        first = None
        if alive and isinstance(job.state, Running | Stopping):
            first = job.state.pid, job.state.ticks
        return self.world.host.tree(job.id, first, adopted=job.adopted)

    def _forget(self, key: str) -> None:
        job_id, _, run = key.partition(".")
        self.world.order(Order("forget", job_id, int(run)))

    def _by_key(self, key: str) -> Job | None:
        job_id, _, run = key.partition(".")
        job = self.jobs.get(job_id)
        return job if job is not None and str(job.run) == run else None

    # Time

    @property
    def _now(self) -> float:
        return self.world.host.now

    def arm(self, job: Job) -> None:
        at = core.deadline(job)
        if at is not None and self._due.get(job.id) != at:
            self._due[job.id] = at
            self.world.later(max(0.0, at - self._now), self._ring, job.id, at)

    def _ring(self, job_id: str, at: float) -> None:
        if self._now < at:  # by a rounding error of the clock
            self.world.later(1e-6, self._ring, job_id, at)
        elif self._due.get(job_id) == at:
            del self._due[job_id]
            if core.deadline(self.jobs[job_id]) == at:
                self.apply(self.jobs[job_id], Tick())

    # Recovery

    def recover(self, hello: Hello) -> None:
        """Bring every job into line with what is there; serve when that is committed, as one."""
        self._recovery = []
        same_boot = self.world.journal.boot in (None, self.world.host.boot)
        held = {report.key: report for report in hello.held}
        journal = self.world.journal
        jobs = [
            self.restore(job, same_boot=same_boot) for job in map(journal.job, journal.documents) if job is not None
        ]
        for job in jobs:
            self.jobs[job.id] = job
            self.arm(job)
        again = [job for job in jobs if isinstance(job.state, Ending)]
        for job in jobs:
            report = held.pop(key_of(job), None)
            if report is not None:
                self.reported(report)
            elif isinstance(job.state, Starting) and hello.starts > 1:
                self.order_spawn(job)
            elif isinstance(job.state, Starting | Running | Stopping):
                self.find(job, same_boot=same_boot)
        for report in held.values():
            if report.event == "exited":
                self._forget(report.key)
        writes, self._recovery = self._recovery, None
        self.world.write(self.merged(writes, again))

    def restore(self, job: Job, *, same_boot: bool) -> Job:
        """A job as this launcher takes it up: adopted, where there may be something of it to adopt."""
        if not same_boot:
            job = from_before_boot(job, self._now)
        if isinstance(job.state, Backoff | Finished):
            return job
        return replace(job, adopted=same_boot and bool(self.world.host.of_job(job.id)))

    def merged(self, writes: list[Write], again: list[Job]) -> Write:
        documents = {job.id: to_document(job) for job in self.jobs.values()}

        def done() -> None:
            for write in writes:
                write.done()
            for job in again:
                if isinstance(self.jobs[job.id].state, Ending):
                    self.signal_tree(self.jobs[job.id], core.signal_due(self.jobs[job.id]))
            self.served = True
            self.world.order(Order("up"))

        entries = [entry for write in writes for entry in write.entries]
        return Write(documents, entries, done, boot=self.world.host.boot)

    def find(self, job: Job, *, same_boot: bool) -> None:
        """Look for a run that this keeper does not know: adopt it, or say that its end is not known."""
        there: tuple[int, int] | None = None
        if isinstance(job.state, Running | Stopping):
            there = job.state.pid, job.state.ticks
        elif same_boot:
            firsts = [p for p in self.world.host.of_job(job.id) if p.first and p.run == job.run]
            there = (firsts[0].pid, firsts[0].ticks) if firsts else None
        if there is None or not self.world.host.is_there(*there):
            self.ended(job, there[0] if there else None, None, None)
        else:
            self.world.order(Order("adopt", job.id, job.run, *there, boot=self.world.host.boot))


def key_of(job: Job) -> str:
    return f"{job.id}.{job.run}"
