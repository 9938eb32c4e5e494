"""The values that the parts of relaunch exchange: what was asked for, what is, how it ended.

Knows fields, their units, their bounds and their form on the wire. Refuses to know who keeps, sends or stores them.
"""

import math
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from relaunch.errors import BadSignal, BadSpec
from relaunch.labels import check_label

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
THROTTLE_S = 10.0
STOP_TIMEOUT_S = 20.0
LIMIT_NAMES = frozenset(
    "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_ENV_NAME = re.compile(r"[^=\0]+")
_BOUND_MAX = 2**63 - 1
_DURATION_S_MAX = 10 * 365 * 86400.0

Wire = dict[str, Any]
Limit = tuple[int | None, int | None]


_FIELDS: dict[type, tuple[tuple[str, Any], ...]] = {}


def _fields(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Name and default of each field: kept, as dataclasses.fields searches anew at each call."""
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple((part.name, part.default) for part in fields(kind))
    return _FIELDS[kind]


def signal_number(name: object) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM``, ``15`` or 15.

    Raises:
        BadSignal: This host knows no such signal.
    """
    text = str(name).upper()
    number = _decimal(text)
    if number is not None and 0 < number < signal.NSIG:
        return number
    known = signal.Signals.__members__.get(text if text.startswith("SIG") else f"SIG{text}")
    if known is None:
        text = str(name)[:40]
        raise BadSignal(f"no signal is called {text!r}; give a name such as TERM or a number below {signal.NSIG}")
    return int(known)


def _decimal(text: str) -> int | None:
    """The number that plain digits stand for; a length is given that ``int`` takes no exception to."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(_BOUND_MAX)) else None


def signal_name(number: int) -> str:
    """The name of a signal without ``SIG``; its number where it has no name, as most real-time signals."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadSpec("must be a text that is not empty and holds no NUL")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise BadSpec("must be a list of at least one text")
    if not all(isinstance(item, str) and "\0" not in item for item in value):
        raise BadSpec("must hold texts without NUL only")
    if not value[0]:
        raise BadSpec("must begin with the name of a program")
    return tuple(value)


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise BadSpec("must be an object of texts")
    for name, content in value.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise BadSpec(f"holds the name {name!r}; a name is not empty and has no '=' or NUL")
        if not isinstance(content, str) or "\0" in content:
            raise BadSpec(f"{name} must be a text without NUL")
        if name.startswith("LAUNCH_JOB_"):
            raise BadSpec(f"{name} is set by the launcher itself; choose another name")
    return dict(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadSpec("must be true or false")
    return value


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadSpec(f"must be a whole number from {low} to {high}")
        return value

    return parse


def duration_s(value: object) -> float:
    """A length of time in seconds.

    Raises:
        BadSpec: Not a number, negative, infinite or over ten years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _DURATION_S_MAX:
        raise BadSpec("must be a number of seconds from 0 to ten years")
    return float(value)


def _signal(value: object) -> str:
    try:
        return signal_name(signal_number(value))
    except BadSignal as error:
        raise BadSpec(str(error)) from None


def _bound(text: str) -> int | None:
    if text in ("infinity", "unlimited"):
        return None
    number = _decimal(text)
    if number is None or number > _BOUND_MAX:
        raise BadSpec(f"has {text[:40]!r} where a whole number or 'infinity' belongs")
    return number


def parse_limit(name: str, text: object) -> Limit:
    """A resource limit, soft and hard, from ``N`` or ``SOFT:HARD``; None is infinity.

    Raises:
        BadSpec: No such resource, no such value, or a soft limit over the hard one.
    """
    if name not in LIMIT_NAMES:
        raise BadSpec(f"no resource is called {name!r}; there are {', '.join(sorted(LIMIT_NAMES))}")
    soft, _, hard = str(text).partition(":")
    limit = _bound(soft), _bound(hard or soft)
    if (math.inf if limit[0] is None else limit[0]) > (math.inf if limit[1] is None else limit[1]):
        raise BadSpec(f"{name} has a soft limit over its hard limit: {text}")
    return limit


def _limits(value: object) -> dict[str, Limit]:
    if not isinstance(value, Mapping):
        raise BadSpec("must be an object of texts")
    return {str(name): parse_limit(str(name), text) for name, text in value.items()}


def _limit_text(limit: Limit) -> str:
    return ":".join("infinity" if bound is None else str(bound) for bound in limit)


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
        throttle_s: Least time from one start to the next, as launchd's ThrottleInterval.
        stop_timeout_s: Grace between ``stop_signal`` and KILL, as launchd's ExitTimeOut; 0 waits for ever.
        stop_signal: First signal of a stop, a name without SIG.
        umask: File mode creation mask; the launcher's where None.
        nice: Niceness, -20 to 19; the launcher's where None.
        limits: Resource limits by name, (soft, hard), None for infinity.
        output_bytes_max: Bound on the job's own output file.
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
    throttle_s: float = THROTTLE_S
    stop_timeout_s: float = STOP_TIMEOUT_S
    stop_signal: str = "TERM"
    umask: int | None = None
    nice: int | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    output_bytes_max: int = OUTPUT_BYTES_MAX

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
        unknown = sorted(set(wire) - set(_SPEC_FIELDS))
        if unknown:
            raise BadSpec(f"a spec has no field {unknown[0]!r}; it has {', '.join(_SPEC_FIELDS)}")
        label = check_label(wire.get("label"))
        parsed: Wire = {"label": label}
        for name, value in {"argv": None, **wire}.items():
            if name == "label" or (value is None and name != "argv"):
                continue
            try:
                parsed[name] = _SPEC_FIELDS[name](value)
            except BadSpec as error:
                raise BadSpec(f"{label}: {name}: {error}") from None
        return cls(**parsed)

    def to_wire(self) -> Wire:
        """The spec as it goes on the wire; fields at their default are left out."""
        wire: Wire = {"label": self.label, "argv": list(self.argv)}
        for name, default in _fields(type(self))[2:]:
            value = getattr(self, name)
            if name == "limits":
                value = {resource: _limit_text(limit) for resource, limit in value.items()}
            if value not in (None, {}) and value != default:
                wire[name] = value
        return wire


_SPEC_FIELDS: dict[str, Callable[[object], Any]] = {
    "label": check_label,
    "argv": _texts,
    "program": _text,
    "env": _env,
    "cwd": _text,
    "stdin": _text,
    "stdout": _text,
    "stderr": _text,
    "keep_alive": _flag,
    "throttle_s": duration_s,
    "stop_timeout_s": duration_s,
    "stop_signal": _signal,
    "umask": _whole(0, 0o777),
    "nice": _whole(-20, 19),
    "limits": _limits,
    "output_bytes_max": _whole(4096, 2**50),
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
        return cls(**{name: wire.get(name, default) for name, default in _fields(cls)})

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        return {name: getattr(self, name) for name, _ in _fields(type(self))}


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

    @property
    def finished(self) -> bool:
        """Whether nothing of it runs and nothing will start it again by itself."""
        return self.state in ("exited", "failed")

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From its form on the wire."""
        known = {name: wire[name] for name, _ in _fields(cls) if name in wire}
        known["argv"] = tuple(known["argv"])
        known["exit"] = Exit.from_wire(known["exit"]) if known.get("exit") else None
        return cls(**known)

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        wire = {name: getattr(self, name) for name, _ in _fields(type(self))}
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
    """

    label: str
    job: JobStatus | None = None
    error: str | None = None
    message: str | None = None

    @classmethod
    def from_wire(cls, wire: Wire) -> Self:
        """From its form on the wire."""
        job = JobStatus.from_wire(wire["job"]) if wire.get("job") else None
        return cls(label=wire["label"], job=job, error=wire.get("error"), message=wire.get("message"))

    def to_wire(self) -> Wire:
        """As it goes on the wire."""
        job = self.job.to_wire() if self.job else None
        return {"label": self.label, "job": job, "error": self.error, "message": self.message}
