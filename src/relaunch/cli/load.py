"""``launch load``: submits the jobs of job files.

Knows what is asked of the launcher, in which order. Refuses to know how files are read (``job_files``).
"""

from __future__ import annotations

from relaunch.applying.plan import differences
from relaunch.applying.wanted import in_order
from relaunch.cli.job_files import read_here
from relaunch.cli.output import say, write
from relaunch.client.calls import await_ready, get_specs, list_jobs, submit
from relaunch.client.quick import Client, call_until_answered, encode_array
from relaunch.errors import LabelInUse, RelaunchError, Unreachable, from_wire
from relaunch.model import JobSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.jobfile import Entry

    Wire = dict[str, Any]


class Loaded:
    """What became of one job of a file.

    Attributes:
        result: ``loaded``, ``replaced``, ``unchanged``, ``disabled`` or ``refused``.
        job: As it is now, where it is loaded.
        error: Why it was refused, or is not ready where that was waited for.
    """

    __slots__ = ("entry", "error", "job", "result")

    def __init__(self, entry: Entry, result: str, job: Wire | None = None, error: RelaunchError | None = None) -> None:
        self.entry = entry
        self.result = result
        self.job = job
        self.error = error

    def line(self) -> str:
        """What a person is told."""
        label, job = self.entry.spec.label, self.job or {}
        if self.result == "disabled":
            return f"{label}: disabled, and not loaded"
        state = f"{job['state']}, pid {job['pid']}" if job.get("pid") else job.get("state", "")
        return f"{label}: {state}" if self.result == "loaded" else f"{label}: {self.result}, {state}"

    def to_wire(self) -> Wire:
        """What a program is told."""
        error = self.error
        return {
            "label": self.entry.spec.label,
            "place": self.entry.place,
            "result": self.result,
            "job": self.job,
            "error": error and error.wire_name,
            "message": error and error.message,
        }


def run(arguments: Arguments) -> int:
    """Load jobs and say what became of each."""
    entries = read_here(arguments["paths"])
    loading = Loading(replaces=arguments["replace"])
    for warning in (*_too_often(entries), *loading.check(entries)):
        say(f"warning: {warning}")
    done = []
    for entry in entries:
        loaded = loading.load(entry)
        done.append(loaded)
        if loaded.error is not None or not arguments["wait_ready"]:
            _tell(loaded, as_json=arguments["json"])
    if arguments["wait_ready"]:
        for loaded in _awaited(done, arguments["ready_timeout"]):
            _tell(loaded, as_json=arguments["json"])
    if arguments["json"]:
        write(encode_array([loaded.to_wire() for loaded in done]))
    return next((loaded.error.exit_status for loaded in done if loaded.error is not None), 0)


def _too_often(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        every_s, least_s = entry.spec.start_interval_s, entry.spec.throttle_s
        if every_s is not None and every_s < least_s and not entry.disabled:
            yield (
                f"{entry.place}: StartInterval is {every_s:g} s, but ThrottleInterval, {least_s:g} s, lets it start no "
                "sooner after its last start"
            )


def _tell(loaded: Loaded, *, as_json: bool) -> None:
    if loaded.error is not None:
        say(f"{loaded.entry.place}: {loaded.error.message}")
    elif not as_json:
        write(f"{loaded.line()}\n")


def _awaited(done: Sequence[Loaded], timeout_s: float | None) -> list[Loaded]:
    """Those that were not refused, once each is ready, or it is known why it is not."""
    rest = [loaded for loaded in done if loaded.error is None]
    labels = [loaded.entry.spec.label for loaded in rest if loaded.job is not None]
    outcomes = call_until_answered(await_ready(labels, timeout_s)) if labels else []
    by_label = {outcome["label"]: outcome for outcome in outcomes}
    for loaded in rest:
        outcome = by_label.get(loaded.entry.spec.label)
        if outcome is not None:
            loaded.job = outcome.get("job") or loaded.job
            if outcome.get("error") is not None:
                loaded.error = from_wire(outcome["error"], {"message": outcome.get("message")})
    return rest


class Loading:
    """Loads one job after the other, by what the launcher had when it began.

    Args:
        replaces: Whether a job that is loaded with another spec makes way.
    """

    def __init__(self, *, replaces: bool) -> None:
        self._replaces = replaces
        self._client: Client | None = None
        self._specs: dict[str, Wire] = {}
        self._jobs: dict[str, Wire] = {}

    def check(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Look at what jobs depend on: yields what nothing here makes ready.

        Raises:
            BadJobFile: Jobs depend on each other in a circle, so that none of them would ever be started.
        """
        if not any(entry.spec.depends_on for entry in entries):
            return
        self._connected()
        depends: dict[str, Sequence[str]] = {label: spec.get("depends_on") or () for label, spec in self._specs.items()}
        depends |= {entry.spec.label: entry.spec.depends_on for entry in entries}
        _check_circles(depends, entries)
        loaded = self._specs.keys() | {entry.spec.label for entry in entries if not entry.disabled}
        disabled = {entry.spec.label for entry in entries if entry.disabled}
        for entry in entries:
            for label in () if entry.disabled else entry.spec.depends_on:
                if label not in loaded:
                    why = "is Disabled" if label in disabled else "no job here has"
                    yield f"{entry.place}: DependsOn names {label}, which {why}; it waits for one that is ready"

    def load(self, entry: Entry) -> Loaded:
        """Load one job, or find out why not.

        Raises:
            Unreachable: Nobody answers any more.
        """
        client = self._connected()
        label = entry.spec.label
        if entry.disabled:
            return Loaded(entry, "disabled")
        known = self._specs.get(label)
        try:
            found = () if known is None else differences(JobSpec.from_wire(known), entry.spec)
            if known is not None and not found:
                return Loaded(entry, "unchanged", self._jobs.get(label))
            if found and not self._replaces:
                fields = ", ".join(one.field for one in found)
                raise LabelInUse(
                    f"{label} is loaded with another spec, which differs in {fields}; give --replace, or first: launch "
                    f"unload {label}"
                )
            job = client.call(submit(entry.spec.to_wire(), replace=known is not None))
        except Unreachable:
            raise
        except RelaunchError as error:
            return Loaded(entry, "refused", error=error)
        return Loaded(entry, "loaded" if known is None else "replaced", job)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client()
            self._specs = {spec["label"]: spec for spec in self._client.call(get_specs())}
            self._jobs = {job["label"]: job for job in self._client.call(list_jobs())}
        return self._client


def _check_circles(depends: dict[str, Sequence[str]], entries: Sequence[Entry]) -> None:
    """Refuse a circle among the jobs of the files and all that these depend on, be it loaded already."""
    places = {entry.spec.label: entry.place for entry in entries}
    needed: dict[str, Sequence[str]] = {}
    left = list(places)
    while left:
        label = left.pop()
        if label not in needed:
            needed[label] = depends.get(label, ())
            left += needed[label]
    in_order(needed, places)
