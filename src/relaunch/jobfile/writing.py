"""Jobs into the bytes of a file that is read as the very same jobs.

Knows how to prove that. Refuses to know where the bytes go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relaunch.errors import BadJobFile
from relaunch.jobfile.encoding import encode
from relaunch.jobfile.entries import Entry
from relaunch.jobfile.reading import parse
from relaunch.jobfile.vocabulary import JOB
from relaunch.model import JobSpec

_SUFFIX = {"binary": "plist"}


def write(jobs: JobSpec | Entry | Sequence[JobSpec | Entry], form: str) -> bytes:
    """The bytes of a job file.

    Args:
        jobs: One, which is the whole file, or any number, which are its ``Jobs``.
        form: ``json``, ``toml``, ``plist`` (XML) or ``binary`` (a binary property list).

    Raises:
        BadJobFile: A job cannot be said in such a file, as one with a path that is not absolute.
    """
    if isinstance(jobs, JobSpec | Entry):
        entries = [_entry(jobs)]
        data = encode(_written(entries[0]), form)
    else:
        entries = [_entry(job) for job in jobs]
        data = encode({"Jobs": [_written(entry) for entry in entries]}, form)
    read = parse(data, f"the file.{_SUFFIX.get(form, form)}").entries
    if [_meant(entry) for entry in read] != [_meant(entry) for entry in entries]:
        raise BadJobFile(f"{entries[0].spec.label}: cannot be said in {form}")
    return data


def _entry(job: JobSpec | Entry) -> Entry:
    return job if isinstance(job, Entry) else Entry(spec=job)


def _written(entry: Entry) -> dict[str, Any]:
    fields = entry.spec.to_wire()
    fields |= {"cluster": fields.pop("origin", None), "disabled": entry.disabled or None, "hosts": entry.hosts or None}
    return JOB.write(fields)


def _meant(entry: Entry) -> tuple[object, ...]:
    return entry.spec, entry.hosts, entry.disabled
