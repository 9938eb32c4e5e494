"""What job files want of each host.

Knows node sets, words such as ``{host}``, and in which order jobs that depend on one another are started. Refuses to
know what is there already.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
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

    @property
    def labels(self) -> frozenset[str]:
        """The labels of all jobs that the files have for it."""
        return self.disabled | self.specs.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of all hosts.

    Attributes:
        hosts: By name, in the order in which the files name them.
        stages: Labels that can be started at the same time; those of a stage may need one of the stages before it.
        needs: By label, those that have to be ready on all their hosts before, since they are on others than its own.
        names: Of the clusters that the files describe.
        warnings: What is odd about it.
    """

    hosts: Mapping[str, HostWish]
    stages: Sequence[frozenset[str]]
    needs: Mapping[str, frozenset[str]]
    names: frozenset[str]
    warnings: Sequence[str] = ()


def wish_of(files: Sequence[JobFile], only: Sequence[str] = (), *, strangers: bool = False) -> Wish:
    """What the files want.

    Args:
        files: As they were read.
        only: Of these hosts alone; of jobs without ``Hosts``, on these.
        strangers: Whether one of ``only`` may be in no file; nothing is wanted of it.

    Raises:
        BadJobFile: A label stands twice for one host, jobs depend on each other in a circle, a word means nothing.
        Usage: One of ``only`` is in no file; a node set is malformed.
        BadHost: A host's name is impossible.
    """
    placed = _placed(files, only)
    where: dict[str, set[str]] = {}
    for host, its in placed.items():
        for label in its:
            where.setdefault(label, set()).add(host)
    order = _order(files)
    hosts = {host: _of_host(host, its, order, where) for host, its in placed.items() if not only or host in set(only)}
    for host in only:
        if host not in hosts and not strangers:
            raise Usage(f"{host} is a host of no job in {', '.join(file.path for file in files)}")
        hosts.setdefault(host, HostWish())
    needs = _needs(files, where)
    return Wish(
        hosts=hosts,
        stages=_stages(order, _depends(files, where), needs),
        needs=needs,
        names=frozenset(file.name for file in files),
        warnings=[*_never_ready(files), *(_left_out(needs, where, hosts) if only else ())],
    )


Placed = Mapping[str, Mapping[str, tuple[Entry, JobSpec]]]


def _placed(files: Iterable[JobFile], only: Sequence[str]) -> Placed:
    """The jobs of each host, by label."""
    placed: dict[str, dict[str, tuple[Entry, JobSpec]]] = {}
    for file in files:
        for entry in file.entries:
            hosts = _hosts(entry, only)
            for index, host in enumerate(hosts, 1):
                spec = entry.spec if host == HERE else replace_words(entry, host, index, hosts)
                found = entry, replace(spec, origin=file.name)
                before, _ = placed.setdefault(host, {}).setdefault(spec.label, found)
                if before != entry:
                    there = f" on {host}" if host else ""
                    raise BadJobFile(f"{entry.place}: {spec.label} is wanted{there} by {before.place} already")
    return placed


def _hosts(entry: Entry, only: Sequence[str]) -> Sequence[str]:
    if entry.hosts:
        return expand(entry.hosts, f"{entry.place}: Hosts")
    return only or (HERE,)


def _of_host(
    host: str, its: Mapping[str, tuple[Entry, JobSpec]], order: Sequence[str], where: Mapping[str, set[str]]
) -> HostWish:
    ordered = [its[label] for label in order if label in its]
    return HostWish(
        specs={spec.label: _local(spec, where, host) for entry, spec in ordered if not entry.disabled},
        disabled=frozenset(spec.label for entry, spec in ordered if entry.disabled),
    )


def _local(spec: JobSpec, where: Mapping[str, set[str]], host: str) -> JobSpec:
    """A job without what it depends on that is on other hosts only: that is waited for by whoever applies."""
    depends_on = tuple(label for label in spec.depends_on if host in where.get(label, {host}))
    return spec if depends_on == spec.depends_on else replace(spec, depends_on=depends_on)


def _entries(files: Iterable[JobFile]) -> Iterator[Entry]:
    return (entry for file in files for entry in file.entries)


def _depends(files: Iterable[JobFile], known: Container[str]) -> dict[str, set[str]]:
    """For each label, those that its jobs depend on and that are known."""
    depends: dict[str, set[str]] = {}
    for entry in _entries(files):
        depends.setdefault(entry.spec.label, set()).update(label for label in entry.spec.depends_on if label in known)
    return depends


def _order(files: Sequence[JobFile]) -> list[str]:
    """All labels, each after those that its job depends on, else as the files have them."""
    places: dict[str, str] = {}
    for entry in _entries(files):
        places.setdefault(entry.spec.label, entry.place)
    return in_order(_depends(files, places), places)


def in_order(depends: Mapping[str, Iterable[str]], places: Mapping[str, str]) -> list[str]:
    """Labels, each after those that it depends on, else as they come.

    Args:
        depends: By label, those that its job depends on.
        places: Of labels, where they stand in files.

    Raises:
        BadJobFile: They depend on each other in a circle, so that none of them would ever be started.
    """
    sorter = TopologicalSorter[str]()
    for label in depends:
        sorter.add(label)
    for label, its in depends.items():
        sorter.add(label, *its)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        circle = error.args[1]
        place = next((places[label] for label in circle if label in places), next(iter(places.values())))
        raise BadJobFile(f"{place}: DependsOn goes round in a circle: {' -> '.join(reversed(circle))}") from None


def _needs(files: Sequence[JobFile], where: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    depends = _depends(files, where)
    return {
        label: frozenset(one for one in its if not where[label] <= where[one])
        for label, its in depends.items()
        if label in where
    }


def _stages(
    order: Sequence[str], depends: Mapping[str, set[str]], needs: Mapping[str, frozenset[str]]
) -> list[frozenset[str]]:
    stage: dict[str, int] = {}
    for label in order:
        stage[label] = max((stage[one] + (one in needs[label]) for one in depends[label]), default=0)
    return [
        frozenset(it for it in order if stage[it] == number) for number in range(max(stage.values(), default=-1) + 1)
    ]


def _never_ready(files: Sequence[JobFile]) -> Iterator[str]:
    disabled = {entry.spec.label: entry.disabled for entry in _entries(files)}
    disabled |= {entry.spec.label: False for entry in _entries(files) if not entry.disabled}
    for entry in _entries(files):
        for label in () if entry.disabled else entry.spec.depends_on:
            if label not in disabled:
                yield f"{entry.place}: DependsOn names {label}, which no job here has; it waits for one that is ready"
            elif disabled[label]:
                yield f"{entry.place}: DependsOn names {label}, which is Disabled; nothing here makes it ready"


def _left_out(
    needs: Mapping[str, frozenset[str]], where: Mapping[str, set[str]], hosts: Mapping[str, HostWish]
) -> Iterator[str]:
    for label, its in needs.items():
        unseen = [one for one in its if not where[one] <= hosts.keys()]
        if unseen and any(label in wish.specs for wish in hosts.values()):
            yield f"{label} depends on {', '.join(sorted(unseen))} of hosts that are left out; those are not looked at"
