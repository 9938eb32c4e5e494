"""Drives ``core.supervision``: jobs in, orders to the keeper and writes to the journal out.

Owns the table of jobs, one timer, and those who wait for a job. Decides nothing: each event goes through
``transition``, and what that asks for is performed once it is in the journal (S2). Refuses to know the Unix socket and
its callers.
"""

import asyncio
import heapq
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from relaunch.core import supervision as core
from relaunch.core.document import without_spec
from relaunch.core.supervision import Job
from relaunch.errors import JournalFailed, LabelInUse, NoSuchLabel, Refused, ShuttingDown, StartFailed
from relaunch.keeper.wire import Message
from relaunch.labels import is_pattern, select
from relaunch.launcher.journal import Journal, NewEvent, Write
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.output import Outputs
from relaunch.launcher.trees import Process, Root, Trees, read_stat
from relaunch.model import Exit, JobSpec

FINISHED_MAX = 1_000
_dump = json.JSONEncoder(separators=(",", ":")).encode
Watcher = Callable[[Job, frozenset[str]], bool]


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds: the ``now`` of every deadline, the same for every launcher of one boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """The jobs of one launcher. Lives on its event loop.

    Args:
        journal: Where everything goes first.
        link: The keeper.
        outputs: Where jobs write to.
        socket_path: Told to each job as LAUNCH_JOB_SOCKET.
    """

    def __init__(self, journal: Journal, link: KeeperLink, outputs: Outputs, socket_path: str) -> None:
        self.jobs: dict[str, Job] = {}
        self.first_pids: set[int] = set()
        self.trees = Trees(0, self.first_pids)
        self._keeper_pid = 0
        self.closing = False
        self._journal = journal
        self._link = link
        self._outputs = outputs
        self._socket_path = socket_path
        self._labels: dict[str, str] = {}
        self._specs: dict[str, str] = {}
        self._ordered: set[str] = set()
        self._watchers: dict[str, list[tuple[Watcher, asyncio.Future[Job]]]] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None

    # What callers ask for

    async def submit(self, spec: JobSpec) -> Job:
        """Start a job.

        Returns:
            The job once its program runs, or has already ended.

        Raises:
            LabelInUse, StartFailed, JournalFailed, ShuttingDown: As their names say.
        """
        if self.closing:
            raise ShuttingDown("the launcher is ending and starts nothing new")
        old = self.jobs.get(spec.label)
        if old is not None and not isinstance(old.state, core.Finished):
            raise LabelInUse(f"label {spec.label} is in use by a job that has not finished; choose another, or stop it")
        job, effects = core.submit(secrets.token_hex(8), spec, now=boottime(), at=time.time())
        started = self.until(job.id, lambda now, _: not isinstance(now.state, core.Starting))
        self._write(job, effects, refusable=True, replaces=old)
        job = await started
        if job.exit is not None and job.exit.reason == "start-failed":
            raise StartFailed(f"{spec.label} was not started: {job.exit.message}")
        return job

    async def stop(self, label: str, ask: core.Ask) -> tuple[Job, bool]:
        """End a job's whole tree.

        Returns:
            The job, and whether nothing of it is left.
        """
        job = self.jobs[label]
        if isinstance(job.state, core.Finished):
            return job, True
        run = job.run

        def gone(now: Job) -> bool:  # a later request to restart may have taken over
            return isinstance(now.state, core.Finished) or now.run > run

        ended = self.until(job.id, lambda now, told: gone(now) or "survived" in told)
        self._apply(job, core.StopAsked(ask))
        job = await ended
        return job, gone(job)

    async def restart(self, label: str, ask: core.Ask) -> Job:
        """End a job, where it runs, and start it.

        Raises:
            StartFailed, ShuttingDown: As their names say.
            Refused: A later stop took over.
        """
        if self.closing:
            raise ShuttingDown("the launcher is ending and starts nothing new")
        job = self.jobs[label]
        run = job.run

        def settled(now: Job, told: frozenset[str]) -> bool:
            return "survived" in told or isinstance(now.state, core.Finished) or (now.run > run and _has_begun(now))

        started = self.until(job.id, settled)
        self._apply(job, core.RestartAsked(ask))
        job = await started
        begun = not isinstance(job.state, core.Backoff | core.Finished)
        if job.run > run and not begun and job.exit is not None and job.exit.reason == "start-failed":
            raise StartFailed(f"{label} was not started: {job.exit.message}")
        if job.run == run and isinstance(job.state, core.Finished):
            raise Refused(f"{label} was stopped by a later request, and not started again")
        return job

    async def end(self, *, leave_jobs: bool) -> list[Job]:
        """Take nothing new; end every job, unless they are left; have it all in the journal.

        Returns:
            The jobs that survived their stop.
        """
        self.closing = True
        survivors: list[Job] = []
        if not leave_jobs:
            open_jobs = [job for job in self.jobs.values() if not isinstance(job.state, core.Finished)]
            ends = [self.stop(job.spec.label, _shutdown_ask(job)) for job in open_jobs]
            results = await asyncio.gather(*ends, return_exceptions=True)
            survivors = [result[0] for result in results if not isinstance(result, BaseException) and not result[1]]
        written = asyncio.get_running_loop().create_future()
        stopped = NewEvent("launcher.stopped", None, {"pid": os.getpid(), "jobs_left": leave_jobs}, time.time())
        self._journal.write(Write([stopped], {}, written.set_result, refusable=True))
        await written
        return survivors

    def hasten(self) -> None:
        """Kill what a shutdown still waits for."""
        for job in list(self.jobs.values()):
            if not isinstance(job.state, core.Finished):
                self._apply(job, core.StopAsked(core.Ask(core.SIGKILL, None, "shutdown")))

    def until(self, job_id: str, watcher: Watcher) -> asyncio.Future[Job]:
        """The job as journaled, once the watcher says yes to it and to the kinds of event written with it."""
        future = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(job_id, []).append((watcher, future))
        return future

    def select(self, patterns: Iterable[str], *, all_when_none: bool) -> list[Job]:
        """The jobs that labels and globs choose, by label.

        Raises:
            NoSuchLabel: One of the patterns chooses nothing.
            BadPattern: One is malformed.
        """
        patterns = list(patterns)
        if not patterns and not all_when_none:
            return []
        if all(pattern in self.jobs for pattern in patterns) and patterns:
            return [self.jobs[label] for label in dict.fromkeys(patterns)]
        chosen, barren = select(patterns, sorted(self.jobs))
        if barren:
            raise NoSuchLabel("; ".join(map(no_such, barren)))
        return [self.jobs[label] for label in chosen]

    # What the keeper reports

    def keeper_is(self, pid: int) -> None:
        """Told once, before any report: who adopts orphans."""
        self._keeper_pid = pid
        self.trees = Trees(pid, self.first_pids)

    def reported(self, reports: list[Message]) -> None:
        """Apply a batch of reports; the trees of all that ended in it are looked at in one go."""
        self.trees.look_afresh()
        for report in reports:
            job = self._by_key(report.get("key", ""))
            if job is None:
                if report["event"] == "exited":
                    self._forget_once_journaled(report["key"])
                continue
            match report["event"]:
                case "spawned":
                    self._apply(job, core.Spawned(report["pid"], report["ticks"], self._is_adopted(job, report)))
                case "failed":
                    self._ordered.discard(report["key"])
                    self._apply(job, core.SpawnFailed(start_failure(report)))
                case "exited":
                    self.ended(job, report)

    def ended(self, job: Job, report: Message) -> None:
        """Apply the end of a job's first process, as the keeper told it or recovery found it."""
        leftover = bool(self.trees.members(_root(job, alive=False)))
        event = core.Exited(report["pid"], report["status"], report["at"], report["usage"], leftover)
        self._apply(job, event, forget=report.get("key"))

    def _forget_once_journaled(self, key: str) -> None:
        """Have the keeper drop the end of a run that is no job's current one, after what is being written of it."""
        self._journal.write(Write([], {}, lambda _: self._link.order("forget", keys=[key])))

    def _is_adopted(self, job: Job, report: Message) -> bool:
        """Whether the keeper is not the parent, so that orphans of the tree do not fall to it either."""
        if report["key"] in self._ordered:
            self._ordered.discard(report["key"])
            return False
        stat = read_stat(report["pid"])
        return job.adopted if stat is None else stat[0] != self._keeper_pid

    def restore(self, job: Job) -> None:
        """Take in a job as the journal had it, without any effect."""
        self.jobs[job.spec.label] = job
        self._labels[job.id] = job.spec.label
        self._note(job)

    def take_in(self, job: Job) -> None:
        """Take in a job that is running and that the journal does not know yet."""
        self._write(job, (core.Record("taken-in", {"pid": _pid(job)}),))

    def signal_again(self, job: Job) -> None:
        """Do again what a stop under way asks for, as after a launcher died in the middle of it."""
        self._perform(job, (core.SignalTree(core.signal_due(job)),))

    def root(self, job: Job) -> Root:
        """What is known of a job's tree."""
        return _root(job, alive=True)

    def order_spawn(self, job: Job) -> None:
        """Have the keeper start the job's current run."""
        spec = job.spec
        own = {
            "LAUNCH_JOB_ID": job.id,
            "LAUNCH_JOB_RUN": str(job.run),
            "LAUNCH_JOB_LABEL": spec.label,
            "LAUNCH_JOB_SOCKET": self._socket_path,
        }
        self._ordered.add(key_of(job))
        self._link.order(
            "spawn",
            key=key_of(job),
            argv=spec.argv,
            program=spec.program or spec.argv[0],
            env={**spec.env, **own},
            cwd=spec.cwd or "/",
            stdin=spec.stdin,
            stdout=spec.stdout or self._outputs.path(spec.label),
            stderr=spec.stderr,
            umask=spec.umask,
            nice=spec.nice,
            limits=spec.limits,
        )

    # One step of one job

    def _apply(self, job: Job, event: core.Event, forget: str | None = None) -> None:
        after, effects = core.transition(job, event, boottime(), time.time())
        if after is not job or effects or forget:
            self._write(after, effects, before=job, forget=forget)

    def _write(
        self,
        job: Job,
        effects: tuple[core.Effect, ...],
        *,
        before: Job | None = None,
        refusable: bool = False,
        replaces: Job | None = None,
        forget: str | None = None,
    ) -> None:
        """Put the job and its records in the journal, then perform the effects."""
        self._leave(self.jobs.get(job.spec.label))
        self.jobs[job.spec.label] = job
        self._labels[job.id] = job.spec.label
        kinds = frozenset(effect.kind for effect in effects if isinstance(effect, core.Record))
        documents: dict[str, str | None] = {job.id: self._document(job)}
        if replaces is not None:
            documents[replaces.id] = None
            self._drop(replaces)
        performed = False

        def perform() -> None:
            nonlocal performed
            if not performed:
                performed = True
                self._perform(job, effects)

        def stalled() -> None:
            perform()
            problem = f"{job.spec.label}: done, but not journaled yet: {self._journal.problem}"
            self._tell(job, kinds, JournalFailed(problem))

        def done(error: JournalFailed | None) -> None:
            if error is not None:
                self._refuse(job, replaces, error)
                return
            perform()
            if forget:
                self._link.order("forget", keys=[forget])
            self._tell(job, kinds)

        self._note(job)
        self._journal.write(
            Write(
                events=[self._event(before or job, job, one) for one in effects if isinstance(one, core.Record)],
                documents=documents,
                done=done,
                refusable=refusable,
                stalled=stalled,
            )
        )
        if isinstance(job.state, core.Finished):
            self._outputs.unbound(job.spec)
            self._forget_oldest()

    def _document(self, job: Job) -> str:
        """The job's document as text; its spec never changes and is put into words once."""
        spec = self._specs.get(job.id)
        if spec is None:
            spec = self._specs[job.id] = _dump(job.spec.to_wire())
        return f'{{"spec":{spec},{_dump(without_spec(job))[1:]}'

    def _drop(self, job: Job) -> None:
        del self._labels[job.id]
        self._specs.pop(job.id, None)

    def _event(self, before: Job, after: Job, record: core.Record) -> NewEvent:
        # The record of an end tells of the run that ended, though the next one may have been decided with it.
        job = before if record.kind == "exited" else after
        data: dict[str, Any] = {
            "label": job.spec.label,
            "job_id": job.id,
            "run": job.run,
            "argv": list(job.spec.argv),
            **record.data,
        }
        more = None
        if record.kind == "exited":
            data["started_at"] = job.started_at
            more = self._outputs.tail_of(job.spec)
        return NewEvent(f"job.{record.kind}", job.spec.label, data, time.time(), more)

    def _perform(self, job: Job, effects: tuple[core.Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case core.Spawn():
                    self.order_spawn(job)
                case core.SignalTree(signal=number):
                    self.trees.signal(self.root(job), number)
                    if isinstance(job.state, core.Ending):
                        self._look(job.id)
                case core.Record():
                    pass

    def _refuse(self, job: Job, replaces: Job | None, error: JournalFailed) -> None:
        del self.jobs[job.spec.label]
        self._drop(job)
        if replaces is not None:
            self.restore(replaces)
        for _, future in self._watchers.pop(job.id, []):
            if not future.done():
                future.set_exception(error)

    def _tell(self, job: Job, kinds: frozenset[str], error: JournalFailed | None = None) -> None:
        waiting = self._watchers.get(job.id)
        if not waiting:
            return
        left = []
        for watcher, future in waiting:
            if future.done():
                continue
            if watcher(job, kinds):
                if error is None:
                    future.set_result(job)
                else:
                    future.set_exception(error)
            else:
                left.append((watcher, future))
        if left:
            self._watchers[job.id] = left
        else:
            del self._watchers[job.id]

    def _look(self, job_id: str) -> None:
        """Watch what is left of a tree whose first process has gone; say so when it is nothing.

        Where KILL is due, it goes to those too who were forked since it last did.
        """
        job = self.jobs.get(self._labels.get(job_id, ""))
        if job is None or job.id != job_id or not isinstance(job.state, core.Ending):
            return
        members = self.trees.members(self.root(job))
        if members:
            if job.state.killed:
                self.trees.signal(self.root(job), core.SIGKILL)
            self.trees.watch(job_id, members, lambda: self._look(job_id))
        else:
            self.trees.unwatch(job_id)
            self._apply(job, core.TreeGone())

    def _by_key(self, key: str) -> Job | None:
        job_id, _, run = key.partition(".")
        job = self.jobs.get(self._labels.get(job_id, ""))
        return job if job is not None and job.id == job_id and str(job.run) == run else None

    def _forget_oldest(self) -> None:
        """Keep the table of finished jobs bounded; the journal's events remain."""
        if len(self.jobs) <= FINISHED_MAX:
            return
        finished = [job for job in self.jobs.values() if isinstance(job.state, core.Finished)]
        for job in finished[: max(0, len(finished) - FINISHED_MAX)]:
            del self.jobs[job.spec.label]
            self._drop(job)
            self._journal.write(Write([], {job.id: None}, lambda _: None))

    # Time

    def _leave(self, before: Job | None) -> None:
        if before is not None and isinstance(before.state, core.Running | core.Stopping):
            self.first_pids.discard(before.state.pid)

    def _note(self, job: Job) -> None:
        """Keep ``first_pids``, the bounds of output and the timer in step with a job."""
        if isinstance(job.state, core.Running | core.Stopping):
            self.first_pids.add(job.state.pid)
            self._outputs.bound(job.spec)
        at = core.deadline(job)
        if at is not None:
            heapq.heappush(self._deadlines, (at, job.id))
            if self._deadlines[0] == (at, job.id):
                self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadlines:
            delay = max(0.0, self._deadlines[0][0] - boottime())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = boottime()
        while self._deadlines and self._deadlines[0][0] <= now:
            at, job_id = heapq.heappop(self._deadlines)
            job = self.jobs.get(self._labels.get(job_id, ""))
            if job is not None and core.deadline(job) == at:
                self._apply(job, core.Tick())
        self._arm()


def key_of(job: Job) -> str:
    """The keeper's key of a job's current run."""
    return f"{job.id}.{job.run}"


def no_such(pattern: str) -> str:
    """The line for a label or pattern that chooses nothing."""
    return f"no label matches {pattern!r}" if is_pattern(pattern) else f"no job has the label {pattern}"


def start_failure(report: Message) -> Exit:
    """How a run ended that the keeper could not start."""
    what, subject, reason = report["what"], report["subject"], os.strerror(report["errno"])
    lines = {
        "program": f"program {subject}: {reason}",
        "cwd": f"directory {subject}: {reason}",
        "limit": f"limit {subject} was refused: {reason}",
        "nice": f"nice {subject} was refused: {reason}",
        "fork": f"no process could be made: {reason}",
    }
    return Exit(reason="start-failed", message=lines.get(what, f"{what} {subject}: {reason}"), at=report["at"])


def _pid(job: Job) -> int | None:
    return job.state.pid if isinstance(job.state, core.Running | core.Stopping) else None


def _root(job: Job, *, alive: bool) -> Root:
    if alive and isinstance(job.state, core.Running | core.Stopping):
        return Root(job.id, Process(job.state.pid, job.state.ticks), job.adopted)
    return Root(job.id, None, job.adopted)


def _shutdown_ask(job: Job) -> core.Ask:
    return core.Ask(job.spec.stop_signal_number, job.spec.stop_timeout_s or None, "shutdown")


def _has_begun(job: Job) -> bool:
    return not isinstance(job.state, core.Starting)
