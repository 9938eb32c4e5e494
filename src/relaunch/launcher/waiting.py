"""Those who wait for something to become of a job, and for it to be in the journal.

Refuses to know what they wait for: each brings a function that says yes.
"""

import asyncio
from collections.abc import Callable

from relaunch.core.job import Job
from relaunch.errors import RelaunchError

Watcher = Callable[[Job, frozenset[str]], bool]


class Waiting:
    """Futures by job id. Lives on one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Watcher, asyncio.Future[Job]]]] = {}

    def until(self, job_id: str, watcher: Watcher) -> asyncio.Future[Job]:
        """The job as journaled, once the watcher says yes to it and to the kinds of event written with it."""
        future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, []).append((watcher, future))
        return future

    def tell(self, job: Job, kinds: frozenset[str], error: RelaunchError | None = None) -> None:
        """Something has become of a job; with an error, those who say yes get that instead of the job."""
        waiting = self._waiting.get(job.id)
        if not waiting:
            return
        left = []
        for watcher, future in waiting:
            if future.done():
                continue
            if not watcher(job, kinds):
                left.append((watcher, future))
            elif error is None:
                future.set_result(job)
            else:
                future.set_exception(error)
        if left:
            self._waiting[job.id] = left
        else:
            del self._waiting[job.id]

    def fail(self, job_id: str, error: RelaunchError) -> None:
        """Nothing will become of this job: all who wait for it get the error."""
        for _, future in self._waiting.pop(job_id, []):
            if not future.done():
                future.set_exception(error)
