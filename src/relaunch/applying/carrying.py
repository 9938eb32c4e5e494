"""Doing what plans say, on all hosts at once or a few at a time.

A host's steps are done in their order, and end with the first that fails. What was not begun is told as such: nobody is
left with half a change unsaid. Refuses to know where plans come from and how results look.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from relaunch.applying.looking import Hosts, Plans
from relaunch.applying.plan import CHANGES, Step, not_stayed
from relaunch.applying.wanted import HERE, Wish
from relaunch.client import calls
from relaunch.client.asking import tasks
from relaunch.errors import NoSuchLabel, NotReady, OutcomeUnknown, RelaunchError, from_wire

READY_S = 60.0
"""How long jobs may take to be ready where others wait for that."""
SETTLE_S = 2.0
"""How long a job has to stay up in a roll, where it has no way to show that it is ready."""

State = Literal["done", "failed", "unknown", "not begun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one step on one host.

    Attributes:
        host: ``HERE`` for this one.
        step: What was to be done.
        state: ``unknown`` where the answer was lost.
        error: Why it was not done, or not begun where that is not plain; for ``done``, that the job is not ready.
        job: As the launcher last told it.
    """

    host: str
    step: Step
    state: State
    error: RelaunchError | None = None
    job: Mapping[str, Any] | None = None


Took = Callable[[Result], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast it goes.

    Attributes:
        rolling: So many hosts at a time, each ready before the next; None is all at once.
        wait_ready: Whether all jobs that are wanted have to be ready at the end.
        ready_s: How long that may take.
        settle_s: How long a job without ``ready`` in its spec has to have stayed up to count as ready.
    """

    rolling: int | None = None
    wait_ready: bool = False
    ready_s: float = READY_S
    settle_s: float = 0.0


@dataclass(slots=True)
class _Share:
    """One host's share of what is to be done.

    Attributes:
        owed: What is not begun.
        kept: The labels of jobs that stay as they are.
        under_way: What is being done.
        untold: What is done, until it is known whether it is ready.
        watched: What stays as it is and has to be ready, until it is known whether it is.
        ends: Whether nothing more is begun.
        why: Why not, where that is not plain.
    """

    owed: list[Step]
    kept: frozenset[str] = frozenset()
    under_way: Step | None = None
    untold: list[Result] = field(default_factory=list)
    watched: list[Step] = field(default_factory=list)
    ends: bool = False
    why: RelaunchError | None = None

    def due(self, stage: frozenset[str]) -> list[Step]:
        """What of a stage is left to do; stops belong to the first."""
        return [] if self.ends else [step for step in self.owed if step.spec is None or step.label in stage]

    def end(self, why: RelaunchError | None = None) -> None:
        """Begin nothing more."""
        self.ends, self.why = True, why


class Carrying:
    """Carries plans out.

    Args:
        hosts: Entered.
        wish: What the plans are for.
        plans: Of all the hosts.
        pace: How fast.
        took: Gets each result as it comes; each step that changes something has one in the end, and where all have to
            be ready, each that keeps something.
    """

    def __init__(self, hosts: Hosts, wish: Wish, plans: Plans, pace: Pace, took: Took) -> None:
        self._hosts = hosts
        self._wish = wish
        self._pace = pace
        self._took = took
        self._shares = {
            host: _Share(
                [step for step in steps if step.verb in CHANGES],
                frozenset(step.label for step in steps if step.verb == "keep"),
                watched=[step for step in steps if step.verb == "keep" and pace.wait_ready],
            )
            for host, steps in plans.items()
            if not isinstance(steps, RelaunchError)
        }

    async def carry_out(self) -> None:
        """Do what is to be done; returns when each step has been told of, also where it is cancelled."""
        try:
            for stage in self._wish.stages or (frozenset[str](),):
                if not await self._carry_stage(stage):
                    break
            async with tasks() as group:
                for host, share in self._shares.items():
                    group.create_task(self._await_kept(host, share))
        finally:
            self.end()

    def end(self) -> None:
        """Tell of all that has not been told: nothing more is begun."""
        for host, share in self._shares.items():
            early = NotReady("interrupted before it was ready")
            rest = [replace(result, error=early) for result in share.untold]
            rest += [Result(host=host, step=step, state="done", error=early) for step in share.watched]
            if share.under_way is not None:
                error = OutcomeUnknown("interrupted before it was answered")
                rest.append(Result(host=host, step=share.under_way, state="unknown", error=error))
            rest += [Result(host=host, step=step, state="not begun", error=share.why) for step in share.owed]
            share.untold, share.watched, share.under_way, share.owed = [], [], None, []
            for result in rest:
                self._took(result)

    async def _carry_stage(self, stage: frozenset[str]) -> bool:
        """Do what one stage is about; gives whether the next may follow."""
        acting = [host for host, share in self._shares.items() if share.due(stage)]
        labels = {step.label for host in acting for step in self._shares[host].due(stage) if step.spec}
        needed = frozenset[str]().union(*(self._wish.needs.get(label, ()) for label in labels))
        unready = await self._unready({host: wish.labels & needed for host, wish in self._wish.hosts.items()})
        if self._pace.rolling is None:
            return await self._carry_hosts(acting, stage, unready)
        # No host is touched while the same job is not ready on another, which was done before.
        kept = await self._unready({host: share.kept & labels for host, share in self._shares.items()})
        for error in kept.values():
            for host in acting:
                self._shares[host].end(error)
        size = self._pace.rolling
        for begin in range(0, 0 if kept else len(acting), size):
            if not await self._carry_hosts(acting[begin : begin + size], stage, unready):
                return False
        return not kept

    async def _carry_hosts(
        self, hosts: Sequence[str], stage: frozenset[str], unready: Mapping[str, RelaunchError]
    ) -> bool:
        """Do what is due on hosts, at the same time; gives whether all went well, or may go on all the same."""
        async with tasks() as group:
            for host in hosts:
                group.create_task(self._carry_host(host, stage, unready))
        return self._pace.rolling is None or not any(self._shares[host].ends for host in hosts)

    async def _carry_host(self, host: str, stage: frozenset[str], unready: Mapping[str, RelaunchError]) -> None:
        share = self._shares[host]
        waits = self._pace.rolling is not None or self._pace.wait_ready
        while steps := share.due(stage):
            step = steps[0]
            missing = [unready[label] for label in sorted(self._wish.needs.get(step.label, ())) if label in unready]
            if step.spec and missing:
                share.end(missing[0])
                break
            share.owed.remove(step)
            share.under_way = step
            result = await self._do(host, step)
            share.under_way = None
            if result.state == "done" and waits and step.spec:
                share.untold.append(result)
                continue
            self._took(result)
            if result.state != "done":
                share.end()
        if share.untold:
            await self._await_done(host, share)

    async def _await_done(self, host: str, share: _Share) -> None:
        """Wait until what is done on a host is ready, and tell of it."""
        jobs, errors = await self._ready(host, [result.step.label for result in share.untold])
        done, share.untold = share.untold, []
        for result in done:
            label = result.step.label
            job = jobs.get(label) or result.job
            self._took(Result(host=host, step=result.step, state="done", error=errors.get(label), job=job))
        if errors:
            share.end()

    async def _await_kept(self, host: str, share: _Share) -> None:
        """Wait until what stays as it is on a host is ready, where it has to be, and tell of it."""
        jobs, errors = await self._ready(host, [step.label for step in share.watched])
        watched, share.watched = share.watched, []
        for step in watched:
            self._took(
                Result(host=host, step=step, state="done", error=errors.get(step.label), job=jobs.get(step.label))
            )

    async def _do(self, host: str, step: Step) -> Result:
        job = None
        try:
            if step.spec is None:
                for outcome in await self._hosts.ask(host, calls.unload([step.label]), waits=True):
                    _check(outcome)
            else:
                call = calls.submit(step.spec.to_wire(), secrets.token_hex(16), replace=True)
                job = await self._hosts.ask(host, call, waits=True)
        except NoSuchLabel:
            # It was asked twice, the first answer lost; or somebody else was quicker.
            pass
        except OutcomeUnknown as error:
            return Result(host=host, step=step, state="unknown", error=error)
        except RelaunchError as error:
            return Result(host=host, step=step, state="failed", error=error)
        return Result(host=host, step=step, state="done", job=job)

    async def _unready(self, labels: Mapping[str, Collection[str]]) -> Mapping[str, RelaunchError]:
        """Wait until jobs are ready, by host; for a label that is not on one of them, where and why not."""
        found: dict[str, RelaunchError] = {}

        async def one(host: str) -> None:
            for label, why in (await self._why_not_ready(host, sorted(labels[host]))).items():
                where = f"{label} on {host}" if host != HERE else f"{label} here"
                found.setdefault(label, NotReady(f"{where} is not ready: {why}"))

        async with tasks() as group:
            for host, its in labels.items():
                if its:
                    group.create_task(one(host))
        return found

    async def _why_not_ready(self, host: str, labels: Sequence[str]) -> Mapping[str, str]:
        share = self._shares.get(host)
        if share is None:
            return dict.fromkeys(labels, "the host could not be asked")
        why = {label: "it is Disabled" for label in labels if label in self._wish.hosts[host].disabled}
        owed = {step.label for step in share.owed}
        why |= {label: "it was not begun" for label in labels if label in owed and label not in why}
        _, errors = await self._ready(host, [label for label in labels if label not in why])
        return why | {
            label: error.message.partition(" is not ready: ")[2] or error.message for label, error in errors.items()
        }

    async def _ready(
        self, host: str, labels: Sequence[str]
    ) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, RelaunchError]]:
        """Wait until jobs are ready; gives the jobs, and why not for those that are not."""
        if not labels:
            return {}, {}
        try:
            outcomes = await self._hosts.ask(host, calls.await_ready(labels, self._pace.ready_s), waits=True)
        except RelaunchError as error:
            return {}, dict.fromkeys(labels, NotReady(f"whether it is ready is unknown: {error.message}"))
        jobs: dict[str, Mapping[str, Any]] = {}
        errors: dict[str, RelaunchError] = {}
        for outcome in outcomes:
            if outcome.get("job"):
                jobs[outcome["label"]] = outcome["job"]
            try:
                _check(outcome)
            except RelaunchError as error:
                errors[outcome["label"]] = error
        unsettled = await self._unsettled(host, {label: job for label, job in jobs.items() if label not in errors})
        return jobs, {**errors, **unsettled}

    async def _unsettled(self, host: str, jobs: Mapping[str, Mapping[str, Any]]) -> Mapping[str, RelaunchError]:
        """Wait until those of the jobs that show in no other way that they are ready have stayed up for a while.

        Args:
            host: Where they are.
            jobs: By label, as the launcher has just told them.

        Returns:
            Why not, for those that have not.
        """
        specs = self._wish.hosts[host].specs
        bare = {
            label: job
            for label, job in jobs.items()
            if job["state"] == "running" and label in specs and specs[label].ready is None
        }
        left_s = max((self._pace.settle_s - (job.get("uptime_s") or 0.0) for job in bare.values()), default=0.0)
        if left_s <= 0:
            return {}
        await asyncio.sleep(left_s)
        try:
            now = {job["label"]: job for job in await self._hosts.ask(host, calls.list_jobs())}
        except RelaunchError as error:
            return dict.fromkeys(bare, NotReady(f"whether it has stayed up is unknown: {error.message}"))
        why = {label: not_stayed(job, now.get(label)) for label, job in bare.items()}
        limit = f"{self._pace.settle_s:g} s"
        return {
            label: NotReady(f"{label} is not ready: it did not stay up for {limit}: {reason}")
            for label, reason in why.items()
            if reason
        }


def _check(outcome: Mapping[str, Any]) -> None:
    if outcome.get("error"):
        raise from_wire(outcome["error"], {"message": outcome["message"]})
