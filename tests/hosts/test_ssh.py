"""One host over ssh: the ways there, and that each is found, used and given up as it should be."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.hosts.conftest import ConnectSsh
from tests.hosts.network import run
from tests.hosts.sshd import CLIENT_ADDRESS, Sshd, SshHost, SshNetwork
from tests.system.launcher_host import LAUNCH, alive, wait_for

from relaunch.client.masters import close_all, connections
from relaunch.client.ssh import HostConnection, connect_host
from relaunch.errors import BadPlace, OutcomeUnknown, RelaunchError
from relaunch.places import make_private

NOTICED_S = 10.0


def drive(work: Awaitable[None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(50):
            await work

    asyncio.run(run())


def logins(host: SshHost) -> int:
    return (host.place / "sshd.log").read_text().count("Accepted publickey")


async def settled(host: SshHost) -> None:
    """Connect, and come back when it is known how."""
    async with connect_host(host.name) as launcher:
        await launcher.status()


@pytest.fixture
def network(five: SshNetwork) -> SshNetwork:
    return five


def test_a_launcher_on_another_host_is_asked_like_one_here(network: SshNetwork) -> None:
    """[R2]"""
    host = network.ssh_hosts[0]

    async def work() -> None:
        async with connect_host(host.name) as launcher:
            job = await launcher.submit("asked", ["sh", "-c", "echo hello; exit 3"], cwd="/")
            assert job.state in ("running", "finished")
            (job,) = await launcher.wait("asked")
            assert job.exit is not None
            assert job.exit.code == 3
            assert b"".join([piece async for piece in launcher.logs("asked")]) == b"hello\n"
            assert [event.kind async for event in launcher.events("asked")][-1] == "job.exited"
            assert (await launcher.status()).host == host.name
            assert launcher.client == CLIENT_ADDRESS

    drive(work())


def test_over_an_existing_connection_a_request_starts_no_process(network: SshNetwork) -> None:
    """[R2]"""
    host = network.ssh_hosts[0]

    async def work() -> None:
        await settled(host)
        runs, logged_in = network.ssh_runs(), logins(host)
        for _ in range(20):
            async with connect_host(host.name) as launcher:
                assert await launcher.list() == []
                assert launcher.how == "forward"
        assert (network.ssh_runs(), logins(host), host.bridges()) == (runs, logged_in, [])

    drive(work())


def test_the_bridge_is_left_once_there_is_something_quicker(network: SshNetwork) -> None:
    """[R2]"""
    host = network.ssh_hosts[0]

    async def work() -> None:
        async with connect_host(host.name) as launcher:
            ways = {launcher.how}
            while host.bridges():
                await launcher.list()
                ways.add(launcher.how)
            assert await launcher.list() == []
            assert (launcher.how, ways) == ("forward", {"bridge", "forward"})

    drive(work())


def test_many_who_connect_at_once_share_one_login(network: SshNetwork) -> None:
    """[R2]"""
    host = network.ssh_hosts[0]

    async def one() -> None:
        async with connect_host(host.name) as launcher:
            await launcher.list()

    async def work() -> None:
        await asyncio.gather(*(one() for _ in range(30)))
        assert logins(host) == 1
        assert len(network.masters()) == 1

    drive(work())


def test_where_forwarding_is_refused_the_bridge_is_the_way(connect_ssh: ConnectSsh) -> None:
    """[R2] [R7]"""
    network = connect_ssh(Sshd(forwards=False), Sshd(options=("DisableForwarding yes",)))

    async def work() -> None:
        for host in network.ssh_hosts:
            host.serve()
            for _ in range(3):
                async with connect_host(host.name) as launcher:
                    await launcher.submit("p1", ["true"])
                    await launcher.wait("p1")
                    assert launcher.how == "bridge"
            assert logins(host) == 1
            assert host.bridges() == []
        assert [one.how for one in connections()] == ["bridge", "bridge"]
        assert not list(network.directory.glob("*.sock"))

    drive(work())


def test_a_slow_login_shell_with_a_banner_is_passed_once(connect_ssh: ConnectSsh) -> None:
    """[R1] [R2]"""
    (host,) = connect_ssh(Sshd(slow_s=1.0)).ssh_hosts
    host.serve()

    async def work() -> None:
        await settled(host)
        begin = time.monotonic()
        async with connect_host(host.name) as launcher:
            assert await launcher.list() == []
        assert time.monotonic() - begin < 0.5

    drive(work())


def test_another_port_and_what_else_a_configuration_says(connect_ssh: ConnectSsh, tmp_path: Path) -> None:
    """[R2]"""
    network = connect_ssh(Sshd(port=2222))
    (host,) = network.ssh_hosts
    host.serve()
    network.write_config(
        f"LocalForward {tmp_path}/x.sock /nowhere",
        "RemoteCommand echo no",
        "RequestTTY force",
        "ForwardX11 yes",
        "PermitLocalCommand yes",
        f"LocalCommand touch {tmp_path}/local",
        f"ControlPath {tmp_path}/%C",
        "ControlMaster ask",
        "LogLevel QUIET",
    )

    async def work() -> None:
        await settled(host)
        async with connect_host(f"root@{host.name}") as launcher:
            assert await launcher.list() == []
        assert os.listdir(tmp_path) == []

    drive(work())


LISTED = (
    "import asyncio, relaunch\n"
    "async def work():\n"
    "    async with relaunch.connect_host('host1', prompts=True) as launcher:\n"
    "        print('jobs:', [job.label for job in await launcher.list()])\n"
    "asyncio.run(work())\n"
)


@pytest.mark.parametrize("command", [[sys.executable, "-c", LISTED], [str(LAUNCH), "-H", "host1", "list"]])
def test_a_person_is_asked_where_that_is_allowed(connect_ssh: ConnectSsh, command: list[str]) -> None:
    """[R2]"""
    network = connect_ssh(Sshd())
    (host,) = network.ssh_hosts
    host.serve()
    host.launch("submit", "-l", "asked/1", "-p", "sleep", "120")
    run("ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", str(network.user_key))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, os.environ | network.env)
    shown = b""
    while b"passphrase" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"open sesame\n")
    while b"asked/1" not in shown:
        shown += os.read(terminal, 1024)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    # The connection outlives the terminal.
    drive(settled(host))
    assert logins(host) == 1


def test_a_request_that_is_killed_leaves_no_bridge(connect_ssh: ConnectSsh) -> None:
    """[R7]"""
    network = connect_ssh(Sshd(forwards=False))
    (host,) = network.ssh_hosts
    host.serve()
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    script = (
        "import asyncio, relaunch.client.ssh as ssh\n"
        "async def work():\n"
        "    async with ssh.connect_host('host1') as launcher:\n"
        "        await asyncio.gather(launcher.wait('p1'), launcher.wait('p1'))\n"
        "asyncio.run(work())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | network.env) as client:
        wait_for(lambda: len(host.bridges()) == 3, what="bridges")
        client.kill()
    wait_for(lambda: not host.bridges(), what="the end of the bridges")
    wait_for(lambda: len(network.masters()) == 1, what="the end of all but the master")


def test_nothing_is_left_when_connections_are_closed(connect_ssh: ConnectSsh) -> None:
    """[R7]"""
    network = connect_ssh(Sshd(), Sshd(forwards=False), Sshd(installed=False))
    network.serve()

    async def work() -> None:
        for host in network.ssh_hosts:
            with suppress(RelaunchError):
                await settled(host)
        assert [one.host for one in connections()] == ["host1", "host2", "host3"]
        found = connections()[0]
        assert (found.pid in network.masters(), found.how) == (True, "forward")
        assert 0 <= found.age_s < 50
        assert network.directory.stat().st_mode & 0o777 == 0o700
        assert await close_all() == ["host1", "host2", "host3"]
        assert (connections(), network.masters(), list(network.directory.iterdir())) == ([], [], [])
        assert await close_all() == []

    drive(work())


def test_a_connection_that_nobody_uses_ends(network: SshNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R7]"""
    monkeypatch.setattr("relaunch.client.ssh_command.KEEP_S", 1)
    host = network.ssh_hosts[0]

    async def work() -> None:
        for _ in range(2):
            await settled(host)
            assert len(list(network.directory.glob("*.sock"))) == 1
            await asyncio.to_thread(wait_for, lambda: not network.masters(), what="the end of the master")
        assert (connections(), list(network.directory.glob("*.sock"))) == ([], [])

    drive(work())


def test_a_host_that_cannot_be_reached_leaves_nothing(network: SshNetwork) -> None:
    """[R7]"""
    host = network.ssh_hosts[1]
    host.kill_sshd()

    async def work() -> None:
        with pytest.raises(RelaunchError):
            await settled(host)
        assert (network.masters(), list(network.directory.iterdir())) == ([], [])

    drive(work())


def test_a_directory_that_is_open_to_others_or_another_s_is_refused(network: SshNetwork) -> None:
    """[R7] [W11] The one above it, too."""
    make_private(str(network.directory))

    async def refused(why: str) -> None:
        with pytest.raises(BadPlace, match=why):
            await settled(network.ssh_hosts[0])
        assert network.ssh_runs() == 0

    for directory in (network.directory, network.directory.parent):
        for mode in (0o750, 0o707):
            directory.chmod(mode)
            drive(refused(f"{directory} is open to others"))
        directory.chmod(0o700)
        os.chown(directory, 65534, 65534)
        drive(refused(f"{directory} belongs to user 65534"))
        os.chown(directory, 0, 0)


def test_when_sshd_is_killed_the_next_request_makes_a_new_connection(network: SshNetwork) -> None:
    """[R5]"""
    host = network.ssh_hosts[0]

    async def work() -> None:
        await settled(host)
        async with connect_host(host.name) as launcher:
            waiting = asyncio.create_task(launcher.wait("p1"))
            await launcher.submit("p1", ["sleep", "120"])
            host.kill_sshd()
            with suppress(RelaunchError):
                await asyncio.wait_for(waiting, NOTICED_S)
            host.start_sshd()
            assert [job.label for job in await launcher.list()] == ["p1"]
        assert len(network.masters()) == 1
        assert len(list(network.directory.glob("*.sock"))) == 1

    drive(work())


@pytest.mark.parametrize("forwards", [True, False], ids=["forward", "bridge"])
def test_when_the_master_is_killed_or_stuck_the_next_request_makes_another(
    connect_ssh: ConnectSsh, *, forwards: bool
) -> None:
    """[R5]"""
    network = connect_ssh(Sshd(forwards=forwards))
    (host,) = network.ssh_hosts
    host.serve()

    async def work() -> None:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            await settled(host)
            (before,) = network.masters()
            os.kill(before, number)
            began = time.monotonic()
            await settled(host)
            assert time.monotonic() - began < NOTICED_S
            (after,) = network.masters()
            assert after != before
            assert not alive(before)
            assert len(list(network.directory.glob("*.sock"))) == forwards

    drive(work())


async def cut_off_while(host: SshHost, ask: Callable[[HostConnection], Awaitable[object]]) -> None:
    """Ask something of a host, cut it off once it has been asked; the outcome is unknown in time."""
    async with connect_host(host.name) as launcher:
        await launcher.list()
        asked = asyncio.create_task(_await(ask(launcher)))
        await asyncio.to_thread(wait_for, lambda: host.jobs().get("waits", {}).get("state") == "stopping")
        host.cut()
        begin = time.monotonic()
        with pytest.raises(OutcomeUnknown, match=f"{host.name}.*unknown"):
            await asked
        assert time.monotonic() - begin < NOTICED_S


async def _await(asked: Awaitable[object]) -> object:
    return await asked


@pytest.mark.parametrize("forwards", [True, False], ids=["forward", "bridge"])
def test_cut_off_the_outcome_is_unknown_and_healed_it_works_again(connect_ssh: ConnectSsh, forwards: bool) -> None:
    """[R5] [W7]"""
    network = connect_ssh(Sshd(forwards=forwards))
    (host,) = network.ssh_hosts
    host.serve()

    async def stop(launcher: HostConnection) -> None:
        await launcher.submit("waits", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
        await launcher.stop("waits", timeout_s=40)

    async def work() -> None:
        await settled(host)
        await cut_off_while(host, stop)
        with pytest.raises(RelaunchError, match=host.name):
            async with connect_host(host.name, timeout_s=2.0) as launcher:
                await launcher.list()
        assert network.masters() == []
        host.heal()
        async with connect_host(host.name) as launcher:
            await launcher.stop("waits", timeout_s=0.1)

    drive(work())
