"""What callers ask of the supervisor: submit, stop, restart, end. Each is answered when it is so, and journaled.

Refuses to know who asks, and how jobs are chosen by patterns.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable
from dataclasses import replace

from relaunch.core import supervision as core
from relaunch.core.job import (
    SIGKILL,
    Ask,
    Backoff,
    Finished,
    Job,
    RestartAsked,
    Running,
    Starting,
    StopAsked,
    Waiting,
    Why,
)
from relaunch.errors import JournalFailed, LabelInUse, NotReady, Refused, ShuttingDown, StartFailed, Survived
from relaunch.launcher.alarm import boottime
from relaunch.launcher.demand import is_ready
from relaunch.launcher.job_status import word_of
from relaunch.launcher.jobs import is_idle
from relaunch.launcher.journal import Journal, NewEvent, Write
from relaunch.launcher.past_requests import digest
from relaunch.launcher.supervisor import Supervisor, root_of
from relaunch.launcher.trees import command_of
from relaunch.launcher.waiting import Watcher
from relaunch.model import JobSpec


class Requests:
    """Requests to one supervisor.

    Args:
        supervisor: Performs them.
        journal: Gets the launcher's own last event.
    """

    def __init__(self, supervisor: Supervisor, journal: Journal) -> None:
        self._supervisor = supervisor
        self._journal = journal
        self._closing = False
        # Labels of jobs whose sockets are being bound.
        self._binding: set[str] = set()
        # By the ids of requests that are not answered yet: what ends when they are.
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def submit(self, spec: JobSpec, request: str | None = None, *, replace: bool = False) -> Job:
        """Start a job.

        Args:
            spec: What is asked for.
            request: An id of the caller's own; what was asked under it before is answered as it was then, and nothing
                is started.
            replace: Stop the job that has the label first; where it goes on with this very spec, it is answered itself.

        Returns:
            The job once its program runs, has already ended, or waits for what starts it.

        Raises:
            LabelInUse, StartFailed, Survived, JournalFailed, ShuttingDown: As their names say.
            Refused: Something else was asked for under this id.
        """
        if request is None:
            return await self._submit(spec, None, replace=replace)
        while (under_way := self._under_way.get(request)) is not None:
            await asyncio.shield(under_way)
        over = self._under_way[request] = asyncio.get_running_loop().create_future()
        try:
            return await self._submit_once(spec, request, replace=replace)
        finally:
            del self._under_way[request]
            over.set_result(None)

    async def _submit_once(self, spec: JobSpec, request: str, *, replace: bool) -> Job:
        asked = self._supervisor.jobs.by_request(request)
        past = None if asked else self._supervisor.past.get(request)
        if (asked and asked.spec != spec) or (past and past.spec != digest(spec)):
            raise Refused(f"{spec.label}: another spec was submitted under the request id {request}; choose a new id")
        if past is not None:
            return _started(past.answer())
        if asked is not None:
            return await self._asked(asked)
        try:
            return await self._submit(spec, request, replace=replace)
        except (LabelInUse, StartFailed) as error:
            if self._supervisor.jobs.by_request(request) is None:
                kept = self._supervisor.past.keep_error(request, spec, error)
                self._journal.write(Write([], kept, lambda _: None, refusable=True))
                await self._journal.settle()
            raise

    async def _asked(self, job: Job) -> Job:
        """A job that was asked for before, answered as it was then."""
        if not _has_begun(job) and job.run == 1:
            job = await self._supervisor.waiting.until(job.id, lambda now, _: _has_begun(now))
        else:
            await self._journal.settle()
            if self._journal.problem is not None:
                raise JournalFailed(f"{job.spec.label}: done, but not journaled yet: {self._journal.problem}")
        return _started(job)

    async def _submit(self, spec: JobSpec, request: str | None, *, replace: bool) -> Job:
        self._check_open()
        old = self._supervisor.jobs.get(spec.label)
        if replace and old is not None and _goes_on(old) and old.spec.unapplied() == spec.unapplied():
            return await self._asked(old)
        if replace and old is not None and not isinstance(old.state, Finished):
            old, gone = await self.stop(old, _ask(old, "stopped"))
            if not gone:
                raise self.survived(old)
        old = self._vacant(spec.label)
        job_id = secrets.token_hex(8)  # not to be guessed: who carries it is taken for the job
        if spec.sockets:
            old = await self._bind(job_id, spec)
        hold, held = self._supervisor.demand.look(spec)
        job, effects = core.submit(job_id, spec, now=boottime(), at=time.time(), request=request, hold=hold, held=held)
        started = self._supervisor.waiting.until(job.id, lambda now, _: _has_begun(now))
        self._supervisor.begin(job, effects, replaces=old)
        return _started(await started)

    def _vacant(self, label: str) -> Job | None:
        """The job that had a label, and has finished.

        Raises:
            LabelInUse, ShuttingDown: As their names say.
        """
        self._check_open()
        old = self._supervisor.jobs.get(label)
        if (old is not None and not isinstance(old.state, Finished)) or label in self._binding:
            raise LabelInUse(f"label {label} is in use by a job that has not finished; choose another, or stop it")
        return old

    async def _bind(self, job_id: str, spec: JobSpec) -> Job | None:
        """Bind the sockets of a job that is about to be taken; meanwhile nobody else gets its label.

        Returns:
            The job that had the label.
        """
        callers = self._supervisor.demand.callers
        self._binding.add(spec.label)
        try:
            await callers.bind(job_id, spec)
        finally:
            self._binding.discard(spec.label)
        try:
            return self._vacant(spec.label)
        except Refused:
            callers.unbind(job_id)
            raise

    async def stop(self, job: Job, ask: Ask) -> tuple[Job, bool]:
        """End a job's whole tree.

        Returns:
            The job, and whether nothing of it is left.
        """
        job = self._now(job)
        if isinstance(job.state, Finished):
            self._supervisor.apply(job, StopAsked(ask))
            return job, True
        run = job.run

        def gone(now: Job) -> bool:  # a later request to restart may have taken over
            return isinstance(now.state, Finished) or now.run > run

        ended = self._until(job, lambda now, told: gone(now) or "survived" in told)
        self._supervisor.apply(job, StopAsked(ask))
        job = await ended
        return job, gone(job)

    async def restart(self, job: Job, ask: Ask) -> tuple[Job, bool]:
        """End a job, where it runs, and start it.

        Returns:
            The job, and whether its next run has begun; where it has not, something of the last one is left.

        Raises:
            StartFailed, ShuttingDown: As their names say.
            LabelInUse: It had finished, and another job was submitted under its label since the caller looked.
            Refused: A later stop took over.
        """
        self._check_open()
        job = self._now(job)
        label, run = job.spec.label, job.run
        holder = self._supervisor.jobs.get(label)
        if holder is not None and holder.id != job.id:
            raise LabelInUse(f"{label} was submitted anew meanwhile; the job that had the label is not started again")

        def settled(now: Job, told: frozenset[str]) -> bool:
            held = isinstance(now.state, Waiting) and "waiting" in told
            return "survived" in told or held or isinstance(now.state, Finished) or (now.run > run and _has_begun(now))

        started = self._until(job, settled)
        self._supervisor.apply(job, RestartAsked(ask))
        job = await started
        begun = not isinstance(job.state, Backoff | Waiting | Finished)
        if not begun and job.exit is not None and job.exit.reason == "start-failed":
            raise StartFailed(f"{label} was not started: {job.exit.message}")
        if job.run == run and isinstance(job.state, Finished):
            raise Refused(f"{label} was stopped by a later request, and not started again")
        return job, job.run > run or isinstance(job.state, Waiting)

    async def ready(self, job: Job, timeout_s: float | None) -> Job:
        """The job once it is ready, as those who depend on it see it; one that waits for what starts it counts as such.

        Raises:
            NotReady: It has finished, or it was not in time: within ``timeout_s``, or what its spec says.
        """
        job = self._now(job)

        def settled(now: Job, told: frozenset[str]) -> bool:
            return is_ready(now) or is_idle(now) or isinstance(now.state, Finished) or "not-ready" in told

        try:
            async with asyncio.timeout(timeout_s):
                job = job if settled(job, frozenset()) else await self._until(job, settled)
        except TimeoutError:
            job = self._now(job)
        if is_ready(job) or is_idle(job):
            return job
        lacking = self._supervisor.demand.lacking(job)
        raise NotReady(f"{job.spec.label} is not ready: {word_of(job)}{_why(job, lacking)}")

    async def unload(self, job: Job, ask: Ask) -> tuple[Job, bool]:
        """End a job's whole tree and forget it.

        Returns:
            The job, and whether nothing of it is left; else it is not forgotten.
        """
        job, gone = await self.stop(job, ask)
        if gone and self._supervisor.jobs.by_id(job.id) is not None and isinstance(self._now(job).state, Finished):
            self._supervisor.forget(self._now(job))
            await self._journal.settle()
        return job, gone

    def survived(self, job: Job) -> Survived:
        """The error that names what a stop has left."""
        members = self._supervisor.trees.members(root_of(job))
        named = ", ".join(f"{process.pid} ({command_of(process.pid) or 'gone'})" for process in members[:5])
        return Survived(f"{job.spec.label}: still there after KILL: {named or 'nothing any more; look again'}")

    async def finished(self, job: Job) -> Job:
        """The job once nothing of it runs and nothing will start it again by itself."""
        job = self._now(job)
        if isinstance(job.state, Finished):
            return job
        return await self._until(job, lambda now, _: isinstance(now.state, Finished))

    async def end(self, *, leave_jobs: bool) -> list[Job]:
        """Take nothing new; end every job, unless they are left; have it all in the journal.

        Returns:
            The jobs that survived their stop.
        """
        self._closing = True
        survivors: list[Job] = []
        if not leave_jobs:
            ends = [self.stop(job, _ask(job, "shutdown")) for job in self._supervisor.jobs]
            results = await asyncio.gather(*ends, return_exceptions=True)
            survivors = [result[0] for result in results if not isinstance(result, BaseException) and not result[1]]
        stopped = NewEvent("launcher.stopped", None, {"pid": os.getpid(), "jobs_left": leave_jobs}, time.time())
        self._journal.write(Write([stopped], {}, lambda _: None, refusable=True))
        await self._journal.settle()
        return survivors

    def hasten(self) -> None:
        """Kill what a shutdown still waits for."""
        for job in self._supervisor.jobs:
            if not isinstance(job.state, Finished):
                self._supervisor.apply(job, StopAsked(Ask(SIGKILL, None, "shutdown")))

    def _until(self, job: Job, watcher: Watcher) -> Awaitable[Job]:
        """As ``Waiting.until``; that an earlier run ended may still have to be journaled and told, and is no answer."""
        return self._supervisor.waiting.until(job.id, lambda now, told: now.run >= job.run and watcher(now, told))

    def _now(self, job: Job) -> Job:
        """What has become of a job since the caller looked; one that is known no more has finished.

        Nothing may be applied to that one in any other state: its label may be another job's by now.
        """
        return self._supervisor.jobs.by_id(job.id) or replace(job, state=Finished())

    def _check_open(self) -> None:
        if self._closing:
            raise ShuttingDown("the launcher is ending and starts nothing new")


def _goes_on(job: Job) -> bool:
    """Whether it runs or will be started, and nobody has asked for its end."""
    if isinstance(job.state, Starting):
        return job.state.ask is None
    return isinstance(job.state, Running | Backoff | Waiting)


def _has_begun(job: Job) -> bool:
    return not isinstance(job.state, Starting)


def _hint(job: Job) -> str:
    """What may have been meant by a program whose name has blanks."""
    program, *rest = job.spec.argv
    if rest or job.spec.program is not None or len(program.split()) < 2:
        return ""
    return "; its words are arguments of their own, not quoted together"


def _started(job: Job) -> Job:
    """The job, unless its first start failed."""
    if job.run == 1 and job.exit is not None and job.exit.reason == "start-failed":
        raise StartFailed(f"{job.spec.label} was not started: {job.exit.message}{_hint(job)}")
    return job


def _ask(job: Job, why: Why) -> Ask:
    return Ask(job.spec.stop_signal_number, job.spec.stop_timeout_s or None, why)


def _why(job: Job, lacking: tuple[str, ...]) -> str:
    """What is known of why a job is not ready, after the word for its state."""
    end = job.exit
    if isinstance(job.state, Waiting):
        return f" for {', '.join(lacking or job.spec.depends_on)}"
    if isinstance(job.state, Running | Starting) or end is None:
        return ""
    told = end.message or (f"signal {end.signal}" if end.signal else f"exit code {end.code}")
    return f", the last run ended with {told}" if end.code is not None or end.signal or end.message else ""
