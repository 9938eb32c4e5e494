"""What each method of ``io.relaunch.Launcher`` does: parameters checked, the supervisor asked, its answer put in words.

Refuses to know sockets and framing, and decides nothing about a job.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from relaunch import __version__
from relaunch.core.job import Ask, Backoff, Finished, Job, Running, Stopping, Waiting
from relaunch.errors import BadCall, BadSpec, NotRunning, Refused, RelaunchError
from relaunch.fields import Wire, duration_s, signal_number
from relaunch.labels import check_label, is_pattern
from relaunch.launcher.accounts import check_account
from relaunch.launcher.alarm import boottime
from relaunch.launcher.feed import Feed, Request
from relaunch.launcher.job_status import status_of, word_of
from relaunch.launcher.journal import Journal
from relaunch.launcher.output import Outputs
from relaunch.launcher.parameters import a_count, a_flag, a_request, a_text, an_object, take, texts, wall_time
from relaunch.launcher.requests import Requests
from relaunch.launcher.server import Streaming
from relaunch.launcher.supervisor import Supervisor, root_of
from relaunch.launcher.trees import Process, command_of, read_stat, send_signal
from relaunch.model import JobSpec, JobStatus, Outcome

# Twice in an answer, and once behind a whole batch of events, it leaves room in a message for the rest.
SPEC_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What this launcher is, and whom it tells: answered to ``GetStatus``."""

    host: str
    boot_id: str
    keeper_pid: int
    launcher_starts: int
    socket_path: str
    started_at: float
    subscribers: Callable[[], list[Wire]]


def _check_size(spec: JobSpec) -> None:
    """Refuse what could be started, and not be told of again: an event or a description is one message (W3)."""
    size = len(json.dumps(spec.to_wire()))
    if size > SPEC_BYTES_MAX:
        raise BadSpec(f"{spec.label}: the spec has {size} bytes as JSON; at most {SPEC_BYTES_MAX} are taken")


class Handlers:
    """The methods, over one supervisor.

    Args:
        requests: What is asked of it and awaited.
        shutdown: Ends the launcher; given ``leave_jobs``, gives the jobs that survived.
        replace: Has the launcher's program started anew.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        requests: Requests,
        journal: Journal,
        outputs: Outputs,
        feed: Feed,
        identity: Identity,
        shutdown: Callable[..., Awaitable[list[Job]]],
        replace: Callable[[], None],
    ) -> None:
        self._supervisor = supervisor
        self._requests = requests
        self._journal = journal
        self._outputs = outputs
        self._feed = feed
        self._identity = identity
        self._shutdown = shutdown
        self._replace = replace
        self.unary = {
            "Submit": self.submit,
            "List": self.list_jobs,
            "Describe": self.describe,
            "GetSpecs": self.get_specs,
            "GetStatus": self.get_status,
            "Stop": self.stop,
            "Unload": self.unload,
            "Restart": self.restart,
            "Signal": self.signal,
            "Wait": self.wait,
            "AwaitReady": self.await_ready,
            "Shutdown": self.shutdown,
            "Replace": self.replace,
        }
        self.streaming: dict[str, Streaming] = {
            "Logs": (self.logs, {"data": ""}),
            "Events": (self.events, {"events": []}),
        }

    async def submit(self, parameters: Wire) -> Wire:
        """See ``Submit`` in the interface."""
        wire, request, replace = take(parameters, {"spec": an_object}, {"request": a_request, "replace": a_flag})
        spec = JobSpec.from_wire(wire)
        _check_size(spec)
        check_account(spec)
        job = await self._requests.submit(spec, request, replace=bool(replace))
        return {"job": self._status(job).to_wire()}

    async def list_jobs(self, parameters: Wire) -> Wire:
        """See ``List`` in the interface."""
        (patterns,) = take(parameters, {}, {"patterns": texts})
        jobs = self._supervisor.jobs.select(patterns or [], all_when_none=True)
        return {"jobs": [self._status(job).to_wire() for job in jobs]}

    async def describe(self, parameters: Wire) -> Wire:
        """See ``Describe`` in the interface."""
        (label,) = take(parameters, {"label": check_label}, {})
        (job,) = self._supervisor.jobs.select([label], all_when_none=False)
        members = self._supervisor.trees.members(root_of(job))
        processes = []
        for process in members:
            stat = read_stat(process.pid)
            processes.append({"pid": process.pid, "ppid": stat[0] if stat else 0, "command": command_of(process.pid)})
        return {"job": self._status(job).to_wire(), "spec": job.spec.to_wire(), "processes": processes}

    async def get_specs(self, parameters: Wire) -> Wire:
        """See ``GetSpecs`` in the interface."""
        (patterns,) = take(parameters, {}, {"patterns": texts})
        jobs = self._supervisor.jobs.select(patterns or [], all_when_none=True)
        return {"specs": [job.spec.to_wire() for job in jobs]}

    async def get_status(self, parameters: Wire) -> Wire:
        """See ``GetStatus`` in the interface."""
        take(parameters, {}, {})
        own, journal = self._identity, self._journal
        states = Counter(word_of(job) for job in self._supervisor.jobs)
        return {
            "status": {
                "version": __version__,
                "host": own.host,
                "uid": os.getuid(),
                "keeper_pid": own.keeper_pid,
                "launcher_pid": os.getpid(),
                "launcher_starts": own.launcher_starts,
                "socket": own.socket_path,
                "uptime_s": boottime() - own.started_at,
                "now": time.time(),
                "boot_id": own.boot_id,
                "jobs": dict(states),
                "journal": {
                    "path": journal.path,
                    "epoch": journal.epoch,
                    "last_sequence": journal.last_sequence,
                    "compacted_to": journal.compacted_to,
                    "size_bytes": journal.size_bytes(),
                    "set_aside": journal.set_aside,
                    "problem": journal.problem or self._outputs.problem,
                },
                "subscribers": own.subscribers(),
            }
        }

    async def stop(self, parameters: Wire) -> Wire:
        """See ``Stop`` in the interface."""
        patterns, name, timeout_s = take(parameters, {"patterns": texts}, {"signal": a_text, "timeout_s": duration_s})
        number = None if name is None else signal_number(name)

        async def stop(job: Job) -> Outcome:
            ask = self._ask(job, number, timeout_s)
            idle = isinstance(job.state, Backoff | Waiting)
            after, gone = await self._requests.stop(job, ask)
            return self._outcome(
                after, None if gone else self._requests.survived(after), cancelled=idle and job.run == after.run
            )

        return await self._each(patterns, stop)

    async def unload(self, parameters: Wire) -> Wire:
        """See ``Unload`` in the interface."""
        patterns, timeout_s = take(parameters, {"patterns": texts}, {"timeout_s": duration_s})

        async def unload(job: Job) -> Outcome:
            after, gone = await self._requests.unload(job, self._ask(job, None, timeout_s))
            return self._outcome(after, None if gone else self._requests.survived(after))

        return await self._each(patterns, unload)

    async def restart(self, parameters: Wire) -> Wire:
        """See ``Restart`` in the interface."""
        (patterns,) = take(parameters, {"patterns": texts}, {})

        async def restart(job: Job) -> Outcome:
            after, begun = await self._requests.restart(job, self._ask(job, None, None, restart=True))
            return self._outcome(after, None if begun else self._requests.survived(after))

        return await self._each(patterns, restart)

    async def signal(self, parameters: Wire) -> Wire:
        """See ``Signal`` in the interface."""
        patterns, name = take(parameters, {"patterns": texts, "signal": a_text}, {})
        number = signal_number(name)

        async def send(job: Job) -> Outcome:
            state = job.state
            if not isinstance(state, Running | Stopping):
                raise NotRunning(f"{job.spec.label} is not running ({word_of(job)})")
            if not send_signal(Process(state.pid, state.ticks), number):
                raise NotRunning(f"{job.spec.label}: process {state.pid} is ending or may not be signalled")
            return self._outcome(job, None)

        return await self._each(patterns, send, left_out=lambda job: isinstance(job.state, Finished))

    async def wait(self, parameters: Wire) -> Wire:
        """See ``Wait`` in the interface."""
        (patterns,) = take(parameters, {"patterns": texts}, {})
        jobs = self._supervisor.jobs.select(patterns, all_when_none=False)
        ended = await asyncio.gather(*(self._requests.finished(job) for job in jobs))
        return {"jobs": [self._status(job).to_wire() for job in ended]}

    async def await_ready(self, parameters: Wire) -> Wire:
        """See ``AwaitReady`` in the interface."""
        patterns, timeout_s = take(parameters, {"patterns": texts}, {"timeout_s": duration_s})

        async def ready(job: Job) -> Outcome:
            return self._outcome(await self._requests.ready(job, timeout_s), None)

        return await self._each(patterns, ready)

    async def logs(self, parameters: Wire) -> AsyncGenerator[Wire]:
        """See ``Logs`` in the interface."""
        options = {"lines": a_count, "follow": a_flag, "since_submit": a_flag}
        label, lines, follow, since_submit = take(parameters, {"label": check_label}, options)
        (job,) = self._supervisor.jobs.select([label], all_when_none=False)

        def finished() -> bool:
            now = self._supervisor.jobs.get(label)
            return now is None or now.id != job.id or isinstance(now.state, Finished)

        try:
            pieces = self._outputs.read(job.spec, lines, finished, follow=bool(follow), submitted=bool(since_submit))
            async for data in pieces:
                yield {"data": data}
        except OSError as error:
            raise Refused(f"the output of {label}, {self._outputs.path_of(job.spec)}: {error.strerror}") from None
        except RuntimeError as error:  # no thread can be made where the user has as many processes as they may have
            raise Refused(f"the output of {label} cannot be read: {error}") from None

    async def events(self, parameters: Wire) -> AsyncGenerator[Wire]:
        """See ``Events`` in the interface."""
        options = {
            "patterns": texts,
            "since": a_count,
            "since_at": wall_time,
            "count": a_count,
            "follow": a_flag,
            "kinds": texts,
            "epoch": a_text,
        }
        patterns, since, since_at, count, follow, kinds, epoch = take(parameters, {}, options)
        request = Request(
            patterns=patterns or (),
            kinds=kinds,
            since=since,
            since_at=since_at,
            count=count,
            follow=bool(follow),
            epoch=epoch,
        )
        async for events in self._feed.read(self._journal, request):
            yield {"events": [event.to_wire() for event in events]}

    async def shutdown(self, parameters: Wire) -> Wire:
        """See ``Shutdown`` in the interface."""
        (leave_jobs,) = take(parameters, {}, {"leave_jobs": a_flag})
        survivors = await self._shutdown(leave_jobs=bool(leave_jobs))
        return {"survivors": [self._outcome(job, self._requests.survived(job)).to_wire() for job in survivors]}

    async def replace(self, parameters: Wire) -> Wire:
        """See ``Replace`` in the interface."""
        take(parameters, {}, {})
        self._replace()
        return {}

    async def _each(
        self,
        patterns: list[str],
        act: Callable[[Job], Awaitable[Outcome]],
        left_out: Callable[[Job], bool] = lambda _: False,
    ) -> Wire:
        """Act on every job that the patterns choose at the same time; one outcome for each, in order.

        What a glob chooses, and not a label, is left out where ``left_out`` says so.
        """
        outcomes: list[Outcome] = []
        jobs: dict[str, Job] = {}
        if not patterns:
            raise BadCall("at least one label or pattern is needed")
        for pattern in patterns:
            try:
                chosen = self._supervisor.jobs.select([pattern], all_when_none=False)
                jobs |= {job.id: job for job in chosen if not is_pattern(pattern) or not left_out(job)}
            except RelaunchError as error:
                outcomes.append(Outcome(label=pattern, error=error.wire_name, message=error.message))

        async def one(job: Job) -> Outcome:
            try:
                return await act(job)
            except RelaunchError as error:
                now = self._supervisor.jobs.get(job.spec.label)
                return self._outcome(now or job, error)

        outcomes += await asyncio.gather(*(one(job) for job in jobs.values()))
        return {"outcomes": [outcome.to_wire() for outcome in outcomes]}

    def _ask(self, job: Job, number: int | None, timeout_s: float | None, *, restart: bool = False) -> Ask:
        grace_s = job.spec.stop_timeout_s if timeout_s is None else timeout_s
        return Ask(number or job.spec.stop_signal_number, grace_s or None, "stopped", restart)

    def _outcome(self, job: Job, error: RelaunchError | None, *, cancelled: bool = False) -> Outcome:
        name, message = (error.wire_name, error.message) if error else (None, None)
        return Outcome(label=job.spec.label, job=self._status(job), error=name, message=message, cancelled=cancelled)

    def _status(self, job: Job) -> JobStatus:
        demand = self._supervisor.demand
        return status_of(job, self._outputs.path_of(job.spec), demand.lacking(job), demand.calendar_at(job))
