"""One request to the launchers of many hosts.

Knows the two ways to them, and decides between them: sockets that ssh forwards already, else whatever connecting takes.
Refuses to know what is asked and how answers look.
"""

from __future__ import annotations

import os

from relaunch.cli.over import ANSWER_S
from relaunch.client.fan import Fan, late, may_be_repeated, message
from relaunch.errors import OutcomeUnknown, RelaunchError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Results
    from relaunch.client.calls import Call
    from relaunch.client.fan import Took
    from relaunch.client.ssh import HostConnection

FOR_EVER_S = 10 * 365 * 86400.0
_AGAIN_S, _AGAIN_MAX_S = 0.1, 2.0
_TRIES = 5


def calls_of(over: Over, arguments: Arguments, make: Callable[[Arguments], Call]) -> dict[str, Call]:
    """What is asked of each host.

    Args:
        over: The hosts.
        arguments: As typed, with words that stand for something else on each host.
        make: The call that arguments mean.

    Raises:
        Usage: There is no such word.
        BadCall: The request is too large for one message.
    """
    from relaunch.cli.substitution import substituted

    calls = {host: make(substituted(arguments, over.hosts, number)) for number, host in enumerate(over.hosts)}
    for call in calls.values():
        message(call)
    return calls


def request(over: Over, arguments: Arguments, make: Callable[[Arguments], Call], results: Results) -> int:
    """Ask each host for what the arguments mean there, tell the results, and give the exit status."""
    calls = calls_of(over, arguments, make)
    ask(over, calls, results.took, answer_s=answer_within_s(over, calls))
    return results.status


def request_id() -> str:
    """An id for a request that may have to be made again."""
    return os.urandom(16).hex()


def answer_within_s(over: Over, calls: Mapping[str, Call]) -> float | None:
    """How long an answer may take; None where nobody can know, as when jobs are waited for."""
    slow = any(call.slow for call in calls.values())
    changes = any(call.changes for call in calls.values())
    if slow and (over.timeout_s is None or not changes):
        return None
    return over.timeout_s or ANSWER_S


def ask(over: Over, calls: Mapping[str, Call], took: Took, *, answer_s: float | None) -> None:
    """Ask each host, and give each one's answer as it comes, an error as a value.

    Where an answer is lost, a call that may be repeated is made again.

    Args:
        over: How hosts are reached.
        calls: What is asked of each.
        took: Gets each host's answer.
        answer_s: How long an answer may take; None is as long as it takes.
    """
    left = Fan(took, over.fanout, answer_s).ask(calls)
    if left:
        tries = {host: int(asked) for host, asked in left.items()}
        _ask_over_ssh(over, {host: calls[host] for host in left}, took, answer_s, tries)


def _ask_over_ssh(
    over: Over, calls: Mapping[str, Call], took: Took, answer_s: float | None, tries: dict[str, int]
) -> None:
    from relaunch.cli.interruption import run_until_interrupted
    from relaunch.client.cluster import Cluster
    from relaunch.client.ssh import PROMPTED_S

    async def ask_one(host: HostConnection) -> Any:
        return await _ask_again(host, calls[host.host], tries)

    async def work() -> None:
        cluster = Cluster(
            calls,
            fanout=over.fanout,
            timeout_s=(answer_s or FOR_EVER_S) + (PROMPTED_S if over.prompts else 0.0),
            connect_timeout_s=over.timeout_s,
            prompts=over.prompts,
        )
        async with cluster:
            async for host, answer in cluster.each(ask_one):
                took(host, _worded(host, calls[host], answer, tries[host], answer_s))

    run_until_interrupted(work())


async def _ask_again(host: HostConnection, call: Call, tries: dict[str, int]) -> Any:
    import asyncio

    lost: OutcomeUnknown | None = None
    attempt = 0
    while True:
        attempt += 1
        try:
            if lost is not None:
                await host.reach()
            tries[host.host] += 1
            return await host.call(call)
        except OutcomeUnknown as error:
            if not may_be_repeated(call):
                raise
            lost = error
        except Unreachable:
            # Nothing was asked this time. What became of the first time is as unknown as before.
            if lost is None:
                raise
        host.close()
        if attempt >= _TRIES and not call.changes:
            raise lost
        await asyncio.sleep(min(_AGAIN_S * 2 ** min(attempt, 10), _AGAIN_MAX_S))


def _worded(host: str, call: Call, answer: Any, tries: int, answer_s: float | None) -> Any:
    """An answer; where it is that nobody knows, in words that say how often it was asked."""
    if not isinstance(answer, Unreachable) or not (tries or isinstance(answer, OutcomeUnknown)):
        return answer
    if call.changes and may_be_repeated(call):
        name = call.method.rpartition(".")[2]
        again = f" {tries} times under one id" if tries > 1 else ""
        why = answer.message.removeprefix(f"{host}: ").partition("; ")[0]
        return OutcomeUnknown(
            f"{host}: {name} was sent{again}, and not answered ({why}): whether it was done is unknown; "
            f"look with: launch -H {host} list"
        )
    if isinstance(answer, OutcomeUnknown) and "within" in answer.message and answer_s is not None:
        return late(host, call, answer_s)
    return answer


def failed(answer: Any) -> bool:
    """Whether a host's answer is an error."""
    return isinstance(answer, RelaunchError)
