"""What commands say where no launcher answers, or something else answers in its place."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.system.launcher_host import Host

EVERY_CALL = [
    ["list"],
    ["status"],
    ["status", "p1"],
    ["submit", "-l", "p1", "-p", "sleep", "1"],
    ["run", "--", "sleep", "1"],
    ["stop", "p1"],
    ["restart", "p1"],
    ["signal", "HUP", "p1"],
    ["kill", "p1"],
    ["wait", "p1"],
    ["logs", "p1"],
    ["events"],
    ["shutdown"],
]
CHANGING = [typed for typed in EVERY_CALL if typed[0] in ("submit", "stop", "restart", "signal", "kill")]
Answer = Callable[[socket.socket], None]


@contextmanager
def impostor(place: Host, answer: Answer) -> Iterator[None]:
    """Something that listens in the launcher's place, and treats each connection as told."""
    place.socket.parent.mkdir(parents=True, mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.socket))
    listener.listen()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, suppress(OSError):
                    answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        place.socket.unlink()


def read_call(connection: socket.socket) -> bytes:
    """A whole call, its NUL included; less where the caller hung up."""
    call = b""
    while not call.endswith(b"\0"):
        data = connection.recv(65536)
        if not data:
            break
        call += data
    return call


def answering(data: bytes) -> Answer:
    """Reads a call, sends these bytes, and hangs up."""

    def answer(connection: socket.socket) -> None:
        read_call(connection)
        connection.sendall(data)

    return answer


@pytest.mark.parametrize("typed", EVERY_CALL, ids=" ".join)
def test_every_command_says_how_to_start_a_launcher(place: Host, typed: list[str]) -> None:
    """[W6]"""
    done = place.launch(*typed, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"launch: no launcher runs here (no socket at {place.socket}); start one with: launch serve --background\n"
    )


def test_a_socket_that_nobody_listens_on_is_no_launcher(place: Host) -> None:
    """[W6]"""
    place.socket.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place.socket))
    done = place.launch("list", check=False)
    assert done.returncode == 3
    assert "nobody listens at" in done.stderr


@pytest.mark.parametrize("typed", CHANGING, ids=" ".join)
@pytest.mark.parametrize("said", [b"", b'{"parameters": {"jo'], ids=["nothing", "half an answer"])
def test_a_lost_answer_is_an_unknown_outcome(place: Host, typed: list[str], said: bytes) -> None:
    """[W7]"""
    with impostor(place, answering(said)):
        done = place.launch(*typed, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "whether it was done is unknown" in done.stderr
    assert "launch list" in done.stderr


def test_a_peer_that_hangs_up_unasked_is_an_unknown_outcome(place: Host) -> None:
    """[W7]"""
    with impostor(place, lambda _connection: None):
        done = place.launch("submit", "-l", "p1", "--env", f"A={'x' * 100_000}", "-p", "ls", check=False)
    assert done.returncode == 3
    assert "unknown" in done.stderr


def test_a_question_that_changes_nothing_can_be_asked_again(place: Host) -> None:
    with impostor(place, answering(b"")):
        done = place.launch("list", check=False)
    assert done.returncode == 3
    assert "ask again" in done.stderr


def test_waiting_gives_up_after_answers_were_lost_again_and_again(place: Host) -> None:
    """[W7]"""
    with impostor(place, answering(b"")):
        done = place.launch("wait", "p1", check=False)
    assert done.returncode == 3


def test_why_it_hung_up_is_heard_though_the_call_could_not_be_sent(place: Host) -> None:
    refusal = b'{"error": "io.relaunch.Launcher.NotPermitted", "parameters": {"message": "not for you"}}\0'
    with impostor(place, lambda connection: connection.sendall(refusal)):
        done = place.launch("list", check=False)
    assert (done.returncode, done.stderr) == (1, "launch: not for you\n")


@pytest.mark.parametrize(
    ("said", "part"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", "not JSON"),
        (b'{"parameters": {"jobs": [NaN]}}\0', "not JSON"),
        (b"\xff\xfe\0", "not JSON"),
        (b"[" * 100_000 + b"\0", "not JSON"),
        (b"[]\0", "not a JSON object"),
        (b"{}\0", "without 'jobs'"),
        (b'{"parameters": []}\0', "without 'jobs'"),
        (b'{"error": "org.example.Odd", "parameters": {"a": 1}}\0', "org.example.Odd"),
        (b"x" * (64 * 2**20 + 1), "over 67108864 bytes"),
    ],
    ids=["http", "nan", "utf8", "deep", "array", "empty", "parameters", "error", "long"],
)
def test_what_is_no_launcher_is_told_so(place: Host, said: bytes, part: str) -> None:
    """[W1][W3][W5]"""
    with impostor(place, answering(said)):
        done = place.launch("list", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr


def test_a_request_over_the_bound_is_refused_before_it_is_sent(place: Host) -> None:
    """[W3]"""
    with impostor(place, answering(b"")):
        done = place.launch("stop", *(["\udcff" * 50_000] * 20), check=False)
        assert done.returncode == 2
        assert "4194304" in done.stderr


@pytest.mark.usefixtures("root")
def test_a_launcher_of_another_user_is_not_used(place: Host) -> None:
    """[W4]"""
    place.socket.parent.mkdir(parents=True, mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.socket))
    pid = os.fork()
    if pid == 0:
        # The kernel keeps the user that called listen().
        os.setuid(12345)
        listener.listen()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    with listener:
        done = place.launch("list", check=False)
    assert done.returncode == 1
    assert "runs as user 12345, not as you" in done.stderr
    place.socket.unlink()


def test_replies_may_come_in_pieces(place: Host) -> None:
    """[W1]"""

    def answer(connection: socket.socket) -> None:
        read_call(connection)
        for byte in b'{"parameters": {"jobs": []}}\0':
            connection.sendall(bytes([byte]))

    with impostor(place, answer):
        assert place.launch("list", "--json").stdout == "[]\n"


def test_a_launcher_that_says_nothing_is_not_waited_for_without_end(host: Host) -> None:
    """[W14]"""
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    pid = host.launcher_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for typed in (["list"], ["events"], ["submit", "-l", "p2", "-p", "ls"], ["signal", "HUP", "p1"]):
            done = host.launch("--timeout", "0.3", *typed, check=False)
            assert (done.returncode, done.stdout) == (3, "")
            assert done.stderr.startswith(f"launch: the launcher at {host.socket} has not answered ")
            assert " within 0.3 seconds" in done.stderr
            assert ("whether it was done is unknown" in done.stderr) == (typed[0] in ("submit", "signal"))
        following, stopping = host.popen("events", "-f"), host.popen("--timeout", "0.1", "stop", "p1")
        with pytest.raises(subprocess.TimeoutExpired):
            stopping.wait(timeout=1.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert stopping.wait(timeout=20) == 0
    following.terminate()
    following.wait()
    assert "--timeout means nothing" in host.launch("--timeout", "3", "version", check=False).stderr
