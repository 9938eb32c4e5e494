"""A job as a JSON document and back, for the journal.

Knows the form of each state. Refuses to know where documents are kept.
"""

from dataclasses import fields
from typing import Any

from relaunch.core.job import Ask, Backoff, Ending, Finished, Job, Running, Starting, State, Stopping, Waiting
from relaunch.fields import Wire
from relaunch.model import Exit, JobSpec

_STATES: dict[str, type[State]] = {
    kind.__name__.lower(): kind for kind in (Starting, Running, Stopping, Ending, Backoff, Waiting, Finished)
}
_SELDOM: dict[str, Any] = {
    "request": None,
    "hold": False,
    "held": False,
    "phase": 0.0,
    "calendar_from": 0.0,
    "streak": 0,
    "again_at": (),
    "paths_seen": "",
}
"""What most jobs have at its default; the document leaves it out there."""
_NAMES = {kind: tuple(part.name for part in fields(kind)) for kind in _STATES.values()}


def to_document(job: Job) -> Wire:
    """The job as JSON-ready values; ``from_document`` gives the same job."""
    return {"spec": job.spec.to_wire(), **without_spec(job)}


def without_spec(job: Job) -> Wire:
    """What of the document changes in the life of a job."""
    document = {
        "id": job.id,
        "submitted_at": job.submitted_at,
        "state": type(job.state).__name__.lower(),
        "state_data": {name: _plain(getattr(job.state, name)) for name in _NAMES[type(job.state)]},
        "run": job.run,
        "restarts": job.restarts,
        "started_at": job.started_at,
        "exit": job.exit.to_wire() if job.exit else None,
        "adopted": job.adopted,
    }
    for name, default in _SELDOM.items():
        value = getattr(job, name)
        if value != default:
            document[name] = value
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, Ask):
        return [value.signal, value.grace_s, value.why, value.restart]
    return value


def from_document(document: Wire) -> Job:
    """The job that ``to_document`` was given.

    Raises:
        KeyError, TypeError, ValueError, RelaunchError: The document is not one of ours.
    """
    data = dict(document["state_data"])
    if data.get("ask") is not None:
        data["ask"] = Ask(*data["ask"])
    return Job(
        id=document["id"],
        spec=JobSpec.from_wire(document["spec"]),
        submitted_at=document["submitted_at"],
        state=_STATES[document["state"]](**data),
        run=document["run"],
        restarts=document["restarts"],
        started_at=document["started_at"],
        exit=Exit.from_wire(document["exit"]) if document["exit"] else None,
        adopted=document["adopted"],
        **{name: document.get(name, default) for name, default in _SELDOM.items() if name != "again_at"},
        again_at=tuple(document.get("again_at", ())),
    )
