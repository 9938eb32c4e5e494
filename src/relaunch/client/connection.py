"""The Python API of one host's launcher, for asyncio.

Knows each method of the launcher. Refuses to know framing and sockets (``channel``), the names on the wire (``calls``)
and what answers are made into (``answers``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypedDict, overload

from relaunch.client import calls
from relaunch.client.channel import Channel
from relaunch.errors import BadSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self, Unpack

    from relaunch.client.answers import Delivery, Description, LauncherStatus
    from relaunch.client.calls import Call
    from relaunch.event import Event
    from relaunch.model import JobSpec, JobStatus, Outcome
    from relaunch.subscription import SubscriptionSpec

    Jobs = list[JobStatus]
    Outcomes = list[Outcome]


class SpecFields(TypedDict, total=False):
    """What may be asked for beside label and argv; see ``JobSpec``. A limit is ``"N"`` or ``"SOFT:HARD"``.

    What has parts is given as on the wire: ``ready={"port": 80}``, ``restart_limit={"count": 5, "within_s": 60}``.
    """

    program: str
    env: Mapping[str, str]
    cwd: str
    stdin: str
    stdout: str
    stderr: str
    keep_alive: bool
    keep_alive_when: Mapping[str, Any]
    run_at_load: bool
    launch_only_once: bool
    start_interval_s: float
    start_calendar: Sequence[Mapping[str, int]]
    watch_paths: Sequence[str]
    queue_directories: Sequence[str]
    depends_on: Sequence[str]
    ready: Mapping[str, Any]
    throttle_s: float
    backoff: Mapping[str, float]
    restart_limit: Mapping[str, float]
    stop_timeout_s: float
    stop_signal: str
    abandon_process_group: bool
    globbing: bool
    sockets: Mapping[str, Sequence[Mapping[str, Any]]]
    user: str
    group: str
    umask: int
    nice: int
    low_priority_io: bool
    limits: Mapping[str, str]
    output_bytes_max: int
    origin: str


def connect(path: str | None = None) -> Connection:
    """A connection to a launcher, to be entered: ``async with relaunch.connect() as launcher:``.

    Args:
        path: The launcher's socket; None means this user's own launcher on this host.
    """
    return Connection(path)


class Connection:
    """A launcher, connected. Any number of tasks may call its methods at once.

    Short calls share one socket and are answered in their order; a call that waits for jobs (stop, restart, wait, logs,
    events, ...) has a socket of its own and holds nobody up. Where the launcher went away, calls without an answer
    raise ``OutcomeUnknown``, and the next call connects anew. A call that is cancelled may have been carried out.

    Every method raises the error that the launcher answered (see ``relaunch.errors``); a request for many labels
    answers an ``Outcome`` for each instead.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._shared: Channel | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._channel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the shared connection; streams end when their iterators are closed."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    @overload
    async def submit(self, job: JobSpec, *, request: str | None = None, replace: bool = False) -> JobStatus: ...

    @overload
    async def submit(
        self,
        job: str,
        argv: Sequence[str],
        *,
        request: str | None = None,
        replace: bool = False,
        **fields: Unpack[SpecFields],
    ) -> JobStatus: ...

    async def submit(
        self,
        job: JobSpec | str,
        argv: Sequence[str] | None = None,
        *,
        request: str | None = None,
        replace: bool = False,
        **fields: Unpack[SpecFields],
    ) -> JobStatus:
        """Start a job; returns when its program runs, or when it waits for what starts it.

        Args:
            job: The spec, or a label.
            argv: With a label: what the program is given, its own name first.
            request: An id of your choice, 1 to 100 letters, digits, "-" and "_". Asked again under the same id, as
                after ``OutcomeUnknown``, the launcher answers the same job or the same error and starts nothing.
            replace: Stop the job that has the label first, with its own grace.
            fields: With a label: the other fields of the spec.

        Raises:
            LabelInUse: A job of that label has not finished.
            Survived: Of the one to be replaced something is left.
            StartFailed: The program could not be started.
            BadSpec: A field is wrong; found before anything is sent.
            Refused: Another spec was submitted under this request's id.
        """
        from relaunch.client.answers import read
        from relaunch.model import JobSpec, JobStatus

        if isinstance(argv, str | bytes):
            raise BadSpec(f"argv is a list of words, such as ['sleep', '1'], and not one text: {argv!r}")
        if isinstance(job, str):
            job = JobSpec.from_wire({"label": job, "argv": [] if argv is None else list(argv), **fields})
        elif argv is not None or fields:
            raise BadSpec("a spec says everything; give argv and fields only with a label")
        return read(JobStatus.from_wire, await self._ask(calls.submit(job.to_wire(), request, replace=replace)))

    async def list(self, *patterns: str) -> Jobs:
        """The jobs whose label one of the patterns matches; all jobs without any."""
        from relaunch.client import answers

        return answers.read(answers.jobs, await self._ask(calls.list_jobs(patterns)))

    async def describe(self, label: str) -> Description:
        """Everything known of one job.

        Raises:
            NoSuchLabel: There is no such job.
        """
        from relaunch.client import answers

        return answers.read(answers.description, await self._ask(calls.describe(label)))

    async def get_specs(self, *patterns: str) -> Sequence[JobSpec]:
        """What was asked for under the labels that one of the patterns matches; under all without any."""
        from relaunch.client import answers

        return answers.read(answers.specs, await self._ask(calls.get_specs(patterns)))

    async def status(self) -> LauncherStatus:
        """What the launcher says of itself."""
        from relaunch.client import answers

        return answers.read(answers.status, await self._ask(calls.get_status()))

    async def stop(self, *patterns: str, signal: str | None = None, timeout_s: float | None = None) -> Outcomes:
        """End the whole tree of each job; returns when it is so, or when it is known that it is not.

        Args:
            patterns: Labels or globs, at least one.
            signal: First signal, instead of the job's own.
            timeout_s: Grace before KILL, instead of the job's own; 0 waits for ever.
        """
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.stop(patterns, signal, timeout_s)))

    async def unload(self, *patterns: str, timeout_s: float | None = None) -> Outcomes:
        """End the whole tree of each job, and forget the job; see ``stop``. One that survives is not forgotten."""
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.unload(patterns, timeout_s)))

    async def restart(self, *patterns: str) -> Outcomes:
        """Stop each job and start it again; a finished one is started."""
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.restart(patterns)))

    async def signal(self, signal: str, *patterns: str) -> Outcomes:
        """Send a signal, such as ``HUP``, to each job's own process."""
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.send_signal(patterns, signal)))

    async def await_ready(self, *patterns: str, timeout_s: float | None = None) -> Outcomes:
        """Return when each of the jobs is ready, or cannot be any more: then its outcome is the error ``NotReady``.

        One whose spec does not say how it shows that is ready when it runs, or when it has exited with 0; one that
        waits for what starts it counts as ready.

        Args:
            patterns: Labels or globs, at least one.
            timeout_s: How long to wait; None waits as long as the specs of the jobs say, and else for ever.
        """
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.await_ready(patterns, timeout_s)))

    async def wait(self, *patterns: str) -> Jobs:
        """Return when each of the jobs has finished and nothing will start it again."""
        from relaunch.client import answers

        return answers.read(answers.jobs, await self._ask(calls.wait(patterns)))

    async def logs(
        self, label: str, *, lines: int | None = None, follow: bool = False, since_submit: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield a job's output, piece by piece.

        Args:
            label: The job.
            lines: Only so many last lines.
            follow: Go on with what comes, until the job has finished.
            since_submit: Leave out what earlier jobs of the label have printed.
        """
        import base64

        from relaunch.client.answers import read

        async for piece in self._stream(calls.logs(label, lines, follow=follow, since_submit=since_submit)):
            if piece:
                yield read(base64.b64decode, piece)

    async def events(
        self,
        *patterns: str,
        since: int | None = None,
        since_at: float | None = None,
        count: int | None = None,
        follow: bool = False,
        kinds: Iterable[str] | None = None,
        epoch: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield what has happened, in the journal's order.

        To leave the loop early and be sure that the connection is closed then, use ``contextlib.aclosing``.

        Args:
            patterns: Only jobs whose label one of these matches.
            since: Only what stands after this sequence number.
            since_at: Only what happened at or after this time, seconds since the epoch.
            count: Only so many of the last ones.
            follow: Go on with what comes.
            kinds: Only these, without ``io.relaunch.``, globs over them, or ``all``; events that concern no job then
                pass every pattern.
            epoch: Whose sequence ``since`` is; where the journal has another one, it is read from its beginning.
        """
        call = calls.events(
            patterns, since=since, since_at=since_at, count=count, follow=follow, kinds=kinds, epoch=epoch
        )
        from relaunch.client import answers

        async for batch in self._stream(call):
            for event in answers.read(answers.events, batch):
                yield event

    async def subscribe(
        self, subscription: SubscriptionSpec, *, since: int | None = None, since_at: float | None = None
    ) -> Delivery:
        """Have events delivered to a subscriber that listens; the same id again renews the subscription.

        Args:
            subscription: Where it listens, and what it wants.
            since: Begin after this sequence number.
            since_at: Begin at this time, seconds since the epoch.

        Raises:
            Refused: There are too many subscriptions, or the launcher is ending.
        """
        from relaunch.client import answers

        answer = await self._ask(calls.subscribe(subscription.to_wire(), since=since, since_at=since_at))
        return answers.read(answers.delivery, answer)

    async def unsubscribe(self, *ids: str) -> Sequence[str]:
        """End subscriptions, by id or name; gives the ids of those that were ended.

        Raises:
            NoSuchSubscription: One is unknown; the others have been ended.
        """
        ended: Sequence[str] = await self._ask(calls.unsubscribe(ids))
        return ended

    async def subscriptions(self) -> Sequence[Mapping[str, Any]]:
        """Those who receive the launcher's events."""
        found: Sequence[Mapping[str, Any]] = await self._ask(calls.subscriptions())
        return found

    async def shutdown(self, *, leave_jobs: bool = False) -> Outcomes:
        """End the launcher, and every job unless they are to be left; returns those that survived."""
        from relaunch.client import answers

        return answers.read(answers.outcomes, await self._ask(calls.shutdown(leave_jobs=leave_jobs)))

    async def replace(self) -> None:
        """Start the launcher's program anew, as after an upgrade; keeper and jobs stay."""
        await self._ask(calls.replace())

    async def reach(self) -> None:
        """Connect, where that is not so already.

        Raises:
            Unreachable: The launcher, or its host, cannot be reached; nothing was asked of it.
        """
        await self._channel()

    async def call(self, call: Call) -> Any:
        """Make one call over the shared connection; its answer as it is on the wire."""
        return await (await self._channel()).ask(call)

    async def _ask(self, call: Call) -> Any:
        if not call.slow:
            return await (await self._channel()).ask(call)
        channel = await self._open()
        try:
            return await channel.ask(call)
        finally:
            channel.close()

    async def _stream(self, call: Call) -> AsyncGenerator[Any, None]:
        channel = await self._open()
        try:
            async for answer in channel.stream(call):
                yield answer
        finally:
            channel.close()

    async def _channel(self) -> Channel:
        if self._shared is None or self._shared.closed:
            async with self._opening:
                if self._shared is None or self._shared.closed:
                    self._shared = await self._open()
        return self._shared

    async def _open(self) -> Channel:
        """Connect once more; how, is what a launcher on another host differs in."""
        return await Channel.open(self._path)
