"""The ssh connections that stay: what is said to one, what one leaves, and that what did not work is tried again."""

import asyncio
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshHost, SshNetwork
from tests.system.launcher_host import wait_for

from relaunch.client import mux
from relaunch.client.forwards import masters_directory
from relaunch.client.leftovers import clean, clean_in_turn, remove, take_turn
from relaunch.client.masters import AGAIN_S, Master, Record, connections
from relaunch.client.ssh import connect_host


def drive(work: Awaitable[None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(50):
            await work

    asyncio.run(run())


async def settled(host: SshHost) -> None:
    """Connect, and come back when it is known how."""
    async with connect_host(host.name) as launcher:
        await launcher.status()


@pytest.fixture
def network(five: SshNetwork) -> SshNetwork:
    return five


def kill_master(host: SshHost, network: SshNetwork) -> None:
    """Kill it, so that it leaves its socket too."""
    (pid,) = [one.pid for one in connections() if one.host == host.name]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in network.masters(), what="the end of a master")


def test_what_masters_have_left_is_removed_by_a_command_for_another_host(
    network: SshNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[R7] Its forward, its record and its turn, after whatever end."""
    first, second, *_ = network.ssh_hosts
    monkeypatch.setattr("relaunch.client.leftovers.LISTED_S", 0.0)
    monkeypatch.setattr("relaunch.client.leftovers.PROBED_S", 0.0)

    async def work() -> None:
        await settled(first)
        stem = Path(Master.of(first.name).control).stem
        await asyncio.to_thread(kill_master, first, network)
        assert len(list(network.directory.glob(f"{stem}.*"))) >= 3
        await settled(second)
        assert list(network.directory.glob(f"{stem}.*")) == []
        assert [one.host for one in connections()] == [second.name]

    drive(work())


def test_what_is_left_is_removed_by_a_quick_command_for_another_host_too(network: SshNetwork) -> None:
    """[R7] [R16] Which connects to nobody anew; whether the connection ended by itself or was killed."""
    first, second, *_ = network.ssh_hosts
    client = Client(network, second.name)

    async def work() -> None:
        stem = Path(Master.of(first.name).control).stem
        for kill in (False, True):
            await asyncio.gather(settled(first), settled(second))
            if kill:
                await asyncio.to_thread(kill_master, first, network)
                remove(f"{masters_directory()}.swept")
            else:
                assert await mux.terminate(Master.of(first.name).control, 3.0)
                await asyncio.to_thread(wait_for, lambda: len(network.masters()) == 1, what="the end of a master")
            assert list(network.directory.glob(f"{stem}.*.sock"))
            runs = network.ssh_runs()
            await asyncio.to_thread(client.over, "list")
            assert list(network.directory.glob(f"{stem}.*")) == []
            assert network.ssh_runs() == runs

    drive(work())


def test_a_slow_launcher_costs_nobody_the_connection(network: SshNetwork) -> None:
    """[R29] It is asked, and waited for; a stream over the same connection goes on."""
    host, *_ = network.ssh_hosts

    async def work() -> None:
        await settled(host)
        before = network.masters()
        pid = await asyncio.to_thread(lambda: host.launcher_pid)
        async with connect_host(host.name) as watching, aclosing(watching.events(follow=True)) as events:
            told = asyncio.create_task(anext(events))
            await watching.list()
            os.kill(pid, signal.SIGSTOP)
            try:
                async with connect_host(host.name) as launcher:
                    assert launcher.how == "bridge"
                    submitted = asyncio.create_task(launcher.submit("p1", ["true"]))
                    os.kill(pid, signal.SIGCONT)
                    await submitted
            finally:
                os.kill(pid, signal.SIGCONT)
            assert (await told).label == "p1"
        assert network.masters() == before

    drive(work())


def test_a_forward_that_nobody_knows_of_any_more_is_taken_back(network: SshNetwork) -> None:
    """[R7] As one of a process that was killed before it had put down what it had made."""
    host, *_ = network.ssh_hosts

    async def work() -> None:
        await settled(host)
        master = Master.of(host.name)
        record, lost = master.read(), await master.forward(str(host.socket))
        assert record is not None
        assert lost is not None
        master.write(record._replace(how=None))
        await settled(host)
        (left,) = network.directory.glob("*.sock")
        record = master.read()
        assert record is not None
        assert str(left) == record.path

    drive(work())


def test_whoever_is_killed_while_it_makes_a_master_is_in_nobody_s_way(connect_ssh: ConnectSsh) -> None:
    """[R7] [R15] Early or late: the next command goes on from there, and then nothing is left but what stays."""
    network = connect_ssh(Sshd(slow_s=0.3))
    (host,) = network.ssh_hosts
    host.serve()
    client = Client(network, host.name)
    steps = {
        "its turn": lambda: list(network.directory.glob("*.turn")),
        "the master": lambda: list(network.directory.glob("*.control")),
    }
    for step, is_there in steps.items():
        with client.popen("-H", host.name, "list") as process:
            wait_for(is_there, what=step)
            process.kill()
        client.over("list")
        wait_for(lambda: len(network.masters()) == 1 and not host.bridges(), what=f"the end of all but one, {step}")
        assert len(list(network.directory.glob("*.sock"))) == 1, step
        client.launch("connections", "--close")
        assert list(network.directory.iterdir()) == [], step


def test_a_turn_that_is_taken_is_not_swept_away(network: SshNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R7] Whoever is about to make a master is left alone, and nobody else may make it."""
    first, second, *_ = network.ssh_hosts
    monkeypatch.setattr("relaunch.client.leftovers.LISTED_S", 0.0)
    monkeypatch.setattr("relaunch.client.leftovers.PROBED_S", 0.0)

    async def work() -> None:
        await settled(second)
        master = Master.of(first.name)
        turn = master.take_turn()
        assert turn is not None
        await settled(second)
        assert master.take_turn() is None
        turn.give_back()
        again = master.take_turn()
        assert again is not None
        again.give_back()

    drive(work())


def test_a_forward_that_did_not_work_once_is_tried_again(network: SshNetwork) -> None:
    """[R2] As one that was tried while no launcher ran; but not at every request."""
    host, *_ = network.ssh_hosts

    async def work() -> None:
        await settled(host)
        master = Master.of(host.name)
        record = master.read()
        assert record is not None
        assert record.how == "forward"
        as_failed = record._replace(how="bridge", path="", tried_at=time.time() - AGAIN_S / 2)
        master.write(as_failed)
        await settled(host)
        assert master.read() == as_failed
        master.write(as_failed._replace(tried_at=time.time() - AGAIN_S))
        await settled(host)
        found = master.read()
        assert found is not None
        assert (found.how, bool(found.path)) == ("forward", True)
        async with connect_host(host.name) as launcher:
            assert launcher.how == "forward"

    drive(work())


def test_a_launcher_that_goes_away_meanwhile_says_nothing_of_forwards(network: SshNetwork) -> None:
    """[R2] However often it happens just then, the next connection is a forward again."""
    host, *_ = network.ssh_hosts

    async def work() -> None:
        for _ in range(3):
            launcher = connect_host(host.name)
            await launcher.reach()
            await asyncio.to_thread(host.launch, "shutdown")
            await launcher.aclose()
            await asyncio.to_thread(host.serve)
            await settled(host)
            record = Master.of(host.name).read()
            assert record is not None
            assert record.how == "forward"

    drive(work())


def test_orders_to_a_master_are_carried_out(network: SshNetwork, tmp_path: Path) -> None:
    """[R2] In the protocol of the ssh that is installed here."""
    host, *_ = network.ssh_hosts

    async def work() -> None:
        await settled(host)
        control = Master.of(host.name).control
        assert await mux.pid(control, 3.0) in network.masters()
        path = str(network.client / "a b%h.sock")
        assert await mux.forward(control, path, str(host.socket), 3.0)
        assert not await mux.forward(control, f"{path}/no", str(host.socket), 3.0)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"method":"org.varlink.service.GetInfo"}\0')
        assert b"relaunch" in await reader.readuntil(b"\0")
        writer.close()
        assert await mux.cancel(control, path, str(host.socket), 3.0)
        assert not await mux.cancel(control, path, str(host.socket), 3.0)
        assert await mux.terminate(control, 3.0)
        await asyncio.to_thread(wait_for, lambda: not network.masters(), what="the end of the master")
        assert await mux.pid(control, 3.0) is None

    drive(work())


def test_only_one_has_a_turn_though_others_clear_up(tmp_path: Path) -> None:
    """[R7] Its file is removed by whoever has it, and by nobody else."""
    stem = str(tmp_path / "0123")
    turn = take_turn(stem)
    assert turn is not None
    Path(f"{stem}.json").touch()
    clean_in_turn(stem)
    assert len(list(tmp_path.iterdir())) == 2
    clean(stem)
    assert [one.name for one in tmp_path.iterdir()] == ["0123.turn"]
    assert take_turn(stem) is None
    turn.end()
    assert list(tmp_path.iterdir()) == []
    having = threading.Lock()

    def compete() -> int:
        times = 0
        while times < 100:
            if (turn := take_turn(stem)) is not None:
                assert having.acquire(blocking=False)
                times += 1
                having.release()
                turn.end() if times % 2 else turn.give_back()
            clean_in_turn(stem)
        return times

    with ThreadPoolExecutor(4) as threads:
        assert [one.result(30) for one in [threads.submit(compete) for _ in range(4)]] == [100] * 4


def test_a_master_whose_backlog_is_full_is_waited_for(tmp_path: Path) -> None:
    """[R29] Many who ask at once are no sign that it is stuck."""
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as before:
        listener.bind(path)
        listener.listen(0)
        before.connect(path)

        def play() -> None:
            listener.accept()[0].close()
            peer, _ = listener.accept()
            with peer:
                peer.sendall(HELLO + struct.pack(">IIII", 12, 0x80000005, 1, 77))
                peer.recv(999)

        async def ask() -> int | None:
            asked = asyncio.create_task(mux.pid(path, 20.0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            threading.Thread(target=play).start()
            return await asked

        assert asyncio.run(ask()) == 77


def test_where_nothing_can_be_put_down_nothing_is_left(tmp_path: Path) -> None:
    """[R7] Nor is what was known before taken for what is."""
    stem = tmp_path / "0123"
    master = Master("host1", str(stem))
    master.write(Record(host="host1", how="forward", path="/x"))
    (tmp_path / "0123.new").mkdir()
    master.write(Record(host="host1", how="bridge"))
    assert master.read() is None


HELLO = struct.pack(">III", 8, 1, 4)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff\xff\xff\xff",
        struct.pack(">III", 8, 1, 99),
        HELLO,
        HELLO + struct.pack(">I", 0),
        HELLO + struct.pack(">III", 8, 0x80000003, 1),
        HELLO + struct.pack(">IIII", 12, 0x80000005, 2, 77),
        HELLO + struct.pack(">IIIIB", 13, 0x80000005, 1, 77, 0)[:-2],
    ],
)
@pytest.mark.parametrize("stays", [False, True])
def test_what_does_not_answer_as_a_master_should_is_none(tmp_path: Path, said: bytes, *, stays: bool) -> None:
    """[R5] Nor does it hold anybody up."""
    path = str(tmp_path / "control")
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def play() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(said)
                if stays:
                    over.wait(20)

        player = threading.Thread(target=play)
        player.start()
        begin = time.monotonic()
        assert asyncio.run(mux.pid(path, 0.2)) is None
        assert time.monotonic() - begin < 5
        over.set()
        player.join()
