"""What follows the end of a run: nothing, a start, a delay, or a wait for what starts it.

Knows the conditions of launchd's KeepAlive, the throttle, the growing delay and the restart limit. Refuses to know how
the end came about, and what is recorded of it.
"""

import zlib

from relaunch.core.job import Job
from relaunch.model import Exit, JobSpec
from relaunch.policy import RestartLimit

# A start that fails is not tried again sooner, even where the throttle is 0.
RETRY_S_MIN = 1.0
# launchd.plist(5), Crashed: "a signal which is typically associated with a crash (SIGILL, SIGSEGV, etc.)".
CRASH_SIGNALS = frozenset(("ILL", "TRAP", "ABRT", "BUS", "FPE", "SEGV", "SYS"))


def waits(spec: JobSpec) -> bool:
    """Whether something other than its submit starts it: a time, a path, a socket, a condition."""
    kept = spec.keep_alive_when
    return bool(
        spec.start_interval_s
        or spec.start_calendar
        or spec.watch_paths
        or spec.queue_directories
        or spec.sockets
        or (kept and (kept.paths or kept.other_jobs))
    )


def starts_at_boot(spec: JobSpec) -> bool:
    """Whether it is started whenever its host boots; launchd's RunAtLoad, and what implies it."""
    kept = spec.keep_alive_when
    implied = kept is not None and (kept.successful_exit is not None or kept.crashed is not None)
    return spec.run_at_load or spec.keep_alive or implied


def starts_at_once(spec: JobSpec) -> bool:
    """Whether its submit starts it: as at boot, and where nothing else ever would."""
    return starts_at_boot(spec) or not waits(spec)


def why_again(job: Job, end: Exit) -> str | None:
    """The cause for which a job whose run ended so is started again; None where there is none.

    Any one condition will do, as launchd.plist(5) says of KeepAlive.
    """
    if job.spec.launch_only_once:
        return None
    if job.spec.keep_alive:
        return "keep-alive"
    kept = job.spec.keep_alive_when
    if kept is not None:
        if kept.successful_exit is not None and kept.successful_exit == end.succeeded:
            return "successful-exit" if end.succeeded else "unsuccessful-exit"
        crashed = end.reason == "crashed" and end.signal in CRASH_SIGNALS
        if kept.crashed is not None and kept.crashed == crashed:
            return "crash" if crashed else "no-crash"
    return "condition" if job.hold else None


def counted(job: Job, limit: RestartLimit, now: float) -> tuple[float, ...]:
    """When the job was started again by itself, as far as that counts for its restart limit now."""
    return tuple(at for at in job.again_at if at > now - limit.within_s)


def streak_after(job: Job, started: float, now: float) -> int:
    """How many short runs there have been in a row, with the one that ends now."""
    spacing = job.spec.backoff
    if spacing is None or now - started >= spacing.max_s:
        return 0
    return job.streak + 1


def delay_s(job: Job) -> float:
    """How long to wait from an end to the next start, by the job's streak; the throttle comes on top.

    It is spread by what the job's id and run come to: jobs of one spec that end together do not start together, and
    one that is looked at twice gets the same answer.
    """
    spacing = job.spec.backoff
    if spacing is None or job.streak == 0:
        return 0.0
    delay = spacing.initial_s
    for _ in range(job.streak - 1):
        if delay >= spacing.max_s or spacing.factor == 1:
            break
        delay *= spacing.factor
    roll = zlib.crc32(f"{job.id}.{job.run}".encode()) / 2**32
    return min(delay, spacing.max_s) * (1 + spacing.jitter * (2 * roll - 1))


def next_due(job: Job, now: float) -> float | None:
    """When the job's interval has it started next; what passed while it could not be started counts once at most."""
    every = job.spec.start_interval_s
    if every is None:
        return None
    return job.phase + (int((now - job.phase) / every) + 1) * every
