"""Parts of a spec that have parts of their own: when a job is started and kept, how it is ready, what it listens on.

Knows their fields, bounds and form on the wire. Refuses to know who acts on them.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Self

from relaunch.errors import BadSpec
from relaunch.fields import (
    Reader,
    Wire,
    a_flag,
    a_label,
    a_path,
    a_text,
    fields_of,
    flags_by,
    listed,
    number,
    one_of,
    read_fields,
    some_time_s,
    whole,
    words,
)

READY_INTERVAL_S = 1.0
PORT_MAX = 65535


class _Part:
    """What the parts of a spec have in common: they are read from objects, and written as such without defaults."""

    __slots__ = ()
    _READERS: ClassVar[Mapping[str, Reader]]
    _WHAT: ClassVar[str]

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """From its form on the wire, checked.

        Raises:
            BadSpec: A field is unknown, missing, of a wrong type or out of range; the line names it.
        """
        values = read_fields(cls._READERS, wire, cls._WHAT)
        missing = [name for name, default in fields_of(cls) if default is MISSING and name not in values]
        if missing:
            raise BadSpec(f"{missing[0]} is missing")
        part = cls(**values)
        part._check()
        return part

    def _check(self) -> None:
        """Raise BadSpec where fields do not go together."""

    def to_wire(self) -> Wire:
        """As it goes on the wire; what is not set is left out."""
        values = {name: (getattr(self, name), default) for name, default in fields_of(type(self))}
        return {name: plain(value) for name, (value, default) in values.items() if value != default}


def plain(value: Any) -> Any:
    """A field's value as it goes on the wire."""
    if isinstance(value, _Part):
        return value.to_wire()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive(_Part):
    """Conditions of which any one starts a job again, or first, as launchd's KeepAlive dictionary.

    Attributes:
        successful_exit: Whether it is started again after an exit with 0 (true) or after any other end (false).
        crashed: Whether it is started again after the end by a signal that tells of a crash (true) or after any other
            end (false).
        paths: Files or directories that have to exist (true) or not to exist (false).
        other_jobs: Labels of jobs that have to be enabled (true) or not (false): loaded, and not stopped.
    """

    successful_exit: bool | None = None
    crashed: bool | None = None
    paths: Mapping[str, bool] = field(default_factory=dict)
    other_jobs: Mapping[str, bool] = field(default_factory=dict)

    _WHAT: ClassVar[str] = "keep_alive_when"
    _READERS: ClassVar[Mapping[str, Reader]] = {
        "successful_exit": a_flag,
        "crashed": a_flag,
        "paths": flags_by(a_path),
        "other_jobs": flags_by(a_label),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry(_Part):
    """Times of local wall clocks, as launchd's StartCalendarInterval; what is None is any.

    Where both ``day`` and ``weekday`` are given, either will do, as in crontab(5). Weekday 0 and 7 are Sunday.
    """

    minute: int | None = None
    hour: int | None = None
    day: int | None = None
    weekday: int | None = None
    month: int | None = None

    _WHAT: ClassVar[str] = "a calendar entry"
    _READERS: ClassVar[Mapping[str, Reader]] = {
        "minute": whole(0, 59),
        "hour": whole(0, 23),
        "day": whole(1, 31),
        "weekday": whole(0, 7),
        "month": whole(1, 12),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing(_Part):
    """How long to wait before a job that keeps ending is started again, on top of its throttle.

    The delay is ``initial_s`` after the first end, grows by ``factor`` with each that follows, up to ``max_s``, and is
    spread by ``jitter``, a share of itself. A run of at least ``max_s`` begins it anew.
    """

    initial_s: float = 1.0
    max_s: float = 300.0
    factor: float = 2.0
    jitter: float = 0.1

    _WHAT: ClassVar[str] = "backoff"
    _READERS: ClassVar[Mapping[str, Reader]] = {
        "initial_s": some_time_s,
        "max_s": some_time_s,
        "factor": number(1, 100),
        "jitter": number(0, 1),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartLimit(_Part):
    """A job that would be started again more than ``count`` times within ``within_s`` has failed."""

    count: int
    within_s: float

    _WHAT: ClassVar[str] = "restart_limit"
    _READERS: ClassVar[Mapping[str, Reader]] = {"count": whole(0, 1000), "within_s": some_time_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(_Part):
    """How a job that is up shows that it is ready: in exactly one of four ways.

    Attributes:
        command: Run again and again until it exits with 0.
        port: TCP port on which it takes connections, at ``host``, else the loopback address.
        log_line: Regular expression (Python's) to be found in a line of its output.
        notify: It says so itself, by ``READY=1``, see sd_notify(3).
        host: Where ``port`` is.
        interval_s: Time from one try to the next.
        timeout_s: After this time in which it was not ready an event says so; None waits for ever.
    """

    command: tuple[str, ...] | None = None
    port: int | None = None
    log_line: str | None = None
    notify: bool = False
    host: str | None = None
    interval_s: float = READY_INTERVAL_S
    timeout_s: float | None = None

    _WHAT: ClassVar[str] = "ready"
    _READERS: ClassVar[Mapping[str, Reader]] = {
        "command": words,
        "port": whole(1, PORT_MAX),
        "log_line": a_text,
        "notify": a_flag,
        "host": a_text,
        "interval_s": some_time_s,
        "timeout_s": some_time_s,
    }

    def _check(self) -> None:
        ways = [self.command is not None, self.port is not None, self.log_line is not None, self.notify]
        if sum(ways) != 1:
            raise BadSpec("needs exactly one of command, port, log_line and notify")
        if self.host is not None and self.port is None:
            raise BadSpec("host means something beside port only")
        if self.log_line is not None:
            import re

            try:
                re.compile(self.log_line)
            except (re.error, RecursionError, OverflowError) as error:
                raise BadSpec(f"log_line is no regular expression: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketSpec(_Part):
    """A socket that the job is handed, bound and listening, as systemd does it: see sd_listen_fds(3).

    Attributes:
        kind: ``stream``, ``dgram`` or ``seqpacket``.
        path: Of a Unix socket.
        port: Of an internet socket; a number, 0 for any.
        host: Address or name to bind; every address where None.
        family: ``ipv4`` or ``ipv6`` where not both.
        mode: Permissions of ``path``.
    """

    kind: str = "stream"
    path: str | None = None
    port: int | None = None
    host: str | None = None
    family: str | None = None
    mode: int | None = None

    _WHAT: ClassVar[str] = "a socket"
    _READERS: ClassVar[Mapping[str, Reader]] = {
        "kind": one_of("stream", "dgram", "seqpacket"),
        "path": a_path,
        "port": whole(0, PORT_MAX),
        "host": a_text,
        "family": one_of("ipv4", "ipv6"),
        "mode": whole(0, 0o777),
    }

    def _check(self) -> None:
        if (self.path is None) == (self.port is None):
            raise BadSpec("needs either a path or a port")
        if self.path is not None and (self.host or self.family):
            raise BadSpec("host and family mean something beside port only")
        if self.port is not None and self.mode is not None:
            raise BadSpec("mode means something beside path only")
        if self.port is not None and self.kind == "seqpacket":
            raise BadSpec("seqpacket is a kind of Unix socket only")


def sockets_by_name(value: object) -> dict[str, tuple[SocketSpec, ...]]:
    """Sockets by the name that the job finds them under.

    Raises:
        BadSpec: It is something else.
    """
    if not isinstance(value, Mapping):
        raise BadSpec("must be an object of lists of sockets")
    read = listed(SocketSpec.from_wire)
    found = {}
    for name, sockets in value.items():
        if not isinstance(name, str) or not name or not name.isprintable() or ":" in name or not name.isascii():
            raise BadSpec(f"holds the name {name!r}; a name is of printable ASCII characters other than ':'")
        found[name] = read(sockets)
        if not found[name]:
            raise BadSpec(f"{name} must hold at least one socket")
    return found
