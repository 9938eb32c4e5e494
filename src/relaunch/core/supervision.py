"""The life of one job: which state it is in, what an event makes of it, and what must be done about it.

Rules, each a clause of docs/protocol.md:
    1. A state carries only its own data; one small function per state answers every event (S1).
    2. An effect is performed after the new state and the records that come with it are in the journal (S2).
    3. A job that was asked to stop is never started again by that same life (S5).
    4. KILL follows the stop signal after the grace, and goes to the whole tree (S4).

``now`` is CLOCK_BOOTTIME in seconds, so that a deadline outlives the launcher that set it. Refuses to know of
processes, clocks, journals and callers.
"""

from dataclasses import replace
from typing import Any, assert_never

from relaunch.core.job import (
    SIGKILL,
    Ask,
    Backoff,
    BecameReady,
    Booted,
    Conditions,
    Effect,
    Ending,
    Event,
    Exited,
    Finished,
    Job,
    Record,
    RestartAsked,
    Running,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    Starting,
    Step,
    StopAsked,
    Stopping,
    Tick,
    TreeGone,
    Triggered,
    Waiting,
)
from relaunch.core.restarting import (
    RETRY_S_MIN,
    counted,
    delay_s,
    next_due,
    starts_at_boot,
    starts_at_once,
    streak_after,
    waits,
    why_again,
)
from relaunch.model import Exit, JobSpec

# How long the kernel may take to end a tree after KILL before its stop is said to have failed. A process in an
# uninterruptible wait takes as long as the device it waits for.
SURVIVAL_S = 5.0


def submit(
    job_id: str,
    spec: JobSpec,
    *,
    now: float,
    at: float,
    request: str | None = None,
    hold: bool = False,
    held: bool = False,
) -> Step:
    """A new job, on its first start or waiting for what starts it (S28).

    Args:
        job_id: Unique for ever.
        spec: What was asked for.
        now: CLOCK_BOOTTIME.
        at: Wall time.
        request: The id under which it was asked for.
        hold: As ``Conditions`` would tell now.
        held: Likewise.
    """
    at_once = starts_at_once(spec) or hold
    job = Job(
        id=job_id,
        spec=spec,
        submitted_at=at,
        state=Starting(now, refusable=True),
        run=1 if at_once and not held else 0,
        request=request,
        hold=hold,
        held=held,
        phase=now if spec.start_interval_s else 0.0,
        calendar_from=at if spec.start_calendar else 0.0,
    )
    if job.run:
        return job, (Record("submitted", {}), Spawn(job.run))
    if at_once:
        job, effects = _start(job, now, "submit" if starts_at_once(spec) else "condition")
        return job, (Record("submitted", {}), *effects)
    job = _wait(job, now - spec.throttle_s, now)
    return job, (Record("submitted", {}), Record("waiting", {"for": []}))


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
    match event:
        case Conditions(hold=hold, held=held):
            job = replace(job, hold=hold, held=held)
        case Triggered(cause="calendar") | RestartAsked() if job.spec.start_calendar:
            job = replace(job, calendar_from=at)  # and so what passed while it was stopped is not made up for
        case Booted():
            job = replace(job, phase=now if job.spec.start_interval_s else 0.0, again_at=(), streak=0)
        case _:
            pass
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
        case Waiting():
            return _waiting(job, job.state, event, now)
        case Finished():
            return _finished(job, job.state, event, now)
        case _:
            assert_never(job.state)


def deadline(job: Job) -> float | None:
    """When ``transition`` wants a ``Tick``, on CLOCK_BOOTTIME; None where it wants none."""
    match job.state:
        case Stopping(kill_at=kill_at) | Ending(kill_at=kill_at):
            return kill_at
        case Backoff(retry_at=retry_at):
            return retry_at
        case Running(ready_by=ready_by):
            return ready_by
        case Waiting(due_at=due_at):
            return due_at
        case Starting() | Finished():
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
            limit_s = job.spec.ready.timeout_s if job.spec.ready else None
            running = Running(pid, ticks, now, ready_by=None if limit_s is None else now + limit_s)
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
        case TreeGone() | BecameReady() | Triggered() | Conditions() | Booted() | Tick():
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
        case BecameReady() if not state.ready:
            after_s = round(now - state.since, 3)
            up = replace(job, state=replace(state, ready=True, ready_by=None))
            return up, (Record("ready", {"pid": state.pid, "after_s": after_s}),)
        case Tick() if state.ready_by is not None and now >= state.ready_by:
            after_s = round(now - state.since, 3)
            up = replace(job, state=replace(state, ready_by=None))
            return up, (Record("not-ready", {"pid": state.pid, "after_s": after_s}),)
        case SpawnFailed() | TreeGone() | BecameReady() | Triggered() | Conditions() | Booted() | Tick():
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
        case SpawnFailed() | TreeGone() | BecameReady() | Triggered() | Conditions() | Booted():
            return job, ()
        case _:
            assert_never(event)


def _ending(job: Job, state: Ending, event: Event, now: float) -> Step:
    match event:
        case TreeGone():
            return _after(job, state.started, state.ask, now)
        case StopAsked(ask=ask) | RestartAsked(ask=ask):
            after, effects = _stop_again(job, state, ask, now)
            would_be = _after(job, state.started, state.ask, now)[0].state
            if ask.restart or isinstance(would_be, Finished):
                return after, effects
            return after, (Record("cancelled", {"why": ask.why}), *effects)
        case Tick():
            return _tick_tree(job, state, now)
        case Spawned() | SpawnFailed() | Exited() | BecameReady() | Triggered() | Conditions() | Booted():
            return job, ()
        case _:
            assert_never(event)


def _backoff(job: Job, state: Backoff, event: Event, now: float) -> Step:
    match event:
        case Tick() if now >= state.retry_at:
            if state.cause == "condition" and not job.hold:
                return _wait(job, state.retry_at - job.spec.throttle_s, now), ()
            return _start(job, now, state.cause)
        case RestartAsked():
            return _start_afresh(job, now)
        case StopAsked(ask=ask):
            return _cancelled(job, ask)
        case (
            Spawned()
            | SpawnFailed()
            | Exited()
            | TreeGone()
            | BecameReady()
            | Triggered()
            | Conditions()
            | Booted()
            | Tick()
        ):
            return job, ()
        case _:
            assert_never(event)


def _waiting(job: Job, state: Waiting, event: Event, now: float) -> Step:
    match event:
        case Conditions() if state.owed is not None:
            return _owing(job, state.owed, now)
        case Conditions() if job.hold:
            return _trigger(job, state, "condition", now)
        case Triggered(cause=cause):
            return _trigger(job, state, cause, now)
        case Tick() if state.due_at is not None and now >= state.due_at:
            return _trigger(job, state, "interval", now)
        case Booted():
            return _boot(job, now)
        case RestartAsked():
            return _start_afresh(job, now)
        case StopAsked(ask=ask):
            return _cancelled(job, ask)
        case Spawned() | SpawnFailed() | Exited() | TreeGone() | BecameReady() | Conditions() | Tick():
            return job, ()
        case _:
            assert_never(event)


def _finished(job: Job, state: Finished, event: Event, now: float) -> Step:
    match event:
        case RestartAsked():
            return _start_afresh(job, now)
        case StopAsked(ask=ask) if ask.why == "stopped" and not state.final:
            return replace(job, state=replace(state, final=True)), ()
        case Booted() if not state.final:
            return _boot(job, now)
        case (
            Spawned()
            | SpawnFailed()
            | Exited()
            | TreeGone()
            | BecameReady()
            | Triggered()
            | Conditions()
            | Booted()
            | StopAsked()
            | Tick()
        ):
            return job, ()
        case _:
            assert_never(event)


def _start(job: Job, now: float, cause: str) -> Step:
    """The next run; where it depends on what is not ready, the wait for that."""
    if job.held:
        owed = replace(job, state=Waiting(now, cause))
        return owed, (Record("waiting", {"for": list(job.spec.depends_on), "cause": cause}),)
    restarts = job.restarts + (1 if job.run else 0)
    starting = Starting(now)
    job = replace(job, state=starting, run=job.run + 1, restarts=restarts, started_at=None, adopted=False)
    return job, (Record("starting", {"cause": cause}), Spawn(job.run))


def _start_afresh(job: Job, now: float) -> Step:
    """A start that a person asked for: what there was of failures counts no more."""
    return _start(replace(job, streak=0, again_at=()), now, "restart")


def _trigger(job: Job, state: Waiting, cause: str, now: float) -> Step:
    """A start for something that happened, no sooner than the throttle allows."""
    if state.owed is not None:
        return job, ()
    at = state.since + job.spec.throttle_s
    return _start(job, now, cause) if at <= now else (replace(job, state=Backoff(at, cause)), ())


def _owing(job: Job, cause: str, now: float) -> Step:
    """A start that only waits for other jobs, the throttle being over."""
    if cause == "condition" and not job.hold:
        return _wait(job, now - job.spec.throttle_s, now), ()
    return (job, ()) if job.held else _start(job, now, cause)


def _boot(job: Job, now: float) -> Step:
    """What the host's boot makes of a job that nothing runs of."""
    if starts_at_boot(job.spec):
        return _start(job, now, "boot")
    return (_wait(job, now - job.spec.throttle_s, now), ()) if waits(job.spec) else (job, ())


def _wait(job: Job, since: float, now: float) -> Job:
    return replace(job, state=Waiting(since, due_at=next_due(job, now)))


def _cancelled(job: Job, ask: Ask) -> Step:
    return _finish(job, ask), (Record("cancelled", {"why": ask.why}),)


def _finish(job: Job, ask: Ask) -> Job:
    return replace(job, state=Finished(final=ask.why == "stopped"))


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
        after, effects = _after(job, started, ask, now, rebooted=event.rebooted)
        return after, (Record("exited", {"pid": event.pid, **_told(after, end, ask, now)}), *effects)
    stop = ask or Ask(job.spec.stop_signal_number, job.spec.stop_timeout_s or None, "stopped")
    kill_at = stopping.kill_at if stopping else _kill_at(stop, now)
    killed = stopping.killed if stopping else stop.signal == SIGKILL
    job = replace(job, state=Ending(started, ask, kill_at, killed))
    told = _told(_after(job, started, ask, now)[0], end, ask, now)
    return job, (Record("exited", {"pid": event.pid, **told}), SignalTree(SIGKILL if killed else stop.signal))


def _after(job: Job, started: float, ask: Ask | None, now: float, *, rebooted: bool = False) -> Step:
    """What follows the end of a run, which ``job.exit`` tells of."""
    if ask is not None:
        return _start_afresh(job, now) if ask.restart else (_finish(job, ask), ())
    if rebooted and starts_at_boot(job.spec):
        return _again(job, started, "boot", now)
    cause = None if job.exit is None or rebooted else why_again(job, job.exit)
    if job.spec.backoff is not None:
        job = replace(job, streak=streak_after(job, started, now))
    return _rest(job, started, now) if cause is None else _again(job, started, cause, now)


def _again(job: Job, started: float, cause: str, now: float) -> Step:
    """The next start, at once or later; or no more of them."""
    limit = job.spec.restart_limit
    if limit is not None:
        lately = counted(job, limit, now)
        if len(lately) >= limit.count:
            told = {"restarts": limit.count, "within_s": limit.within_s}
            return replace(job, state=Finished(failed=True)), (Record("failed", told),)
        job = replace(job, again_at=(*lately, now))
    retry_at = max(started + job.spec.throttle_s, now + delay_s(job))
    return _start(job, now, cause) if retry_at <= now else (replace(job, state=Backoff(retry_at, cause)), ())


def _rest(job: Job, started: float, now: float) -> Step:
    """No start follows by itself: the job waits for what starts it, or has finished."""
    if waits(job.spec) and not job.spec.launch_only_once:
        return _wait(job, started, now), ()
    return replace(job, state=Finished()), ()


def _start_failed(job: Job, state: Starting, failure: Exit, now: float) -> Step:
    """A submit whose start fails is refused; a later start of a kept job is tried again."""
    ask = None if state.ask is None or state.ask.restart else state.ask
    job = replace(job, exit=failure)
    effects: tuple[Effect, ...] = ()
    if ask is not None:
        after = _finish(job, ask)
    elif state.refusable:
        after = replace(job, state=Finished(final=True))
    else:
        began = now + max(0.0, RETRY_S_MIN - job.spec.throttle_s)
        after, effects = _after(job, began, None, now)
    return after, (Record("start-failed", _told(after, failure, ask, now)), *effects)


def _told(after: Job, end: Exit, ask: Ask | None, now: float) -> dict[str, Any]:
    """What the record of an end says of the end and of what follows it."""
    match after.state:
        case Backoff(retry_at=retry_at):
            restart_in_s: float | None = max(0.0, retry_at - now)
        case Starting():
            restart_in_s = 0.0
        case _:
            restart_in_s = None
    expected = ask is not None or (end.succeeded and not after.spec.keep_alive)
    return {**end.to_wire(), "expected": expected, "restart_in_s": restart_in_s}
