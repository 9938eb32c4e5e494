"""The launcher's table of jobs: which of those that have finished it keeps."""

from dataclasses import replace

import pytest
from tests.core.life import Life

from relaunch.core.job import Job
from relaunch.launcher import jobs
from relaunch.launcher.jobs import Jobs


def running(label: str) -> Job:
    job = Life().spawned().job
    return replace(job, id=f"id of {label}", spec=replace(job.spec, label=label))


def finished(label: str) -> Job:
    job = Life().spawned().exited().job
    return replace(job, id=f"id of {label}", spec=replace(job.spec, label=label))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr(jobs, "FINISHED_MAX", 2)
    return Jobs()


def labels(found: list[Job]) -> list[str]:
    return [job.spec.label for job in found]


def test_those_that_have_been_finished_for_longest_are_too_many(table: Jobs) -> None:
    """[S27] Whenever they were submitted; what runs never is."""
    for label in "abcd":
        table.put(running(label))
    for label in "dcb":
        assert table.superfluous() == []
        table.put(finished(label))
    assert labels(table.superfluous()) == ["d"]
    table.drop(table.superfluous()[0])
    assert table.superfluous() == []
    assert labels(list(table)) == ["a", "b", "c"]


def test_one_that_runs_again_has_not_finished(table: Jobs) -> None:
    """[S27] [S9]"""
    for label in "abc":
        table.put(finished(label))
    assert labels(table.superfluous()) == ["a"]
    table.put(running("a"))
    assert table.superfluous() == []
    table.put(finished("a"))
    assert labels(table.superfluous()) == ["b"]
