"""What starts and holds jobs apart from requests: who depends on whom, and what else each waits for.

Looks at the world for ``core.supervision``: whether a condition holds, whether a job that another depends on is ready.
Refuses to decide what follows from that.
"""

import asyncio
from collections.abc import Callable, Iterable

from relaunch.core.job import Conditions, Event, Finished, Job, Running, Waiting
from relaunch.launcher.jobs import Jobs
from relaunch.model import JobSpec


class Demand:
    """Tells jobs what they wait for. Lives on one event loop.

    Args:
        jobs: The launcher's.
        apply: Has an event happen to a job.
    """

    def __init__(self, jobs: Jobs, apply: Callable[[Job, Event], None]) -> None:
        self._jobs = jobs
        self._apply = apply
        self._concerned: dict[str, set[str]] = {}
        self._due: set[str] = set()

    def look(self, spec: JobSpec) -> tuple[bool, bool]:
        """What ``Conditions`` says now of a job with this spec: ``hold`` and ``held``."""
        return self._holds(spec), not all(map(self._is_ready, spec.depends_on))

    def changed(self, job: Job) -> None:
        """Something has become of a job, or it is new: those whom that concerns are soon looked at again."""
        for label in others_of(job.spec):
            self._concerned.setdefault(label, set()).add(job.spec.label)
        self._look_soon(self._concerned.get(job.spec.label, ()))

    def dropped(self, job: Job) -> None:
        """A job is known no more."""
        for label in others_of(job.spec):
            self._concerned.get(label, set()).discard(job.spec.label)
        self._look_soon(self._concerned.get(job.spec.label, ()))

    def refresh(self, job: Job) -> Job:
        """The job once it has been told what holds now; gives what it then is."""
        if not is_conditional(job.spec):
            return job
        hold, held = self.look(job.spec)
        if (hold, held) == (job.hold, job.held):
            return job
        self._apply(job, Conditions(hold, held))
        return self._jobs.by_id(job.id) or job

    def _look_soon(self, labels: Iterable[str]) -> None:
        if labels and not self._due:
            asyncio.get_running_loop().call_soon(self._look_again)
        self._due.update(labels)

    def _look_again(self) -> None:
        due, self._due = self._due, set()
        for label in due:
            job = self._jobs.get(label)
            if job is not None:
                self.refresh(job)

    def _holds(self, spec: JobSpec) -> bool:
        kept = spec.keep_alive_when
        if kept is None:
            return False
        return any(self._is_enabled(label) == wanted for label, wanted in kept.other_jobs.items())

    def _is_enabled(self, label: str) -> bool:
        job = self._jobs.get(label)
        return job is not None and not (isinstance(job.state, Finished) and job.state.final)

    def _is_ready(self, label: str) -> bool:
        job = self._jobs.get(label)
        return job is not None and is_ready(job)


def others_of(spec: JobSpec) -> set[str]:
    """The labels of the jobs that concern a job."""
    kept = spec.keep_alive_when
    return {*spec.depends_on, *(kept.other_jobs if kept else ())}


def is_conditional(spec: JobSpec) -> bool:
    """Whether ``Conditions`` may ever say anything of a job."""
    return bool(spec.depends_on or spec.queue_directories or spec.keep_alive_when)


def is_ready(job: Job) -> bool:
    """Whether jobs that depend on it may be started: it runs, and shows it; or it has done its work."""
    if isinstance(job.state, Running):
        return job.spec.ready is None or job.state.ready
    if not isinstance(job.state, Finished) or job.exit is None:
        return False
    return job.exit.reason == "exited" and job.exit.code == 0


def is_idle(job: Job) -> bool:
    """Whether it waits for what starts it, and not for another job."""
    return isinstance(job.state, Waiting) and job.state.owed is None
