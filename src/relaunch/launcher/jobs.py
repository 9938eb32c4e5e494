"""The table of a launcher's jobs: by label, by id, by the keeper's key.

Knows how jobs are found and chosen. Refuses to know what becomes of them.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from relaunch.core.document import without_spec
from relaunch.core.job import Finished, Job, Running, Stopping, Waiting
from relaunch.core.varlink import json_text
from relaunch.errors import NoSuchLabel
from relaunch.labels import no_such, select

FINISHED_MAX = 1_000


def key_of(job: Job) -> str:
    """The keeper's key of a job's current run."""
    return f"{job.id}.{job.run}"


def is_idle(job: Job) -> bool:
    """Whether it waits for what starts it, and not for another job."""
    return isinstance(job.state, Waiting) and job.state.owed is None


class Jobs:
    """Every job that is known, one for each label.

    Attributes:
        first_pids: The first processes of those that run.
    """

    def __init__(self) -> None:
        self.first_pids: set[int] = set()
        self._jobs: dict[str, Job] = {}
        # The labels of those that have finished, in that order.
        self._finished: dict[str, None] = {}
        self._labels: dict[str, str] = {}
        self._specs: dict[str, str] = {}
        self._requests: dict[str, str] = {}

    def __iter__(self) -> Iterator[Job]:
        """Every job, in the order of the labels' first use."""
        return iter(list(self._jobs.values()))

    def get(self, label: str) -> Job | None:
        """The job of this label."""
        return self._jobs.get(label)

    def by_id(self, job_id: str) -> Job | None:
        """The job with this id."""
        job = self._jobs.get(self._labels.get(job_id, ""))
        return job if job is not None and job.id == job_id else None

    def by_request(self, request: str) -> Job | None:
        """The job that was asked for under this id."""
        return self.by_id(self._requests.get(request, ""))

    def by_key(self, key: str) -> Job | None:
        """The job whose current run has this key."""
        job_id, _, run = key.partition(".")
        job = self.by_id(job_id)
        return job if job is not None and str(job.run) == run else None

    def put(self, job: Job) -> None:
        """The job as it now is; takes the place of another that had the label."""
        before = self._jobs.get(job.spec.label)
        if before is not None:
            self._leave(before)
            if before.id != job.id:
                self._forget(before)
        self._jobs[job.spec.label] = job
        self._labels[job.id] = job.spec.label
        if job.request is not None:
            self._requests[job.request] = job.id
        if isinstance(job.state, Running | Stopping):
            self.first_pids.add(job.state.pid)
        elif isinstance(job.state, Finished):
            self._finished[job.spec.label] = None

    def drop(self, job: Job) -> None:
        """Know no more of it."""
        self._leave(self._jobs.pop(job.spec.label))
        self._forget(job)

    def document(self, job: Job) -> str:
        """The job's document as text; its spec never changes and is put into words once."""
        spec = self._specs.get(job.id)
        if spec is None:
            spec = self._specs[job.id] = json_text(job.spec.to_wire())
        return f'{{"spec":{spec},{json_text(without_spec(job))[1:]}'

    def superfluous(self) -> list[Job]:
        """Those that have been finished for longest, where there are more than ``FINISHED_MAX``."""
        too_many = max(0, len(self._finished) - FINISHED_MAX)
        return [self._jobs[label] for label in islice(self._finished, too_many)]

    def select(self, patterns: Iterable[str], *, all_when_none: bool) -> list[Job]:
        """The jobs that labels and globs choose: by label, or as named where only labels are.

        Raises:
            NoSuchLabel: One of the patterns chooses nothing.
            BadPattern: One is malformed.
        """
        patterns = list(patterns)
        if not patterns and not all_when_none:
            return []
        if patterns and all(pattern in self._jobs for pattern in patterns):
            return [self._jobs[label] for label in dict.fromkeys(patterns)]
        chosen, barren = select(patterns, sorted(self._jobs))
        if barren:
            raise NoSuchLabel("; ".join(map(no_such, barren)))
        return [self._jobs[label] for label in chosen]

    def _leave(self, job: Job) -> None:
        if isinstance(job.state, Running | Stopping):
            self.first_pids.discard(job.state.pid)
        elif isinstance(job.state, Finished):
            self._finished.pop(job.spec.label, None)

    def _forget(self, job: Job) -> None:
        self._labels.pop(job.id, None)
        self._specs.pop(job.id, None)
        if job.request is not None:
            self._requests.pop(job.request, None)
