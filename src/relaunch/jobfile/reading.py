"""Files and directories into jobs.

Knows the three shapes of a file: one job, ``Jobs``, an array of jobs. Refuses to know what is done with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relaunch.errors import BadJobFile, BadSpec
from relaunch.jobfile.decoding import SUFFIXES, decode, format_of
from relaunch.jobfile.entries import BadWord, Entry, JobFile, check_words
from relaunch.jobfile.opening import read_bytes
from relaunch.jobfile.place import Place
from relaunch.jobfile.vocabulary import CLUSTER, JOB, KEY_OF_FIELD, KEY_OF_READY
from relaunch.model import JobSpec

Found = dict[str, Any]


def read_file(path: str) -> JobFile:
    """The jobs of a file.

    Raises:
        BadJobFile: It is no job file, or others than its owner can change it. The line says where, and what was
            expected there.
    """
    return parse(read_bytes(path), path)


def read_paths(paths: Iterable[str]) -> list[JobFile]:
    """The jobs of files, and of all files in directories that are named as job files are, in the order of their names.

    Raises:
        BadJobFile: One of them is no job file, a directory has none, or two jobs of this host have one label.
    """
    files = [read_file(file) for path in paths for file in _files(path)]
    seen: dict[str, str] = {}
    for entry in (entry for file in files for entry in file.entries if not entry.hosts):
        other = seen.setdefault(entry.spec.label, entry.place)
        if other != entry.place:
            raise BadJobFile(f"{entry.place}: the label {entry.spec.label!r} is that of {other} too")
    return files


def _files(path: str) -> list[str]:
    try:
        names = os.listdir(path)
    except NotADirectoryError:
        return [path]
    except (OSError, ValueError) as error:
        raise BadJobFile(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    found = sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
    if not found:
        raise BadJobFile(f"{path}: holds no file whose name ends with {', '.join(SUFFIXES)}")
    return [os.path.join(path, name) for name in found]


def parse(data: bytes, path: str) -> JobFile:
    """The jobs in the bytes of a file.

    Args:
        data: What the file holds.
        path: Its name, which tells the format.

    Raises:
        BadJobFile: It is no job file; the line says where and what was expected.
    """
    value, reading = decode(data, path)
    stem = os.path.basename(path).rpartition(".")[0] or os.path.basename(path)
    jobs, cluster = _jobs(value, Place(reading))
    entries = tuple(_entry(found) for found in jobs)
    _check_labels(entries)
    origins = {entry.spec.origin for entry in entries}
    name = cluster or (origins.pop() if len(origins) == 1 else None) or stem
    warnings = reading.warnings
    if reading.unsaid:
        warnings.append(f"{path}: {reading.unsaid} more keys mean nothing here")
    slips = () if format_of(path, data) == "plist" else tuple(reading.slips)
    return JobFile(path=path, entries=entries, warnings=tuple(warnings), slips=slips, name=name)


def _jobs(value: object, place: Place) -> tuple[list[Found], str | None]:
    """What each job of a file says, and the name of the file's cluster."""
    if isinstance(value, list):
        if not value:
            raise place.wrong("holds no job")
        return [JOB.read(item, place.at(i)) for i, item in enumerate(value)], None
    if not isinstance(value, Mapping):
        raise place.not_so("must be a dictionary with a job, a dictionary with Jobs, or an array of jobs", value)
    if not any(isinstance(key, str) and key.lower() == "jobs" for key in value):
        found = JOB.read(value, place)
        return [found], None
    beside = {key.name.lower() for key in CLUSTER.keys}
    for key in value:
        if isinstance(key, str) and key.lower() in {each.name.lower() for each in JOB.keys} - beside:
            raise place.at(key).wrong("belongs into one of Jobs; beside Jobs stand Hosts and Cluster only")
    whole = CLUSTER.read(value, place)
    defaults = {name: whole[name] for name in ("hosts", "cluster") if name in whole}
    return [defaults | found for found in whole["jobs"]], whole.get("cluster")


def _entry(found: Found) -> Entry:
    place: Place = found.pop("place")
    hosts = tuple(found.pop("hosts", ()))
    disabled = found.pop("disabled", False)
    if "cluster" in found:
        found["origin"] = found.pop("cluster")
    label = found["label"]
    try:
        spec = JobSpec.from_wire(found)
    except BadSpec as error:
        raise _not_a_spec(place, str(error).removeprefix(f"{label}: ")) from None
    where = place.file if place.line is not None else str(place)
    entry = Entry(spec=spec, hosts=hosts, disabled=disabled, place=where)
    if hosts:
        try:
            check_words(entry)
        except BadWord as error:
            raise _within(place, error.fields).wrong(error) from None
        except BadSpec as error:
            raise _not_a_spec(place, str(error).removeprefix(f"{label}: ")) from None
    return entry


def _not_a_spec(place: Place, why: str) -> BadJobFile:
    """The error for what a spec says of itself, with the keys of a file in place of the names of fields."""
    name, parted, rest = why.partition(": ")
    if not parted or name not in KEY_OF_FIELD:
        return place.wrong(why)
    part, _, what = rest.partition(" ")
    if name == "ready" and part in KEY_OF_READY:
        return _within(place, (name, part)).wrong(what)
    return _within(place, (name,)).wrong(rest)


def _within(place: Place, fields: Sequence[str]) -> Place:
    """The place of a field of a spec, or of something in one."""
    first, *rest = fields
    place = place.at(KEY_OF_FIELD[first])
    for each in rest:
        place = place.at(KEY_OF_READY[each] if first == "ready" else each)
    return place


def _check_labels(entries: Iterable[Entry]) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.spec.label, entry)
        if other is not entry and not (entry.hosts and other.hosts):
            raise BadJobFile(f"{entry.place}: the label {entry.spec.label!r} is that of {other.place} too")
