"""Looking at what is on hosts, and doing what plans say, on all of them at once or a few at a time.

A host's steps are done in their order, and end with the first that fails. What was not begun is told as such: nobody is
left with half a change unsaid. Refuses to know where plans come from and how results look.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from relaunch.applying.plan import CHANGES, Step, plan
from relaunch.applying.wanted import HERE, Wish
from relaunch.client import calls
from relaunch.client.asking import until_answered
from relaunch.client.calls import Call
from relaunch.client.cluster import ANSWER_S, FANOUT, Cluster
from relaunch.client.connection import Connection
from relaunch.errors import NotReady, OutcomeUnknown, RelaunchError, TimedOut, from_wire
from relaunch.model import JobSpec, JobStatus

READY_S = 60.0
"""How long jobs may take to be ready where others wait for that."""
# Grace of a stop, start and answer take what they take; a connection that breaks is noticed all the same.
_FOR_EVER_S = 10 * 365 * 86400.0

Steps = tuple[Step, ...]
Plans = Mapping[str, Steps | RelaunchError]
State = Literal["done", "failed", "unknown", "not begun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one step on one host.

    Attributes:
        host: ``HERE`` for this one.
        step: What was to be done.
        state: ``unknown`` where the answer was lost.
        error: Why it was not done; for ``done``, that the job is not ready.
        job: As the launcher answered it.
    """

    host: str
    step: Step
    state: State
    error: RelaunchError | None = None
    job: Mapping[str, Any] | None = None


Took = Callable[[Result], None]


class Hosts:
    """The launchers of hosts, to be entered; this host's among them if it is named.

    Args:
        names: Of the hosts.
        fanout: How many are connected to at a time.
        timeout_s: How long a host may take to be reached and to answer what it can answer at once.
    """

    def __init__(self, names: Iterable[str], *, fanout: int = FANOUT, timeout_s: float = ANSWER_S) -> None:
        self._timeout_s = timeout_s
        self._here = Connection()
        others = [name for name in names if name != HERE]
        self._cluster = Cluster(others, fanout=fanout, timeout_s=timeout_s)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._cluster)
        self._exits.callback(self._here.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def ask(self, host: str, call: Call, *, waits: bool = False) -> Any:
        """One call's answer, as it is on the wire; what is lost is asked again, so that it must be safe to.

        Args:
            host: One of the hosts.
            call: What is asked.
            waits: Whether the answer may take any time.

        Raises:
            RelaunchError: What the launcher answered, or that it could not be reached, or not in time.
        """
        limit_s = _FOR_EVER_S if waits else self._timeout_s

        async def ask(connection: Connection) -> Any:
            return await until_answered(connection, lambda: connection.call(call))

        if host == HERE:
            try:
                async with asyncio.timeout(limit_s):
                    return await ask(self._here)
            except TimeoutError:
                raise TimedOut(f"the launcher did not answer within {limit_s:g} s") from None
        answer = await self._cluster.ask(host, ask, timeout_s=limit_s, waits=waits)
        if isinstance(answer, RelaunchError):
            raise answer
        return answer


async def look(hosts: Hosts, wish: Wish, *, prune: bool) -> Plans:
    """The plan for each host; for one that cannot be asked, the error."""

    async def one(host: str) -> Steps | RelaunchError:
        try:
            specs = await hosts.ask(host, calls.get_specs())
            jobs = await hosts.ask(host, calls.list_jobs())
        except RelaunchError as error:
            return error
        return plan(
            wish.hosts[host],
            map(JobSpec.from_wire, specs),
            map(JobStatus.from_wire, jobs),
            wish.names,
            prune=prune,
        )

    plans = await asyncio.gather(*map(one, wish.hosts))
    return dict(zip(wish.hosts, plans, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast it goes.

    Attributes:
        rolling: So many hosts at a time, each ready before the next; None is all at once.
        wait_ready: Whether jobs have to be ready at the end.
        ready_s: How long that may take.
    """

    rolling: int | None = None
    wait_ready: bool = False
    ready_s: float = READY_S


class Carrying:
    """Carries plans out.

    Args:
        hosts: Entered.
        wish: What the plans are for.
        plans: Of the hosts that could be asked.
        pace: How fast.
        took: Gets each result as it comes; each step that changes something has one in the end.
    """

    def __init__(self, hosts: Hosts, wish: Wish, plans: Mapping[str, Steps], pace: Pace, took: Took) -> None:
        self._hosts = hosts
        self._wish = wish
        self._pace = pace
        self._took = took
        self._owed = {host: [step for step in steps if step.verb in CHANGES] for host, steps in plans.items()}
        self._plans = plans
        self._failed: set[str] = set()
        self._under_way: dict[str, Step] = {}
        self._untold: dict[str, list[Result]] = {}

    async def carry_out(self) -> None:
        """Do what is to be done; returns when each step has been told of, also where it is cancelled."""
        try:
            await self._carry_stages()
        finally:
            self._tell_rest()

    async def _carry_stages(self) -> None:
        stages = self._wish.stages or (frozenset(),)
        for number, stage in enumerate(stages):
            last = number == len(stages) - 1 or not self._is_owed_after(number)
            if not await self._carry_stage(stage, last=last):
                break

    def _tell_rest(self) -> None:
        for results in self._untold.values():
            for result in results:
                self._took(result)
        for host, step in self._under_way.items():
            error = OutcomeUnknown("interrupted before it was answered")
            self._took(Result(host=host, step=step, state="unknown", error=error))
        for host, steps in self._owed.items():
            for step in steps:
                self._took(Result(host=host, step=step, state="not begun"))

    async def _carry_stage(self, stage: frozenset[str], *, last: bool) -> bool:
        """Do what one stage is about; gives whether the next may follow."""
        acting = [host for host in self._owed if host not in self._failed and self._due(host, stage)]
        size = self._pace.rolling or max(1, len(acting))
        for begin in range(0, len(acting), size):
            batch = acting[begin : begin + size]
            well = await asyncio.gather(*(self._carry_host(host, stage) for host in batch))
            if self._pace.rolling and not all(well):
                return False
        if last:
            return True
        return all(await asyncio.gather(*(self._await_stage(host, stage) for host in self._plans)))

    async def _carry_host(self, host: str, stage: frozenset[str]) -> bool:
        done = self._untold.setdefault(host, [])
        while steps := self._due(host, stage):
            step = self._under_way[host] = steps[0]
            self._owed[host].remove(step)
            result = await self._do(host, step)
            del self._under_way[host]
            if result.state != "done":
                self._took(result)
                self._failed.add(host)
                break
            done.append(result)
        waiting = self._pace.rolling is not None or self._pace.wait_ready
        errors = await self._ready_errors(host, [it.step.label for it in done if it.step.spec]) if waiting else {}
        del self._untold[host]
        for result in done:
            error = errors.get(result.step.label)
            self._took(Result(host=host, step=result.step, state="done", error=error, job=result.job))
        if errors:
            self._failed.add(host)
        return host not in self._failed

    async def _do(self, host: str, step: Step) -> Result:
        try:
            if step.spec is None:
                (outcome,) = await self._hosts.ask(host, calls.unload([step.label]), waits=True)
                error = from_wire(outcome["error"], {"message": outcome["message"]}) if outcome.get("error") else None
                return Result(host=host, step=step, state="failed" if error else "done", error=error)
            request = secrets.token_hex(16)
            call = calls.submit(step.spec.to_wire(), request, replace=True)
            job = await self._hosts.ask(host, call, waits=True)
        except OutcomeUnknown as error:
            return Result(host=host, step=step, state="unknown", error=error)
        except RelaunchError as error:
            return Result(host=host, step=step, state="failed", error=error)
        return Result(host=host, step=step, state="done", job=job)

    async def _await_stage(self, host: str, stage: frozenset[str]) -> bool:
        """Wait for all jobs of a stage on a host; those of the stages to come may depend on any of them."""
        labels = [label for label in self._wish.hosts[host].specs if label in stage]
        return host not in self._failed and not await self._ready_errors(host, labels)

    async def _ready_errors(self, host: str, labels: Sequence[str]) -> Mapping[str, RelaunchError]:
        """Wait until jobs are ready; gives why not, for those that are not."""
        if not labels:
            return {}
        try:
            outcomes = await self._hosts.ask(host, calls.await_ready(labels, self._pace.ready_s), waits=True)
        except RelaunchError as error:
            return dict.fromkeys(labels, NotReady(f"whether it is ready is unknown: {error.message}"))
        return {
            outcome["label"]: from_wire(outcome["error"], {"message": outcome["message"]})
            for outcome in outcomes
            if outcome.get("error")
        }

    def _due(self, host: str, stage: frozenset[str]) -> list[Step]:
        """What of a stage is left to do; stops belong to the first."""
        return [step for step in self._owed[host] if step.spec is None or step.label in stage]

    def _is_owed_after(self, number: int) -> bool:
        later: frozenset[str] = frozenset().union(*self._wish.stages[number + 1 :])
        return any(step.label in later for steps in self._owed.values() for step in steps)
