"""A job in the journal is the job."""

import dataclasses
import json
from typing import get_args

import pytest
from hypothesis import given
from tests.core.examples import jobs, repeatable

from relaunch.core.document import from_document, to_document
from relaunch.core.job import Ask, Ending, Job, Running, State, Stopping
from relaunch.errors import RelaunchError
from relaunch.model import JobSpec

ASK = Ask(15, 20.0, "stopped", restart=True)
JOB = Job(id="1", spec=JobSpec(label="a", argv=("true",)), submitted_at=1.0, state=Running(5, 6, 7.0))


@repeatable
@given(jobs)
def test_every_job_survives_the_journal(job: Job) -> None:
    """[J1]"""
    assert from_document(json.loads(json.dumps(to_document(job)))) == job


def test_the_form_of_a_job_is_this() -> None:
    """[J2] Launchers of later versions read it."""
    job = dataclasses.replace(JOB, state=Stopping(5, 6, 7.0, ASK, 27.0), started_at=2.0)
    assert to_document(job) == {
        "id": "1",
        "spec": {"label": "a", "argv": ["true"]},
        "submitted_at": 1.0,
        "state": "stopping",
        "state_data": {
            "pid": 5,
            "ticks": 6,
            "since": 7.0,
            "ask": [15, 20.0, "stopped", True],
            "kill_at": 27.0,
            "killed": False,
        },
        "run": 1,
        "restarts": 0,
        "started_at": 2.0,
        "exit": None,
        "adopted": False,
    }


def test_every_state_has_a_word() -> None:
    """[S1]"""
    words = "starting running stopping ending backoff waiting finished".split()
    assert [kind.__name__.lower() for kind in get_args(State)] == words


@pytest.mark.parametrize("ask", [None, ASK])
def test_a_leftover_keeps_its_ask(ask: Ask | None) -> None:
    """[S7]"""
    job = dataclasses.replace(JOB, state=Ending(1.0, ask, None, killed=True))
    assert from_document(to_document(job)) == job


@pytest.mark.parametrize("broken", [{"state": "odd"}, {"state_data": {}}, {"spec": {}}, {"state_data": {"odd": 1}}])
def test_a_document_that_is_not_ours_is_refused(broken: dict[str, object]) -> None:
    """[J4]"""
    with pytest.raises((KeyError, TypeError, ValueError, RelaunchError)):
        from_document({**to_document(JOB), **broken})
