"""What a subscription asks for: which events, for whom, and where they are to go.

Knows what may be said in it, and which event it chooses. Refuses to know how events travel.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from relaunch.errors import BadCall, BadSpec
from relaunch.fields import Wire, duration_s
from relaunch.labels import compile_pattern

DEFAULT_KINDS = tuple(
    "job.exited job.start-failed job.failed job.not-ready "
    "launcher.started launcher.restarted launcher.lost host.*".split()
)
ALL_KINDS = "all"
LEASE_S = 86_400.0
BEAT_S = 0.6
PATTERNS_MAX = 1_000
_BEAT_S_MIN, _BEAT_S_MAX = 0.04, 3_600.0
_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}")


class Filter:
    """Which events are wanted.

    Args:
        patterns: Labels or globs over them; none at all chooses every label. An event without a label, of the launcher
            or host, passes: what happens to them happens to every job.
        kinds: Kinds without ``io.relaunch.``, globs over them, or ``all``; none at all chooses ``DEFAULT_KINDS``.

    Raises:
        BadPattern: One is malformed.
    """

    def __init__(self, patterns: Sequence[str] = (), kinds: Sequence[str] = ()) -> None:
        self._labels = [compile_pattern(pattern) for pattern in patterns]
        self._kinds = [compile_pattern(_glob(kind)) for kind in kinds or DEFAULT_KINDS]

    def __call__(self, kind: str, label: str | None) -> bool:
        """Whether an event of that kind and label is wanted."""
        return _any(self._kinds, kind) and (label is None or not self._labels or _any(self._labels, label))


def _glob(kind: str) -> str:
    return "*" if kind == ALL_KINDS else kind


def _any(tests: Iterable[Callable[[str], bool]], text: str) -> bool:
    return any(test(text) for test in tests)


def check_name(name: str) -> str:
    """The name of a durable subscription, if it is one; it becomes a file's name.

    Raises:
        BadSpec: It is not; the line says why.
    """
    if not _NAME.fullmatch(name):
        raise BadSpec(f"name {name[:100]!r} must be 1 to 100 letters, digits and _ . @ + -, and not begin with . @ + -")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """What was asked for.

    Attributes:
        id: Chosen by the subscriber, 32 hexadecimal digits; the same id again renews the subscription.
        name: What the user calls it, None where it ends with its subscriber.
        address: Where the subscriber listens, ``HOST:PORT``.
        transport: ``quic`` or ``tcp``.
        fingerprint: SHA-256 of the subscriber's certificate, in hexadecimal.
        secret: 32 bytes in hexadecimal; who proves to have it is this launcher.
        patterns: Labels or globs over them; none at all chooses every label.
        kinds: Kinds of events, see ``Filter``.
        beat_s: Seconds between heartbeats, at most.
        lease_s: For how long the subscriber may be unreachable.
    """

    id: str
    address: str
    fingerprint: str
    secret: str
    name: str | None = None
    transport: str = "quic"
    patterns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    beat_s: float = BEAT_S
    lease_s: float = LEASE_S

    def __repr__(self) -> str:
        """Without the secret, which no log is to hold."""
        return f"<subscription {self.id} at {self.transport} {self.address}>"

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """A checked subscription from its form on the wire.

        Raises:
            BadCall: A field is unknown, missing, of a wrong type or out of range; the line names it.
            BadPattern: A pattern is malformed.
        """
        if not isinstance(wire, Mapping):
            raise BadCall("a subscription must be an object")
        unknown = sorted(set(wire) - set(_FIELDS))
        if unknown:
            raise BadCall(f"a subscription has no field {unknown[0]!r}; it has {', '.join(_FIELDS)}")
        parsed: Wire = {}
        for name, value in {**dict.fromkeys(_REQUIRED), **wire}.items():
            if value is None and name not in _REQUIRED:
                continue
            try:
                parsed[name] = _FIELDS[name](value)
            except (BadCall, BadSpec) as error:
                raise BadCall(f"subscription: {name}: {error}") from None
        spec = cls(**parsed)
        Filter(spec.patterns, spec.kinds)
        return spec

    def to_wire(self) -> Wire:
        """The subscription as it goes on the wire, its secret included."""
        wire: Wire = {name: getattr(self, name) for name in _FIELDS}
        return wire | {"patterns": list(self.patterns), "kinds": list(self.kinds)}


def _digits(form: re.Pattern[str]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise BadCall(f"must be hexadecimal digits: {form.pattern}")
        return value

    return parse


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise BadCall("must be a text")
    return check_name(value)


def _address(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 300 or not value.isprintable():
        raise BadCall("must be HOST:PORT")
    return value


def _transport(value: object) -> str:
    if value not in ("quic", "tcp"):
        raise BadCall("must be quic or tcp")
    return str(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise BadCall("must be a list of texts")
    if len(value) > PATTERNS_MAX:
        raise BadCall(f"must hold at most {PATTERNS_MAX} texts")
    return tuple(value)


def _beat_s(value: object) -> float:
    seconds = duration_s(value)
    if not _BEAT_S_MIN <= seconds <= _BEAT_S_MAX:
        raise BadCall(f"must be from {_BEAT_S_MIN} to {_BEAT_S_MAX} seconds")
    return seconds


_FIELDS: dict[str, Callable[[object], Any]] = {
    "id": _digits(_ID),
    "name": _name,
    "address": _address,
    "transport": _transport,
    "fingerprint": _digits(_DIGEST),
    "secret": _digits(_DIGEST),
    "patterns": _texts,
    "kinds": _texts,
    "beat_s": _beat_s,
    "lease_s": duration_s,
}
_REQUIRED = ("id", "address", "fingerprint", "secret")
