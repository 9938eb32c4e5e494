"""How far what is on a host is from what is wanted: the steps, and in what two specs differ."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from tests.core.examples import repeatable, specs

from relaunch.applying.plan import Step, differences, plan
from relaunch.applying.wanted import HostWish
from relaunch.core.document import from_document, to_document
from relaunch.core.job import Job, Starting
from relaunch.jobfile import parse, write
from relaunch.model import Exit, JobSpec, JobStatus

KV = JobSpec(label="kv", argv=("kvd", "-v"), env={"LEVEL": "1"}, origin="c")
WEB = JobSpec(label="web", argv=("webd",), origin="c")


def status(label: str, state: str = "running", end: Exit | None = None) -> JobStatus:
    return JobStatus(label=label, state=state, id="1", run=1, restarts=0, argv=("x",), submitted_at=0.0, exit=end)


def planned(
    wanted: list[JobSpec], there: list[JobSpec], *jobs: JobStatus, disabled: tuple[str, ...] = (), prune: bool = False
) -> list[str]:
    wish = HostWish(specs={spec.label: spec for spec in wanted}, disabled=frozenset(disabled))
    known = {job.label: job for job in (*map(status, (spec.label for spec in there)), *jobs)}
    return [step.text for step in plan(wish, there, known.values(), {"c"}, prune=prune)]


def test_what_is_missing_is_started_and_what_is_there_is_kept() -> None:
    """[A2]"""
    assert planned([KV, WEB], [KV]) == ["keep kv", "start web"]
    assert planned([], []) == []


def test_what_has_changed_is_changed_and_says_in_what() -> None:
    """[A2]"""
    new = replace(KV, argv=("kvd", "-q"), env={"LEVEL": "2", "MORE": "x"}, nice=5)
    (step,) = plan(HostWish(specs={"kv": new}), [KV], [status("kv")], {"c"}, prune=False)
    assert step.text == "change kv (argv kvd -v -> kvd -q; env.LEVEL 1 -> 2; env.MORE unset -> x; nice unset -> 5)"
    assert step.folded == "change kv (argv, env.LEVEL, env.MORE, nice)"
    assert step.spec == new


def test_by_whom_a_job_was_applied_is_no_difference() -> None:
    """[A2]"""
    assert planned([KV], [replace(KV, origin=None)]) == ["keep kv"]


@pytest.mark.parametrize("state", ["starting", "running", "ready", "backoff", "waiting"])
def test_a_job_that_goes_on_is_kept(state: str) -> None:
    """[A2]"""
    assert planned([KV], [KV], status("kv", state)) == ["keep kv"]


@pytest.mark.parametrize(
    ("state", "end", "step"),
    [
        ("exited", Exit(reason="exited", code=0), "keep kv"),
        ("exited", Exit(reason="exited", code=3), "start kv (exited, code 3)"),
        ("exited", Exit(reason="crashed", signal="SEGV"), "start kv (crashed, signal SEGV)"),
        ("exited", Exit(reason="stopped", code=0), "start kv (stopped, code 0)"),
        ("exited", Exit(reason="unknown"), "start kv (unknown)"),
        ("failed", Exit(reason="start-failed", message="no such file"), "start kv (start-failed, no such file)"),
        ("stopping", None, "start kv (is stopping)"),
    ],
)
def test_a_job_that_has_done_its_work_is_kept_and_any_other_end_is_not(state: str, end: Exit, step: str) -> None:
    """[A2]"""
    assert planned([KV], [KV], status("kv", state, end)) == [step]


def test_what_is_wanted_no_more_is_stopped_where_that_is_asked_for_and_before_anything_starts() -> None:
    """[A6]"""
    others = [JobSpec(label="by-hand", argv=("x",)), JobSpec(label="theirs", argv=("x",), origin="d")]
    assert planned([WEB], [KV, *others]) == ["leave kv (wanted no more; --prune stops it)", "start web"]
    assert planned([WEB], [KV, *others], prune=True) == ["stop kv (wanted no more)", "start web"]


def test_a_disabled_job_is_stopped_and_not_started() -> None:
    """[A5]"""
    assert planned([WEB], [KV], disabled=("kv",)) == ["stop kv (disabled)", "start web"]
    assert planned([], [], disabled=("kv",)) == []


def kept(wanted: JobSpec, stored: JobSpec) -> bool:
    steps = plan(HostWish(specs={wanted.label: wanted}), [stored], [status(wanted.label)], set(), prune=True)
    return [step.verb for step in steps] == ["keep"]


@given(spec=specs)
@repeatable
def test_a_spec_is_the_same_once_a_launcher_has_stored_and_told_it(spec: JobSpec) -> None:
    """[A2]"""
    told: Any = json.loads(json.dumps(spec.to_wire()))
    job = Job(id="1", spec=JobSpec.from_wire(told), submitted_at=0.0, state=Starting(0.0))
    stored = from_document(json.loads(json.dumps(to_document(job)))).spec
    assert kept(spec, JobSpec.from_wire(json.loads(json.dumps(stored.to_wire()))))
    assert not kept(spec, replace(stored, argv=(*stored.argv, "more")))


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("StopSignal", "SIGINT", "INT"),
        ("StopSignal", 2, "INT"),
        ("Umask", "022", 18),
        ("Nice", 20, 19),
        ("ThrottleInterval", 1.0, 1),
        ("ThrottleInterval", 10, None),
        ("KeepAlive", False, None),
        ("EnvironmentVariables", {"A": "1", "B": "2"}, {"B": "2", "A": "1"}),
        ("SoftResourceLimits", {"NumberOfFiles": 100}, {"numberoffiles": 100}),
        ("Ready", {"Port": 80, "Interval": 1}, {"Port": 80}),
    ],
)
def test_what_is_said_in_other_words_is_no_difference(key: str, value: Any, same: Any) -> None:
    """[A2]"""

    def spec(said: Any) -> JobSpec:
        keys = {"Label": "kv", "ProgramArguments": ["x"]} | ({} if said is None else {key: said})
        (entry,) = parse(json.dumps(keys).encode(), "c.json").entries
        return entry.spec

    assert kept(spec(value), spec(same))
    assert kept(parse(write(spec(value), "toml"), "c.toml").entries[0].spec, spec(same))


@given(before=specs, after=specs)
@repeatable
def test_two_specs_differ_in_something_unless_they_are_the_same(before: JobSpec, after: JobSpec) -> None:
    """[A2]"""
    after = replace(after, label=before.label)
    found = differences(before, after)
    assert bool(found) == (replace(before, origin=None) != replace(after, origin=None))
    assert Step(verb="change", label="x", differences=found).text.startswith("change x")
