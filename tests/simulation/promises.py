"""What must hold, watched from outside: told of each commit, order, signal and process; raises ``Violation``.

Knows the clauses of docs/protocol.md. Refuses to know how they are kept.
"""

from tests.simulation.host import KILL, Host, Process, Violation
from tests.simulation.journal import Entry, Journal, Write
from tests.simulation.keeper import Order

from relaunch.core.job import (
    Backoff,
    Ending,
    Event,
    Finished,
    Job,
    RestartAsked,
    Running,
    Starting,
    StopAsked,
    Stopping,
    Waiting,
)
from relaunch.model import Exit

# What a stop may take on top of its grace: commits and the way to the keeper.
SLACK_S = 1.5


class Promises:
    """The promises of one simulated life."""

    def __init__(self, host: Host, journal: Journal) -> None:
        self.host = host
        self.journal = journal
        self.kill_due: dict[str, float] = {}
        self._stopped_at_run: dict[str, int] = {}
        self._last_asked: dict[str, Event] = {}
        self._restarts_asked: set[tuple[str, int]] = set()
        self._promised: dict[str, float | None] = {}
        self._executed: dict[str, float] = {}
        self._survived: set[str] = set()
        self._ends: dict[str, Entry] = {}

    def committed(self, write: Write) -> None:
        """[S5] [S6] [J1] After each commit."""
        for job_id in write.documents:
            job = self.journal.job(job_id)
            assert job is not None
            self._note_kill(job)
            if isinstance(job.state, Finished) and (left := self.host.of_job(job_id)):
                raise Violation(f"{job_id} has finished, and {[process.pid for process in left]} live [S6] [S7]")
        for entry in write.entries:
            self._recorded(entry)
        if write.asked is not None:
            job_id, event = write.asked
            if event is self._last_asked.get(job_id) and isinstance(event, StopAsked):
                self._stopped_at_run[job_id] = int(self.journal.documents[job_id]["run"])

    def asked(self, job: Job, event: StopAsked | RestartAsked) -> None:
        """When a user asks; a stop counts once it is committed, a restart as soon as it may be."""
        self._last_asked[job.id] = event
        if isinstance(event, RestartAsked):
            self._stopped_at_run.pop(job.id, None)
            self._restarts_asked.add((job.id, job.run + 1))

    def _recorded(self, entry: Entry) -> None:
        key = f"{entry.job_id}.{entry.run}"
        match entry.kind:
            case "exited":
                if key in self._ends:
                    raise Violation(f"the end of {key} was recorded twice [S20]")
                self._ends[key] = entry
                self._promised[entry.job_id] = self._in_time(entry)
            case "start-failed":
                self._promised[entry.job_id] = entry.data["restart_in_s"]
            case "starting":
                promised = self._promised.pop(entry.job_id, None) is not None
                if not promised and (entry.job_id, entry.run) not in self._restarts_asked:
                    raise Violation(f"{key} was started again, though no record promised that [J1]")
            case "survived":
                self._survived.add(key)
            case "cancelled":
                self._promised[entry.job_id] = None

    def _in_time(self, entry: Entry) -> float | None:
        """[S8] When the record of an end says that the job is started again: after its throttle at the latest."""
        restart_in_s: float | None = entry.data["restart_in_s"]
        job = self.journal.job(entry.job_id)
        if restart_in_s is not None and job is not None and restart_in_s > max(job.spec.throttle_s, 1.0) + 0.001:
            raise Violation(f"{entry.job_id} is to be started again after {restart_in_s} s only [S8]")
        return restart_in_s

    def _note_kill(self, job: Job) -> None:
        state = job.state
        if not isinstance(state, Stopping | Ending):
            self.kill_due.pop(job.id, None)
            return
        grace_s = job.spec.stop_timeout_s or None
        if state.ask is not None:
            grace_s = 0.0 if state.ask.signal == KILL else state.ask.grace_s
        if grace_s is not None:
            due = self.host.schedule.now + grace_s + SLACK_S
            self.kill_due[job.id] = min(due, self.kill_due.get(job.id, due))

    def ordered(self, order: Order) -> None:
        """[S2] [S20] At each order, before it is sent."""
        job = self.journal.job(order.job_id) if order.job_id else None
        if order.op == "spawn" and (job is None or not isinstance(job.state, Starting) or job.run != order.run):
            raise Violation(f"{order.key} was ordered before that was committed [S2]")
        if order.op == "forget" and order.key not in self._ends:
            raise Violation(f"{order.key} was forgotten before its end was committed [S20]")

    def signalled(self, job: Job) -> None:
        """[S2] At each signal."""
        there = self.journal.job(job.id)
        if there is None or not isinstance(there.state, Stopping | Ending):
            raise Violation(f"{job.id} was signalled before its stop was committed [S2]")

    def executed(self, process: Process) -> None:
        """[S1] [S5] [S7] [S8] When a first process has begun."""
        job_id = process.job_id or ""
        others = [other for other in self.host.of_job(job_id) if other.born < process.born or other.run != process.run]
        twins = [other for other in self.host.of_job(job_id) if other.first and other is not process]
        if others or twins:
            raise Violation(f"{job_id} was started while {[other.pid for other in others + twins]} lived [S7] [S21]")
        if process.run > self._stopped_at_run.get(job_id, process.run):
            raise Violation(f"{job_id} was started again though it had been stopped [S5]")
        job = self.journal.job(job_id)
        before = self._executed.get(job_id)
        soon = before is not None and job is not None and process.born < before + job.spec.throttle_s - 0.001
        if soon and (job_id, process.run) not in self._restarts_asked:
            raise Violation(f"{job_id} was started sooner than its throttle [S8]")
        self._executed[job_id] = process.born

    def kill_overdue(self, job_id: str) -> None:
        """[S4] When the grace is over and the launcher has been there all the while."""
        spared = [process.pid for process in self.host.of_job(job_id) if not process.killed]
        if spared:
            raise Violation(f"{job_id}: {spared} were not killed after the grace [S4]")

    def survivors_due(self, job_id: str, run: int) -> None:
        """[S6] Five seconds after KILL, likewise."""
        job = self.journal.job(job_id)
        still = job is not None and job.run == run and isinstance(job.state, Stopping | Ending)
        if still and self.host.of_job(job_id) and f"{job_id}.{run}" not in self._survived:
            raise Violation(f"{job_id} has survived KILL, and that was not said [S6]")

    def at_rest(self, jobs: dict[str, Job]) -> None:
        """[S1] Some time after the last fault, no state waits for what will never come."""
        for job in jobs.values():
            ended = self.host.last_end.get(job.id)
            if job != self.journal.job(job.id) or (ended is not None and self.host.schedule.now - ended < SLACK_S):
                continue  # it is on its way
            living = self.host.of_job(job.id)
            if not self._is_sensible(job, living):
                raise Violation(f"{job.id} is at rest in {job.state}, with {[process.pid for process in living]}")

    def _is_sensible(self, job: Job, living: list[Process]) -> bool:
        now = self.host.now
        match job.state:
            case Starting(since=since):
                return now - since < SLACK_S
            case Running(pid=pid, ticks=ticks):
                return any((process.pid, process.ticks) == (pid, ticks) for process in living)
            case Stopping() | Ending():
                return bool(living)
            case Backoff(retry_at=retry_at):
                return not living and now - SLACK_S < retry_at <= now + max(job.spec.throttle_s, 1.0)
            case Waiting():
                return not living
            case Finished():
                return not living and self._promised.get(job.id) is None

    def at_the_end(self, jobs: dict[str, Job]) -> None:
        """[S20] [S22] After every job was stopped: nothing lives, and each end of a process is one record."""
        for job in jobs.values():
            if not isinstance(job.state, Finished):
                raise Violation(f"{job.id} was stopped, and is in {job.state}")
        for process in self.host.processes.values():
            if process.job_id is not None:
                raise Violation(f"process {process.pid} of {process.job_id} is left as a stranger")
        for process in self.host.firsts:
            self._told(process)

    def _told(self, process: Process) -> None:
        key = f"{process.job_id}.{process.run}"
        entry = self._ends.get(key)
        if entry is None:
            raise Violation(f"the end of {key} was never recorded [S20]")
        truth = Exit.from_wait(process.status, at=0, usage=None, asked=None)
        told = entry.data["code"], entry.data["signal"]
        if told == (None, None) and process.keeper != self.host.generation:
            return  # its parent died before it: nobody can know
        if told != (truth.code, truth.signal):
            raise Violation(f"the end of {key} was told as {told}, and was {truth.code, truth.signal} [S20]")
