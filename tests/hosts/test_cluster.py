"""Many hosts over ssh: each answers for itself, and one stream tells of all of them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshNetwork
from tests.hosts.test_ssh import drive
from tests.system.launcher_host import wait_for

from relaunch.client.cluster import Cluster
from relaunch.client.connection import Connection
from relaunch.client.masters import close_all
from relaunch.errors import (
    BadHost,
    BadPattern,
    NoLauncher,
    NotInstalled,
    OutcomeUnknown,
    RelaunchError,
    TimedOut,
    Unreachable,
)
from relaunch.event import Event

Told = tuple[str, Event | RelaunchError]
AN_ANSWER_S = 2.0


async def host_name(connection: Connection) -> str:
    return (await connection.status()).host


async def submit(connection: Connection) -> int | None:
    return (await connection.submit("p1", ["sleep", "120"])).pid


def names(network: SshNetwork) -> list[str]:
    return [host.name for host in network.ssh_hosts]


def test_every_host_answers_for_itself(five: SshNetwork) -> None:
    """[R6]"""

    async def work() -> None:
        async with Cluster("host[1-5]") as cluster:
            assert list(cluster.hosts) == names(five)
            for _ in range(2):
                assert {host: name async for host, name in cluster.each(host_name)} == {n: n for n in names(five)}
            pids = {host: pid async for host, pid in cluster.each(submit)}
            jobs = {host: jobs async for host, jobs in cluster.each(lambda host: host.list("p1"))}
            for host, found in jobs.items():
                assert not isinstance(found, RelaunchError)
                assert [job.pid for job in found] == [pids[host]]

    drive(work())


def test_answers_come_as_they_come_and_failures_are_values(connect_ssh: ConnectSsh) -> None:
    """[R6]"""
    network = connect_ssh(Sshd(slow_s=2.0), Sshd(installed=False), Sshd(), Sshd(), Sshd(forwards=False))
    for number in (0, 1, 3, 4):
        network.ssh_hosts[number].serve()
    network.ssh_hosts[3].cut()

    async def work() -> None:
        async with Cluster(names(network), connect_timeout_s=4.0) as cluster:
            answers = [answer async for answer in cluster.each(host_name)]
        assert [host for host, _ in answers[-2:]] == ["host1", "host4"]
        by_host = dict(answers)
        assert (by_host["host1"], by_host["host5"]) == ("host1", "host5")
        kinds = {host: type(answer) for host, answer in answers if isinstance(answer, RelaunchError)}
        assert kinds == {"host2": NotInstalled, "host3": NoLauncher, "host4": TimedOut}

    drive(work())


def test_a_host_that_does_not_answer_in_time_is_unknown_and_can_be_asked_again(five: SshNetwork) -> None:
    """[R6] [W7]"""
    stuck = five.ssh_hosts[2]

    async def work() -> None:
        async with Cluster(names(five)) as cluster:
            _ = [answer async for answer in cluster.each(host_name)]
        async with Cluster(names(five)) as cluster:
            _ = [answer async for answer in cluster.each(host_name)]
            pid = stuck.launcher_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                begin = time.monotonic()
                answers = {host: answer async for host, answer in cluster.each(submit, timeout_s=1.5)}
                assert time.monotonic() - begin < 5
            finally:
                os.kill(pid, signal.SIGCONT)
            failed = {host: answer for host, answer in answers.items() if isinstance(answer, RelaunchError)}
            assert list(failed) == [stuck.name]
            assert type(failed[stuck.name]) is OutcomeUnknown
            assert "unknown" in failed[stuck.name].message
            assert {host: name async for host, name in cluster.each(host_name)} == {n: n for n in names(five)}

    drive(work())


def test_no_more_are_asked_at_a_time_than_is_said(five: SshNetwork) -> None:
    """[R6]"""
    asking = most = 0
    another = asyncio.Barrier(2)

    async def ask(connection: Connection) -> None:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await another.wait()
        await connection.status()
        asking -= 1

    async def work() -> None:
        async with Cluster([*names(five)[:4], "host1"], fanout=2) as cluster:
            assert [answer async for _, answer in cluster.each(ask)] == [None] * 4
        assert most == 2

    drive(work())


def test_whoever_loses_interest_leaves_nothing_behind(five: SshNetwork) -> None:
    """[R7]"""

    async def work() -> None:
        async with Cluster(names(five)) as cluster, aclosing(cluster.each(lambda host: host.wait())) as answers:
            async for _ in answers:
                break
        await close_all()
        assert five.masters() == []

    drive(work())
    # A host notices a moment later.
    wait_for(lambda: not any(host.bridges() for host in five.ssh_hosts), what="the end of every bridge")


def test_a_wrong_name_is_refused_before_any_host_is_asked(five: SshNetwork) -> None:
    """[R4]"""

    async def work() -> None:
        with pytest.raises(BadHost):
            Cluster(["host1", "-v"])
        assert five.ssh_runs() == 0

    drive(work())


async def until(told: AsyncGenerator[Told, None], *wanted: tuple[str, str]) -> list[tuple[str, str]]:
    """What is told, as host and kind of event or name of error, until all that is wanted has been."""
    missing, seen = set(wanted), list[tuple[str, str]]()
    while missing:
        host, what = await anext(told)
        seen.append((host, what.kind if isinstance(what, Event) else type(what).__name__))
        missing.discard(seen[-1])
    return seen


def test_one_stream_tells_of_all_hosts(five: SshNetwork) -> None:
    """[R6]"""
    since = time.time()

    async def work() -> None:
        async with Cluster(names(five)) as cluster, aclosing(cluster.events("p*", since_at=since)) as told:
            for host in five.ssh_hosts:
                host.launch("submit", "-l", "other", "-p", "true")
                host.launch("submit", "-l", "p1", "-p", "true")
            seen: list[Told] = []
            while len([1 for _, what in seen if isinstance(what, Event) and what.kind == "job.exited"]) < 5:
                seen.append(await anext(told))
        for host in five.ssh_hosts:
            events = [what for name, what in seen if name == host.name and isinstance(what, Event)]
            assert [event.kind for event in events] == ["job.submitted", "job.started", "job.exited"]
            assert [event.sequence for event in events] == sorted(event.sequence for event in events)
            assert all(host.name in event.source for event in events)

    drive(work())


def test_what_was_before_is_not_told_unless_asked_for(five: SshNetwork) -> None:
    """[R6]"""
    host = five.ssh_hosts[0]
    host.launch("submit", "-l", "p0", "-p", "true")
    wait_for(lambda: host.job("p0")["state"] == "exited", what="its end")
    before, ended_at = host.status()["journal"]["last_sequence"], time.time()
    # What is as old as an answer takes to come may be told: more is told rather than less.
    wait_for(lambda: time.time() - ended_at > AN_ANSWER_S, what="it is long ago")

    async def work() -> None:
        async with Cluster(names(five)) as cluster, aclosing(cluster.events()) as told:
            first = asyncio.ensure_future(anext(told))
            for number in range(1, 100):
                await asyncio.to_thread(host.launch, "submit", "-l", f"p{number}", "-p", "true")
                if first.done():
                    break
            name, what = await first
            assert isinstance(what, Event)
            assert (name, what.sequence > before) == (host.name, True)

    drive(work())


def test_what_happened_in_an_outage_is_told_after_it(five: SshNetwork) -> None:
    """[R5] [R6]"""
    cut, killed, shut = five.ssh_hosts[:3]

    async def work() -> None:
        since = time.time()
        cluster = Cluster(names(five), connect_timeout_s=3.0)
        async with cluster, aclosing(cluster.events(kinds=["job.exited"], since_at=since)) as told:
            for host in five.ssh_hosts:
                host.launch("submit", "-l", "p1", "-p", "true")
            await until(told, *((host.name, "job.exited") for host in five.ssh_hosts))
            cut.cut()
            killed.kill_sshd()
            shut.launch("shutdown")
            seen = await until(
                told, (cut.name, "OutcomeUnknown"), (killed.name, "HostUnreachable"), (shut.name, "NoLauncher")
            )
            assert not [what for host, what in seen if host in ("host4", "host5")]
            cut.launch("submit", "-l", "p2", "-p", "true")
            killed.launch("submit", "-l", "p2", "-p", "true")
            cut.heal()
            killed.start_sshd()
            shut.serve()
            shut.launch("submit", "-l", "p2", "-p", "true")
            seen = await until(told, *((host.name, "job.exited") for host in (cut, killed, shut)))
            assert len([what for _, what in seen if what == "job.exited"]) == 3

    drive(work())


def test_a_pattern_that_is_wrong_is_told_and_not_tried_again(five: SshNetwork) -> None:
    """[R6]"""

    async def work() -> None:
        async with Cluster(names(five)[:1]) as cluster, aclosing(cluster.events("[")) as told:
            host, what = await anext(told)
            assert (host, type(what)) == ("host1", BadPattern)

    drive(work())


def test_a_host_that_is_reached_later_tells_what_has_happened_since_the_stream_began(connect_ssh: ConnectSsh) -> None:
    """[R31] Whether or not something of before is asked for, and more of it than has happened since, or less."""
    network = connect_ssh(Sshd(), Sshd())
    network.serve()
    late = network.ssh_hosts[1]

    def run(*labels: str) -> None:
        for label in labels:
            late.launch("run", "-l", label, "--", "true")

    async def told_after(count: int | None, *labels: str) -> list[str | None]:
        late.kill_sshd()
        await close_all()
        cluster = Cluster(names(network), connect_timeout_s=3.0)
        async with cluster, aclosing(cluster.events("p*", kinds=["job.exited"], count=count)) as told:
            await until(told, (late.name, "HostUnreachable"))
            await asyncio.to_thread(run, *labels)
            late.start_sshd()
            found: list[str | None] = []
            while found[-1:] != [labels[-1]]:
                what = (await anext(told))[1]
                found += [what.label] if isinstance(what, Event) else []
        return found

    async def work() -> None:
        await asyncio.to_thread(run, "p1", "p2", "p3")
        assert await told_after(None, "p4", "p5") == ["p4", "p5"]
        assert await told_after(1, "p6", "p7") == ["p6", "p7"]
        assert await told_after(3, "p8") == ["p6", "p7", "p8"]
        await close_all()
        os.kill(pid := late.launcher_pid, signal.SIGSTOP)
        cluster = Cluster(names(network), fanout=1, connect_timeout_s=3.0, timeout_s=1.0)
        async with cluster, aclosing(cluster.events("p*", kinds=["job.exited"])) as told:
            try:
                host, what = await anext(told)
                assert (host, isinstance(what, Unreachable)) == (late.name, True)
                # Who says nothing keeps no other from its turn.
                await asyncio.to_thread(network.ssh_hosts[0].launch, "run", "-l", "p0", "--", "true")
                await until(told, ("host1", "job.exited"))
            finally:
                os.kill(pid, signal.SIGCONT)
            await asyncio.to_thread(run, "p9")
            await until(told, (late.name, "job.exited"))

    drive(work())
