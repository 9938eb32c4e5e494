"""What job files want of each host.

Knows node sets, words such as ``{host}``, and in which order jobs that depend on one another are started. Refuses to
know what is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from relaunch.client.nodesets import expand
from relaunch.errors import BadJobFile, Usage
from relaunch.jobfile import Entry, JobFile, replace_words
from relaunch.model import JobSpec

HERE = ""
"""Stands for this host, whose launcher is asked without ssh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWish:
    """What is wanted of one host.

    Attributes:
        specs: The jobs, by label, in the order in which they are started.
        disabled: Labels of jobs that the files have and that are not to run.
    """

    specs: Mapping[str, JobSpec] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of all hosts.

    Attributes:
        hosts: By name, in the order in which the files name them.
        stages: Labels that can be started at the same time; those of a stage wait for the stage before it to be ready
            on all hosts.
        names: Of the clusters that the files describe.
        warnings: What is odd about it.
    """

    hosts: Mapping[str, HostWish]
    stages: Sequence[frozenset[str]]
    names: frozenset[str]
    warnings: Sequence[str] = ()


def wish_of(files: Sequence[JobFile], only: Sequence[str] = ()) -> Wish:
    """What the files want.

    Args:
        files: As they were read.
        only: Of these hosts alone; of jobs without ``Hosts``, on these.

    Raises:
        BadJobFile: A label stands twice for one host, jobs depend on each other in a circle, a word means nothing.
        Usage: One of ``only`` is in no file; a node set is malformed.
        BadHost: A host's name is impossible.
    """
    placed = list(_placed(files, only))
    where: dict[str, set[str]] = {}
    for host, _, spec in placed:
        where.setdefault(spec.label, set()).add(host)
    order = _order(files)
    hosts = {host: HostWish() for host, _, _ in placed if not only or host in only}
    for host, wish in hosts.items():
        its = {spec.label: (entry, spec) for there, entry, spec in placed if there == host}
        ordered = [its[label] for label in order if label in its]
        hosts[host] = replace(
            wish,
            specs={spec.label: _local(spec, where, host) for entry, spec in ordered if not entry.disabled},
            disabled=frozenset(spec.label for entry, spec in ordered if entry.disabled),
        )
    strangers = [host for host in only if host not in hosts]
    if strangers:
        raise Usage(f"{strangers[0]} is a host of no job in {', '.join(file.path for file in files)}")
    return Wish(
        hosts=hosts,
        stages=_stages(files, order, where),
        names=frozenset(file.name for file in files),
        warnings=list(_unknown(files, where)),
    )


def _placed(files: Iterable[JobFile], only: Sequence[str]) -> Iterator[tuple[str, Entry, JobSpec]]:
    """Each job on each of its hosts."""
    taken: dict[tuple[str, str], str] = {}
    for file in files:
        for entry in file.entries:
            hosts = _hosts(entry, only)
            for index, host in enumerate(hosts, 1):
                before = taken.setdefault((host, entry.spec.label), entry.place)
                if before != entry.place:
                    there = f" on {host}" if host else ""
                    raise BadJobFile(f"{entry.place}: {entry.spec.label} is wanted{there} by {before} already")
                spec = entry.spec if host == HERE else replace_words(entry, host, index, hosts)
                yield host, entry, replace(spec, origin=file.name)


def _hosts(entry: Entry, only: Sequence[str]) -> Sequence[str]:
    if entry.hosts:
        return expand(entry.hosts, f"{entry.place}: Hosts")
    return only or (HERE,)


def _entries(files: Iterable[JobFile]) -> Iterator[Entry]:
    return (entry for file in files for entry in file.entries)


def _order(files: Sequence[JobFile]) -> list[str]:
    """All labels, each after those that its job depends on, else as the files have them."""
    depends: dict[str, set[str]] = {entry.spec.label: set() for entry in _entries(files)}
    for entry in _entries(files):
        depends[entry.spec.label].update(label for label in entry.spec.depends_on if label in depends)
    try:
        return list(TopologicalSorter(depends).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        place = next(entry.place for entry in _entries(files) if entry.spec.label == error.args[1][0])
        raise BadJobFile(f"{place}: DependsOn goes round in a circle: {circle}") from None


def _local(spec: JobSpec, where: Mapping[str, set[str]], host: str) -> JobSpec:
    """A job without what it depends on that is on other hosts only: that is waited for by whoever applies."""
    depends_on = tuple(label for label in spec.depends_on if host in where.get(label, {host}))
    return spec if depends_on == spec.depends_on else replace(spec, depends_on=depends_on)


def _stages(files: Sequence[JobFile], order: Sequence[str], where: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """The labels in stages: a job is in a later stage than one that it depends on and that is on another host."""
    depends: dict[str, set[str]] = {}
    for entry in _entries(files):
        depends.setdefault(entry.spec.label, set()).update(set(entry.spec.depends_on) & where.keys())
    stage: dict[str, int] = {}
    for label in order:
        stage[label] = max((stage[one] + (not where[label] <= where[one]) for one in depends[label]), default=0)
    return [
        frozenset(it for it in order if stage[it] == number) for number in range(max(stage.values(), default=-1) + 1)
    ]


def _unknown(files: Sequence[JobFile], where: Mapping[str, set[str]]) -> Iterator[str]:
    for entry in _entries(files):
        for label in entry.spec.depends_on:
            if label not in where:
                yield f"{entry.place}: DependsOn names {label}, which no job here has; it waits for one that is ready"
