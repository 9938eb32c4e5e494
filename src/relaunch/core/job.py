"""The values that the life of a job is made of: its states, what happens to it, and what must be done about it.

A state carries only its own data (S1). Times are CLOCK_BOOTTIME in seconds unless they are said to be wall time: a
deadline outlives the launcher that set it. Refuses to know what follows what: that is ``supervision``.
"""

from dataclasses import dataclass
from typing import Literal

from relaunch.fields import Wire
from relaunch.model import Exit, JobSpec

SIGKILL = 9

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
    """The keeper has, or is about to get, the order to spawn; a stop asked for meanwhile waits for its answer.

    Attributes:
        since: When that was decided.
        ask: The stop that waits.
        refusable: Whether it is the submit's own start, which is refused where it fails.
    """

    since: float
    ask: Ask | None = None
    refusable: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """The program has been executed, by ``since`` at the latest: it is up.

    Attributes:
        pid: Its first process.
        ticks: That one's start time, clock ticks since boot.
        since: When it was known to run.
        ready: Whether it has shown that it is ready.
        ready_by: When an event says that it has not; None where none does, or has.
    """

    pid: int
    ticks: int
    since: float
    ready: bool = False
    ready_by: float | None = None


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
    """It will be started again at that time, for that cause."""

    retry_at: float
    cause: str = "keep-alive"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing of it runs; one of the things that its spec names will start it.

    Attributes:
        since: When its last run began, or it was submitted: the throttle counts from there.
        owed: The cause of a start that only waits for the jobs that it depends on; None where none is due.
        due_at: When its interval has it started, where it has one.
    """

    since: float
    owed: str | None = None
    due_at: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing of it runs, and in this boot of the host only a command starts it again.

    Attributes:
        final: Whether the next boot does not either: it was stopped, or its submit was refused.
        failed: Whether it was started again too often.
    """

    final: bool = False
    failed: bool = False


State = Starting | Running | Stopping | Ending | Backoff | Waiting | Finished


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
        rebooted: Whether it went down with its host, which has booted since.
    """

    pid: int | None
    status: int | None
    at: float
    usage: dict[str, float] | None
    leftover: bool
    rebooted: bool = False


@dataclass(frozen=True, slots=True)
class TreeGone:
    """Nothing of the tree is left."""


@dataclass(frozen=True, slots=True)
class BecameReady:
    """It has shown that it is ready, in the way that its spec names."""


@dataclass(frozen=True, slots=True)
class Triggered:
    """Something that starts a job has happened, once: ``cause`` is ``calendar``, ``path`` or ``socket``."""

    cause: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds now of what a job is kept alive for, and of what it waits for.

    Attributes:
        hold: Whether one of its paths, queues or other jobs has it kept alive.
        held: Whether a job that it depends on is not ready.
    """

    hold: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Booted:
    """The host has booted since the journal was last written."""


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


Event = (
    Spawned
    | SpawnFailed
    | Exited
    | TreeGone
    | BecameReady
    | Triggered
    | Conditions
    | Booted
    | StopAsked
    | RestartAsked
    | Tick
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Order the keeper to start this run."""

    run: int


@dataclass(frozen=True, slots=True)
class SignalTree:
    """Send a signal to every process of the job, and say ``TreeGone`` when none is left and its first one has ended.

    Of a job that abandons its process group that is its first process alone.
    """

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
        run: Number of its current or last start, from 1; 0 before the first.
        restarts: Starts that followed an end.
        started_at: Wall time at which its program was executed, None where it has not been in this run.
        exit: How the last run ended, None before the first end.
        adopted: Whether the keeper is not the parent of this run's first process.
        request: The id under which it was asked for, None where its caller gave none.
        hold: As last told by ``Conditions``.
        held: Likewise.
        phase: A time at which its interval was due.
        calendar_from: Wall time after which the next time of its calendar counts.
        streak: Ends in a row of runs that were short, for the growing delay.
        again_at: When it was started again by itself lately, for the restart limit.
        paths_seen: What the paths that it watches were when its last run began, or it was submitted.
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
    hold: bool = False
    held: bool = False
    phase: float = 0.0
    calendar_from: float = 0.0
    streak: int = 0
    again_at: tuple[float, ...] = ()
    paths_seen: str = ""


Step = tuple[Job, tuple[Effect, ...]]
