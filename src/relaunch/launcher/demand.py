"""What starts and holds jobs apart from requests: other jobs, times, paths, callers.

Looks at the world for ``core.supervision``: whether a condition holds, whether a job that another depends on is ready,
whether what starts a job has happened. Refuses to decide what follows from that.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from relaunch.core.job import Conditions, Event, Finished, Job, Running, Starting, Triggered, Waiting
from relaunch.launcher.callers import Callers
from relaunch.launcher.jobs import Jobs, is_idle
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.paths import Paths
from relaunch.launcher.seeing import UNKNOWN
from relaunch.launcher.timetable import Timetable
from relaunch.model import JobSpec


class Demand:
    """Tells jobs what they wait for. Lives on one event loop.

    Args:
        jobs: The launcher's.
        apply: Has an event happen to a job.
        spawn: Orders the start of a job that is starting.
        link: The keeper.
        listening: What the keeper listens on already, by jobs' ids.

    Attributes:
        callers: Who calls a job at its sockets.
    """

    def __init__(
        self,
        jobs: Jobs,
        apply: Callable[[Job, Event], None],
        spawn: Callable[[Job], None],
        link: KeeperLink,
        listening: Iterable[str],
    ) -> None:
        self.callers = Callers(jobs, apply, spawn, link, listening)
        self._jobs = jobs
        self._apply = apply
        self._timetable = Timetable(self._its_time)
        self._paths = Paths(self._stirred)
        # Of each label, and each path, the labels of the jobs that it concerns.
        self._concerned: dict[str, set[str]] = {}
        self._beside: dict[str, set[str]] = {}
        self._watching: dict[str, set[str]] = {}
        self._changes: dict[str, int] = {}
        self._due: set[str] = set()

    def look(self, spec: JobSpec) -> tuple[bool, bool]:
        """What ``Conditions`` says now of a job with this spec: ``hold`` and ``held``."""
        return self._holds(spec), not all(map(self._is_ready, spec.depends_on))

    def lacking(self, job: Job) -> tuple[str, ...]:
        """The jobs that a job depends on and that are not ready, where it waits for them."""
        if not job.held or not isinstance(job.state, Waiting) or job.state.owed is None:
            return ()
        return tuple(label for label in job.spec.depends_on if not self._is_ready(label))

    def calendar_at(self, job: Job) -> float | None:
        """The wall time at which a job's calendar has it started next, where it has one."""
        return self._timetable.next(job.id)

    def changed(self, job: Job) -> None:
        """Something has become of a job, or it is new: those whom that concerns are soon looked at again."""
        spec = job.spec
        if spec.depends_on or spec.keep_alive_when:
            for label in others_of(spec):
                self._concerned.setdefault(label, set()).add(spec.label)
        if spec.watch_paths or spec.queue_directories or (spec.keep_alive_when and spec.keep_alive_when.paths):
            self._watch(job)
        if spec.sockets:
            self.callers.changed(job)
        if spec.start_calendar:
            if isinstance(job.state, Finished):
                self._timetable.drop(job.id)
            else:
                self._timetable.put(job.id, spec.start_calendar, job.calendar_from)
        if self._concerned:
            self._look_soon(self._concerned.get(spec.label, ()))

    def dropped(self, job: Job) -> None:
        """A job is known no more."""
        for label in others_of(job.spec):
            _take_out(self._concerned, label, job.spec.label)
        self._unwatch(job)
        self._timetable.drop(job.id)
        if job.spec.sockets:
            self.callers.dropped(job)
        self._look_soon(self._concerned.get(job.spec.label, ()))

    def marked(self, job: Job) -> Job:
        """A job with what its paths are now, where it is starting: what becomes of them from now on counts."""
        if not isinstance(job.state, Starting) and job.paths_seen:
            return job
        self._changes[job.id] = self._count(job)
        return replace(job, paths_seen=self._mark(job.spec))

    def refresh(self, job: Job) -> Job:
        """The job once it has been told what holds now; gives what it then is."""
        spec = job.spec
        if is_conditional(spec):
            hold, held = self.look(spec)
            if (hold, held) != (job.hold, job.held):
                self._apply(job, Conditions(hold, held))
                job = self._jobs.by_id(job.id) or job
        if spec.watch_paths and is_idle(job) and self._have_changed(job):
            self._apply(job, Triggered("path"))
            job = self._jobs.by_id(job.id) or job
        return job

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

    def _its_time(self, job_id: str) -> None:
        job = self._jobs.by_id(job_id)
        if job is not None:
            self._apply(job, Triggered("calendar"))

    def _watch(self, job: Job) -> None:
        """Watch the paths of a job for as long as it may be started by itself."""
        if isinstance(job.state, Finished):
            self._unwatch(job)
            return
        if job.id not in self._watching:
            paths = self._watching[job.id] = paths_of(job.spec)
            for path in paths:
                self._beside.setdefault(path, set()).add(job.spec.label)
                self._paths.watch(path)
            self._changes.setdefault(job.id, self._count(job))
            self._look_soon([job.spec.label])
        elif is_idle(job) and job.spec.watch_paths:
            self._look_soon([job.spec.label])

    def _unwatch(self, job: Job) -> None:
        for path in self._watching.pop(job.id, ()):
            _take_out(self._beside, path, job.spec.label)
            self._paths.unwatch(path)
        self._changes.pop(job.id, None)

    def _stirred(self, paths: set[str]) -> None:
        self._look_soon({label for path in paths for label in self._beside.get(path, ())})

    def _have_changed(self, job: Job) -> bool:
        if self._changes.get(job.id) != self._count(job):
            return True
        marks = zip(job.paths_seen.split(), self._mark(job.spec).split(), strict=False)
        return any(before != now and UNKNOWN not in (before, now) for before, now in marks)

    def _mark(self, spec: JobSpec) -> str:
        """What the paths that a job is started for are; another one when they have changed."""
        return " ".join(self._paths.see(path).mark for path in spec.watch_paths)

    def _count(self, job: Job) -> int:
        """How often the paths of a job that starts for them have changed while they were watched."""
        return sum(map(self._paths.changes, set(job.spec.watch_paths)))

    def _holds(self, spec: JobSpec) -> bool:
        kept = spec.keep_alive_when
        if any(self._paths.see(path).holds for path in spec.queue_directories):
            return True
        if kept is None:
            return False
        for path, wanted in kept.paths.items():
            seen = self._paths.see(path)
            if seen.mark != UNKNOWN and seen.there == wanted:
                return True
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
    return isinstance(job.state, Finished) and job.exit is not None and job.exit.succeeded


def paths_of(spec: JobSpec) -> set[str]:
    """The paths that concern a job."""
    kept = spec.keep_alive_when
    return {*spec.watch_paths, *spec.queue_directories, *(kept.paths if kept else ())}


def _take_out(table: dict[str, set[str]], name: str, label: str) -> None:
    labels = table.get(name, set())
    labels.discard(label)
    if not labels:
        table.pop(name, None)
