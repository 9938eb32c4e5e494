"""A simulated journal: what has been committed stays, what waits dies with its launcher.

Knows the rules of ``relaunch.launcher.journal``: writes are committed in order, several at once or not. Refuses to know
what they mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from relaunch.core.document import from_document
from relaunch.core.job import Event, Job
from relaunch.fields import Wire


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it stands in the journal."""

    job_id: str
    run: int
    kind: str
    data: Wire


@dataclass(slots=True)
class Write:
    """What is committed as one. ``asked`` is what a user knows to be in force when it is."""

    documents: dict[str, Wire]
    entries: list[Entry]
    done: Callable[[], None]
    asked: tuple[str, Event] | None = None
    boot: int | None = None


@dataclass(slots=True)
class Journal:
    """One launcher's after the other."""

    on_commit: Callable[[Write], None]
    documents: dict[str, Wire] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    boot: int | None = None
    waiting: list[Write] = field(default_factory=list)
    _read: dict[str, Job] = field(default_factory=dict)

    def commit(self, count: int) -> list[Write]:
        """Commit the first of what waits, and give it."""
        writes, self.waiting = self.waiting[:count], self.waiting[count:]
        for write in writes:
            self.documents |= write.documents
            for job_id in write.documents:
                self._read.pop(job_id, None)
            self.entries += write.entries
            self.boot = write.boot or self.boot
        for write in writes:
            self.on_commit(write)
        return writes

    def job(self, job_id: str) -> Job | None:
        """A job as it is committed."""
        if job_id not in self._read and job_id in self.documents:
            self._read[job_id] = from_document(self.documents[job_id])
        return self._read.get(job_id)
