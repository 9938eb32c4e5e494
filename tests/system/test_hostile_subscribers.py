"""What an unlucky operator or a hostile neighbour does to those who are told: each harms itself at most."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer
from tests.system.subscribing import ends, subscribing

from relaunch.launcher.dials import HOPELESS_FAILURES, HOPELESS_PER_S


@contextmanager
def _full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        for size in (4096, 1):
            try:
                while True:
                    os.write(writing, b"x" * size)
            except BlockingIOError:
                pass
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


def test_a_command_may_end_by_any_signal(host: Host) -> None:
    """[D32] Real-time signals have no name."""
    with subscribing(host, "--exec", "kill -40 $$") as told:
        ends(host, "p1")
        told.line()
        assert told.said() == "launch: --exec for job.exited p1: it was ended by signal 40; it is run again in 1 s\n"
        told.end()


def test_a_command_need_not_read_what_it_is_given(host: Host) -> None:
    """[D32] Nor need what it leaves running, which has it open, when the event is too large for any pipe."""
    path = host.place / "pid"
    command = f"exec 3<&0; sleep 100 <&3 & echo $! >{path}; exit 0"
    with subscribing(host, "--kind", "job.submitted", "-n", "1", "--exec", command) as told:
        host.launch("submit", "-l", "p1", "-p", "true", "x" * 100_000, "y" * 100_000)
        assert told.process.wait(10) == 0
        os.kill(int(path.read_text()), signal.SIGKILL)


def test_what_it_says_of_itself_holds_up_nothing(host: Host) -> None:
    """[D31] [D12] Standard error may be a terminal that is halted: launchers are answered, and signals obeyed."""
    with _full_pipe() as full:
        process = host.popen("subscribe", "--serve", "-a", "127.0.0.1:0", "--exec", "false", stderr=full)
        wait_for(lambda: "connected" in host.launch("subscriptions").stdout)
        ends(host, "p1")
        assert process.stdout is not None
        assert "p1 exited" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_those_who_are_not_there_are_not_dialled_without_end(host: Host) -> None:
    """[D9] [D18] 200 addresses where every connection is dropped: a share of a second for all of them together."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server, Peer(host.socket) as peer:
        server.settimeout(20)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        for number in range(200):
            spec = {"id": f"{number:032x}", "address": address, "transport": "tcp"}
            peer.call("Subscribe", {"subscription": {**spec, "fingerprint": "ab" * 32, "secret": "cd" * 32}})
        for _ in range(200):  # each is dialled at once, and a few times more
            server.accept()[0].close()
        dials, end = 0, time.monotonic() + 4
        while time.monotonic() < end:
            server.accept()[0].close()
            dials += 1
        assert dials < 200 * HOPELESS_FAILURES + 4 * HOPELESS_PER_S + 50


def _says(log: Path, words: str) -> bool:
    return words in log.read_text()


def test_whoever_subscribes_again_and_again_in_vain_fills_no_log(host: Host) -> None:
    """[D16] As a subscriber does that the launcher cannot connect to: one line says so, for each place where it was."""
    log = host.state / "launcher.log"

    def fail(address: str, times: int) -> None:
        for _ in range(times):
            spec = {"id": "1" * 32, "address": address, "transport": "tcp"}
            peer.call("Subscribe", {"subscription": {**spec, "fingerprint": "ab" * 32, "secret": "cd" * 32}})
            wait_for(lambda: peer.call("Subscriptions")["subscriptions"][0]["error"])

    with Peer(host.socket) as peer, socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))  # nobody listens there
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            fail(address, 1)
            wait_for(partial(_says, log, f"cannot connect to {address}"))
            fail(address, 5)
        host.launch("unsubscribe", "1" * 32)
        assert log.read_text().count("cannot be told") == 2


def test_a_log_that_nobody_reads_holds_up_nothing(place: Host) -> None:
    """[D18] [S24] A launcher's terminal is halted; a subscriber who is not there would be told of in the log."""
    with _full_pipe() as full, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # nobody listens there
        place.popen("serve", stderr=full)
        wait_for(place.socket.exists)
        with Peer(place.socket) as peer:
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            spec = {"id": "1" * 32, "address": address, "transport": "tcp"}
            peer.call("Subscribe", {"subscription": {**spec, "fingerprint": "ab" * 32, "secret": "cd" * 32}})
            wait_for(lambda: peer.call("Subscriptions")["subscriptions"][0]["error"])
            peer.call("Unsubscribe", {"ids": ["1" * 32]})
        place.launch("shutdown")
