"""What is told of a job: its state in the words of the interface.

Refuses to know who asks.
"""

import time

from relaunch.core.job import Backoff, Finished, Job, Running, Stopping, Waiting
from relaunch.launcher.alarm import boottime
from relaunch.model import JobStatus


def status_of(
    job: Job, output: str, lacking: tuple[str, ...] | None = None, calendar_at: float | None = None
) -> JobStatus:
    """What is, under a label.

    Args:
        job: The job.
        output: Where it writes to.
        lacking: The jobs that it waits for; where it is not known which of them are ready, all that it depends on.
        calendar_at: When its calendar has it started next, where that is known.
    """
    state = job.state
    running = isinstance(state, Running | Stopping)
    return JobStatus(
        label=job.spec.label,
        state=word_of(job),
        id=job.id,
        run=job.run,
        restarts=job.restarts,
        argv=job.spec.argv,
        submitted_at=job.submitted_at,
        pid=state.pid if isinstance(state, Running | Stopping) else None,
        started_at=job.started_at,
        uptime_s=round(time.time() - job.started_at, 3) if running and job.started_at else None,
        retry_in_s=round(state.retry_at - boottime(), 3) if isinstance(state, Backoff) else None,
        exit=job.exit,
        output=output,
        waits_for=_owed(job) if lacking is None else lacking,
        stopped=isinstance(state, Finished) and state.final and word_of(job) == "exited",
        next_start_at=_next_start_at(job, calendar_at),
    )


def _next_start_at(job: Job, calendar_at: float | None) -> float | None:
    """The wall time at which it is started next, unless something else does so before; None where none is known."""
    state, ahead_s = job.state, time.time() - boottime()
    if isinstance(state, Backoff):
        return round(state.retry_at + ahead_s, 3)
    if not isinstance(state, Waiting) or state.owed is not None:
        return None
    times = [] if state.due_at is None else [state.due_at + ahead_s]
    times += [] if calendar_at is None else [calendar_at]
    return round(max(min(times), state.since + job.spec.throttle_s + ahead_s), 3) if times else None


def _owed(job: Job) -> tuple[str, ...]:
    return job.spec.depends_on if isinstance(job.state, Waiting) and job.state.owed is not None else ()


def word_of(job: Job) -> str:
    """The word for a job's state in the interface."""
    if isinstance(job.state, Finished):
        failed = job.state.failed or (job.exit is not None and job.exit.reason == "start-failed")
        return "failed" if failed else "exited"
    if isinstance(job.state, Running) and job.state.ready:
        return "ready"
    return type(job.state).__name__.lower()
