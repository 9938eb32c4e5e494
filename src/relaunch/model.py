"""The values that the parts of relaunch exchange: what was asked for, what is, how it ended.

Knows fields, their units, their bounds and their form on the wire. Refuses to know who keeps, sends or stores them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from relaunch.errors import BadSpec
from relaunch.fields import (
    Limit,
    Reader,
    Wire,
    a_flag,
    a_label,
    a_path,
    a_signal,
    a_text,
    duration_s,
    environment,
    fields_of,
    limit_text,
    limits,
    listed,
    read_fields,
    signal_name,
    signal_number,
    some_time_s,
    whole,
    words,
)
from relaunch.labels import check_label
from relaunch.policy import CalendarEntry, KeepAlive, Ready, RestartLimit, SocketSpec, Spacing, plain, sockets_by_name

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
THROTTLE_S = 10.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What was asked for under a label.

    Attributes:
        label: The job's name, see ``relaunch.labels.check_label``.
        argv: What the program is given, its own name first.
        program: What is executed; ``argv[0]`` where None. Looked up in PATH where it holds no slash.
        env: Set on top of the launcher's own environment.
        cwd: Working directory; ``/`` where None.
        stdin: File to read; ``/dev/null`` where None.
        stdout: File to append to; a bounded file of the job's own where None.
        stderr: Likewise; the same as ``stdout`` where None.
        keep_alive: Start it again whenever it ends, unless it was stopped.
        keep_alive_when: Start it again, or first, under conditions.
        run_at_load: Start it at once, though something else would start it too.
        launch_only_once: Never start it again by itself.
        start_interval_s: Start it every so often.
        start_calendar: Start it at these times.
        watch_paths: Start it when one of these is changed, made or removed.
        queue_directories: Start it while one of these holds anything.
        depends_on: Labels of jobs that have to be ready before it is started.
        ready: How it shows that it is ready; it is when it is up where None.
        throttle_s: Least time from one start to the next, as launchd's ThrottleInterval.
        backoff: Waits longer and longer from one end to the next start, where given.
        restart_limit: When to give up starting it again.
        stop_timeout_s: Grace between ``stop_signal`` and KILL, as launchd's ExitTimeOut; 0 waits for ever.
        stop_signal: First signal of a stop, a name without SIG.
        abandon_process_group: Leave alone what else is there of its tree when its first process ends; a stop is for
            that process only.
        globbing: Expand patterns of file names in ``argv`` at each start.
        sockets: What it is handed, by name.
        user: Whom it runs as; only root's launcher may choose.
        group: Its primary group; that of ``user`` where None.
        umask: File mode creation mask; the launcher's where None.
        nice: Niceness, -20 to 19; the launcher's where None.
        low_priority_io: Let others read and write first.
        limits: Resource limits by name, (soft, hard), None for infinity.
        output_bytes_max: Bound on the job's own output file.
        origin: Name of the cluster that it was applied with, None where it was not.
    """

    label: str
    argv: tuple[str, ...]
    program: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    keep_alive: bool = False
    keep_alive_when: KeepAlive | None = None
    run_at_load: bool = False
    launch_only_once: bool = False
    start_interval_s: float | None = None
    start_calendar: tuple[CalendarEntry, ...] = ()
    watch_paths: tuple[str, ...] = ()
    queue_directories: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    ready: Ready | None = None
    throttle_s: float = THROTTLE_S
    backoff: Spacing | None = None
    restart_limit: RestartLimit | None = None
    stop_timeout_s: float = STOP_TIMEOUT_S
    stop_signal: str = "TERM"
    abandon_process_group: bool = False
    globbing: bool = False
    sockets: Mapping[str, tuple[SocketSpec, ...]] = field(default_factory=dict)
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    nice: int | None = None
    low_priority_io: bool = False
    limits: Mapping[str, Limit] = field(default_factory=dict)
    output_bytes_max: int = OUTPUT_BYTES_MAX
    origin: str | None = None

    def unapplied(self) -> Self:
        """What is asked for, whoever applied it: what specs are compared by."""
        return replace(self, origin=None)

    @property
    def stop_signal_number(self) -> int:
        """The number of ``stop_signal``."""
        return signal_number(self.stop_signal)

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """A checked spec from its form on the wire.

        Raises:
            BadSpec: A field is unknown, missing, of a wrong type or out of range; the line names it.
            BadLabel: The label is not one.
        """
        if not isinstance(wire, Mapping):
            raise BadSpec("a spec must be an object")
        label = check_label(wire.get("label"))
        try:
            values = read_fields(_READERS, {**wire, "label": None}, "a spec")
            if "argv" not in values:
                raise BadSpec("argv: must be a list of at least one text")
            spec = cls(label=label, **values)
            spec._check()
        except BadSpec as error:
            raise BadSpec(f"{label}: {error}") from None
        return spec

    def _check(self) -> None:
        if self.keep_alive and self.keep_alive_when is not None:
            raise BadSpec("keep_alive_when: means something without keep_alive only")
        if self.label in self.depends_on:
            raise BadSpec("depends_on: names the job itself")

    def to_wire(self) -> Wire:
        """The spec as it goes on the wire; fields at their default are left out."""
        wire: Wire = {"label": self.label, "argv": list(self.argv)}
        for name, default in fields_of(type(self))[2:]:
            value = getattr(self, name)
            if value == default:
                continue
            if name == "limits":
                value = {resource: limit_text(limit) for resource, limit in value.items()}
            wire[name] = plain(value)
        return wire


_READERS: dict[str, Reader] = {
    "label": a_label,
    "argv": words,
    "program": a_text,
    "env": environment,
    "cwd": a_text,
    "stdin": a_text,
    "stdout": a_text,
    "stderr": a_text,
    "keep_alive": a_flag,
    "keep_alive_when": KeepAlive.from_wire,
    "run_at_load": a_flag,
    "launch_only_once": a_flag,
    "start_interval_s": some_time_s,
    "start_calendar": listed(CalendarEntry.from_wire),
    "watch_paths": listed(a_path),
    "queue_directories": listed(a_path),
    "depends_on": listed(a_label),
    "ready": Ready.from_wire,
    "throttle_s": duration_s,
    "backoff": Spacing.from_wire,
    "restart_limit": RestartLimit.from_wire,
    "stop_timeout_s": duration_s,
    "stop_signal": a_signal,
    "abandon_process_group": a_flag,
    "globbing": a_flag,
    "sockets": sockets_by_name,
    "user": a_text,
    "group": a_text,
    "umask": whole(0, 0o777),
    "nice": whole(-20, 19),
    "low_priority_io": a_flag,
    "limits": limits,
    "output_bytes_max": whole(4096, 2**50),
    "origin": a_text,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How one run of a job ended.

    Attributes:
        reason: ``exited``, ``crashed`` (by a signal that nobody here asked for), ``stopped``, ``shutdown``,
            ``start-failed`` or ``unknown``.
        code: Exit code, where it exited.
        signal: Name of the signal without SIG, where one ended it.
        core_dumped: Whether the kernel says that it dumped core.
        message: What failed, for ``start-failed``.
        at: Wall time, seconds since the epoch.
        usage: ``user_s``, ``system_s`` and ``rss_bytes_max`` of the process and its reaped children, where known; the
            last is never under the keeper's own size, which the kernel counts in.
    """

    reason: str
    code: int | None = None
    signal: str | None = None
    core_dumped: bool = False
    message: str | None = None
    at: float = 0.0
    usage: Mapping[str, float] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do: it exited by itself, with 0."""
        return self.reason == "exited" and self.code == 0

    @classmethod
    def from_wait(cls, status: int | None, *, at: float, usage: Mapping[str, float] | None, asked: str | None) -> Self:
        """From a wait status, see wait(2).

        Args:
            status: None where nobody can tell.
            at: Wall time of the end.
            usage: Resource usage, where known.
            asked: ``stopped`` or ``shutdown`` where the end was asked for.
        """
        if status is None:
            return cls(reason=asked or "unknown", at=at, usage=usage)
        if status & 0x7F:
            name = signal_name(status & 0x7F)
            return cls(reason=asked or "crashed", signal=name, core_dumped=bool(status & 0x80), at=at, usage=usage)
        return cls(reason=asked or "exited", code=status >> 8 & 0xFF, at=at, usage=usage)

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From its form on the wire."""
        return cls(**{name: wire.get(name, default) for name, default in fields_of(cls)})

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        return {name: getattr(self, name) for name, _ in fields_of(type(self))}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """What is, under a label. Its form on the wire is ``Job`` of the interface; ``state`` is one of its words."""

    label: str
    state: str
    id: str
    run: int
    restarts: int
    argv: tuple[str, ...]
    submitted_at: float
    pid: int | None = None
    started_at: float | None = None
    uptime_s: float | None = None
    retry_in_s: float | None = None
    exit: Exit | None = None
    output: str | None = None
    waits_for: tuple[str, ...] = ()
    stopped: bool = False
    next_start_at: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing of it runs and nothing will start it again by itself."""
        return self.state in ("exited", "failed")

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From its form on the wire."""
        known = {name: wire[name] for name, _ in fields_of(cls) if name in wire}
        known["argv"] = tuple(known["argv"])
        known["waits_for"] = tuple(known.get("waits_for") or ())
        known["stopped"] = bool(known.get("stopped"))
        known["exit"] = Exit.from_wire(known["exit"]) if known.get("exit") else None
        return cls(**known)

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        wire = {name: getattr(self, name) for name, _ in fields_of(type(self))}
        wire["exit"] = self.exit.to_wire() if self.exit else None
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One label's part of a request for many.

    Attributes:
        label: The label, or the pattern that matched none.
        job: What is now, where there is such a job.
        error: Full wire name of the error, None where it went well.
        message: The error's line.
        cancelled: Whether nothing of it ran and what was stopped is its next start.
    """

    label: str
    job: JobStatus | None = None
    error: str | None = None
    message: str | None = None
    cancelled: bool = False

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From its form on the wire."""
        job = JobStatus.from_wire(wire["job"]) if wire.get("job") else None
        cancelled = bool(wire.get("cancelled"))
        return cls(
            label=wire["label"], job=job, error=wire.get("error"), message=wire.get("message"), cancelled=cancelled
        )

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        job = self.job.to_wire() if self.job else None
        own = {name: getattr(self, name) for name in ("label", "error", "message", "cancelled")}
        return own | {"job": job}
