"""A simulated host: its boots, its processes and the trees they form, and how these take signals.

Knows what a kernel knows. Refuses to know keepers, launchers and what they wish for; whatever ends is told to whoever
listens.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.simulation.clock import Schedule

TERM, KILL = 15, 9


class Violation(AssertionError):
    """A promise that was broken."""


@dataclass(slots=True, eq=False)
class Process:
    """One process. ``keeper`` is the generation of the subreaper above it; ``parent`` the process, while that lives."""

    pid: int
    ticks: int
    job_id: str | None
    run: int
    first: bool
    keeper: int
    parent: "Process | None"
    ignores_term: bool
    kill_delay: float
    born: float
    alive: bool = True
    status: int | None = None
    killed: bool = False


@dataclass(slots=True)
class Host:
    """Processes come and go here.

    Attributes:
        generation: The keeper that is there now; orphans of an older one fall to init.
        on_end: Told of each end.
    """

    rng: Random
    schedule: Schedule
    on_end: Callable[[Process], None]
    generation: int = 0
    boot: int = 1
    booted_at: float = 0.0
    processes: dict[int, Process] = field(default_factory=dict)
    firsts: list[Process] = field(default_factory=list)
    last_end: dict[str | None, float] = field(default_factory=dict)
    _ticks: int = 0
    _pid: int = 99

    @property
    def now(self) -> float:
        """CLOCK_BOOTTIME."""
        return self.schedule.now - self.booted_at

    def execute(self, job_id: str, run: int) -> Process:
        """Start a job's program: a first process and, often, children, some of them on their own."""
        rng = self.rng
        first = self._new(job_id, run, parent=None, first=True)
        self.firsts.append(first)
        for _ in range(rng.choice((0, 0, 1, 2))):
            self._new(job_id, run, parent=first if rng.random() < 0.6 else None, first=False)
        if rng.random() < 0.8:
            status = rng.choice((0, 1 << 8, 11, 6))
            self.schedule.after(rng.choice((0.0, 0.001, 0.1, 2.0, 15.0, 40.0)), self.end, first, status)
        return first

    def _new(self, job_id: str | None, run: int, *, parent: Process | None, first: bool) -> Process:
        rng = self.rng
        self._ticks += 1
        self._pid += 1
        process = Process(
            pid=self._pid,
            ticks=self._ticks,
            job_id=job_id,
            run=run,
            first=first,
            keeper=self.generation,
            parent=parent,
            ignores_term=rng.random() < 0.35,
            kill_delay=rng.choice((0.0, 0.0, 0.0, 0.01, 0.5, 12.0)),
            born=self.schedule.now,
        )
        self.processes[process.pid] = process
        if not first and rng.random() < 0.4:
            self.schedule.after(rng.choice((0.5, 5.0, 30.0)), self.end, process, 0)
        return process

    def end(self, process: Process, status: int) -> None:
        """A process ends, unless it has already."""
        if process.alive:
            process.alive, process.status = False, status
            self.last_end[process.job_id] = self.schedule.now
            del self.processes[process.pid]
            self.on_end(process)

    def signal(self, process: Process, number: int) -> None:
        """A process takes a signal; TERM may make it fork, KILL may take its time."""
        if process.job_id is None:
            raise Violation(f"process {process.pid}, a stranger, was sent signal {number}")
        if not process.alive:
            return
        if number == KILL:
            process.killed = True
            self.schedule.after(process.kill_delay, self.end, process, KILL)
        elif not process.ignores_term:
            if self.rng.random() < 0.1:
                self._new(process.job_id, process.run, parent=None, first=False)
            self.schedule.after(self.rng.choice((0.0, 0.2, 3.0, 30.0)), self.end, process, number)

    def tree(self, job_id: str, first: tuple[int, int] | None, *, adopted: bool) -> list[Process]:
        """The living processes that a launcher can find: see ``relaunch.launcher.trees``."""
        found = []
        for process in self.processes.values():
            if process.job_id != job_id:
                continue
            parent = process.parent if process.parent and process.parent.alive else None
            top = parent or process
            below_first = first is not None and (top.pid, top.ticks) == first
            orphan = not top.first and top.keeper == self.generation
            if adopted or below_first or orphan:
                found.append(process)
        return found

    def is_there(self, pid: int, ticks: int) -> bool:
        process = self.processes.get(pid)
        return process is not None and process.ticks == ticks

    def of_job(self, job_id: str) -> list[Process]:
        """All that lives of a job, found or not."""
        return [process for process in self.processes.values() if process.job_id == job_id]

    def reboot(self) -> None:
        """All ends, the clock begins anew, and the same pids are given to others, at the same ticks as it happens."""
        old = list(self.processes.values())
        for process in old:
            process.alive, process.status = False, None
        self.processes.clear()
        self.boot += 1
        self.booted_at = self.schedule.now
        self._pid += 1000
        for process in old[:4]:
            stranger = self._new(None, 0, parent=None, first=False)
            del self.processes[stranger.pid]
            stranger.pid, stranger.ticks = process.pid, process.ticks
            self.processes[process.pid] = stranger
