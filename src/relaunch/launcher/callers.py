"""Who calls a job at its sockets has it started: when they are bound, watched and closed.

Rules: they are bound before the job is taken, so that what cannot be bound refuses it; they stay open while the job is
there to be started, and are closed when it has finished, since nobody would ever answer (S31). Refuses to know how
sockets are bound.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from relaunch.core.job import Backoff, Event, Finished, Job, SpawnFailed, Starting, Triggered, Waiting
from relaunch.errors import StartFailed
from relaunch.keeper.wire import Message
from relaunch.launcher.jobs import Jobs, is_idle
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.listening import Listening
from relaunch.model import Exit, JobSpec

log = logging.getLogger("relaunch")


class Callers:
    """The sockets of one launcher's jobs. Lives on one event loop; jobs without sockets never come here.

    Args:
        jobs: The launcher's.
        apply: Has an event happen to a job.
        spawn: Orders the start of a job that is starting.
        link: The keeper.
        held: What the keeper listens on already, by jobs' ids.
    """

    def __init__(
        self,
        jobs: Jobs,
        apply: Callable[[Job, Event], None],
        spawn: Callable[[Job], None],
        link: KeeperLink,
        held: Iterable[str],
    ) -> None:
        self._jobs = jobs
        self._apply = apply
        self._spawn = spawn
        self._listening = Listening(
            link, held, on_listening=self._bound, on_called=self._called, on_failed=self._failed
        )
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._listens: set[str] = set()
        self._watched: set[str] = set()
        self._owing: set[str] = set()

    async def bind(self, job_id: str, spec: JobSpec) -> None:
        """Bind the sockets of a job that is about to be taken.

        Raises:
            StartFailed: One cannot be bound; none of them is.
        """
        asked = self._asked[job_id] = asyncio.get_running_loop().create_future()
        self._listen(job_id, spec)
        try:
            await asked
        except BaseException as error:
            if not isinstance(error, StartFailed):
                self._close(job_id)
                raise
            raise StartFailed(f"{spec.label} was not started: {error.message}") from None
        finally:
            del self._asked[job_id]

    def unbind(self, job_id: str) -> None:
        """Undo ``bind`` for a job that is not taken after all."""
        self._close(job_id)

    def is_bound(self, job: Job) -> bool:
        """Whether a job that is starting has what it listens on; if not, that is seen to, and the start follows."""
        if self._listening.holds(job.id):
            return True
        self._owing.add(job.id)
        self._listen(job.id, job.spec)
        return False

    def changed(self, job: Job) -> None:
        """Something has become of a job with sockets."""
        match job.state:
            case Finished():
                self.dropped(job)
            case Waiting() | Backoff():
                self._listen(job.id, job.spec)
                self._watch(job)
            case _:  # starts see to it themselves, and what runs has them
                pass

    def dropped(self, job: Job) -> None:
        """A job with sockets is known no more, or has finished."""
        if job.id in self._listens or self._listening.holds(job.id):
            self._close(job.id)

    def recovered(self) -> None:
        """All jobs are known: what is held for others is closed."""
        self._listening.close_all_but({job.id for job in self._jobs if not isinstance(job.state, Finished)})

    def reported(self, report: Message) -> bool:
        """Take a report of the keeper's.

        Returns:
            Whether it was about sockets.
        """
        return self._listening.reported(report)

    def _listen(self, job_id: str, spec: JobSpec) -> None:
        if job_id not in self._listens and not self._listening.holds(job_id):
            self._listens.add(job_id)
            self._listening.listen(job_id, spec.sockets)

    def _watch(self, job: Job) -> None:
        if is_idle(job) and self._listening.holds(job.id) and job.id not in self._watched:
            self._watched.add(job.id)
            self._listening.watch(job.id)

    def _close(self, job_id: str) -> None:
        self._forget(job_id)
        self._listening.close(job_id)

    def _forget(self, job_id: str) -> None:
        self._owing.discard(job_id)
        self._listens.discard(job_id)
        self._watched.discard(job_id)

    def _bound(self, job_id: str) -> None:
        asked = self._asked.get(job_id)
        if asked is not None and not asked.done():
            asked.set_result(None)
        job = self._jobs.by_id(job_id)
        if job is None:
            return
        self._watch(job)
        if job_id in self._owing:
            self._owing.discard(job_id)
            if isinstance(job.state, Starting):
                self._spawn(job)

    def _called(self, job_id: str) -> None:
        self._watched.discard(job_id)
        job = self._jobs.by_id(job_id)
        if job is not None and is_idle(job):
            self._apply(job, Triggered("socket"))

    def _failed(self, job_id: str, line: str) -> None:
        self._forget(job_id)
        asked = self._asked.get(job_id)
        if asked is not None and not asked.done():
            asked.set_exception(StartFailed(line))
            return
        job = self._jobs.by_id(job_id)
        if job is None:
            return
        log.warning("%s: %s", job.spec.label, line)
        if isinstance(job.state, Starting):
            self._apply(job, SpawnFailed(Exit(reason="start-failed", message=line, at=time.time())))
        elif is_idle(job):
            # A start that is tried tells everyone, and tries it again.
            self._apply(job, Triggered("socket"))
