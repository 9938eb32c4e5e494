"""``launch load``: submits the jobs of job files."""

from __future__ import annotations

from relaunch.cli.job_files import read_here
from relaunch.cli.output import say, write
from relaunch.client.calls import get_specs, list_jobs, submit
from relaunch.client.quick import Client, encode_array
from relaunch.errors import LabelInUse, RelaunchError, Unreachable
from relaunch.model import JobSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.jobfile import Entry

    Wire = dict[str, Any]


class Loaded:
    """What became of one job of a file.

    Attributes:
        result: ``loaded``, ``replaced``, ``unchanged``, ``disabled`` or ``refused``.
        job: As it is now, where it is loaded.
        error: Why it was refused.
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
    loading = Loading(replaces=arguments["replace"])
    done, status = [], 0
    for entry in read_here(arguments["paths"]):
        loaded = loading.load(entry)
        done.append(loaded)
        if loaded.error is not None:
            say(f"{entry.place}: {loaded.error.message}")
            status = status or loaded.error.exit_status
        elif not arguments["json"]:
            write(f"{loaded.line()}\n")
    if arguments["json"]:
        write(encode_array([loaded.to_wire() for loaded in done]))
    return status


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
            if known is not None and JobSpec.from_wire(known) == entry.spec:
                return Loaded(entry, "unchanged", self._jobs.get(label))
            if known is not None and not self._replaces:
                raise LabelInUse(
                    f"{label} is loaded with another spec; give --replace, or first: launch unload {label}"
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
