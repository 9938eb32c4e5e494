"""How far what is on a host is from what is wanted of it, step by step.

Pure: knows specs, states and steps. Refuses to know hosts and how steps are carried out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from relaunch.applying.wanted import HostWish
from relaunch.model import Exit, JobSpec, JobStatus

Verb = Literal["start", "change", "keep", "stop", "leave"]
CHANGES: frozenset[Verb] = frozenset(("start", "change", "stop"))
_GOES_ON = ("starting", "running", "ready", "backoff", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field in which two specs differ, both sides as on the wire; None where it is not set."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done about one label on one host.

    Attributes:
        verb: ``start``; ``change``, which is a stop and a start; ``keep`` and ``leave``, which are nothing; ``stop``.
        label: The job's.
        spec: What is to run, for ``start``, ``change`` and ``keep``.
        why: In a word or two, where that is not plain.
        differences: For ``change``.
    """

    verb: Verb
    label: str
    spec: JobSpec | None = None
    why: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def text(self) -> str:
        """The step in a line."""
        told = "; ".join(map(str, self.differences)) or self.why
        return f"{self.verb} {self.label}" + (f" ({told})" if told else "")

    @property
    def folded(self) -> str:
        """The step in a line that says no more than what may be the same on many hosts."""
        told = ", ".join(one.field for one in self.differences) or self.why
        return f"{self.verb} {self.label}" + (f" ({told})" if told else "")


def plan(
    wish: HostWish,
    specs: Iterable[JobSpec],
    jobs: Iterable[JobStatus],
    names: Collection[str],
    *,
    prune: bool,
) -> tuple[Step, ...]:
    """The steps from what is to what is wanted: first what is not wanted any more, then the jobs in their order.

    Args:
        wish: What is wanted.
        specs: Of all jobs on the host.
        jobs: What they are.
        names: Of the clusters that are applied; jobs of others are left out.
        prune: Whether jobs that were applied with one of them before, and are wanted no more, are stopped.
    """
    there = {spec.label: spec for spec in specs}
    status = {job.label: job for job in jobs}
    steps = []
    for label, spec in there.items():
        if label in wish.disabled:
            steps.append(Step(verb="stop", label=label, why="disabled"))
        elif label not in wish.specs and spec.origin in names:
            verb: Verb = "stop" if prune else "leave"
            steps.append(
                Step(verb=verb, label=label, why="wanted no more" if prune else "wanted no more; --prune stops it")
            )
    steps += [_step(spec, there.get(label), status.get(label)) for label, spec in wish.specs.items()]
    return tuple(steps)


def _step(wanted: JobSpec, there: JobSpec | None, job: JobStatus | None) -> Step:
    if there is None or job is None:
        return Step(verb="start", label=wanted.label, spec=wanted)
    found = differences(there, wanted)
    if found:
        return Step(verb="change", label=wanted.label, spec=wanted, differences=found)
    if _is_as_wanted(job):
        return Step(verb="keep", label=wanted.label, spec=wanted)
    return Step(verb="start", label=wanted.label, spec=wanted, why=_state_of(job))


def _is_as_wanted(job: JobStatus) -> bool:
    """Whether it goes on, or has done its work."""
    return (job.state == "exited" and _did_its_work(job)) or job.state in _GOES_ON


def _did_its_work(job: JobStatus) -> bool:
    return job.exit is not None and job.exit.succeeded


def not_stayed(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> str:
    """Why a job that was running has not stayed up; empty where it has, or has done its work.

    Args:
        before: As its launcher told of it.
        after: The same, some time later; None where it is not there any more.
    """
    if after is None:
        return "it is gone"
    job = JobStatus.from_wire(dict(after))
    well = job.state == "running" or (job.state in ("exited", "waiting") and _did_its_work(job))
    if well and (job.id, job.run) == (before["id"], before["run"]):
        return ""
    return _end_of(job.exit) if job.exit is not None else f"it is {job.state}"


def _state_of(job: JobStatus) -> str:
    return f"is {job.state}" if job.exit is None or not job.finished else _end_of(job.exit)


def _end_of(end: Exit) -> str:
    how = f"code {end.code}" if end.code is not None else f"signal {end.signal}" if end.signal else end.message
    return f"{end.reason}, {how}" if how else end.reason


def differences(before: JobSpec, after: JobSpec) -> tuple[Difference, ...]:
    """The fields in which two specs of one label differ; none where they mean the same."""
    old, new = before.unapplied().to_wire(), after.unapplied().to_wire()
    return tuple(
        difference
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
        for difference in _within(name, old.get(name), new.get(name))
    )


def _within(name: str, old: Any, new: Any) -> Sequence[Difference]:
    """The difference of one field; of an object's, those of its parts."""
    if all(isinstance(value, Mapping | None) for value in (old, new)):
        was, is_now = old or {}, new or {}
        parts = [part for part in dict.fromkeys((*was, *is_now)) if was.get(part) != is_now.get(part)]
        if parts:
            return [Difference(field=f"{name}.{part}", before=was.get(part), after=is_now.get(part)) for part in parts]
    return [Difference(field=name, before=old, after=new)]


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
