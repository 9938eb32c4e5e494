"""Whether jobs that are up are ready: each is watched, in the way that its spec names, until it has shown it.

A watch begins with a run, or with this launcher where that run goes on, and ends with the run. What a watch needs
beyond the launcher's death stands in the journal, beside the job: where its output began. Refuses to decide what
becomes of a job that is ready, or is not: that is ``core.supervision``.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from relaunch.core.job import BecameReady, Event, Job, Running, Starting
from relaunch.launcher.jobs import Jobs, key_of
from relaunch.launcher.matcher import Matcher, TooSlow
from relaunch.launcher.notices import Notices
from relaunch.launcher.output import Outputs
from relaunch.launcher.ports import takes_connections
from relaunch.launcher.printed import Growth, Place, Search
from relaunch.launcher.trees import Process
from relaunch.launcher.trials import LIMIT_S, NotTried, Trials
from relaunch.model import JobSpec
from relaunch.places import size_bytes
from relaunch.policy import Ready

FIRST_PAUSE_S = 0.05
"""After the first try; then twice as long each time, up to what the spec says."""
USELESS_PAUSE_S_MAX = 60.0
"""What cannot even be tried is not tried more often than this in the end."""
_PREFIX = "began:"
log = logging.getLogger("relaunch")


class _Watch(NamedTuple):
    key: str
    said: asyncio.Event
    task: asyncio.Task[None]


class Readiness:
    """Watches jobs. Lives on one event loop.

    Args:
        jobs: The launcher's.
        apply: Has an event happen to a job.
        trials: Runs commands.
        outputs: Where jobs print.
        documents: The journal's, as it was opened.
        write: Writes documents of its own to the journal.
        keeper_pid: The parent of jobs.
        notify_fd: The socket on which jobs say that they are ready; None where there is none.
    """

    def __init__(
        self,
        jobs: Jobs,
        apply: Callable[[Job, Event], None],
        trials: Trials,
        outputs: Outputs,
        documents: Mapping[str, str],
        write: Callable[[dict[str, str | None]], None],
        keeper_pid: int,
        notify_fd: int | None,
    ) -> None:
        self.trials = trials
        self._jobs = jobs
        self._apply = apply
        self._outputs = outputs
        self._write = write
        self._notices = Notices(notify_fd, keeper_pid, self._key_of_first, self._said)
        self._matcher = Matcher()
        self._growth = Growth()
        self._watches: dict[str, _Watch] = {}
        self._early: dict[str, str] = {}
        self._began = dict(_read(documents))
        self._closed = False

    def changed(self, job: Job) -> None:
        """Something has become of a job: begin to watch it, or leave off."""
        if job.spec.ready is None or self._closed:
            return
        is_due = isinstance(job.state, Running) and not job.state.ready
        watch = self._watches.get(job.id)
        if watch is not None and not (is_due and watch.key == key_of(job)):
            del self._watches[job.id]
            watch.task.cancel()
            watch = None
        if is_due and watch is None:
            said = asyncio.Event()
            if self._early.pop(job.id, None) == key_of(job):
                said.set()
            task = asyncio.get_running_loop().create_task(self._watch(job, job.spec.ready, said))
            self._watches[job.id] = _Watch(key_of(job), said, task)
        elif not isinstance(job.state, Starting):
            self._early.pop(job.id, None)

    def environment(self, spec: JobSpec) -> dict[str, str]:
        """What a job that says that it is ready finds in its environment for that."""
        if spec.ready is None or not spec.ready.notify or self._notices.address is None:
            return {}
        return {"NOTIFY_SOCKET": self._notices.address}

    def documents(self, job: Job) -> dict[str, str | None]:
        """What is to be written together with a job that is about to start: where its output begins."""
        if job.spec.ready is None or job.spec.ready.log_line is None or not isinstance(job.state, Starting):
            return {}
        if self._began.get(job.id, (0, {}))[0] == job.run:
            return {}
        places = {path: Place(size_bytes(path), self._outputs.cut_bytes(path)) for path in self._paths(job.spec)}
        self._began[job.id] = job.run, places
        return self._document(job.id)

    def parted(self, job: Job) -> dict[str, str | None]:
        """What goes with a job that is known no more."""
        return {f"{_PREFIX}{job.id}": None} if self._began.pop(job.id, None) else {}

    def sweep(self) -> None:
        """Kill what a launcher before this one has left of commands; to be called before any is tried."""
        if any(job.spec.ready is not None and job.spec.ready.command is not None for job in self._jobs):
            self.trials.sweep()

    def close(self, *, finally_: bool) -> None:
        """Leave off; where no launcher follows, what jobs say is heard by nobody any more."""
        self._closed = True
        for watch in self._watches.values():
            watch.task.cancel()
        self._watches.clear()
        self._notices.close(finally_=finally_)
        self._growth.close()

    async def _watch(self, job: Job, ready: Ready, said: asyncio.Event) -> None:
        """Wait until it is ready, and have that happen."""
        try:
            if ready.command is not None:
                await self._until_succeeded(job, ready.command, ready.interval_s)
            elif ready.port is not None:
                await _until_connected(ready.host, ready.port, ready.interval_s)
            elif ready.log_line is not None:
                await self._until_printed(job, ready.log_line, ready.interval_s)
            else:
                await said.wait()
        except Exception:  # the job goes on, and so do all the others
            log.exception("%s: whether it is ready is not known any more", job.spec.label)
            return
        now = self._jobs.by_key(key_of(job))
        if now is not None:
            self._apply(now, BecameReady())

    async def _until_succeeded(self, job: Job, argv: tuple[str, ...], interval_s: float) -> None:
        problem = ""
        pauses = _pauses(interval_s)
        while True:
            try:
                if await self.trials.try_once(job, argv, max(LIMIT_S, interval_s)):
                    return
                if problem:
                    problem, pauses = "", _pauses(interval_s)
            except NotTried as error:
                if str(error) != problem:
                    problem = str(error)
                    log.warning("%s: the command that tells whether it is ready: %s", job.spec.label, problem)
                    pauses = _pauses(max(interval_s, USELESS_PAUSE_S_MAX))
            await asyncio.sleep(next(pauses))

    async def _until_printed(self, job: Job, pattern: str, interval_s: float) -> None:
        searches = [
            asyncio.ensure_future(self._search(job, path, pattern, interval_s)) for path in self._paths(job.spec)
        ]
        try:
            done, _ = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED)
            for search in done:
                search.result()
        finally:
            for search in searches:
                search.cancel()

    async def _search(self, job: Job, path: str, pattern: str, interval_s: float) -> None:
        search = Search(self._outputs, self._matcher, self._growth, job.spec, path)
        problem = ""
        for pause in _pauses(max(interval_s, USELESS_PAUSE_S_MAX)):
            try:
                await search.until_found(
                    pattern, self._begin(job, path), interval_s, lambda place: self._moved(job, path, place)
                )
                return
            except TooSlow:
                log.error("%s: the expression of its log line takes too long, and is given up", job.spec.label)
                await asyncio.Event().wait()
            except OSError as error:
                if str(error) != problem:
                    problem = str(error)
                    log.warning("%s: its output, %s, cannot be searched: %s", job.spec.label, path, error.strerror)
            await asyncio.sleep(pause)

    def _paths(self, spec: JobSpec) -> list[str]:
        """Where a job prints, each file once."""
        return list(dict.fromkeys([self._outputs.path_of(spec), spec.stderr or self._outputs.path_of(spec)]))

    def _begin(self, job: Job, path: str) -> Place:
        """Where a run's output begins; where nobody knows, at the end: an earlier run's line may not speak for it."""
        run, places = self._began.get(job.id, (0, {}))
        if run == job.run and path in places:
            return places[path]
        return Place(size_bytes(path), self._outputs.cut_bytes(path))

    def _moved(self, job: Job, path: str, place: Place) -> None:
        run, places = self._began.get(job.id, (0, {}))
        if run == job.run and path in places:
            places[path] = place
            self._write(self._document(job.id))

    def _document(self, job_id: str) -> dict[str, str | None]:
        run, places = self._began[job_id]
        text = json.dumps({"run": run, "offsets": {path: place.offset for path, place in places.items()}})
        return {f"{_PREFIX}{job_id}": text}

    def _key_of_first(self, process: Process) -> str | None:
        if process.pid not in self._jobs.first_pids:
            return None
        for job in self._jobs:
            if isinstance(job.state, Running) and (job.state.pid, job.state.ticks) == process:
                return key_of(job)
        return None

    def _said(self, key: str, *, certain: bool) -> None:
        """Somebody of this run has said that it is ready."""
        job = self._jobs.by_key(key)
        if job is None or job.spec.ready is None or not job.spec.ready.notify or not (certain or job.adopted):
            return
        watch = self._watches.get(job.id)
        if watch is not None and watch.key == key:
            watch.said.set()
        elif isinstance(job.state, Starting):  # the keeper's word that it has begun is still on its way
            self._early[job.id] = key


async def _until_connected(host: str | None, port: int, interval_s: float) -> None:
    for pause in _pauses(interval_s):
        if await takes_connections(host, port):
            return
        await asyncio.sleep(pause)


def _pauses(most_s: float) -> Iterator[float]:
    """How long to wait between tries: quick at first, for those that are ready at once."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield min(pause_s, most_s)
        pause_s = min(pause_s * 2, most_s)


def _read(documents: Mapping[str, str]) -> Iterator[tuple[str, tuple[int, dict[str, Place]]]]:
    """Where the output of each job's run began, as the launcher before this one knew it."""
    for name, text in documents.items():
        if name.startswith(_PREFIX):
            try:
                found = json.loads(text)
                places = {path: Place(int(offset), 0) for path, offset in found["offsets"].items()}
                yield name.removeprefix(_PREFIX), (int(found["run"]), places)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                log.error("%s cannot be read from the journal and is passed over: %r", name, error)
