"""Drives ``core.supervision``: reports and requests in, orders to the keeper and writes to the journal out.

Decides nothing: each event goes through ``transition``, and what that asks for is performed once it is in the journal
(S2). Refuses to know the Unix socket and its callers.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from relaunch.core import supervision as core
from relaunch.core.job import (
    SIGKILL,
    Effect,
    Ending,
    Event,
    Exited,
    Finished,
    Job,
    Record,
    Running,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    Stopping,
    Tick,
    TreeGone,
)
from relaunch.errors import BadSpec, JournalFailed, Refused, one_line
from relaunch.keeper.wire import Message
from relaunch.launcher.accounts import account_of
from relaunch.launcher.alarm import Alarm, boottime
from relaunch.launcher.demand import Demand
from relaunch.launcher.jobs import Jobs, key_of
from relaunch.launcher.journal import Journal, NewEvent, Write
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.output import Outputs
from relaunch.launcher.past_requests import PastRequests
from relaunch.launcher.readiness import Readiness
from relaunch.launcher.trees import Process, Root, Trees, read_stat, send_signal
from relaunch.launcher.trials import Trials
from relaunch.launcher.waiting import Waiting
from relaunch.model import Exit

# What cannot be told of a process now can be shortly.
_LOOK_AGAIN_S = 0.05


class Supervisor:
    """The jobs of one launcher. Lives on its event loop.

    Args:
        journal: Where everything goes first.
        link: The keeper.
        keeper_pid: Its process, which adopts orphans.
        outputs: Where jobs write to.
        socket_path: Told to each job as LAUNCH_JOB_SOCKET.
        notify_fd: The socket on which jobs say that they are ready; None where there is none.
        listening: What the keeper listens on already, by jobs' ids.
    """

    def __init__(
        self,
        journal: Journal,
        link: KeeperLink,
        keeper_pid: int,
        outputs: Outputs,
        socket_path: str,
        notify_fd: int | None = None,
        listening: Iterable[str] = (),
    ) -> None:
        self.jobs = Jobs()
        self.waiting = Waiting()
        self.past = PastRequests(journal.documents)
        self.trees = Trees(keeper_pid, self.jobs.first_pids)
        self._keeper_pid = keeper_pid
        self._journal = journal
        self._link = link
        self._outputs = outputs
        self._socket_path = socket_path
        self.demand = Demand(self.jobs, self.apply, self.order_spawn, link, listening)
        self.readiness = Readiness(
            self.jobs,
            self.apply,
            Trials(link, self.trees, socket_path),
            outputs,
            journal.documents,
            lambda documents: journal.write(Write([], documents, lambda _: None)),
            keeper_pid,
            notify_fd,
        )
        self._ordered: set[str] = set()
        self._alarm = Alarm(self._due)

    # What happens to jobs

    def begin(self, job: Job, effects: tuple[Effect, ...], *, replaces: Job | None) -> None:
        """Take in a new job, and start it; ``replaces`` had the label before, and has finished."""
        self._outputs.submitted(job.spec)
        self._write(job, effects, refusable=True, replaces=replaces)

    def apply(self, job: Job, event: Event, forget: str | None = None) -> None:
        """Apply an event to a job; ``forget`` is the key that the keeper may then drop."""
        after, effects = core.transition(job, event, boottime(), time.time())
        if after is not job or effects or forget:
            self._write(after, effects, before=job, forget=forget)

    def reported(self, reports: list[Message]) -> None:
        """Apply what the keeper reports."""
        self.trees.look_afresh()
        for report in reports:
            if self.readiness.trials.reported(report) or self.demand.callers.reported(report):
                continue
            job = self.jobs.by_key(report.get("key", ""))
            if job is None:
                if report["event"] == "exited":
                    self._forget_once_journaled(report["key"])
                continue
            match report["event"]:
                case "spawned":
                    self.apply(job, Spawned(report["pid"], report["ticks"], self._is_adopted(job, report)))
                case "failed":
                    self._ordered.discard(report["key"])
                    self.apply(job, SpawnFailed(start_failure(report)))
                case "exited":
                    self.ended(job, report)

    def ended(self, job: Job, report: Message) -> None:
        """Apply the end of a job's first process, as the keeper told it or recovery found it."""
        job = self.demand.refresh(job)
        abandoned = job.spec.abandon_process_group
        root = Root(job.id, None, job.adopted)
        # The orphans of one that was adopted do not fall to the keeper, which so knows of none.
        searched = not abandoned and (job.adopted or report.get("orphans", True))
        leftover = searched and (bool(self.trees.members(root)) or self.trees.is_unsure(root))
        if not leftover:
            self.trees.forget(root)
        rebooted = report.get("rebooted", False)
        event = Exited(report["pid"], report["status"], report["at"], report["usage"], leftover, rebooted)
        self.apply(job, event, forget=report.get("key"))

    def forget(self, job: Job) -> None:
        """Know no more of a job that has finished."""
        documents = self._parted(job)
        self._drop(job)
        unloaded = self._event(job, job, Record("unloaded", {}))
        self._journal.write(Write([unloaded], documents, lambda _: None))
        self.waiting.fail(job.id, Refused(f"{job.spec.label} was unloaded"))

    def restore(self, job: Job) -> None:
        """Take in a job as the journal had it, without any effect."""
        self.jobs.put(job)
        self._note(job)

    def take_in(self, job: Job) -> None:
        """Take in a job that is running and that the journal does not know yet."""
        first = root_of(job).first
        self._write(job, (Record("taken-in", {"pid": first.pid if first else None}),))

    def signal_again(self, job: Job) -> None:
        """Do again what a stop under way asks for, as after a launcher died in the middle of it."""
        self._perform(job, (SignalTree(core.signal_due(job)),))

    def order_spawn(self, job: Job) -> None:
        """Have the keeper start the job's current run, once it listens where the job wants it to."""
        if job.spec.sockets and not self.demand.callers.is_bound(job):
            return
        spec, key = job.spec, key_of(job)
        own = {
            "LAUNCH_JOB_ID": job.id,
            "LAUNCH_JOB_RUN": str(job.run),
            "LAUNCH_JOB_LABEL": spec.label,
            "LAUNCH_JOB_SOCKET": self._socket_path,
            **self.readiness.environment(spec),
        }

        def refused(line: str) -> None:
            if now := self.jobs.by_key(key):
                self.apply(now, SpawnFailed(Exit(reason="start-failed", message=line, at=time.time())))

        try:
            account = account_of(spec)
        except BadSpec as error:  # it was another's or nobody's since it was submitted
            asyncio.get_running_loop().call_soon(refused, str(error))
            return
        self._ordered.add(key)
        self._link.order(
            "spawn",
            key=key,
            argv=spec.argv,
            program=spec.program or spec.argv[0],
            env={**account.env, **spec.env, **own},
            cwd=spec.cwd or "/",
            stdin=spec.stdin,
            stdout=spec.stdout or self._outputs.path(spec.label),
            stderr=spec.stderr,
            umask=spec.umask,
            nice=spec.nice,
            limits=spec.limits,
            user=account.user,
            own_output=spec.stdout is None,
            low_priority_io=spec.low_priority_io,
            globbing=spec.globbing,
            sockets=job.id if spec.sockets else None,
        )

    # One step of one job

    def _write(
        self,
        job: Job,
        effects: tuple[Effect, ...],
        *,
        before: Job | None = None,
        refusable: bool = False,
        replaces: Job | None = None,
        forget: str | None = None,
    ) -> None:
        """Put the job and its records in the journal, then perform the effects."""
        if job.spec.watch_paths:
            job = self.demand.marked(job)
        records = [effect for effect in effects if isinstance(effect, Record)]
        kinds = frozenset(record.kind for record in records)
        performed = False

        def perform() -> None:
            nonlocal performed
            if not performed:
                performed = True
                self._perform(job, effects)

        def stalled() -> None:
            perform()
            problem = f"{job.spec.label}: done, but not journaled yet: {self._journal.problem}"
            self.waiting.tell(job, kinds, JournalFailed(problem))

        def done(error: JournalFailed | None) -> None:
            if error is not None:
                self._refuse(job, replaces, error)
                return
            perform()
            if forget:
                self._link.order("forget", keys=[forget])
            self.waiting.tell(job, kinds)

        documents = {} if replaces is None else self._parted(replaces)
        self.jobs.put(job)
        self._note(job)
        documents[job.id] = self.jobs.document(job)
        documents |= self.readiness.documents(job)
        events = [self._event(before or job, job, record) for record in records]
        self._journal.write(Write(events, documents, done, refusable, stalled))
        if isinstance(job.state, Finished):
            self._outputs.unbound(job.spec)
            for old in self.jobs.superfluous():
                parted = self._parted(old)
                self._drop(old)
                self._journal.write(Write([], parted, partial(self._outdated, old)))

    def _parted(self, job: Job) -> dict[str, str | None]:
        """The documents that part with a job: its own goes, and stays for those who ask for it under a request's id."""
        gone: dict[str, str | None] = {job.id: None, **self.readiness.parted(job)}
        return gone if job.request is None else gone | self.past.keep_job(job, self.jobs.document(job))

    def _event(self, before: Job, after: Job, record: Record) -> NewEvent:
        # The record of an end tells of the run that ended, though the next one may have been decided with it.
        job = before if record.kind == "exited" else after
        data: dict[str, Any] = {
            "label": job.spec.label,
            "job_id": job.id,
            "run": job.run,
            "argv": list(job.spec.argv),
            **record.data,
        }
        event = NewEvent(f"job.{record.kind}", job.spec.label, data, time.time())
        if record.kind == "exited":
            data["started_at"] = job.started_at
            event.more = self._outputs.tail_of(job.spec)
            event.more_at_once = self._outputs.tail_at_hand(job.spec)
        return event

    def _perform(self, job: Job, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Spawn():
                    self.order_spawn(job)
                case SignalTree(signal=number):
                    self._signal(job, number)
                    if isinstance(job.state, Ending):
                        self._look(job.id)
                case Record():
                    pass

    def _signal(self, job: Job, number: int) -> None:
        root = root_of(job)
        if not job.spec.abandon_process_group:
            self.trees.signal(root, number)
        elif root.first is not None:
            send_signal(root.first, number)

    def _refuse(self, job: Job, replaces: Job | None, error: JournalFailed) -> None:
        self._drop(job)
        if replaces is not None:
            self.restore(replaces)
            self.past.forget(replaces.request)
        self.waiting.fail(job.id, error)

    def _outdated(self, job: Job, _: JournalFailed | None) -> None:
        """It is journaled that a job is known no more; another may have its label by now, and its file.

        What somebody has unloaded may be loaded again, with its output; and what a job has left running may print yet.
        """
        if self.jobs.get(job.spec.label) is None and not job.spec.abandon_process_group:
            self._outputs.remove(job.spec)

    def _drop(self, job: Job) -> None:
        self.jobs.drop(job)
        self.demand.dropped(job)
        self._alarm.set(job.id, None)

    def _look(self, job_id: str) -> None:
        """Watch what is left of a tree whose first process has gone; say so when it is nothing.

        Where KILL is due, it goes to those too who were forked since it last did.
        """
        job = self.jobs.by_id(job_id)
        if job is None or not isinstance(job.state, Ending):
            return
        members = self.trees.members(root_of(job))
        if members:
            if job.state.killed:
                self.trees.signal(root_of(job), SIGKILL)
            self.trees.watch(job_id, members, lambda: self._look(job_id))
        elif self.trees.is_unsure(root_of(job)):
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look, job_id)
        else:
            self.trees.unwatch(job_id)
            self.apply(job, TreeGone())

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

    def _note(self, job: Job) -> None:
        """Keep in step with a job what is kept, timed and watched for it."""
        if isinstance(job.state, Running | Stopping):
            self._outputs.bound(job.spec)
        self.demand.changed(job)
        self.readiness.changed(job)
        self._alarm.set(job.id, core.deadline(job))

    def _due(self, at: float, job_id: str) -> None:
        job = self.jobs.by_id(job_id)
        if job is not None and core.deadline(job) == at:
            self.apply(self.demand.refresh(job), Tick())


def start_failure(report: Message) -> Exit:
    """How a run ended that the keeper could not start."""
    what, subject, reason = report["what"], one_line(report["subject"]), os.strerror(report["errno"])
    lines = {
        "program": f"program {subject}: {reason}",
        "cwd": f"directory {subject}: {reason}",
        "limit": f"limit {subject} was refused: {reason}",
        "nice": f"nice {subject} was refused: {reason}",
        "fork": f"no process could be made: {reason}",
    }
    return Exit(reason="start-failed", message=lines.get(what, f"{what} {subject}: {reason}"), at=report["at"])


def root_of(job: Job) -> Root:
    """What is known of a job's tree."""
    if isinstance(job.state, Running | Stopping):
        return Root(job.id, Process(job.state.pid, job.state.ticks), job.adopted)
    return Root(job.id, None, job.adopted)
