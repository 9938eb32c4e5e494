"""One request to the launchers of many hosts.

Knows the two ways to them, and decides between them: sockets that ssh forwards already, else whatever connecting takes.
Refuses to know what is asked and how answers look.
"""

from __future__ import annotations

import os
from time import monotonic

from relaunch.cli.interrupted import Interrupted, Interruptible
from relaunch.client.calls import ANSWER_S, FOR_EVER_S
from relaunch.client.fan import Fan, late, may_be_repeated, message
from relaunch.client.ssh_command import PROMPTED_S, TIMEOUT_S
from relaunch.errors import OutcomeUnknown, RelaunchError, TimedOut, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Results
    from relaunch.client.calls import Call
    from relaunch.client.cluster import Cluster
    from relaunch.client.fan import Took
    from relaunch.client.head_start import Begun
    from relaunch.client.ssh import HostConnection

_LEFT_S = 1.0


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


def request(
    over: Over,
    arguments: Arguments,
    make: Callable[[Arguments], Call],
    results: Results,
    *,
    then: Callable[[Any], Call] | None = None,
) -> int:
    """Ask each host for what the arguments mean there, tell the results, and give the exit status.

    Args:
        over: The hosts.
        arguments: As typed.
        make: The call that arguments mean.
        results: Gets the answers.
        then: What is asked of a host next, once it has answered; that is its result then.

    Raises:
        Interrupted: A signal came; what was known then has been told, and of which hosts nothing is.
    """
    calls = calls_of(over, arguments, make)
    next_calls: dict[str, Call] = {}
    with Interruptible() as interruptible:

        def took(host: str, answer: Any) -> None:
            with interruptible.held:
                if then is None or host in next_calls or failed(answer):
                    results.took(host, answer)
                else:
                    next_calls[host] = then(answer)

        asking = Asking(over, calls, took, interruptible, answer_s=answer_within_s(over, calls))

        def end() -> None:
            results.end({host: _half_done(host) if host in next_calls else asking.interrupted(host) for host in calls})

        results.begin()
        try:
            asking.ask(end)
            if next_calls:
                Asking(over, next_calls, took, interruptible, answer_s=answer_within_s(over, next_calls)).ask(end)
        except Interrupted:
            end()
            raise
        finally:
            results.close()
    return results.status


def _half_done(host: str) -> RelaunchError:
    return OutcomeUnknown(f"{host}: interrupted after it was done; what has come of it, see with: {_look(host)}")


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


class Asking:
    """One call to each host, the quickest way first; both ways at once, so that no host waits for another.

    Where an answer is lost, a call that may be repeated is made again.

    Args:
        over: How hosts are reached.
        calls: What is asked of each.
        took: Gets each host's answer as it comes, an error as a value.
        interruptible: Entered already.
        answer_s: How long an answer may take; None is as long as it takes.
    """

    def __init__(
        self,
        over: Over,
        calls: Mapping[str, Call],
        took: Took,
        interruptible: Interruptible,
        *,
        answer_s: float | None,
    ) -> None:
        self._interruptible = interruptible
        self._over = over
        self._calls = calls
        self._took = took
        self._answer_s = answer_s
        self._fan = Fan(took, over.fanout, answer_s)
        self._tries: dict[str, int] = {}
        self._begun_at = 0.0

    def ask(self, end: Callable[[], None] = lambda: None) -> None:
        """Ask, and return when each host has answered or is too late; where a signal ends it, ``end`` may be called."""
        self._begun_at = monotonic()
        self._fan.begin(self._calls)
        while self._fan.busy and not self._fan.left:
            self._fan.turn()
        if not self._fan.left:
            return
        begun: dict[str, Begun] = {}
        try:
            # Else a signal could come between the start of a process and the word of who is to end it.
            with self._interruptible.held:
                begun |= self._begun()
            from relaunch.cli.interruption import run_until_interrupted

            run_until_interrupted(self._go_on_over_ssh(begun), end)
        finally:
            for one in begun.values():
                one.drop()

    def interrupted(self, host: str) -> RelaunchError:
        """What is known of a host that has not answered when a signal comes."""
        if not self._calls[host].changes:
            return OutcomeUnknown(f"{host}: interrupted before it answered")
        if not self._tries.get(host) and host not in self._fan.asked:
            return TimedOut(f"{host}: interrupted before it was asked; nothing was done")
        return OutcomeUnknown(
            f"{host}: interrupted before it answered: whether it was done is unknown; look with: {_look(host)}"
        )

    def _begun(self) -> dict[str, Begun]:
        """What has been begun of the connections that are still to be made; the caller's to end."""
        from relaunch.client.head_start import begin

        over, hosts = self._over, list(self._fan.left)
        usual_s = PROMPTED_S if over.prompts else min(self._answer_s or TIMEOUT_S, TIMEOUT_S)
        return begin(hosts[: over.fanout], over.timeout_s or usual_s, prompts=over.prompts)

    async def _go_on_over_ssh(self, begun: dict[str, Begun]) -> None:
        import asyncio

        from relaunch.client.asking import tasks
        from relaunch.client.cluster import Cluster

        over, fan = self._over, self._fan
        cluster = Cluster(
            self._calls,
            fanout=over.fanout,
            timeout_s=(self._answer_s or FOR_EVER_S) + (PROMPTED_S if over.prompts else 0.0),
            connect_timeout_s=over.timeout_s,
            prompts=over.prompts,
        )
        cluster.take_over(begun)
        begun.clear()
        readable = asyncio.Event()
        async with cluster, tasks() as asked:
            asyncio.get_running_loop().add_reader(fan.fileno(), readable.set)
            try:
                while True:
                    left, fan.left = fan.left, {}
                    for host, was_asked in left.items():
                        self._tries[host] = int(was_asked)
                        asked.create_task(self._ask_over_ssh(cluster, host))
                    if not fan.busy:
                        break
                    await _wait(readable, fan.next_s)
                    fan.turn(waits=False)
            finally:
                asyncio.get_running_loop().remove_reader(fan.fileno())

    async def _ask_over_ssh(self, cluster: Cluster, host: str) -> None:
        from relaunch.client.asking import TRIES, until_answered

        call = self._calls[host]
        # What changes something is asked for as long as there is time; what does not, not for ever.
        tries = (None if call.changes else TRIES) if may_be_repeated(call) else 1

        async def ask(connection: HostConnection) -> Any:
            async def once() -> Any:
                self._tries[host] += 1
                return await connection.call(call)

            return await until_answered(connection, once, tries=tries)

        took_s = monotonic() - self._begun_at if self._tries[host] else 0.0
        left_s = None if self._answer_s is None or not took_s else max(_LEFT_S, round(self._answer_s - took_s))
        answer = await cluster.ask(host, ask, timeout_s=left_s, waits=call.slow)
        self._took(host, self._worded(host, answer))

    def _worded(self, host: str, answer: Any) -> Any:
        """An answer; where it is that nobody knows, in words that say how often it was asked."""
        call, tries = self._calls[host], self._tries[host]
        if not isinstance(answer, Unreachable) or not (tries or isinstance(answer, OutcomeUnknown)):
            return answer
        if call.changes and may_be_repeated(call):
            name = call.method.rpartition(".")[2]
            again = f" {tries} times under one id" if tries > 1 else ""
            why = answer.message.removeprefix(f"{host}: ").partition("; ")[0]
            return OutcomeUnknown(
                f"{host}: {name} was sent{again}, and not answered ({why}): whether it was done is unknown; "
                f"look with: {_look(host)}"
            )
        if isinstance(answer, OutcomeUnknown) and "within" in answer.message and self._answer_s is not None:
            return late(host, call, self._answer_s)
        return answer


async def _wait(event: Any, timeout_s: float | None) -> None:
    import asyncio

    event.clear()
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


def _look(host: str) -> str:
    return f"launch -H {host} list"


def failed(answer: Any) -> bool:
    """Whether a host's answer is an error."""
    return isinstance(answer, RelaunchError)
