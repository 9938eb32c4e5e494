"""What jobs print: straight into files of theirs, bounded in place, nothing lost within the bound (S11, S12)."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.evidence import exits, jobs, kill, kill_launcher, launcher_pid
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, Refused, call, encode, spec_of

from relaunch.launcher.jobs import FINISHED_MAX

BOUND = 256 * 1024
LINE_BYTES = 64
# Numbered lines of one length; told by a signal to go on.
WRITER = (
    "import os, signal, sys\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    "number = 0\n"
    "for count in map(int, sys.argv[1:]):\n"
    "    if count < 0: signal.sigwait([signal.SIGUSR1])\n"
    "    for _ in range(abs(count)):\n"
    f"        os.write(1, b'%0{LINE_BYTES - 1}d\\n' % number)\n"
    "        number += 1\n"
    "signal.pause()\n"
)


def _writer(host: Host, *counts: int, **spec: object) -> Path:
    """Submit a job that writes so many numbered lines; gives its file."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", sys.executable, "-c", WRITER, *map(str, counts), **spec)
    return Path(job["output"])


def _numbers(data: bytes) -> list[int]:
    """The numbers of the whole lines; the first line may have been cut."""
    lines = data.lstrip(b"\0").split(b"\n")
    assert lines.pop() == b""
    whole = lines if len(lines[0]) == LINE_BYTES - 1 else lines[1:]
    assert {len(line) for line in whole} == {LINE_BYTES - 1}
    return list(map(int, whole))


def _on_disk(path: Path) -> int:
    found = path.stat()
    return min(found.st_size, found.st_blocks * 512)


@pytest.fixture(params=["collapse", "punch"])
def bounded(request: pytest.FixtureRequest, place: Host) -> Iterator[Host]:
    """A launcher over a file system that can collapse a file's front, and over one that can only make it a hole."""
    state = Path(place.env["XDG_STATE_HOME"])
    state.mkdir()
    if request.param == "punch":
        request.getfixturevalue("root")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", state], check=True)
    try:
        place.serve()
        yield place
        place.launch("shutdown")
        wait_for(lambda: not place.processes(), what="the launcher ends")
    finally:
        if request.param == "punch":
            subprocess.run(["umount", "-l", state], check=True)


def test_output_is_bounded_and_whole_within_the_bound(bounded: Host) -> None:
    """[S12] A hundred times the bound goes through, and the newest three quarters of it are there, in order."""
    lines = 100 * BOUND // LINE_BYTES
    path = _writer(bounded, lines, output_bytes_max=BOUND)
    wait_for(lambda: path.read_bytes().endswith(b"%d\n" % (lines - 1)), what="the writer is done")
    wait_for(lambda: _on_disk(path) <= BOUND, timeout_s=2.0, what="the bound is kept")
    numbers = _numbers(path.read_bytes())
    assert numbers == list(range(numbers[0], lines))
    assert len(numbers) * LINE_BYTES > BOUND * 0.7
    with Peer(bounded.socket) as peer:
        peer.send("Logs", {"label": "a"}, more=True)
        assert _numbers(_told(peer)) == numbers
        peer.send("Logs", {"label": "a", "lines": 7}, more=True)
        assert _numbers(_told(peer)) == numbers[-7:]
        tail = subprocess.run(["tail", "-n", "3", path], capture_output=True, check=True).stdout
        assert _numbers(tail) == numbers[-3:]
        peer.call("Stop", {"patterns": ["a"]})
    (end,) = exits(bounded, "a")
    assert [int(line) for line in end["output_tail"]] == numbers[-len(end["output_tail"]) :]
    assert 10 < len(end["output_tail"]) <= 20


def _told(peer: Peer) -> bytes:
    """All that a call of Logs gives."""
    data = b""
    while True:
        reply = peer.reply()
        data += base64.b64decode(reply["parameters"].get("data", ""))
        if not reply.get("continues"):
            return data


def test_a_follower_sees_each_line_once_across_cuts(bounded: Host) -> None:
    """[S12] While the file is cut again and again behind it."""
    rounds = 12
    lines = BOUND // LINE_BYTES // 2
    path = _writer(bounded, lines, *([-lines] * rounds), output_bytes_max=BOUND)
    pid = jobs(bounded)["a"]["pid"]
    data = b""
    with Peer(bounded.socket) as peer:
        peer.send("Logs", {"label": "a", "follow": True}, more=True)
        for number in range(1, rounds + 2):
            while len(data) < number * lines * LINE_BYTES:
                data += base64.b64decode(peer.answer()["data"])
            os.kill(pid, signal.SIGUSR1)
        call(bounded.socket, "Stop", {"patterns": ["a"]})
        data += _told(peer)
    assert _numbers(data) == list(range((rounds + 1) * lines))
    assert _on_disk(path) <= BOUND


def test_the_output_of_a_new_job_of_a_label_is_found_in_a_file_that_is_cut(bounded: Host) -> None:
    """[W6] [S12] Behind that of the job before, which is cut away in front of it."""
    lines = BOUND // LINE_BYTES // 2
    _writer(bounded, lines, output_bytes_max=BOUND)
    call(bounded.socket, "Stop", {"patterns": ["a"]})
    _writer(bounded, 10, -lines, -lines, output_bytes_max=BOUND)
    pid, data = jobs(bounded)["a"]["pid"], b""
    with Peer(bounded.socket) as peer:
        peer.send("Logs", {"label": "a", "follow": True, "since_submit": True}, more=True)
        for wanted in (10, 10 + lines, 10 + 2 * lines):
            while len(data) < wanted * LINE_BYTES:
                data += base64.b64decode(peer.answer()["data"])
            os.kill(pid, signal.SIGUSR1)
        call(bounded.socket, "Stop", {"patterns": ["a"]})
        data += _told(peer)
    assert _numbers(data) == list(range(10 + 2 * lines))


def test_a_burst_before_the_end_is_bounded_too(bounded: Host) -> None:
    """[S12] A job that has ended before anybody looked."""
    with Peer(bounded.socket) as peer:
        script = f"head -c {20 * BOUND} /dev/zero | tr '\\0' 'x'; echo; echo last"
        path = Path(peer.submit("a", "sh", "-c", script, output_bytes_max=BOUND)["output"])
        (job,) = peer.call("Wait", {"patterns": ["a"]})["jobs"]
    assert job["exit"]["code"] == 0
    assert _on_disk(path) <= BOUND
    assert path.read_bytes().endswith(b"x\nlast\n")
    assert exits(bounded, "a")[0]["output_tail"][-1] == "last"


def test_output_goes_on_without_a_launcher(host: Host) -> None:
    """[S11] [S12] Nothing is lost while it is stopped and dead, and the bound is kept as soon as there is the next."""
    lines = 4 * BOUND // LINE_BYTES
    path = _writer(host, 10, -lines, -10, output_bytes_max=BOUND)
    pid, launcher = jobs(host)["a"]["pid"], launcher_pid(host)
    wait_for(lambda: len(path.read_bytes()) == 10 * LINE_BYTES, what="it has begun")
    os.kill(launcher, signal.SIGSTOP)
    os.kill(pid, signal.SIGUSR1)
    wait_for(lambda: path.stat().st_size == (lines + 10) * LINE_BYTES, what="it writes on")
    kill(launcher)
    wait_for(lambda: _on_disk(path) <= BOUND, what="the next launcher keeps the bound")
    os.kill(pid, signal.SIGUSR1)
    wait_for(lambda: path.read_bytes().endswith(b"%d\n" % (lines + 19)), what="it writes to the same file")
    numbers = _numbers(path.read_bytes())
    assert numbers == list(range(numbers[0], lines + 20))
    assert alive(pid)


def test_a_follower_sees_what_comes_and_then_the_end(host: Host) -> None:
    """[S11] Each line as soon as it is printed, also over the end of a run; the stream ends with the job."""
    with Peer(host.socket) as peer, Peer(host.socket) as follower:
        script = 'trap "echo signal; exit 0" USR1; echo begin $LAUNCH_JOB_RUN; while :; do sleep 300 & wait; done'
        pid = peer.submit("a", "sh", "-c", script)["pid"]
        follower.send("Logs", {"label": "a", "follow": True}, more=True)
        assert base64.b64decode(follower.answer()["data"]) == b"begin 1\n"
        os.kill(pid, signal.SIGUSR1)
        assert base64.b64decode(follower.answer()["data"]) == b"signal\n"
        last = follower.reply()
        assert (last.get("continues"), last["parameters"]) == (None, {"data": ""})


def test_a_kept_jobs_runs_share_one_file(host: Host) -> None:
    """[S11] In order, each appended to the last."""
    with Peer(host.socket) as peer:
        path = Path(peer.submit("a", "sh", "-c", "echo $LAUNCH_JOB_RUN", keep_alive=True, throttle_s=0.0)["output"])
        wait_for(lambda: jobs(host)["a"]["run"] > 5, what="some runs")
        kill_launcher(host)
        wait_for(lambda: jobs(host)["a"]["run"] > 10, what="more runs")
        call(host.socket, "Stop", {"patterns": ["a"]})
    runs = list(map(int, path.read_text().split()))
    assert runs == list(range(1, len(runs) + 1))


def test_streams_of_the_users_own(host: Host, tmp_path: Path) -> None:
    """[S11] [S23] Files are appended to and never cut; a FIFO and a terminal work; what cannot be opened is named."""
    errors, fifo = tmp_path / "errors", tmp_path / "fifo"
    errors.write_text("before\n")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ours, terminal = os.openpty()
    try:
        with Peer(host.socket) as peer:
            out = {"stdout": str(tmp_path / "out"), "stderr": str(errors), "output_bytes_max": 65536}
            peer.submit("files", "sh", "-c", "head -c 300000 /dev/zero; echo failed >&2", **out)
            peer.submit("fifo", "sh", "-c", "echo through", stdout=str(fifo))
            peer.submit("terminal", "sh", "-c", "test -t 1 && echo terminal", stdout=os.ttyname(terminal))
            peer.call("Wait", {"patterns": ["*"]})
            assert {job["exit"]["code"] for job in jobs(host).values()} == {0}
            assert (tmp_path / "out").stat().st_size == 300_000
            assert errors.read_text() == "before\nfailed\n"
            assert exits(host, "files")[0]["output_tail"][-1] == "failed"
            assert os.read(reader, 100) == b"through\n"
            assert os.read(ours, 100) == b"terminal\r\n"
            for name in ("fifo", "terminal"):
                assert exits(host, name)[0]["output_tail"] == []
                with pytest.raises(Refused, match="not a regular file"):
                    peer.call("Logs", {"label": name})
            for stream in ("stdout", "stderr", "stdin"):
                missing = f"{tmp_path}/nowhere/{stream}"
                with pytest.raises(Refused, match=f"{missing}: No such file or directory") as refused:
                    peer.submit("missing", "true", **{stream: missing})
                assert refused.value.name == "StartFailed"
    finally:
        for fd in (reader, ours, terminal):
            os.close(fd)


def test_output_that_was_removed_is_no_trouble(host: Host) -> None:
    """[S11] [W12] By a user who tidies up; the job writes on, and the next run makes a new file."""
    path = _writer(host, 10, -10)
    wait_for(lambda: path.stat().st_size == 10 * LINE_BYTES, what="it has begun")
    path.unlink()
    with Peer(host.socket) as peer:
        with pytest.raises(Refused, match="No such file"):
            peer.call("Logs", {"label": "a", "follow": False})
        os.kill(jobs(host)["a"]["pid"], signal.SIGUSR1)
        assert peer.call("Restart", {"patterns": ["a"]})["outcomes"][0]["error"] is None
        wait_for(lambda: path.exists() and path.stat().st_size, what="the next run prints")
        assert exits(host, "a")[0]["output_tail"] == []


@pytest.mark.parametrize("seen", [False, True])
def test_a_file_that_was_removed_is_made_and_bounded_again(host: Host, seen: bool) -> None:
    """[S12] From the next run on, whether or not the launcher has noticed; it says so as long as it is not bounded."""

    def problem() -> str | None:
        told: str | None = call(host.socket, "GetStatus")["status"]["journal"]["problem"]
        return told

    fifo = host.place / "fifo"
    os.mkfifo(fifo)
    script = f'read go < "$0"; head -c {4 * BOUND} /dev/zero | tr "\\0" x; echo; echo done; exec sleep 300'
    with Peer(host.socket) as peer:
        path = Path(peer.submit("a", "sh", "-c", script, str(fifo), output_bytes_max=BOUND)["output"])
        path.unlink()
        if seen:
            fifo.write_text("go\n")
            assert "is not bounded" in (wait_for(problem, what="the launcher notices") or "")
        peer.call("Restart", {"patterns": ["a"]})
    assert problem() is None
    fifo.write_text("go\n")
    wait_for(lambda: path.read_bytes().endswith(b"done\n"), what="it has printed all")
    wait_for(lambda: _on_disk(path) <= BOUND, timeout_s=2.0, what="the bound is kept")


# Until it is long over


def test_output_goes_with_a_job_that_is_forgotten_for_others(host: Host) -> None:
    """[S12] And not with one that was unloaded, or whose label is used again."""
    for label in ("over", "again", "unloaded"):
        host.launch("run", "-l", label, "--", "echo", "text")
    files = {label: Path(job["output"]) for label, job in jobs(host).items()}
    host.launch("unload", "unloaded")
    host.launch("run", "-l", "again", "--", "echo", "more")
    with Peer(host.socket) as peer:
        calls = [("Submit", {"spec": spec_of(f"x{number}", "true")}) for number in range(FINISHED_MAX - 1)]
        peer.socket.sendall(b"".join(encode(method, parameters) for method, parameters in calls))
        for _ in calls:
            peer.answer()
        peer.call("Wait", {"patterns": ["x*"]})
    wait_for(lambda: not files["over"].exists(), what="the file of the one that is over is removed")
    assert "over" not in jobs(host)
    assert files["again"].read_text() == "text\nmore\n"
    assert files["unloaded"].read_text() == "text\n"
