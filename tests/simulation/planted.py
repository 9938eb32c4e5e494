"""Bugs planted on purpose: each is one rule of the core or of its driver forgotten. The simulation must find every one.

Knows which rule each one forgets. Refuses to know how it is found out.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tests.simulation.host import Process
from tests.simulation.journal import Write
from tests.simulation.keeper import Keeper, Order, Report
from tests.simulation.launcher import Hello, Launcher
from tests.simulation.simulation import Faults, Parts

from relaunch.core import supervision as core
from relaunch.core.job import (
    Backoff,
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
    SpawnFailed,
    Starting,
    Step,
    StopAsked,
    Stopping,
    Tick,
)

Transition = Callable[[Job, Event, float], Step]
PLANTED: dict[str, tuple[Parts, Faults]] = {}


def planted(**faults: Any) -> Callable[[type[Launcher] | type[Keeper]], None]:
    """Enter it under its docstring, with the faults that it takes to be found soon."""

    def enter(kind: type[Launcher] | type[Keeper]) -> None:
        parts = Parts(keeper=kind) if issubclass(kind, Keeper) else Parts(launcher=kind)
        PLANTED[(kind.__doc__ or "").rstrip(".")] = parts, Faults(**faults)

    return enter


def core_bug(**faults: Any) -> Callable[[Transition], None]:
    """Plant a transition into an otherwise good launcher."""

    def enter(change: Transition) -> None:
        class Changed(Launcher):
            def transition(self, job: Job, event: Event) -> Step:
                return change(job, event, self.world.host.now)

        Changed.__doc__ = change.__doc__
        planted(**faults)(Changed)

    return enter


def good(job: Job, event: Event, now: float) -> Step:
    return core.transition(job, event, now, 0.0)


# Of the core


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A throttle is forgotten."""
    after, effects = good(job, event, now)
    return (replace(after, state=Backoff(now)) if isinstance(after.state, Backoff) else after), effects


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A kept job is started again though it was stopped."""
    if isinstance(job.state, Stopping) and isinstance(event, Exited) and job.spec.keep_alive:
        return good(replace(job, state=Running(job.state.pid, job.state.ticks, job.state.since)), event, now)
    return good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A stop during a start is forgotten."""
    return (job, ()) if isinstance(job.state, Starting) and isinstance(event, StopAsked) else good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A stop during a backoff is forgotten."""
    return (job, ()) if isinstance(job.state, Backoff) and isinstance(event, StopAsked) else good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A stop while leftovers end is forgotten."""
    return (job, ()) if isinstance(job.state, Ending) and isinstance(event, StopAsked) else good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A restart that was promised is taken back in silence."""
    after, effects = good(job, event, now)
    return after, tuple(effect for effect in effects if not (isinstance(effect, Record) and effect.kind == "cancelled"))


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """Leftovers are lost."""
    return good(job, replace(event, leftover=False) if isinstance(event, Exited) else event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """Leftovers are not signalled."""
    after, effects = good(job, event, now)
    if isinstance(event, Exited):
        effects = tuple(effect for effect in effects if not isinstance(effect, SignalTree))
    return after, effects


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """KILL is forgotten."""
    late = isinstance(job.state, Stopping | Ending) and isinstance(event, Tick)
    return (job, ()) if late else good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """What survives KILL is not named."""
    after, effects = good(job, event, now)
    return after, tuple(effect for effect in effects if not (isinstance(effect, Record) and effect.kind == "survived"))


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """KILL waits for the later of two graces."""
    after, effects = good(job, event, now)
    state = after.state
    if not isinstance(event, StopAsked | RestartAsked) or event.ask.grace_s is None:
        return after, effects
    if isinstance(job.state, Stopping | Ending) and isinstance(state, Stopping | Ending):
        later = max(job.state.kill_at or 0.0, now + event.ask.grace_s)
        return replace(after, state=replace(state, kill_at=later)), effects
    return after, effects


@core_bug(duplicates=0.5)
def _(job: Job, event: Event, now: float) -> Step:
    """An end that is told twice is recorded twice."""
    if isinstance(job.state, Finished) and isinstance(event, Exited):
        return good(replace(job, state=Running(1, 1, 0.0)), event, now)
    return good(job, event, now)


@core_bug()
def _(job: Job, event: Event, now: float) -> Step:
    """A restart that fails to start is given up in silence."""
    after, effects = good(job, event, now)
    return (replace(after, state=Finished()) if isinstance(event, SpawnFailed) else after), effects


# Of the driver


@planted()
class EffectFirst(Launcher):
    """An effect is performed before the commit."""

    def write(self, job: Job, effects: Iterable[Effect], forget: str | None = None) -> None:
        effects = tuple(effects)
        self.perform(job, effects)
        super().write(job, [effect for effect in effects if isinstance(effect, Record)], forget)


@planted()
class ForgetsFirst(Launcher):
    """A key is forgotten before its end is committed."""

    def apply(self, job: Job, event: Event, forget: str | None = None) -> None:
        if forget:
            self._forget(forget)
        super().apply(job, event)


@planted(duplicates=0.5)
class ForgetsUnknown(Launcher):
    """A key is forgotten as soon as its run is not the last."""

    def reported(self, report: Report) -> None:
        if self._by_key(report.key) is None and report.event == "exited":
            self._forget(report.key)
        else:
            super().reported(report)


@planted(launcher_dies=0.05)
class NeverOrdersAgain(Launcher):
    """A start that was never ordered is not ordered by the next launcher."""

    def order_spawn(self, job: Job) -> None:
        if self._recovery is None:
            super().order_spawn(job)


@planted(keeper_dies=0.1)
class OrdersUnseen(Launcher):
    """A start that another keeper may have made is ordered again."""

    def find(self, job: Job, *, same_boot: bool) -> None:
        if isinstance(job.state, Starting):
            self.order_spawn(job)
        else:
            super().find(job, same_boot=same_boot)


@planted(reboots=2)
class TrustsPids(Launcher):
    """A process of an earlier boot is taken for one of this."""

    def restore(self, job: Job, *, same_boot: bool) -> Job:
        restored = super().restore(job, same_boot=same_boot)
        if isinstance(job.state, Running | Stopping) and isinstance(restored.state, Running | Stopping):
            return replace(restored, state=replace(restored.state, ticks=job.state.ticks))
        return restored


@planted(reboots=3)
class KeepsClock(Launcher):
    """Times of an earlier boot are taken for those of this."""

    def restore(self, job: Job, *, same_boot: bool) -> Job:
        restored = super().restore(job, same_boot=same_boot)
        if isinstance(job.state, Running | Stopping) and isinstance(restored.state, Running | Stopping):
            return replace(restored, state=replace(job.state, ticks=restored.state.ticks))
        return replace(restored, state=job.state)


@planted(keeper_dies=0.1)
class ForgetsAdoption(Launcher):
    """The tree of an adopted job is looked for below the new keeper only."""

    def restore(self, job: Job, *, same_boot: bool) -> Job:
        return replace(super().restore(job, same_boot=same_boot), adopted=job.adopted)


@planted(launcher_dies=0.05)
class NeverSignalsAgain(Launcher):
    """A stop under way is not taken up by the next launcher."""

    def merged(self, writes: list[Write], again: list[Job]) -> Write:
        return super().merged(writes, [])


@planted(launcher_dies=0.1, keeper_dies=0.05)
class ServesEarly(Launcher):
    """A launcher serves before what it found is committed."""

    def recover(self, hello: Hello) -> None:
        super().recover(hello)
        self.world.order(Order("up"))


@planted(launcher_dies=0.05)
class IgnoresKeeper(Launcher):
    """What the keeper holds is not asked for."""

    def recover(self, hello: Hello) -> None:
        super().recover(replace(hello, held=[]))


@planted(launcher_dies=0.05)
class LosesTimers(Launcher):
    """The deadlines of the launcher before are forgotten."""

    def arm(self, job: Job) -> None:
        if self.served:
            super().arm(job)


# Of the keeper


@planted(launcher_dies=0.05)
class TellsOnce(Keeper):
    """An end is told once, and not held."""

    def ended(self, process: Process) -> Report | None:
        report = super().ended(process)
        if report is not None:
            del self.held[report.key]
        return report
