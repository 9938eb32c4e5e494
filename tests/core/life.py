"""One job, driven by hand through ``core.supervision``.

Knows how time passes and what has been recorded. Refuses to know what should have happened.
"""

from relaunch.core import supervision as core
from relaunch.core.job import (
    Ask,
    BecameReady,
    Booted,
    Event,
    Exited,
    Job,
    Record,
    RestartAsked,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    StopAsked,
    Tick,
    TreeGone,
)
from relaunch.model import Exit, JobSpec

TERM, KILL = 15, 9
WALL = 1_700_000_000.0
START_FAILED = Exit(reason="start-failed", message="program x: No such file or directory")


class Life:
    """A job from its submit on, at second 0 of the clock.

    Args:
        hold: Whether one of its conditions holds.
        held: Whether a job that it depends on is not ready.
        fields: The spec's, apart from label and argv.
    """

    def __init__(self, *, hold: bool = False, held: bool = False, **fields: object) -> None:
        self.now = 0.0
        spec = JobSpec(label="a", argv=("a",), **fields)  # type: ignore[arg-type] # the tests know its fields
        self.job, self.effects = core.submit("id", spec, now=0.0, at=WALL, hold=hold, held=held)

    def apply(self, event: Event, after: float = 0.0) -> "Life":
        """Let time pass, and then something happen."""
        self.now += after
        self.job, self.effects = core.transition(self.job, event, self.now, WALL + self.now)
        return self

    def spawned(self, pid: int = 5, after: float = 0.0) -> "Life":
        return self.apply(Spawned(pid, 100), after)

    def failed(self, after: float = 0.0) -> "Life":
        return self.apply(SpawnFailed(START_FAILED), after)

    def exited(self, status: int | None = 0, *, leftover: bool = False, after: float = 0.0) -> "Life":
        return self.apply(exited(status, leftover=leftover), after)

    def gone(self, after: float = 0.0) -> "Life":
        return self.apply(TreeGone(), after)

    def stop(self, signal: int = TERM, grace: float | None = 20.0, after: float = 0.0) -> "Life":
        return self.apply(StopAsked(Ask(signal, grace, "stopped")), after)

    def shutdown(self, after: float = 0.0) -> "Life":
        return self.apply(StopAsked(Ask(TERM, 20.0, "shutdown")), after)

    def restart(self, grace: float | None = 20.0, after: float = 0.0) -> "Life":
        return self.apply(RestartAsked(Ask(TERM, grace, "stopped", restart=True)), after)

    def ready(self, after: float = 0.0) -> "Life":
        return self.apply(BecameReady(), after)

    def booted(self, after: float = 0.0) -> "Life":
        return self.apply(Booted(), after)

    def tick(self, after: float = 0.0) -> "Life":
        return self.apply(Tick(), after)

    @property
    def word(self) -> str:
        """The state's name."""
        return word(self.job)

    @property
    def signals(self) -> list[int]:
        """What the last event had sent to the tree."""
        return [effect.signal for effect in self.effects if isinstance(effect, SignalTree)]

    @property
    def spawns(self) -> list[int]:
        """The runs that the last event had ordered."""
        return [effect.run for effect in self.effects if isinstance(effect, Spawn)]

    @property
    def kinds(self) -> list[str]:
        """What the last event had written into the journal."""
        return [effect.kind for effect in self.effects if isinstance(effect, Record)]

    @property
    def record(self) -> dict[str, object]:
        """What the first of these records says."""
        return next(effect.data for effect in self.effects if isinstance(effect, Record))

    @property
    def deadline(self) -> float | None:
        return core.deadline(self.job)


def exited(status: int | None = 0, *, leftover: bool = False) -> Exited:
    return Exited(5, status, WALL, None, leftover)


def word(job: Job) -> str:
    return type(job.state).__name__.lower()


def running(**fields: object) -> Life:
    return Life(**fields).spawned()  # type: ignore[arg-type] # none of them is of the life itself


def stopping(**fields: object) -> Life:
    return running(**fields).stop()


def ending(**fields: object) -> Life:
    """Crashed, with leftovers."""
    return running(**fields).exited(11, leftover=True)


def backoff(**fields: object) -> Life:
    return running(keep_alive=True, **fields).exited(1)


def finished(**fields: object) -> Life:
    return running(**fields).exited(0)


def waiting(**fields: object) -> Life:
    """For its interval, of a minute."""
    return Life(start_interval_s=60.0, **fields)  # type: ignore[arg-type] # none of them is of the life itself


def owed(**fields: object) -> Life:
    """For a job that it depends on."""
    return Life(held=True, depends_on=("b",), **fields)  # type: ignore[arg-type] # none of them is of the life itself
