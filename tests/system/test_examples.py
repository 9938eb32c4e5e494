"""Each program in examples/ and the one in the README, run as they say, against a real launcher."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.launcher_host import COMMAND_S, Host, alive

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(host: Host, name: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *args]
    return subprocess.run(command, env=host.env, capture_output=True, text=True, timeout=COMMAND_S, check=False)


@contextmanager
def started(host: Host, name: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """An example that goes on until it is interrupted."""
    command = [sys.executable, str(EXAMPLES / name), *args]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=host.env, stdout=pipe, stderr=pipe, text=True) as example:
        try:
            yield example
        finally:
            example.kill()


def line(example: subprocess.Popen[str]) -> str:
    assert example.stdout is not None
    return example.stdout.readline()


def test_the_program_in_the_readme_runs_as_typed(host: Host, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text("utf-8"), re.DOTALL)
    program = tmp_path / "typed.py"
    program.write_text(code)
    done = run(host, str(program))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hello/1 running ")
    assert "Exit(reason='exited', code=3," in done.stdout
    assert "job.exited {" in done.stdout


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "all_or_none.py",
        "pager.py",
        "rolling_restart.py",
        "watch_failures.py",
    }


def test_failures_are_shown_with_the_last_output_over_the_launchers_death(host: Host) -> None:
    with started(host, "watch_failures.py", "kvs/*") as example:
        assert line(example) == "watching\n"
        host.launch("submit", "-l", "other", "-p", "sh", "-c", "exit 7")
        host.launch("submit", "-l", "kvs/1", "-p", "sh", "-c", "echo no quorum; exit 3")
        assert line(example).endswith("  kvs/1  exited with code 3\n")
        assert line(example) == "    no quorum\n"
        os.kill(host.launcher_pid, signal.SIGKILL)
        host.launch("submit", "-l", "kvs/2", "--keep-alive", "-p", "sleep", "120")
        os.kill(host.job("kvs/2")["pid"], signal.SIGKILL)
        assert "  kvs/2  was killed by KILL; starts again in " in line(example)
        host.launch("stop", "kvs/2")
        example.send_signal(signal.SIGINT)
        assert example.wait(COMMAND_S) == 0


def test_a_page_is_sent_for_each_failure_until_it_is_taken_whoever_dies(host: Host, tmp_path: Path) -> None:
    program = f"cat >> {tmp_path}/pages; test -e {tmp_path}/well"
    with started(host, "pager.py", "--port", "0", "sh", "-c", program) as example:
        assert line(example).startswith("listening at :")
        host.launch("run", "--", "true")
        host.launch("submit", "-l", "p1", "-p", "sh", "-c", "exit 3")
        assert example.stderr is not None
        assert example.stderr.readline() == "not sent, and tried again in 2 s: p1 failed: code 3\n"
        example.kill()
        os.kill(host.launcher_pid, signal.SIGKILL)
    host.launch("submit", "-l", "p2", "-p", "sh", "-c", "kill -9 $$")
    (tmp_path / "well").touch()
    with started(host, "pager.py", "--port", "0", "sh", "-c", program) as example:
        expected = ["p1 failed: code 3", "p1 failed: code 3 (you may have been told already)", "p2 failed: KILL"]
        host.wait_for(lambda: (tmp_path / "pages").read_text().splitlines() == expected)
        example.send_signal(signal.SIGINT)
        assert example.wait(COMMAND_S) == 0


def test_a_rolling_restart_gives_each_job_a_new_process(host: Host) -> None:
    for label in ("kvs/1", "kvs/2"):
        host.launch("submit", "-l", label, "-p", "sleep", "120")
    before = host.jobs()
    done = run(host, "rolling_restart.py", "--settle", "0.1", "kvs/*")
    after = host.jobs()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{label}: up again, pid {after[label]['pid']}\n" for label in sorted(after))
    assert not {job["pid"] for job in before.values()} & {job["pid"] for job in after.values()}


def test_a_rolling_restart_ends_at_the_first_job_that_does_not_stay_up(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "replica"
    program.write_text("#!/bin/sh\nexec sleep 120\n")
    program.chmod(0o700)
    for label in ("kvs/1", "kvs/2"):
        host.launch("submit", "-l", label, "-p", str(program))
    untouched = host.job("kvs/2")["pid"]
    new = tmp_path / "new"  # put in its place as a whole: a program that runs cannot be written
    new.write_text("#!/bin/sh\nexit 4\n")
    new.chmod(0o700)
    new.rename(program)
    done = run(host, "rolling_restart.py", "--settle", "0.5", "kvs/*")
    assert done.returncode == 1
    assert done.stderr == "kvs/1 did not stay up for 0.5 seconds: code 4\n1 of 2 were left alone\n"
    assert host.job("kvs/2")["pid"] == untouched


def test_when_one_replica_ends_all_are_stopped(host: Host) -> None:
    program = 'echo I am $REPLICA of $REPLICAS; if [ "$REPLICA" = 1 ]; then exit 5; fi; exec sleep 120'
    done = run(host, "all_or_none.py", "kvs", "3", "--", "sh", "-c", program)
    assert done.returncode == 1
    assert done.stdout.endswith("kvs/1 ended first (code 5), so all were stopped; it said last:\nI am 1 of 3\n")
    assert {label: job["exit"]["reason"] for label, job in host.jobs().items()} == {
        "kvs/0": "stopped",
        "kvs/1": "exited",
        "kvs/2": "stopped",
    }


def test_interrupted_replicas_are_all_stopped(host: Host) -> None:
    with started(host, "all_or_none.py", "kvs", "2", "--", "sleep", "120") as example:
        pids = [int(line(example).split()[-1]) for _ in range(2)]
        example.send_signal(signal.SIGINT)
        assert example.wait(COMMAND_S) == 130
    assert not any(alive(pid) for pid in pids)
