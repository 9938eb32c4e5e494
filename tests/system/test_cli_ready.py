"""``submit --wait-ready``, and what is typed of how a job becomes ready."""

import json
from pathlib import Path

import pytest
from tests.system.becoming_ready import LISTEN, PRINT, PYTHON, TELL, free_port, state, told
from tests.system.evidence import (
    jobs,
    kill_launcher,
)
from tests.system.launcher_host import Host, wait_for


@pytest.fixture
def host(shared: Host) -> Host:
    """One launcher for the whole file."""
    return shared


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """What jobs wait for; they are ready when it is there."""
    return tmp_path / "go"


@pytest.mark.parametrize("name", ["port", "command", "log", "notify", "nothing"])
def test_submit_waits_until_it_is_ready(host: Host, go: Path, name: str) -> None:
    """[S36] [W6] Whichever way the options name; without any, until it is up."""
    port = free_port()
    ways = {
        "port": (["--ready-port", str(port)], [*PYTHON, LISTEN, str(go), str(port)]),
        "command": (["--ready-command", f"[ -e {go} ] && true"], ["sleep", "300"]),
        "log": (["--ready-log", "it is [a-z]+$"], ["sh", "-c", PRINT, str(go)]),
        "notify": (["--ready-notify"], [*PYTHON, TELL, str(go)]),
        "nothing": ([], ["sleep", "300"]),
    }
    options, argv = ways[name]
    with host.popen("submit", "-l", name, *options, "--wait-ready", "--", *argv) as submitting:
        wait_for(lambda: name in jobs(host) and state(host, name) == "running", what="it is up")
        if name != "nothing":
            assert submitting.poll() is None
        go.touch()
        said, wrong = submitting.communicate(timeout=30)
    word = "running" if name == "nothing" else "ready"
    assert (said, wrong) == (f"{name}: {word}, pid {jobs(host)[name]['pid']}\n", "")
    assert submitting.returncode == 0


def test_submit_says_why_it_is_not_ready(host: Host) -> None:
    """[S36] [W6] It ended, it was late, or it could not be started; a late one stays up."""
    never = ["--ready-command", "false"]
    ended = host.launch("submit", "-l", "ended", *never, "--wait-ready", "--", "sh", "-c", "exit 3", check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "launch: ended is not ready: exited, the last run ended with exit code 3\n"
    late = host.launch(
        "submit", "-l", "late", *never, "--ready-timeout", "0.2", "--wait-ready", "--", "sleep", "300", check=False
    )
    assert (late.returncode, late.stderr) == (1, "launch: late is not ready: running\n")
    wait_for(lambda: "job.not-ready" in told(host, "late"), what="the event that it is late")
    assert state(host, "late") == "running"
    absent = host.launch("submit", "-l", "absent", *never, "--wait-ready", "--", "/no/such", check=False)
    assert absent.returncode == 1
    assert "absent was not started" in absent.stderr
    done = host.launch("submit", "-l", "done", "--wait-ready", "--json", "--", "true")
    assert json.loads(done.stdout)["label"] == "done"


def test_submit_waits_across_the_launchers_death(host: Host, go: Path) -> None:
    """[S39] [W7] Whether a job is ready can be asked again."""
    options = ["--ready-command", f"test -e {go}", "--wait-ready"]
    with host.popen("submit", "-l", "job", *options, "--", "sleep", "300") as submitting:
        wait_for(lambda: jobs(host).get("job", {}).get("state") == "running", what="it is up")
        kill_launcher(host)
        go.touch()
        assert submitting.communicate(timeout=30)[0].startswith("job: ready, pid ")
    assert submitting.returncode == 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--ready-notify", "--ready-port", "1"], "a job is ready in one way"),
        (["--ready-timeout", "1"], "--ready-timeout means nothing without"),
        (["--ready-port", "0"], "port"),
        (["--ready-log", "("], "log_line is no regular expression"),
    ],
)
def test_what_cannot_be_meant_is_refused(host: Host, options: list[str], line: str) -> None:
    """[S36] [W6]"""
    done = host.launch("submit", "-l", "job", *options, "--", "true", check=False)
    assert done.returncode == 2
    assert line in done.stderr
    assert "job" not in jobs(host)
