"""The life of one job: which state it is in, what an event makes of it, and what must be done about it.

Rules, each a clause of docs/protocol.md:
    1. A state carries only its own data; one small function per state answers every event (S1).
    2. An effect is performed after the new state and the records that come with it are in the journal (S2).
    3. A job that was asked to stop is never started again by that same life (S5).
    4. KILL follows the stop signal after the grace, and goes to the whole tree (S4).

``now`` is CLOCK_BOOTTIME in seconds, so that a deadline outlives the launcher that set it. Refuses to know of
processes, clocks, journals and callers.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never

from relaunch.fields import Wire
from relaunch.model import Exit, JobSpec

SIGKILL = 9
# How long the kernel may take to end a tree after KILL before its stop is said to have failed. A process in an
# uninterruptible wait takes as long as the device it waits for.
SURVIVAL_S = 5.0
# A start that fails is not tried again sooner, even where the throttle is 0.
RETRY_S_MIN = 1.0

Why = Literal["stopped", "shutdown"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A stop that was asked for: first signal, grace (None waits for ever), why, and what comes after it."""

    signal: int
    grace_s: float | None
    why: Why
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Starting:
    """The keeper has, or is about to get, the order to spawn; a stop asked for meanwhile waits for its answer."""

    since: float
    ask: Ask | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The program has been executed, by ``since`` at the latest."""

    pid: int
    ticks: int
    since: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """The tree has been sent the stop signal, and its first process is still there."""

    pid: int
    ticks: int
    since: float
    ask: Ask
    kill_at: float | None
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """The first process has gone; others of its tree are being ended. ``started`` is when this run began."""

    started: float
    ask: Ask | None
    kill_at: float | None
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """It will be started again at that time."""

    retry_at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of it runs, and only a command starts it again."""


State = Starting | Running | Stopping | Ending | Backoff | Finished


@dataclass(frozen=True, slots=True)
class Spawned:
    """The keeper executed the program, or, ``adopted``, found it running though another keeper had started it."""

    pid: int
    ticks: int
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The keeper could not; ``exit`` says what failed."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class Exited:
    """The job's first process ended.

    Attributes:
        pid: Which that was; None where it is not known that it ever ran.
        status: Wait status, None where nobody can tell.
        at: Wall time.
        usage: Resource usage, where known.
        leftover: Whether others of its tree are still there.
    """

    pid: int | None
    status: int | None
    at: float
    usage: dict[str, float] | None
    leftover: bool


@dataclass(frozen=True, slots=True)
class TreeGone:
    """Nothing of the tree is left."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants it to end."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Somebody wants it to end and start, or just to start."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that ``deadline`` named has come, or any other."""


Event = Spawned | SpawnFailed | Exited | TreeGone | StopAsked | RestartAsked | Tick


@dataclass(frozen=True, slots=True)
class Spawn:
    """Order the keeper to start this run."""

    run: int


@dataclass(frozen=True, slots=True)
class SignalTree:
    """Send a signal to every process of the job, and say ``TreeGone`` when none is left and its first one has ended."""

    signal: int


@dataclass(frozen=True, slots=True)
class Record:
    """Write an event ``io.relaunch.job.<kind>`` into the journal; the driver adds what it knows of the job."""

    kind: str
    data: Wire


Effect = Spawn | SignalTree | Record


@dataclass(frozen=True, slots=True)
class Job:
    """One job: its spec, its state, and what is remembered across its runs.

    Attributes:
        id: Unique for ever; the tree's processes carry it in their environment.
        spec: What was asked for.
        submitted_at: Wall time.
        state: What is.
        run: Number of its current or last start, from 1.
        restarts: Starts that followed an end.
        started_at: Wall time at which its program was executed, None where it has not been in this run.
        exit: How the last run ended, None before the first end.
        adopted: Whether the keeper is not the parent of this run's first process.
        request: The id under which it was asked for, None where its caller gave none.
    """

    id: str
    spec: JobSpec
    submitted_at: float
    state: State
    run: int = 1
    restarts: int = 0
    started_at: float | None = None
    exit: Exit | None = None
    adopted: bool = False
    request: str | None = None


Step = tuple[Job, tuple[Effect, ...]]


def submit(job_id: str, spec: JobSpec, *, now: float, at: float, request: str | None = None) -> Step:
    """A new job, on its first start.

    Args:
        job_id: Unique for ever.
        spec: What was asked for.
        now: CLOCK_BOOTTIME.
        at: Wall time.
        request: The id under which it was asked for.
    """
    job = Job(id=job_id, spec=spec, submitted_at=at, state=Starting(now), request=request)
    return job, (Record("submitted", {}), Spawn(job.run))


def transition(job: Job, event: Event, now: float, at: float) -> Step:
    """What an event makes of a job.

    Args:
        job: As it is.
        event: What happened.
        now: CLOCK_BOOTTIME.
        at: Wall time, for the record only.

    Returns:
        The job as it now is, and what to do once that is in the journal. An event that means nothing in this state
        (late, repeated) leaves the job as it is.
    """
    match job.state:
        case Starting():
            return _starting(job, job.state, event, now, at)
        case Running():
            return _running(job, job.state, event, now)
        case Stopping():
            return _stopping(job, job.state, event, now)
        case Ending():
            return _ending(job, job.state, event, now)
        case Backoff():
            return _backoff(job, job.state, event, now)
        case Finished():
            return _finished(job, event, now)
        case _:
            assert_never(job.state)


def deadline(job: Job) -> float | None:
    """When ``transition`` wants a ``Tick``, on CLOCK_BOOTTIME; None where it wants none."""
    match job.state:
        case Stopping(kill_at=kill_at) | Ending(kill_at=kill_at):
            return kill_at
        case Backoff(retry_at=retry_at):
            return retry_at
        case Starting() | Running() | Finished():
            return None
        case _:
            assert_never(job.state)


def signal_due(job: Job) -> int:
    """The signal that a stop under way has come to."""
    state = job.state
    if isinstance(state, Stopping | Ending):
        if state.killed:
            return SIGKILL
        if state.ask is not None:
            return state.ask.signal
    return job.spec.stop_signal_number


def _starting(job: Job, state: Starting, event: Event, now: float, at: float) -> Step:
    match event:
        case Spawned(pid=pid, ticks=ticks, adopted=adopted):
            running = Running(pid, ticks, now)
            up = replace(job, state=running, started_at=at, adopted=adopted)
            record = Record("started", {"pid": pid})
            if state.ask is None:
                return up, (record,)
            stopped, effects = _stop(up, running, state.ask, now)
            return stopped, (record, *effects)
        case SpawnFailed(exit=failure):
            return _start_failed(job, state, failure, now)
        case Exited():
            return _exited(job, now, state.ask, None, event, now)  # it may have begun at any moment up to now
        case StopAsked(ask=ask) | RestartAsked(ask=ask):
            return replace(job, state=replace(state, ask=ask)), ()
        case TreeGone() | Tick():
            return job, ()
        case _:
            assert_never(event)


def _running(job: Job, state: Running, event: Event, now: float) -> Step:
    match event:
        case Exited():
            return _exited(job, state.since, None, None, event, now)
        case StopAsked(ask=ask) | RestartAsked(ask=ask):
            return _stop(job, state, ask, now)
        case Spawned(adopted=adopted):
            return replace(job, adopted=adopted), ()
        case SpawnFailed() | TreeGone() | Tick():
            return job, ()
        case _:
            assert_never(event)


def _stopping(job: Job, state: Stopping, event: Event, now: float) -> Step:
    match event:
        case Exited():
            return _exited(job, state.since, state.ask, state, event, now)
        case StopAsked(ask=ask) | RestartAsked(ask=ask):
            return _stop_again(job, state, ask, now)
        case Tick():
            return _tick_tree(job, state, now)
        case Spawned(adopted=adopted):
            return replace(job, adopted=adopted), (SignalTree(SIGKILL if state.killed else state.ask.signal),)
        case SpawnFailed() | TreeGone():
            return job, ()
        case _:
            assert_never(event)


def _ending(job: Job, state: Ending, event: Event, now: float) -> Step:
    match event:
        case TreeGone():
            return _after(job, state.started, state.ask, now)
        case StopAsked(ask=ask) | RestartAsked(ask=ask):
            after, effects = _stop_again(job, state, ask, now)
            withdrawn = _starts_again(job, state.ask) and not ask.restart
            return after, (Record("cancelled", {"why": ask.why}), *effects) if withdrawn else effects
        case Tick():
            return _tick_tree(job, state, now)
        case Spawned() | SpawnFailed() | Exited():
            return job, ()
        case _:
            assert_never(event)


def _backoff(job: Job, state: Backoff, event: Event, now: float) -> Step:
    match event:
        case Tick() if now >= state.retry_at:
            return _start(job, now)
        case RestartAsked():
            return _start(job, now)
        case StopAsked(ask=ask):
            return replace(job, state=Finished()), (Record("cancelled", {"why": ask.why}),)
        case Spawned() | SpawnFailed() | Exited() | TreeGone() | Tick():
            return job, ()
        case _:
            assert_never(event)


def _finished(job: Job, event: Event, now: float) -> Step:
    match event:
        case RestartAsked():
            return _start(job, now)
        case Spawned() | SpawnFailed() | Exited() | TreeGone() | StopAsked() | Tick():
            return job, ()
        case _:
            assert_never(event)


def _start(job: Job, now: float) -> Step:
    run, restarts = job.run + 1, job.restarts + 1
    job = replace(job, state=Starting(now), run=run, restarts=restarts, started_at=None, adopted=False)
    return job, (Record("starting", {}), Spawn(job.run))


def _stop(job: Job, state: Running, ask: Ask, now: float) -> Step:
    stopping = Stopping(state.pid, state.ticks, state.since, ask, _kill_at(ask, now), killed=ask.signal == SIGKILL)
    record = Record("stopping", {"pid": state.pid, "why": ask.why, "restart": ask.restart})
    return replace(job, state=stopping), (record, SignalTree(ask.signal))


def _stop_again(job: Job, state: Stopping | Ending, ask: Ask, now: float) -> Step:
    """A stop during a stop: the sooner KILL counts, and the last word on what follows the end."""
    if state.killed or ask.signal != SIGKILL:
        due = now + SURVIVAL_S if state.killed else _kill_at(ask, now)
        state = replace(state, ask=ask, kill_at=_sooner(state.kill_at, due))
    else:
        state = replace(state, ask=ask, kill_at=_kill_at(ask, now), killed=True)
    return replace(job, state=state), (SignalTree(SIGKILL if state.killed else ask.signal),)


def _kill_at(ask: Ask, now: float) -> float | None:
    if ask.signal == SIGKILL:
        return now + SURVIVAL_S
    return None if ask.grace_s is None else now + ask.grace_s


def _sooner(old: float | None, new: float | None) -> float | None:
    if old is None or new is None:
        return new if old is None else old
    return min(old, new)


def _tick_tree(job: Job, state: Stopping | Ending, now: float) -> Step:
    if state.kill_at is None or now < state.kill_at:
        return job, ()
    if not state.killed:
        return replace(job, state=replace(state, kill_at=now + SURVIVAL_S, killed=True)), (SignalTree(SIGKILL),)
    return replace(job, state=replace(state, kill_at=None)), (Record("survived", {}),)


def _exited(job: Job, started: float, ask: Ask | None, stopping: Stopping | None, event: Exited, now: float) -> Step:
    asked = ask.why if ask else None
    end = Exit.from_wait(event.status, at=event.at, usage=event.usage, asked=asked)
    job = replace(job, exit=end)
    if not event.leftover:
        after, effects = _after(job, started, ask, now)
        return after, (Record("exited", {"pid": event.pid, **_told(after, end, ask, now)}), *effects)
    stop = ask or Ask(job.spec.stop_signal_number, job.spec.stop_timeout_s or None, "stopped")
    kill_at = stopping.kill_at if stopping else _kill_at(stop, now)
    killed = stopping.killed if stopping else stop.signal == SIGKILL
    job = replace(job, state=Ending(started, ask, kill_at, killed))
    told = _told(_after(job, started, ask, now)[0], end, ask, now)
    return job, (Record("exited", {"pid": event.pid, **told}), SignalTree(SIGKILL if killed else stop.signal))


def _after(job: Job, started: float, ask: Ask | None, now: float) -> Step:
    """What follows an end: nothing, the next start at once, or the next start later."""
    if not _starts_again(job, ask):
        return replace(job, state=Finished()), ()
    retry_at = started + job.spec.throttle_s if ask is None else now
    return _start(job, now) if retry_at <= now else (replace(job, state=Backoff(retry_at)), ())


def _starts_again(job: Job, ask: Ask | None) -> bool:
    return job.spec.keep_alive if ask is None else ask.restart


def _start_failed(job: Job, state: Starting, failure: Exit, now: float) -> Step:
    """A first start that fails is refused; a later one of a kept job is tried again."""
    ask = None if state.ask is None or state.ask.restart else state.ask
    again = job.spec.keep_alive and job.run > 1 and ask is None
    after: State = Backoff(now + max(job.spec.throttle_s, RETRY_S_MIN)) if again else Finished()
    job = replace(job, state=after, exit=failure)
    return job, (Record("start-failed", _told(job, failure, ask, now)),)


def _told(after: Job, end: Exit, ask: Ask | None, now: float) -> dict[str, Any]:
    """What the record of an end says of the end and of what follows it."""
    match after.state:
        case Backoff(retry_at=retry_at):
            restart_in_s: float | None = max(0.0, retry_at - now)
        case Starting():
            restart_in_s = 0.0
        case _:
            restart_in_s = None
    expected = ask is not None or (end.reason == "exited" and end.code == 0 and not after.spec.keep_alive)
    return {**end.to_wire(), "expected": expected, "restart_in_s": restart_in_s}
