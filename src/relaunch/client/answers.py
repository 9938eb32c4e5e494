"""What a launcher's answers are made into, for the Python API.

Knows the values, and that an answer which is not what the interface says is that peer's failure. Refuses to know which
call an answer belongs to. Loaded with the first answer: connecting costs less without it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from relaunch.errors import ProtocolBroken
from relaunch.event import Event
from relaunch.model import JobSpec, JobStatus, Outcome

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One living process of a job."""

    pid: int
    ppid: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Everything known of one job: what is, what was asked for, and which processes live."""

    job: JobStatus
    spec: JobSpec
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherStatus:
    """What a launcher says of itself.

    Attributes:
        version: Of the launcher's program.
        host: The host's name.
        uid: The user it serves.
        keeper_pid: The process that is the parent of every job.
        launcher_pid: The process that answered.
        launcher_starts: How often the keeper has started a launcher.
        socket: Where it listens.
        now: What its clock said when it answered, seconds since the epoch.
        uptime_s: How long this launcher has run.
        boot_id: Of the running kernel.
        jobs: Number of jobs in each state.
        journal: ``path``, ``epoch``, ``last_sequence``, ``compacted_to``, ``size_bytes``, ``set_aside``, ``problem``.
        subscribers: Those who receive its events.
    """

    version: str
    host: str
    uid: int
    keeper_pid: int
    launcher_pid: int
    launcher_starts: int
    socket: str
    now: float
    uptime_s: float
    boot_id: str
    jobs: Mapping[str, int]
    journal: Mapping[str, Any]
    subscribers: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Who delivers the events of a subscription.

    Attributes:
        source: The launcher, as in its events.
        boot_id: Of its host's running kernel.
        run: Number of this run of the launcher; a later one has a higher number.
        cursor: ``epoch`` and ``sequence`` after which it begins; None where it begins with what is.
    """

    source: str
    boot_id: str
    run: int
    cursor: Mapping[str, Any] | None


def read(make: Callable[[Any], T], wire: Any) -> T:
    """What an answer is made into.

    Raises:
        ProtocolBroken: It is not what the interface says.
    """
    try:
        return make(wire)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ProtocolBroken("the launcher's answer is not what was asked for") from error


def jobs(wire: Iterable[Mapping[str, Any]]) -> list[JobStatus]:
    """Jobs."""
    return [JobStatus.from_wire(dict(one)) for one in wire]


def outcomes(wire: Iterable[Mapping[str, Any]]) -> list[Outcome]:
    """What became of a request, for each label."""
    return [Outcome.from_wire(dict(one)) for one in wire]


def events(wire: Iterable[Mapping[str, Any]]) -> Sequence[Event]:
    """Events."""
    found = [Event.from_wire(dict(one)) for one in wire]
    for event in found:
        if not (isinstance(event.data, dict) and isinstance(event.label, str | None)):
            raise TypeError(event.id)
    return found


def specs(wire: Iterable[dict[str, Any]]) -> Sequence[JobSpec]:
    """What was asked for."""
    return [JobSpec.from_wire(one) for one in wire]


def delivery(wire: Mapping[str, Any]) -> Delivery:
    """Who delivers."""
    return Delivery(**{name: wire[name] for name in Delivery.__dataclass_fields__})


def status(wire: Mapping[str, Any]) -> LauncherStatus:
    """What a launcher says of itself."""
    return LauncherStatus(**{name: wire[name] for name in LauncherStatus.__dataclass_fields__})


def description(wire: Mapping[str, Any]) -> Description:
    """Everything known of one job."""
    return Description(
        job=JobStatus.from_wire(wire["job"]),
        spec=JobSpec.from_wire(wire["spec"]),
        processes=tuple(Process(**process) for process in wire["processes"]),
    )
